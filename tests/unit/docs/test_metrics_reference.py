from docs.metrics_reference import TARGET, reference


def test_the_reference_is_what_the_registry_says() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), (
        "run: python -m docs.metrics_reference"
    )
