"""The events of the benchmarks are what their reports say they are."""

import orjson

from benchmarks.jobs.log_events import KEYS, alerts, canonical_alert, log_key, log_value


def test_every_event_has_exactly_250_bytes() -> None:
    assert {len(log_value(number)) for number in (0, 9, 10, 99_999, 5_000_000)} == {250}


def test_three_of_ten_events_become_alerts() -> None:
    assert sum(len(alerts(number)) for number in range(1000)) == 300


def test_keys_are_ten_thousand_and_come_equally_often() -> None:
    keys = [log_key(number) for number in range(2 * KEYS)]

    assert len(set(keys)) == KEYS
    assert keys[:KEYS] == keys[KEYS:]


def test_the_order_of_an_alerts_fields_does_not_matter() -> None:
    (alert,) = alerts(2)
    reversed_fields = dict(reversed(list(orjson.loads(alert.value).items())))

    assert canonical_alert(orjson.dumps(reversed_fields)) == alert.value
