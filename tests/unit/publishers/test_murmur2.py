import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from service.publishers.murmur2 import FEW, LANES, murmur2_of


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, LANES, LANES + FEW])
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # from the tests of Kafka's Java client
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, signed: int, count: int) -> None:
    assert murmur2_of([key] * count) == [signed & 0xFFFFFFFF] * count


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_many_are_hashed_as_each_of_them(keys: list[bytes]) -> None:
    assert murmur2_of(keys) == [murmur2(key) for key in keys]


@given(st.integers(0, 19).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size))))
def test_many_of_one_length_are_hashed_as_each_of_them(keys: list[bytes]) -> None:
    assert murmur2_of(keys) == [murmur2(key) for key in keys]


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
@pytest.mark.parametrize("count", [FEW, LANES, 2 * LANES + 1])
def test_no_hash_reaches_into_that_of_its_neighbour(byte: int, count: int) -> None:
    keys = [bytes([byte]) * length for length in (4, 7) for _ in range(count)]
    keys[count // 2] = b"\x00\xff\x00\xff"

    assert murmur2_of(keys) == [murmur2(key) for key in keys]
