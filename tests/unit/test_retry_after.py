from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
    ids=["seconds", "absent", "nonsense", "negative", "no year that there is"],
)
def test_the_wait_may_be_given_in_seconds(value: str, expected: float | None) -> None:
    assert retry_after_s({"Retry-After": value}) == expected


def test_the_wait_may_be_given_as_a_date() -> None:
    now = datetime.now(UTC)

    ahead = retry_after_s({"Retry-After": format_datetime(now + timedelta(seconds=60))})
    past = retry_after_s({"Retry-After": format_datetime(now - timedelta(seconds=60))})

    assert ahead is not None
    assert 55 < ahead <= 60
    assert past == 0.0
