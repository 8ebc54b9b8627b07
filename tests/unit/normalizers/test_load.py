import sys
from collections.abc import Iterator, Sequence
from inspect import Signature
from types import ModuleType
from typing import Any

import pytest

from service.errors import ConfigurationError, SchemaError
from service.events import Failure, Record, SourceRecord
from service.normalizers import BUILT_IN, TOMBSTONE, Limits, load_normalizer


def upper(record: Record, *, prefix: str = "") -> str:
    if record.value == b"bad":
        raise SchemaError("a", "is bad")
    if record.value == b"worse":
        raise RuntimeError("s3cret payload")
    return prefix + (record.value or b"").decode().upper()


def bare(record: Record) -> bytes | None:
    return record.value


def strict(record: Record, schema: str) -> str:
    return f"{record.value!r} {schema}"


async def later(record: Record) -> bytes | None:
    return record.value


class LateAnnotations:
    """As any function since Python 3.14 whose annotations name what is not there."""

    @property
    def __signature__(self) -> Signature:
        raise NameError("name 'Record' is not defined")

    def __call__(self, record: Record) -> bytes | None:
        return record.value


class Counting:
    name = "counting"

    def __init__(self, *, start: int) -> None:
        self._start = start

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        if any(record.value == b"bad" for record in records):
            raise RuntimeError
        return [self._start + index for index in range(len(records))]


class Forgetful:
    name = "forgetful"

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        del records
        return []


class Lazy:
    name = "lazy"

    def decode_many(self, records: Sequence[Record]) -> Iterator[Any]:
        for record in records:
            yield record.value


class Later:
    name = "later"

    async def decode_many(self, records: Sequence[Record]) -> list[Any]:
        return list(records)


@pytest.fixture(autouse=True)
def _own_module() -> Iterator[None]:
    module = ModuleType("own_normalizers")
    module.__dict__.update(
        upper=upper,
        bare=bare,
        strict=strict,
        later=later,
        late_annotations=LateAnnotations(),
        Counting=Counting,
        Forgetful=Forgetful,
        Lazy=Lazy,
        Later=Later,
        number=1,
    )
    sys.modules["own_normalizers"] = module
    yield
    del sys.modules["own_normalizers"]


def records(*values: bytes | None) -> list[SourceRecord]:
    return [SourceRecord(value) for value in values]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_normalizers_are_found_by_name(name: str) -> None:
    assert load_normalizer(name).name == name


def test_a_function_gets_records_and_options() -> None:
    normalizer = load_normalizer("own_normalizers:upper", options={"prefix": ">"})

    assert normalizer.decode_many(records(b"a", None)) == [">A", TOMBSTONE]


def test_what_a_function_raises_becomes_a_failure_without_its_text() -> None:
    normalizer = load_normalizer("own_normalizers:upper")

    schema, other = normalizer.decode_many(records(b"bad", b"worse"))

    assert (schema.code, schema.detail) == ("schema", "a: is bad")
    assert (other.code, other.detail) == ("decode", "the normalizer raised RuntimeError")


def test_a_function_is_spared_large_values() -> None:
    normalizer = load_normalizer("own_normalizers:upper", Limits(max_value_bytes=1))

    assert normalizer.decode_many(records(b"ab"))[0].code == "too_large"


def test_a_class_decodes_whole_chunks() -> None:
    normalizer = load_normalizer("own_normalizers:Counting", options={"start": 5})

    assert normalizer.decode_many(records(b"a", b"b")) == [5, 6]


def test_a_class_that_raises_fails_only_for_the_record_at_fault() -> None:
    normalizer = load_normalizer("own_normalizers:Counting", options={"start": 5})

    good, bad = normalizer.decode_many(records(b"a", b"bad"))

    assert good == 5
    assert isinstance(bad, Failure)


def test_a_class_that_loses_records_fails_them_all() -> None:
    normalizer = load_normalizer("own_normalizers:Forgetful")

    datas = normalizer.decode_many(records(b"a", b"b"))

    assert [data.code for data in datas] == ["decode", "decode"]


def test_a_class_that_gives_no_sequence_fails_its_records_and_nothing_else() -> None:
    normalizer = load_normalizer("own_normalizers:Lazy")

    datas = normalizer.decode_many(records(b"a", b"b"))

    assert [data.code for data in datas] == ["decode", "decode"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("avro", {}, "is none of json, log, cloudevents, raw"),
        ("no.such.module:f", {}, "cannot be imported: ModuleNotFoundError"),
        ("own_normalizers:missing", {}, "cannot be imported: AttributeError"),
        ("own_normalizers:number", {}, "is not callable"),
        ("own_normalizers:Counting", {"stat": 1}, "refuses them: TypeError"),
    ],
)
def test_a_normalizer_that_cannot_be_had_is_a_configuration_error(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_normalizer(name, options=options)


@pytest.mark.parametrize(
    ("function", "options", "problem"),
    [
        ("bare", {"prefix": ">"}, "got an unexpected keyword argument 'prefix'"),
        ("strict", {}, "missing a required argument: 'schema'"),
    ],
    ids=["unknown", "missing"],
)
def test_options_that_a_function_does_not_take_are_refused_before_it_is_called(
    function: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_normalizer(f"own_normalizers:{function}", options=options)

    (told,) = raised.value.problems
    assert told.startswith(f"normalizer: own_normalizers:{function} cannot be called with")
    assert told.endswith(problem)


def test_a_function_annotated_for_the_type_checker_only_is_called() -> None:
    normalizer = load_normalizer("own_normalizers:late_annotations")

    assert normalizer.decode_many(records(b"a")) == [b"a"]


@pytest.mark.parametrize("name", ["later", "Later"], ids=["function", "class"])
def test_what_is_async_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"own_normalizers:{name} is async"):
        load_normalizer(f"own_normalizers:{name}")
