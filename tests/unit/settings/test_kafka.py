import inspect
from pathlib import Path

import aiokafka
import pytest

from service.settings import ConsumerOptions, KafkaSettings, ProducerOptions, build_settings
from service.settings.base import read_secret


@pytest.mark.parametrize(
    ("section", "client"),
    [
        (ConsumerOptions, aiokafka.AIOKafkaConsumer),
        (ProducerOptions, aiokafka.AIOKafkaProducer),
    ],
    ids=["consumer", "producer"],
)
def test_every_option_of_the_client_is_taken_or_refused_with_a_reason(
    section: type[ConsumerOptions | ProducerOptions], client: type[object]
) -> None:
    known = set(inspect.signature(client.__init__).parameters) - {"self"}

    ours = set(section.model_fields) | set(section.refused)

    assert ours == known
    assert set(section.model_fields).isdisjoint(section.refused)


def test_the_defaults_keep_the_order_of_timeouts() -> None:
    consumer = ConsumerOptions()

    assert consumer.heartbeat_interval_ms * 3 <= consumer.session_timeout_ms
    assert KafkaSettings().revoke_drain_timeout_s * 1000 < consumer.rebalance_timeout_ms
    assert consumer.rebalance_timeout_ms < consumer.request_timeout_ms


def test_unset_options_are_left_to_the_client() -> None:
    options = build_settings({"kafka": {"producer": {"linger_ms": 2}}}).kafka.producer_options()

    assert options["linger_ms"] == 2
    assert "compression_type" not in options


def test_a_plaintext_connection_carries_no_login() -> None:
    options = KafkaSettings(bootstrap_servers=("a:1", "b:2")).connection_options()

    assert options == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "headrace",
        "security_protocol": "PLAINTEXT",
    }


def test_a_secret_that_is_no_text_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden", encoding="utf-16")

    with pytest.raises(OSError, match="is no UTF-8") as refused:
        read_secret(None, file)

    assert refused.value.__cause__ is None
