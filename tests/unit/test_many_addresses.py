"""Which address of a name is connected to, and when, in virtual time."""

import asyncio
import socket

import pytest
from aiokafka import conn

from service.many_addresses import PRIVATE_NAMES, Found, first_to_answer


class Hosts:
    """Addresses that answer after a while, refuse, or are silent for ever."""

    def __init__(self, **answers: float | None) -> None:
        self.answers = answers
        self.tried: dict[str, float] = {}
        self.made: dict[str, socket.socket] = {}
        self.given_up: list[str] = []

    @property
    def found(self) -> list[Found]:
        return [(name,) for name in self.answers]

    async def connect(self, found: Found) -> socket.socket:
        (name,) = found
        loop = asyncio.get_running_loop()
        self.tried[name] = loop.time()
        after_s = self.answers[name]
        try:
            if after_s is None:
                await loop.create_future()
            elif after_s < 0:
                raise ConnectionRefusedError(name)
            else:
                await asyncio.sleep(after_s)
        except asyncio.CancelledError:
            self.given_up.append(name)
            raise
        self.made[name] = socket.socket()
        return self.made[name]


async def test_a_silent_address_costs_a_quarter_of_a_second() -> None:
    hosts = Hosts(gone=None, away=None, alive=0.1, spare=0.0)

    with await first_to_answer(hosts.found, hosts.connect) as sock:
        assert sock is hosts.made["alive"]

    assert hosts.tried == {"gone": 0.0, "away": 0.25, "alive": 0.5}
    assert sorted(hosts.given_up) == ["away", "gone"]


async def test_one_that_refuses_costs_nothing() -> None:
    hosts = Hosts(closed=-1, alive=0.0)

    (await first_to_answer(hosts.found, hosts.connect)).close()

    assert hosts.tried == {"closed": 0.0, "alive": 0.0}


async def test_one_that_is_only_slow_is_not_given_up_for_the_next() -> None:
    hosts = Hosts(slow=1.0, gone=None)

    with await first_to_answer(hosts.found, hosts.connect) as sock:
        assert sock is hosts.made["slow"]

    assert asyncio.get_running_loop().time() == 1.0


async def test_of_two_that_answer_at_once_one_is_closed() -> None:
    hosts = Hosts(slow=0.5, quick=0.25)

    with await first_to_answer(hosts.found, hosts.connect) as kept:
        closed = [sock.fileno() < 0 for sock in hosts.made.values() if sock is not kept]

    assert all(closed)


async def test_the_first_refusal_is_told_when_all_refuse() -> None:
    hosts = Hosts(one=-1, other=-1)

    with pytest.raises(ConnectionRefusedError, match="one"):
        await first_to_answer(hosts.found, hosts.connect)


async def test_whoever_gives_up_leaves_nothing_open() -> None:
    hosts = Hosts(gone=None, away=None)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await first_to_answer(hosts.found, hosts.connect)

    assert sorted(hosts.given_up) == ["away", "gone"]


def test_the_client_has_the_names_that_are_replaced() -> None:
    assert all(hasattr(conn, name) for name in PRIVATE_NAMES["aiokafka.conn"])
