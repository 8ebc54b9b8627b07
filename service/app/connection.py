"""Client arguments from the Kafka settings: secrets read anew for every client that is built."""

import ssl
from typing import Any

from service.consumers.kafka_auth import file_token_provider
from service.settings import KafkaSettings


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """What consumers, producers and admin clients share.

    Raises:
        OSError: If a certificate or a secret's file cannot be read.
    """
    options = kafka.connection_options()
    if kafka.uses_tls:
        options["ssl_context"] = _ssl_context(kafka)
    if kafka.uses_sasl and kafka.sasl_mechanism == "OAUTHBEARER":
        options["sasl_oauth_token_provider"] = file_token_provider(
            lambda: kafka.sasl_oauth_token() or ""
        )
    return options


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile is not None:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, kafka.ssl_key_password())
    return context
