"""How long the real client waits for a broker that does not answer, with connections of ours."""

import asyncio
from typing import Any

import aiokafka.client
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError, KafkaError

from service import silent_brokers
from service.silent_brokers import PRIVATE_NAMES, wait_briefly_for_silent_brokers

DEAD, ALIVE = ("dead", 1), ("alive", 2)


class Brokers:
    """Answers after ``after_s`` of an address, at once by default."""

    def __init__(self) -> None:
        self.after_s = {DEAD: 1000.0}
        self.tried: list[tuple[str, int]] = []
        self.connected: list[tuple[str, int]] = []

    async def connect(self, host: str, port: int, **_: object) -> "Brokers":
        self.tried.append((host, port))
        await asyncio.sleep(self.after_s.get((host, port), 0.0))
        self.connected.append((host, port))
        return self

    async def send(self, _: object) -> Any:
        raise KafkaError  # nothing more is wanted

    def close(self) -> None:
        """As a connection has it."""


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers()
    monkeypatch.setattr(silent_brokers, "_waited_s", {})
    monkeypatch.setattr(silent_brokers, "_only", set())
    monkeypatch.setattr(aiokafka.client, "create_conn", made.connect)
    monkeypatch.setattr(aiokafka.client, "collect_hosts", _in_order)
    wait_briefly_for_silent_brokers()
    wait_briefly_for_silent_brokers()
    return made


def _in_order(hosts: Any) -> Any:
    return collect_hosts(hosts, randomize=False)


async def _start(*addresses: tuple[str, int]) -> None:
    client = AIOKafkaClient(bootstrap_servers=[f"{host}:{port}" for host, port in addresses])
    with pytest.raises(KafkaConnectionError):
        await client.bootstrap()


async def test_a_broker_that_is_silent_costs_a_first_client_five_seconds(brokers: Brokers) -> None:
    await _start(DEAD, ALIVE)

    assert asyncio.get_running_loop().time() == 5.0
    assert brokers.connected == [ALIVE]


async def test_the_next_client_begins_with_one_that_was_not_silent(brokers: Brokers) -> None:
    await _start(DEAD)
    brokers.tried.clear()

    await _start(DEAD, ALIVE)

    assert brokers.tried == [ALIVE, DEAD]


async def test_one_that_is_only_slow_is_given_twice_the_time(brokers: Brokers) -> None:
    brokers.after_s = {ALIVE: 8.0, DEAD: 9.0}

    await _start(ALIVE, DEAD)
    await _start(ALIVE, DEAD)

    assert brokers.connected == [ALIVE, DEAD]
    assert asyncio.get_running_loop().time() == 5.0 + 5.0 + 8.0 + 9.0


async def test_a_single_one_may_take_as_long_as_ever(brokers: Brokers) -> None:
    brokers.after_s[ALIVE] = 30.0

    await _start(ALIVE)

    assert brokers.connected == [ALIVE]


async def test_one_that_has_answered_is_no_longer_silent(brokers: Brokers) -> None:
    await _start(DEAD)
    brokers.after_s.clear()
    await _start(DEAD)
    brokers.tried.clear()

    await _start(DEAD, ALIVE)

    assert brokers.tried == [DEAD, ALIVE]


def test_the_names_that_are_replaced_exist() -> None:
    (names,) = PRIVATE_NAMES.values()

    assert all(callable(getattr(aiokafka.client, name)) for name in names)
