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
    """The context, or an error with the file's name: the library's own has none."""
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    except OSError as exc:
        raise OSError(f"kafka.ssl_cafile {kafka.ssl_cafile}: {exc}") from exc
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile is not None:
        password = kafka.ssl_key_password()
        try:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password)
        except OSError as exc:
            files = f"{kafka.ssl_certfile} with {kafka.ssl_keyfile}"
            raise OSError(f"kafka.ssl_certfile {files}: {exc}") from exc
    return context
