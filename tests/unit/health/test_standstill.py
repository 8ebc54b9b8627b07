from service.health.standstill import Standstill


def test_a_record_counts_from_when_it_came_to_the_front() -> None:
    standstill = Standstill()
    standstill.look("p", 7, 0.0)

    assert standstill.look("p", 8, 2.0) == 0.0
    assert standstill.look("p", 8, 9.0) == 7.0
    assert standstill.look("p", None, 10.0) == 0.0
    assert standstill.look("p", 8, 11.0) == 0.0


def test_partitions_stand_still_by_themselves() -> None:
    standstill = Standstill()
    for partition in ("p", "q"):
        standstill.look(partition, 7, 0.0)
        standstill.look(partition, 8, 1.0)

    standstill.look("q", 9, 4.0)

    assert standstill.look("p", 8, 5.0) == 4.0
    assert standstill.look("q", 9, 5.0) == 1.0


def test_where_nobody_has_looked_before_it_may_have_been_there_for_ever() -> None:
    assert Standstill().look("p", 7, 5.0) > 1e9
