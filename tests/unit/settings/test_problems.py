from service.settings import ConsumerOptions, KafkaSourceSettings, RetrySettings, Settings
from service.settings.problems import Problem, file_path, model_at


def test_a_problem_reads_as_path_message_and_origin() -> None:
    problem = Problem(("server", "allowed_origins", 0), "should be exact")

    assert (
        problem.line("site.yaml") == "server.allowed_origins[0]: should be exact (from site.yaml)"
    )


def test_the_tag_of_a_source_is_no_part_of_the_path_in_the_file() -> None:
    location = ("pipelines", "p", "sources", "kafka", "kafka", "topics", 0)

    assert file_path(location) == ("pipelines", "p", "sources", "kafka", "topics", 0)


def test_the_model_of_a_section_is_found_by_its_path() -> None:
    assert model_at(Settings, ["kafka", "consumer"]) is ConsumerOptions
    assert model_at(Settings, ["pipelines", "p", "sources", "kafka"]) is KafkaSourceSettings
    assert model_at(Settings, ["pipelines", "p", "handlers", "h", "retry"]) is RetrySettings
    assert model_at(Settings, ["server", "port", "x"]) is None
