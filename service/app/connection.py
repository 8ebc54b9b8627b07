"""Client arguments from the Kafka settings: secrets read anew for every connection."""

import ssl
from collections.abc import Callable
from typing import Any

from service.consumers.kafka_auth import TokenProvider
from service.many_addresses import try_every_address
from service.refused_certificates import tell_of_refused_certificates
from service.rotation import Rotating, read_for_each_connection
from service.settings import KafkaSettings
from service.silent_brokers import wait_briefly_for_silent_brokers


def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """What consumers, producers and admin clients share.

    Raises:
        OSError: If a certificate or a secret's file cannot be read.
    """
    read_for_each_connection()
    wait_briefly_for_silent_brokers()
    try_every_address()
    tell_of_refused_certificates()
    options = kafka.connection_options()
    if "sasl_plain_password" in options and kafka.sasl_plain_password_file is not None:
        options["sasl_plain_password"] = Rotating("password", kafka.sasl_password)
    if kafka.uses_tls:
        options["ssl_context"] = Rotating("certificates", _ssl_contexts(kafka))
    if kafka.uses_sasl and kafka.sasl_mechanism == "OAUTHBEARER":
        options["sasl_oauth_token_provider"] = TokenProvider(lambda: kafka.sasl_oauth_token() or "")
    return options


def _ssl_contexts(kafka: KafkaSettings) -> Callable[[], ssl.SSLContext]:
    """Gives the same context until one of its files is another one: to make it takes a while."""
    files = [
        file
        for file in (
            kafka.ssl_cafile,
            kafka.ssl_certfile,
            kafka.ssl_keyfile,
            kafka.ssl_password_file,
        )
        if file is not None
    ]
    made: tuple[list[tuple[int, int, int]], ssl.SSLContext] | None = None

    def current() -> ssl.SSLContext:
        nonlocal made
        if made is None:  # made in the loop; the first connection looks at the files, in a thread
            made = [], _ssl_context(kafka)
            return made[1]
        stats = [file.stat() for file in files if file.exists()]
        versions = [(each.st_ino, each.st_mtime_ns, each.st_size) for each in stats]
        if made[0] != versions:
            made = versions, _ssl_context(kafka)
        return made[1]

    return current


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
