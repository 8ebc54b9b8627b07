"""A handler whose dependency is down is left alone until a probe succeeds."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.delivery.circuit import CircuitBreaker, CircuitPolicy, CircuitState


def fail(circuit: CircuitBreaker, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        ticket = circuit.enter(now_s)
        assert ticket is not None
        circuit.failed(ticket, now_s)


def test_failures_in_a_row_open_it() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=3))

    fail(circuit, 3)

    assert circuit.state(0.0) is CircuitState.OPEN
    assert circuit.enter(0.5) is None
    assert circuit.retry_at_s() == 1.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=3))

    for _ in range(10):
        fail(circuit, 2)
        ticket = circuit.enter(0.0)
        assert ticket is not None
        circuit.succeeded(ticket)

    assert circuit.state(0.0) is CircuitState.CLOSED
    assert circuit.retry_at_s() is None


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=1))
    fail(circuit, 1)

    probe = circuit.enter(1.0)

    assert probe is not None
    assert circuit.state(1.0) is CircuitState.HALF_OPEN
    assert circuit.enter(1.0) is None
    circuit.succeeded(probe)
    assert circuit.state(1.0) is CircuitState.CLOSED


def test_each_probe_that_fails_doubles_the_wait_up_to_its_limit() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=1, reset_s=1.0, reset_max_s=3.0))
    fail(circuit, 1)
    waits_s = []
    now_s = 0.0

    for _ in range(4):
        retry_at_s = circuit.retry_at_s()
        assert retry_at_s is not None
        assert circuit.enter(retry_at_s - 0.001) is None
        waits_s.append(retry_at_s - now_s)
        now_s = retry_at_s
        fail(circuit, 1, now_s)

    assert waits_s == [1.0, 2.0, 3.0, 3.0]


def test_a_cancelled_probe_leaves_its_place_to_the_next() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=1))
    fail(circuit, 1)
    probe = circuit.enter(1.0)
    assert probe is not None

    circuit.cancelled(probe)

    assert circuit.enter(1.0) is not None


def test_calls_that_were_under_way_when_it_opened_say_nothing() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=1))
    late = [circuit.enter(0.0) for _ in range(3)]
    fail(circuit, 1)

    assert late[0] is not None
    circuit.succeeded(late[0])
    circuit.failed(late[0], 0.9)
    circuit.cancelled(late[0])

    assert circuit.state(0.9) is CircuitState.OPEN
    assert circuit.retry_at_s() == 1.0


def test_zero_failures_turn_it_off() -> None:
    circuit = CircuitBreaker(CircuitPolicy(failures=0))

    fail(circuit, 1000)

    assert circuit.state(0.0) is CircuitState.CLOSED


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"failures": -1}, id="failures"),
        pytest.param({"reset_s": 0.0}, id="reset"),
        pytest.param({"reset_s": 60.0}, id="reset-above-max"),
    ],
)
def test_a_policy_out_of_range_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CircuitPolicy(**policy)  # type: ignore[arg-type]  # one field at a time


class CircuitMachine(RuleBasedStateMachine):
    """Compares the circuit with a model that remembers every call and how it ended."""

    FAILURES = 3

    def __init__(self) -> None:
        super().__init__()
        self.circuit = CircuitBreaker(
            CircuitPolicy(failures=self.FAILURES, reset_s=1.0, reset_max_s=8.0)
        )
        self.now_s = 0.0
        self.state = CircuitState.CLOSED
        self.row = 0
        self.opened_at_s = 0.0
        self.wait_s = 1.0
        self.current: list[int] = []
        self.stale: list[int] = []

    def turn(self, state: CircuitState) -> None:
        self.state = state
        self.row = 0
        self.stale += self.current
        self.current = []

    @rule(pause_s=st.sampled_from([0.25, 1.0, 4.0]))
    def wait(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule()
    def start(self) -> None:
        if self.state is CircuitState.OPEN and self.now_s >= self.opened_at_s + self.wait_s:
            self.state = CircuitState.HALF_OPEN
        allowed = self.state is CircuitState.CLOSED or (
            self.state is CircuitState.HALF_OPEN and not self.current
        )

        ticket = self.circuit.enter(self.now_s)

        assert (ticket is not None) == allowed
        if ticket is not None:
            self.current.append(ticket)

    @precondition(lambda self: self.current)
    @rule()
    def succeed(self) -> None:
        self.circuit.succeeded(self.current.pop())
        self.row = 0
        if self.state is CircuitState.HALF_OPEN:
            self.turn(CircuitState.CLOSED)

    @precondition(lambda self: self.current)
    @rule()
    def fail(self) -> None:
        self.circuit.failed(self.current.pop(), self.now_s)
        self.row += 1
        if self.state is CircuitState.HALF_OPEN or self.row == self.FAILURES:
            probing = self.state is CircuitState.HALF_OPEN
            self.wait_s = min(self.wait_s * 2, 8.0) if probing else 1.0
            self.opened_at_s = self.now_s
            self.turn(CircuitState.OPEN)

    @precondition(lambda self: self.current)
    @rule()
    def cancel(self) -> None:
        self.circuit.cancelled(self.current.pop())

    @precondition(lambda self: self.stale)
    @rule(how=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def end_late(self, how: str) -> None:
        ticket = self.stale.pop()
        if how == "succeeded":
            self.circuit.succeeded(ticket)
        elif how == "failed":
            self.circuit.failed(ticket, self.now_s)
        else:
            self.circuit.cancelled(ticket)

    @invariant()
    def the_states_agree(self) -> None:
        expected = self.state
        if expected is CircuitState.OPEN and self.now_s >= self.opened_at_s + self.wait_s:
            expected = CircuitState.HALF_OPEN
        assert self.circuit.state(self.now_s) is expected


TestCircuit = CircuitMachine.TestCase
TestCircuit.settings = settings(max_examples=500, stateful_step_count=30)
