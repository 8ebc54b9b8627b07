"""The one place where the client's consumers are made, with all that is mended about them."""

from typing import Any

from aiokafka import AIOKafkaConsumer

from service.consumers.kafka_abort_markers import read_on_behind_empty_markers
from service.consumers.kafka_decompress import install_bounded_decoders
from service.pauses import pause_between_questions
from service.topic_creation import create_no_topics
from service.whole_answers import read_whole_answers


def make_consumer(**options: Any) -> AIOKafkaConsumer:
    """A consumer of the client's, not started; ``options`` are its own.

    Raises:
        KafkaError: If the client refuses the options; also ``ValueError`` or ``OSError``.
    """
    install_bounded_decoders()
    read_on_behind_empty_markers()
    create_no_topics()
    consumer = AIOKafkaConsumer(**options)
    pause_between_questions(consumer._client)  # noqa: SLF001 -- it has no public name for it
    read_whole_answers(consumer._client)  # noqa: SLF001 -- the same
    return consumer
