from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.handlers.due import Deadlines, Due
from service.state.keyed import Partition

_KEYS = st.sampled_from("abcd")
_PLACES = st.sampled_from([Partition("t", 0), Partition("t", 1)])


class DeadlinesMachine(RuleBasedStateMachine):
    """Compares them with the obvious model: a dictionary of moments, sorted when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines(5.0)
        self.model: dict[Due, float] = {}
        self.now_s = 0.0

    @rule(place=_PLACES, key=_KEYS)
    def start(self, place: Partition, key: str) -> None:
        self.deadlines.start(place, key, self.now_s)
        self.model[Due(place, key)] = self.now_s + 5.0

    @rule(place=_PLACES, keys=st.lists(_KEYS, max_size=4))
    def start_many(self, place: Partition, keys: list[str]) -> None:
        self.deadlines.start_many(place, keys, self.now_s)
        self.model.update((Due(place, key), self.now_s + 5.0) for key in keys)

    @rule(place=_PLACES, key=_KEYS)
    def clear(self, place: Partition, key: str) -> None:
        self.deadlines.clear(place, key)
        self.model.pop(Due(place, key), None)
        assert not self.deadlines.running(place, key)

    @rule(place=_PLACES)
    def forget(self, place: Partition) -> None:
        self.deadlines.forget(*place)
        self.model = {due: at for due, at in self.model.items() if due.partition != place}

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 6.0]), most=st.integers(1, 8))
    def wait(self, seconds: float, most: int) -> None:
        self.now_s += seconds
        due = {due for due, at_s in self.model.items() if at_s <= self.now_s}
        told = self.deadlines.due(self.now_s, most)
        assert len(told) == min(most, len(due))
        assert due.issuperset(told)
        for each in told:
            older = [
                at_s
                for other, at_s in self.model.items()
                if other.partition == each.partition and other not in told
            ]
            assert all(at_s >= self.model[each] for at_s in older)
        for each in told:
            del self.model[each]

    @invariant()
    def partitions_without_deadlines_are_not_kept(self) -> None:
        assert self.deadlines._due_at_s.keys() == {(*due.partition,) for due in self.model}


test_deadlines_agree_with_the_model = DeadlinesMachine.TestCase
