"""Which broker the integration tests choose."""

import pytest

from tests.kafka import selection
from tests.kafka.selection import Broker, choose


@pytest.fixture
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "missing_programs", lambda: ["java", "mvn"])


@pytest.fixture
def _java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "missing_programs", list)


@pytest.mark.usefixtures("_java")
def test_an_address_in_the_environment_comes_first() -> None:
    choice = choose({"HEADRACE_TEST_KAFKA": "kafka:9092"})

    assert (choice.broker, choice.address) == (Broker.GIVEN, "kafka:9092")


@pytest.mark.usefixtures("_java")
def test_apache_kafka_is_used_where_java_and_maven_are() -> None:
    assert choose({}).broker is Broker.APACHE


@pytest.mark.usefixtures("_no_java")
def test_the_stand_in_is_named_in_one_loud_line() -> None:
    choice = choose({})

    assert choice.broker is Broker.EMBEDDED
    assert not choice.refused
    assert "NOT APACHE KAFKA: java and mvn not installed" in choice.note
    assert "\n" not in choice.note


@pytest.mark.usefixtures("_no_java")
def test_continuous_integration_refuses_the_stand_in() -> None:
    assert choose({"CI": "true"}).refused
