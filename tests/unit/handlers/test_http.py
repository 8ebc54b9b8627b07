from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.errors import PermanentError, TransientError
from service.handlers.http import check_status, retry_after_s


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_success_is_a_success(status: int) -> None:
    check_status(status, {})


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_busy_or_broken_peer_is_worth_another_try(status: int) -> None:
    with pytest.raises(TransientError) as caught:
        check_status(status, {"Retry-After": "7"})

    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_a_refusal_is_final(status: int) -> None:
    with pytest.raises(PermanentError, match=str(status)):
        check_status(status, {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("120", 120.0), ("", None), ("soon", None), ("-5", None)],
    ids=["seconds", "absent", "nonsense", "negative"],
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
