import warnings

import pytest

from service.channels.closing import Closing, warn_forgotten


class _End(Closing):
    def __init__(self) -> None:
        self.ends = 0

    def _end(self) -> None:
        self.ends += 1


async def test_every_way_out_ends_it() -> None:
    end = _End()
    with end as entered:
        assert entered is end
    async with end:
        pass
    await end.aclose()

    assert end.ends == 3


def test_an_error_in_the_block_ends_it_and_goes_on() -> None:
    end = _End()
    with pytest.raises(LookupError), end:
        raise LookupError

    assert end.ends == 1


def test_the_warning_names_what_was_forgotten() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_forgotten("it")

    assert [str(warning.message) for warning in caught] == ["'it' was never closed"]
    assert caught[0].category is ResourceWarning
