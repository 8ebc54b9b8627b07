from service.cli.topology import dead_letter_topics, topic_roles
from service.settings import Settings, build_settings
from service.testing.harness import pipeline_of


def test_every_topic_is_named_once_with_all_its_roles() -> None:
    assert topic_roles(build_settings({})) == {
        "logs.raw": ["input"],
        "alerts": ["output", "subscription"],
        "logs.dead": ["dead letters"],
    }
    assert dead_letter_topics(build_settings({})) == ["logs.dead"]


def test_a_handler_with_durable_state_needs_its_changelog() -> None:
    document = pipeline_of("progress")

    roles = topic_roles(Settings.model_validate(document))

    assert roles["test-test-handler-jobs-changelog"] == ["changelog"]


def test_dead_letters_are_found_without_the_code_of_the_handlers() -> None:
    settings = Settings.model_validate(pipeline_of("nowhere_at_all:f"))

    assert dead_letter_topics(settings) == ["dead"]
