"""The main job on a real broker that wants TLS, and to know who comes."""

import asyncio
import base64
import datetime as dt
import ipaddress
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.cli.dlq import Filters, dead_letters
from service.cli.kafka_tools import AccessDeniedError, KafkaTools, kafka_tools
from service.cli.redrive import redrive
from service.cli.state import reset
from service.clock import wall_clock_s
from service.delivery.dead_letters import dead_letter
from service.events import Failure
from service.settings import build_settings
from service.state.records import encode_key
from tests.kafka.client import Kafka, Right
from tests.kafka.fixtures import need_apache
from tests.kafka.server import QUICK_START, KafkaServer
from tests.service_process import ServiceProcess, log_pipeline, log_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

USER, PASSWORD = "headrace", "correct horse"
LOWLY_USERS = {
    "at_least_once": "somebody",
    "exactly_once": "somebody-else",
    "mute": "mute",
    "checked": "checked",
    "at_least_once, small": "modest",
    "exactly_once, small": "more-modest",
    **{command: f"may-{command}" for command in ("tail", "redrive", "purge", "produce", "create")},
    "at_least_once, half": "half-blind",
    "exactly_once, half": "blind-in-one-eye",
    "reset": "may-reset",
    "produce nothing": "mayfly",
}
"""May do nothing that they were not given the right to; one for each test of that."""
EVENTS = 2_000
"""Some 6 MB, so that answers to fetches are as large as they get."""


class Certificates(NamedTuple):
    """PEM files: the authority, and a key with a certificate of it for either side."""

    authority: Path
    broker: Path
    client: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", key, "authority", key)
    made = Certificates(path / "authority.pem", path / "broker.pem", path / "client.pem")
    made.authority.write_bytes(authority)
    for file, name in ((made.broker, "broker"), (made.client, "client")):
        own = ec.generate_private_key(ec.SECP256R1())
        private = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(private + _certificate(name, own, "authority", key))
    return made


_FOR_SIGNING = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signing: ec.EllipticCurvePrivateKey
) -> bytes:
    """PEM of a certificate for 127.0.0.1 that ``issuer`` signs, which may be ``name`` itself."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        # Python 3.13 verifies strictly (RFC 5280): whose key signed, and what an authority's is for
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if name == issuer:
        builder = builder.add_extension(_FOR_SIGNING, critical=True)
    return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[KafkaServer]:
    """A broker with a listener for each way in, beside the plain one of the test itself."""
    need_apache("has secured listeners")
    sasl = "listener.name.sasl"
    modules = "org.apache.kafka.common.security"
    with KafkaServer(
        java_options=QUICK_START,
        listeners={"SASL": "SASL_SSL", "MUTUAL": "SSL"},
        overrides={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates.broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates.authority),
            "listener.name.mutual.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            f"{sasl}.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required "
            + " ".join(f'user_{user}="{PASSWORD}"' for user in (USER, *LOWLY_USERS.values()))
            + ";",
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
            f"{sasl}.oauthbearer.sasl.jaas.config": f"{modules}.oauthbearer.OAuthBearerLoginModule "
            'required unsecuredLoginStringClaim_sub="broker";',
        },
        format_options=(
            "--add-scram",
            f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]",
        ),
    ) as server:
        yield server


@pytest.fixture
async def kafka(secured: KafkaServer) -> AsyncIterator[Kafka]:
    async with Kafka(secured.bootstrap) as clients:
        yield clients


def _token() -> str:
    """A bearer token that nobody has signed, which a broker without a validator accepts."""
    now_s = int(wall_clock_s())
    parts = ({"alg": "none"}, {"sub": USER, "iat": now_s, "exp": now_s + 3600})
    encoded = (base64.urlsafe_b64encode(orjson.dumps(part)).decode() for part in parts)
    return ".".join(part.rstrip("=") for part in encoded) + "."


def _settings(way: str, certificates: Certificates, directory: Path) -> dict[str, Any]:
    """The ``kafka`` section for one way in, secrets in files as a cluster mounts them."""
    tls = {"ssl_cafile": str(certificates.authority)}
    if way == "MUTUAL":
        client = str(certificates.client)
        return {**tls, "security_protocol": "SSL", "ssl_certfile": client, "ssl_keyfile": client}
    secret = directory / "secret"
    secret.write_text(_token() if way == "OAUTHBEARER" else PASSWORD)
    login = (
        {"sasl_oauth_token_file": str(secret)}
        if way == "OAUTHBEARER"
        else {"sasl_plain_username": USER, "sasl_plain_password_file": str(secret)}
    )
    return {**tls, "security_protocol": "SASL_SSL", "sasl_mechanism": way, **login}


async def _until_ready(service: ServiceProcess) -> None:
    async with asyncio.timeout(10):
        while (await service.get("/readyz"))[0] != 200:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "MUTUAL"])
async def test_every_event_gets_through(
    *,
    kafka: Kafka,
    secured: KafkaServer,
    certificates: Certificates,
    tmp_path: Path,
    way: str,
    delivery: str,
) -> None:
    topics = await log_topics(kafka)
    await kafka.produce(
        topics["source"],
        [
            (None, orjson.dumps({"level": "WARN", "message": f"{number} " + "x" * 3_000}))
            for number in range(EVENTS)
        ],
    )
    config = log_pipeline(
        **topics,
        pipeline={"delivery": delivery},
        kafka=_settings(way, certificates, tmp_path),
    )

    address = secured.address("MUTUAL" if way == "MUTUAL" else "SASL")
    async with ServiceProcess(address, config, tmp_path) as service:
        alerts = await kafka.consume(topics["output"], EVENTS, timeout_s=60, read_committed=True)
        exit_code = await service.terminate()

    numbers = [int(orjson.loads(alert.value or b"")["message"].split()[0]) for alert in alerts]
    assert sorted(numbers) == list(range(EVENTS))
    assert exit_code == 0
    assert sum((await kafka.committed(topics["group"], topics["source"])).values()) == EVENTS


async def test_a_wrong_password_is_told_and_a_right_one_is_taken_up(
    kafka: Kafka, secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    topics = await log_topics(kafka)
    await kafka.produce(topics["source"], [(None, b"ERROR: one")])
    settings = _settings("PLAIN", certificates, tmp_path)
    (tmp_path / "secret").write_text("wrong")

    async with ServiceProcess(
        secured.address("SASL"), log_pipeline(**topics, kafka=settings), tmp_path
    ) as service:
        await service.wait_logged("kafka client failed", count=2)
        await service.wait_logged("kafka producer failed", count=2)
        refused = await service.get("/readyz")
        (tmp_path / "secret").write_text(PASSWORD)
        alerts = await kafka.consume(topics["output"], 1, timeout_s=60)
        await _until_ready(service)
        assert await service.terminate() == 0

    assert refused == (503, b"starting\n")
    assert "Invalid username or password" in service.log
    assert PASSWORD not in service.log
    assert len(alerts) == 1


async def test_an_unknown_authority_is_told(
    kafka: Kafka, secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    topics = await log_topics(kafka)
    settings = _settings("PLAIN", certificates, tmp_path)
    del settings["ssl_cafile"]

    async with ServiceProcess(
        secured.address("SASL"), log_pipeline(**topics, kafka=settings), tmp_path
    ) as service:
        await service.wait_logged("kafka client failed", count=2)
        refused = await service.get("/readyz")
        assert await service.terminate() == 0

    assert refused == (503, b"starting\n")
    assert "CERTIFICATE_VERIFY_FAILED" in service.log


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_the_rights_that_the_documentation_names_are_enough(
    *,
    kafka: Kafka,
    secured: KafkaServer,
    certificates: Certificates,
    tmp_path: Path,
    delivery: str,
) -> None:
    topics, user = await log_topics(kafka), LOWLY_USERS[delivery]
    source, output, dead, group = topics.values()
    rights: list[Right] = [
        *(("topic", source, operation) for operation in ("READ", "DESCRIBE")),
        *(("topic", name, each) for name in (output, dead) for each in ("WRITE", "DESCRIBE")),
        ("topic", output, "READ"),  # for the dashboards
    ]
    if delivery == "exactly_once":
        rights += [("transactional id", f"{group}/*", each) for each in ("WRITE", "DESCRIBE")]
    await kafka.produce(source, [(None, b"ERROR: one"), (None, b"\xff")])
    settings = {
        **_settings("PLAIN", certificates, tmp_path),
        "sasl_plain_username": user,
    }
    config = log_pipeline(**topics, pipeline={"delivery": delivery}, kafka=settings)

    async with ServiceProcess(secured.address("SASL"), config, tmp_path) as service:
        await service.wait_logged("kafka client failed", count=2)
        refused = [await service.get("/readyz")]
        await kafka.allow(user, rights)
        await service.wait_logged("kafka client failed", count=4)
        refused.append(await service.get("/readyz"))
        await kafka.allow(user, [("group", group, "READ")])
        alerts = await kafka.consume(output, 1, timeout_s=60, read_committed=True)
        letters = await kafka.consume(dead, 1, timeout_s=60, read_committed=True)
        await _until_ready(service)
        assert await service.terminate() == 0

    assert refused == [(503, b"starting\n")] * 2
    assert "GroupAuthorizationFailedError" in service.log
    assert (len(alerts), len(letters)) == (1, 1)
    assert sum((await kafka.committed(group, source)).values()) == 2


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_topics_whose_limit_may_not_be_read_are_not_sent_too_much_for_ever(
    *,
    kafka: Kafka,
    secured: KafkaServer,
    certificates: Certificates,
    tmp_path: Path,
    delivery: str,
) -> None:
    names = {name: kafka.unique(name) for name in ("source", "output", "dead_letter")}
    source, output, dead = names.values()
    for topic in names.values():
        limit = {} if topic == source else {"max.message.bytes": 10_000}
        await kafka.create_topic(topic, **limit)
    topics: dict[str, Any] = {**names, "group": (group := kafka.unique("group"))}
    user = LOWLY_USERS[f"{delivery}, small"]
    rights: list[Right] = [
        *(("topic", source, operation) for operation in ("READ", "DESCRIBE")),
        *(("topic", name, each) for name in (output, dead) for each in ("WRITE", "DESCRIBE")),
        ("group", group, "READ"),
    ]
    if delivery == "exactly_once":
        rights += [("transactional id", f"{group}/*", each) for each in ("WRITE", "DESCRIBE")]
    await kafka.allow(user, rights)
    noise = random.Random(1).randbytes(75_000).hex()  # so that it does not compress
    texts = ("ERROR: one", f"ERROR: {noise}", *("ERROR: " + noise[:1000],) * 20, noise)
    await kafka.produce(source, [(None, text.encode()) for text in texts])
    settings = {**_settings("PLAIN", certificates, tmp_path), "sasl_plain_username": user}
    config = log_pipeline(**topics, pipeline={"delivery": delivery}, kafka=settings)

    async with ServiceProcess(secured.address("SASL"), config, tmp_path) as service:
        alerts = await kafka.consume(output, 21, timeout_s=60, read_committed=True)
        letters = await kafka.consume(dead, 2, timeout_s=60, read_committed=True)
        assert await service.terminate() == 0

    assert len(alerts) == 21
    assert {letter.header("headrace-error") for letter in letters} == {b"too_large", b"decode"}
    assert all(1_000 < len(letter.value or b"") < 10_000 for letter in letters)
    assert sum((await kafka.committed(group, source)).values()) == len(texts)


async def test_a_missing_right_to_write_is_told_and_nothing_is_lost(
    kafka: Kafka, secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    topics, user = await log_topics(kafka), LOWLY_USERS["mute"]
    source, output, dead, group = topics.values()
    rights: list[Right] = [
        ("topic", source, "READ"),
        ("topic", output, "DESCRIBE"),
        ("topic", dead, "WRITE"),
        ("group", group, "READ"),
    ]
    await kafka.allow(user, rights)
    await kafka.produce(source, [(None, b"ERROR: one")])
    settings = {**_settings("PLAIN", certificates, tmp_path), "sasl_plain_username": user}
    config = log_pipeline(**topics, kafka=settings)

    async with ServiceProcess(secured.address("SASL"), config, tmp_path) as service:
        await service.wait_logged("kafka producer failed", count=2)
        committed = await kafka.committed(group, source)
        await kafka.allow(user, [("topic", output, "WRITE")])
        alerts = await kafka.consume(output, 1, timeout_s=60)
        assert await service.terminate() == 0

    assert sum(committed.values()) == 0
    assert "TopicAuthorizationFailed" in service.log
    assert len(alerts) == 1


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_topics_that_may_not_be_read_do_not_hold_up_the_others(
    *,
    kafka: Kafka,
    secured: KafkaServer,
    certificates: Certificates,
    tmp_path: Path,
    delivery: str,
) -> None:
    topics, user = await log_topics(kafka), LOWLY_USERS[f"{delivery}, half"]
    source, output, dead, group = topics.values()
    known = await kafka.create_topic(kafka.unique("known"))
    hidden = await kafka.create_topic(kafka.unique("hidden"))
    for topic in (source, known, hidden):
        await kafka.produce(topic, [(None, b"ERROR: one")])
    await kafka.allow(
        user,
        [
            ("topic", source, "READ"),
            ("topic", known, "DESCRIBE"),
            *(("topic", name, "WRITE") for name in (output, dead)),
            ("group", group, "READ"),
            ("transactional id", f"{group}/*", "WRITE"),
        ],
    )
    settings = {**_settings("PLAIN", certificates, tmp_path), "sasl_plain_username": user}
    config = log_pipeline(**topics, pipeline={"delivery": delivery}, kafka=settings)
    config["pipelines"]["logs"]["sources"]["kafka"]["topics"] += [known, hidden]

    async with ServiceProcess(secured.address("SASL"), config, tmp_path) as service:
        await service.wait_logged("input topic may not be read", count=2)
        await kafka.consume(output, 1, timeout_s=30, read_committed=True)
        await _until_ready(service)
        status = await service.status()
        _, metrics = await service.get("/metrics")
        await kafka.allow(user, [("topic", name, "READ") for name in (known, hidden)])
        alerts = await kafka.consume(output, 3, timeout_s=60, read_committed=True)
        assert await service.terminate() == 0

    assert {event["topic"] for event in service.events("input topic may not be read")} == {
        known,
        hidden,
    }
    assert not service.events("kafka client failed")
    rows = status["pipelines"]["logs"]["partitions"]
    (row,) = (row for row in rows if row["topic"] == known)
    assert row["lag"] == 1
    assert row["blocking"]["cause"] == "forbidden"
    (line,) = (
        line
        for line in metrics.decode().splitlines()
        if line.startswith("service_partition_blocked") and known in line and "forbidden" in line
    )
    assert float(line.split()[-1]) == 1
    assert len(alerts) == 3
    assert sum((await kafka.committed(group, known)).values()) == 1


async def test_missing_rights_are_told_beforehand(
    kafka: Kafka, secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    topics, user = await log_topics(kafka), LOWLY_USERS["checked"]
    source, output, dead, group = topics.values()
    settings = {**_settings("PLAIN", certificates, tmp_path), "sasl_plain_username": user}
    config = log_pipeline(**topics, kafka=settings)
    config["kafka"] = {**settings, "bootstrap_servers": [secured.address("SASL")]}
    file = tmp_path / "checked.yaml"
    file.write_bytes(orjson.dumps(config))

    async def check() -> list[str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", "check", "--connect", "--config", str(file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == (78 if said else 0)
        return said.decode().splitlines()[:-1]  # the last one counts them

    await kafka.allow(user, [("topic", name, "DESCRIBE") for name in (source, output, dead)])
    nothing = await check()
    await kafka.allow(user, [("topic", name, "READ") for name in (source, output)])
    await kafka.allow(user, [("topic", dead, "WRITE")])
    something = await check()
    await kafka.allow(user, [("topic", output, "WRITE"), ("group", group, "READ")])
    everything = await check()

    handler = f"pipelines.logs.handlers.alerts.output: topic {output} (output, subscription)"
    written = f"{handler} may not be written (WRITE)"
    joined = f"pipelines.logs.sources.kafka.group_id: group {group} may not be used (READ)"
    assert nothing == [
        f"pipelines.logs.sources.kafka.topics: topic {source} (input) may not be read (READ)",
        f"{handler} may not be read (READ)",
        written,
        f"pipelines.logs.dead_letter: topic {dead} (dead letters) may not be written (WRITE)",
        joined,
    ]
    assert something == [written, joined]
    assert everything == []


async def test_each_command_works_with_the_rights_that_the_documentation_names(
    kafka: Kafka, secured: KafkaServer, certificates: Certificates, tmp_path: Path
) -> None:
    names = [kafka.unique(name) for name in ("source", "dead", "changelog", "group", "new")]
    source, dead, changelog, group, new = names
    for topic in (source, dead, changelog):
        await kafka.create_topic(topic)
    letter = dead_letter(
        Failure("decode", "because", stage="normalize", handler=""),
        key=None,
        value=b"ERROR: one",
        headers=(),
        origin=(source, 0, 0),
        failed_at_ms=1000,
        max_bytes=10_000,
    )
    await kafka.produce(dead, [(letter.key, letter.value, letter.headers)])
    await kafka.produce(changelog, [(encode_key(source, "k"), b"1")])

    @asynccontextmanager
    async def allowed(command: str, *rights: Right) -> AsyncIterator[KafkaTools]:
        user = LOWLY_USERS[command]
        await kafka.allow(user, rights)
        given = {**_settings("PLAIN", certificates, tmp_path), "sasl_plain_username": user}
        given["bootstrap_servers"] = [secured.address("SASL")]
        async with kafka_tools(build_settings({"kafka": given}).kafka) as tools:
            yield tools

    async with allowed("tail", ("topic", dead, "READ")) as tools:
        tailed = [record async for record, *_ in dead_letters(tools, dead, Filters())]
    rights: list[Right] = [("topic", dead, "READ"), ("topic", source, "WRITE")]
    remembering: Right = ("group", f"headrace-redrive-{dead}", "READ")
    async with allowed("redrive", *rights, remembering) as tools:
        letters = dead_letters(tools, dead, Filters())
        redriven = await redrive(tools, dead, letters, rate=1e6, max_redrives=1)
    async with allowed("purge", ("topic", dead, "DELETE")) as tools:
        await tools.offsets_at(dead, 0, (await tools.extent(dead)).end)
        await tools.delete_before(dead, {0: 1})
    async with allowed("produce", ("topic", source, "WRITE")) as tools:
        await tools.partitions_of(source)
        await tools.settle([await tools.send(source, None, b"ERROR: two")])
    async with allowed(
        "create", *(("topic", new, each) for each in ("DESCRIBE", "CREATE"))
    ) as tools:
        created = await tools.create_topic(new, 1)
    await kafka.allow(LOWLY_USERS["reset"], [("group", group, "DESCRIBE")])
    async with allowed(
        "reset", *(("topic", changelog, each) for each in ("READ", "WRITE"))
    ) as tools:
        members = await tools.members(group)
        forgotten = await reset(tools, {"state": changelog})
    async with allowed("produce nothing", ("topic", source, "DESCRIBE")) as tools:
        with pytest.raises(AccessDeniedError, match="needs WRITE"):
            await tools.send(source, None, b"ERROR: three")

    assert [record.value for record in tailed] == [b"ERROR: one"]
    assert (redriven.sent, created, members, forgotten) == (1, True, 0, 1)
    assert await kafka.consume(dead) == []
    assert [r.value for r in await kafka.consume(source)] == [b"ERROR: one", b"ERROR: two"]
