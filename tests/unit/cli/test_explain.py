from service import Event, handler
from service.cli.explain import describe_where, mermaid, quoted, size, text
from service.cli.topology import topic_roles
from service.settings import build_settings

OWN = {
    "pipelines": {
        "p": {
            "sources": {
                "kafka": {"topics": ["in"], "group_id": "g"},
                "websocket": {"path": "/ingest/p"},
                "feed": {"type": "websocket_client", "url": "wss://u:s3cret@feed.example/x"},
                "rabbitmq": {"url": "amqp://u:s3cret@mq", "queue": "jobs"},
            },
            "dead_letter": "dead",
            "handlers": {
                "h": {
                    "use": "x",
                    "where": {"not": {"field": "n", "gt": 5}},
                    "ordering": "none",
                    "retry": {"delay_topics": ["r.5s"]},
                }
            },
        }
    }
}


def test_text_names_every_part_from_source_to_topic() -> None:
    lines = "\n".join(text(build_settings(OWN)))

    for part in (
        "p  (at least once)",
        "topics in as group g",
        "clients of /ingest/p",
        "feed wss://feed.example/x",
        "RabbitMQ queue jobs",
        "10,000 events, 64 MiB, when full: wait",
        "normalizer  json",
        "h: x where not n gt 5",
        "in no order",
        "then waits 5 s in r.5s",
        "dead letters -> dead",
    ):
        assert part in lines
    assert "s3cret" not in lines


def test_a_flowchart_has_an_edge_for_every_topic() -> None:
    lines = list(mermaid(build_settings({})))

    chart = "\n".join(lines)
    nodes = {line.split('[("')[1].rstrip('")]'): line.split("[")[0].strip()
             for line in lines if '[("' in line}  # fmt: skip
    assert lines[0] == "flowchart LR"
    assert set(nodes) == {"logs.raw", "alerts", "logs.dead"}
    assert f"{nodes['logs.raw']} --> p0c" in chart
    assert f"p0h0 --> {nodes['alerts']}" in chart
    assert f"p0n -.->|dead letters| {nodes['logs.dead']}" in chart
    assert f"{nodes['alerts']} --> ws" in chart
    assert "s3cret" not in "\n".join(mermaid(build_settings(OWN)))


def test_labels_cannot_break_out_of_their_quotes() -> None:
    assert quoted('a"b&c') == '"a#quot;b#amp;c"'


def test_filters_read_like_sentences() -> None:
    where = {"any": [{"field": "a", "not_in": [1]}, {"all": [{"expression": "b"}]}]}

    assert describe_where(where) == "(a not in [1] or (b))"


def test_sizes_are_given_in_the_largest_whole_unit() -> None:
    assert [size(count) for count in (5, 1024, 1536, 2**26, 2**30)] == [
        "5 B",
        "1 KiB",
        "1,536 B",
        "64 MiB",
        "1 GiB",
    ]


def test_a_chain_is_shown_from_both_ends_and_has_no_topic() -> None:
    kafka = {"kafka": {"topics": ["in"], "group_id": "g"}}
    settings = build_settings(
        {
            "pipelines": {
                "a": {
                    "sources": kafka,
                    "dead_letter": "d",
                    "handlers": {"h": {"use": "log_alerts"}},
                },
                "b": {
                    "sources": {"pipeline": {"name": "a", "handler": "h"}},
                    "dead_letter": "d",
                    "handlers": {"h": {"use": "log_alerts", "output": "out"}},
                },
            }
        }
    )

    lines, chart = list(text(settings)), list(mermaid(settings))

    assert "              -> pipeline b" in lines
    assert "  source      pipeline: h's results of pipeline a, in process" in lines
    assert "  p0h0 ==> p1c" in chart
    assert list(topic_roles(settings)) == ["in", "d", "out"]


def test_what_a_handler_declares_counts_where_the_configuration_does_not_say() -> None:
    @handler("explained", concurrency=3, timeout_s=2, ordering="partition")
    async def explained(event: Event) -> None:
        del event

    lines = "\n".join(text(build_settings(with_handler("explained"))))
    chosen = "\n".join(text(build_settings(with_handler("explained", concurrency=9))))

    assert explained is not None
    assert "3 at once, in order per partition, 2 s each" in lines
    assert "9 at once, in order per partition, 2 s each" in chosen


def test_what_a_handler_that_is_not_here_declares_is_left_open() -> None:
    lines = "\n".join(text(build_settings(with_handler("not_installed:here", timeout_s=4))))

    assert "64 at once, in order per key, 4 s each, 5 attempts (unless it declares others)" in lines


def with_handler(use: str, **settings: object) -> dict[str, object]:
    pipeline = {
        "sources": {"kafka": {"topics": ["in"], "group_id": "g"}},
        "dead_letter": "dead",
        "handlers": {"h": {"use": use, **settings}},
    }
    return {"pipelines": {"p": pipeline}}
