from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from service.windows.agenda import Agenda

_KEYS = st.sampled_from("abcd")
_MOMENTS = st.integers(-20, 20)


class AgendaMachine(RuleBasedStateMachine):
    """Compares the agenda with the obvious model: a dictionary of the earliest moments."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda([(3, "a"), (-7, "b")])
        self.model = {"a": 3, "b": -7}

    @rule(at_ms=_MOMENTS, key=_KEYS)
    def add(self, at_ms: int, key: str) -> None:
        self.agenda.add(at_ms, key)
        self.model[key] = min(at_ms, self.model.get(key, at_ms))

    @rule(time_ms=_MOMENTS)
    def take(self, time_ms: int) -> None:
        earliest = min(self.model.values(), default=None)
        assert self.agenda.next_ms is None or earliest is None or self.agenda.next_ms <= earliest
        taken = self.agenda.take(time_ms)
        if earliest is None or earliest > time_ms:
            assert taken is None
        else:
            assert taken is not None
            assert self.model.pop(taken) == earliest


test_an_agenda_agrees_with_the_model = AgendaMachine.TestCase


def test_a_key_that_is_put_again_and_again_is_one_entry() -> None:
    agenda = Agenda()
    for later_ms in range(1_000):
        agenda.add(5 + later_ms, "a")

    assert len(agenda) == 1
    assert (agenda.take(4), agenda.take(5), agenda.take(2_000)) == (None, "a", None)
    assert agenda.next_ms is None
