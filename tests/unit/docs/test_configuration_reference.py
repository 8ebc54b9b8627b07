from docs.configuration_reference import TARGET, reference
from service.settings import HandlerSettings, KafkaSettings, Settings
from service.settings.changes import RELOADABLE
from service.where import OPERATORS


def test_the_page_is_what_the_settings_say() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), (
        "run: python -m docs.configuration_reference"
    )


def test_every_section_and_operator_has_its_place() -> None:
    page = reference()

    for model in (Settings, KafkaSettings, HandlerSettings):
        for name in model.model_fields:
            assert f"| `{name}` |" in page
    for section in ("kafka.consumer", "server.jwt", "pipelines.<name>.handlers.<name>.retry"):
        assert f"## `{section}`" in page
    for operator in OPERATORS:
        assert f"`{operator}`" in page


def test_what_may_change_while_running_is_told_with_the_signal_that_changes_it() -> None:
    _, heading, rest = reference().partition("## Changing it while running\n")
    section = rest.partition("\n## ")[0]

    assert heading
    assert "SIGHUP" in section
    for path in RELOADABLE:
        assert f"`{'.'.join(path).replace('*', '<name>')}`" in section
