"""The broker must not run on the processor that a contender is measured on."""

from benchmarks.harness.processors import Processors


def test_the_contender_has_the_last_processor_to_itself() -> None:
    processors = Processors.of({0, 1, 2})

    assert processors.contender == {2}
    assert processors.others == {0, 1}
    assert processors.contender_list(pinned=True) == "2"


def test_a_contender_that_is_not_pinned_may_use_every_processor() -> None:
    assert Processors.of({0, 1, 2}).contender_list(pinned=False) == "0,1,2"


def test_all_share_the_only_processor() -> None:
    processors = Processors.of({3})

    assert processors.contender == processors.others == {3}
    assert processors.words == "one processor for all"
