from service.metrics import Kind, Metric


def test_prometheus_names_carry_the_unit_and_the_kind() -> None:
    def name(unit: str, kind: Kind) -> str:
        return Metric(name="service.x.y", unit=unit, kind=kind, about="").prometheus_name

    assert name("s", Kind.COUNTER) == "service_x_y_seconds_total"
    assert name("By", Kind.GAUGE) == "service_x_y_bytes"
    assert name("{record}", Kind.COUNTER) == "service_x_y_total"
    assert name("1", Kind.GAUGE) == "service_x_y"
