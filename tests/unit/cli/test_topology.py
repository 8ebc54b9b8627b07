from service.cli.topology import dead_letter_topics, topic_roles
from service.settings import build_settings


def test_every_topic_is_named_once_with_all_its_roles() -> None:
    assert topic_roles(build_settings({})) == {
        "logs.raw": ["input"],
        "alerts": ["output", "subscription"],
        "logs.dead": ["dead letters"],
    }
    assert dead_letter_topics(build_settings({})) == ["logs.dead"]
