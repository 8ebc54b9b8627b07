import pytest

from service.errors import PermanentError, TransientError
from service.handlers.http import check_status


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
