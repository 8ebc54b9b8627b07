"""Makes cases from a seeded generator: good records, and every row of the bad-input table.

Each rule knows what its record must become by how it made it; values that are mutated at random
are judged by :mod:`tests.fuzzing.reference`.
"""

import random
from collections.abc import Callable
from typing import Any

import orjson

from tests.fuzzing.model import Case, Fate
from tests.fuzzing.reference import RefusedError, parse

LATEST_MS = 253_402_300_799_000
"""The end of the year 9999."""

_TEXTS = (
    "",
    "plain",
    "Grüße, Welt",
    "日本語のログ",
    "line\nbreak\rand\x00nul",
    "\u202eright to left\u2028",
    "🙂" * 20,
    'quote " and \\ backslash',
    "[" * 80,
    "1" * 40,
)
_TRACES: tuple[tuple[str, bytes | None], ...] = (
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ("traceparent", b"not a trace"),
    ("traceparent", b""),
    ("traceparent", None),
    ("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"),
    ("traceparent", b"\xff" * 60),
)
_STATES: tuple[tuple[str, bytes | None], ...] = (
    ("tracestate", None),
    ("tracestate", b"\xff\xfe=,,="),
    ("tracestate", b"a=1"),
)


class Records:
    """The cases of one topic.

    Args:
        rng: Decides everything.
        keys: How many different keys there are.
    """

    def __init__(self, rng: random.Random, keys: int = 300) -> None:
        self._rng = rng
        self._keys = keys
        self._number = 0
        self._rules: dict[str, tuple[int, Callable[[str], Case]]] = {
            "good": (600, self._good),
            "mutated": (150, self._mutated),
            "bytes": (30, self._bytes),
            "text": (60, self._text),
            "shape": (40, self._shape),
            "tombstone": (20, self._tombstone),
            "handler": (40, self._handler),
            "headers": (30, self._headers),
            "deep": (10, self._deep),
            "stamp": (20, self._stamp),
            "hang": (1, self._hang),
            "large": (2, self._large),
            "many headers": (1, self._many_headers),
        }
        self._names = list(self._rules)
        self._weights = [weight for weight, _ in self._rules.values()]

    def next(self) -> Case:
        """The next case."""
        self._number += 1
        (name,) = self._rng.choices(self._names, self._weights)
        return self._rules[name][1](name)

    def _case(
        self,
        kind: str,
        value: bytes | None,
        fate: Fate,
        *,
        headers: tuple[tuple[str, bytes | None], ...] = (),
        timestamp_ms: int | None = None,
    ) -> Case:
        rng = self._rng
        key = None
        if value is None or rng.random() < 0.95:
            key = b"key-%d" % rng.randrange(self._keys)
            if rng.random() < 0.05:
                key = rng.choice((b"", b"\xff\xfe", b"\x00" * 9, b"k" * 2_000))
        stamp = 1_700_000_000_000 + self._number if timestamp_ms is None else timestamp_ms
        return Case(kind=kind, key=key, value=value, headers=headers, timestamp_ms=stamp, fate=fate)

    def _document(self, do: str = "echo") -> dict[str, Any]:
        rng = self._rng
        document: dict[str, Any] = {"n": self._number, "do": do, "text": rng.choice(_TEXTS)}
        if rng.random() < 0.3:
            document["extra"] = rng.choice(
                (None, [], {}, 2**63, -(2**63), 2**64 - 1, 1e308, [[{"a": []}]], "NaN")
            )
        return document

    def _answer(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"n": document["n"], "text": document.get("text", "")}

    def _good(self, kind: str) -> Case:
        rng = self._rng
        document = self._document(rng.choice(("echo",) * 8 + ("wait", "flaky", "silent", "three")))
        do = document["do"]
        answer = self._answer(document)
        outputs: tuple[Any, ...] = (answer,)
        if do == "silent":
            outputs = ()
        elif do == "three":
            outputs = tuple({**answer, "part": part} for part in range(3))
        elif rng.random() < 0.02:
            document["do"] = "bytes"
            outputs = ({"n": document["n"], "text": "raw"},)
        value = orjson.dumps(document)
        if rng.random() < 0.05:
            value = b" \n\t" + value + b"\r\n"
        return self._case(f"{kind} {do}", value, Fate(outputs))

    def _mutated(self, kind: str) -> Case:
        """A good document with some bytes changed: often still JSON, seldom still what it was."""
        rng = self._rng
        value = bytearray(orjson.dumps(self._document()))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(value))
            match rng.randrange(3):
                case 0:
                    value[at] = rng.randrange(256)
                case 1:
                    del value[at]
                case _:
                    value.insert(at, rng.choice(b'0123456789"{}[]:,-.eE\\ \x00\xff\xed\xa0'))
        return self._judged(kind, bytes(value))

    def _bytes(self, kind: str) -> Case:
        return self._judged(kind, self._rng.randbytes(self._rng.randrange(60)))

    def _text(self, kind: str) -> Case:
        """Each spelling that parsers are known to disagree on."""
        body = orjson.dumps(self._document())
        inside = body[:-1]
        value = self._rng.choice(
            (
                b"",
                b"   ",
                b"\xef\xbb\xbf" + body,
                body.decode().encode("utf-16"),
                body + b"x",
                body + body,
                body[:-1],
                body.replace(b'"', b"'"),
                inside + b',"x":NaN}',
                inside + b',"x":-Infinity}',
                inside + b',"x":[Infinity]}',
                inside + b',"x":18446744073709551616}',
                inside + b',"x":18446744073709551615}',
                inside + b',"x":-9223372036854775809}',
                inside + b',"x":' + b"9" * 400 + b"}",
                inside + b',"x":1e400}',
                inside + b',"x":1e-400}',
                inside + b',"x":123456789012345678901234567890.5}',
                inside + b',"x":01}',
                inside + b',"x":+1}',
                inside + b',"x":.5}',
                inside + b',"x":0x10}',
                inside + b',"x":"\\ud800"}',
                inside + b',"x":"\\udc00\\ud800"}',
                inside + b',"x":"\\ud83d\\ude42"}',
                inside + b',"x":"\xed\xa0\x80"}',
                inside + b',"x":"\xc0\xaf"}',
                inside + b',"x":"a\tb"}',
                inside + b',"x":"\\x41"}',
                inside + b",}",
                inside + b"/* no */}",
                inside + b',"n":' + b"%d}" % self._number,
                inside + b',"do":"echo","do":"silent"}',
                inside + b',"x":"' + b"7" * 60 + b'"}',
            )
        )
        return self._judged(kind, value)

    def _shape(self, kind: str) -> Case:
        """JSON that is not what the handler declares."""
        n = self._number
        value = self._rng.choice(
            (
                [1, 2],
                "text",
                7,
                None,
                True,
                {},
                {"do": "echo"},
                {"n": str(n)},
                {"n": float(n) + 0.5},
                {"n": True},
                {"n": None},
                {"n": [n]},
                {"n": n, "do": 1},
                {"n": n, "text": None},
                {"n": n, "text": {"deep": [1]}},
            )
        )
        return self._judged(kind, orjson.dumps(value))

    def _judged(self, kind: str, value: bytes) -> Case:
        """Let the reference say what becomes of a value that was made blindly."""
        try:
            document = parse(value)
        except RefusedError as refused:
            return self._case(kind, value, Fate(code=refused.code))
        n = document.get("n") if isinstance(document, dict) else None
        if type(n) is not int:
            return self._case(kind, value, Fate(code="schema"))
        do, text = document.get("do", "echo"), document.get("text", "")
        if type(do) is not str or type(text) is not str:
            return self._case(kind, value, Fate(code="schema"))
        if do == "silent":
            return self._case(kind, value, Fate())
        if do != "echo":
            return self._case(kind, value, Fate(code="handler"))
        return self._case(kind, value, Fate(({"n": n, "text": text},)))

    def _tombstone(self, kind: str) -> Case:
        return self._case(kind, None, Fate())

    def _handler(self, kind: str) -> Case:
        """A handler that raises, or returns rubbish."""
        rng = self._rng
        do, code = rng.choice(
            (
                ("raise", "handler"),
                ("refuse", "handler"),
                ("recurse", "handler"),
                ("cancel", "handler"),
                ("nan", "handler"),
                ("wide", "handler"),
                ("half", "handler"),
                ("rubbish", "handler"),
                ("mixed", "handler"),
                ("coroutine", "handler"),
                ("nothing", "handler"),
                ("header", "handler"),
                ("topic", "handler"),
                ("endless", "too_large"),
            )
        )
        if rng.random() < 0.02:
            do, code = "huge", "too_large"
        return self._case(f"{kind} {do}", orjson.dumps(self._document(do)), Fate(code=code))

    def _hang(self, kind: str) -> Case:
        return self._case(kind, orjson.dumps(self._document("hang")), Fate(code="timeout"))

    def _headers(self, kind: str) -> Case:
        rng = self._rng
        headers: list[tuple[str, bytes | None]] = [rng.choice(_TRACES)]
        if rng.random() < 0.5:
            headers.append(rng.choice(_STATES))
        headers += [
            (rng.choice(("", "a", "a", "ü", "x" * 300, "headrace-id", "headrace-error",
                         "headrace-origin", "headrace-attempts", "headrace-redrives")),
             rng.choice((b"", b"\xff\xfe", None, b"9" * 500, b"a/b/c")))
            for _ in range(rng.randrange(4))
        ]  # fmt: skip
        rng.shuffle(headers)
        good = rng.random() < 0.5
        document = self._document()
        return self._case(
            kind,
            orjson.dumps(document) if good else b"no json",
            Fate((self._answer(document),)) if good else Fate(code="decode"),
            headers=tuple(headers),
        )

    def _many_headers(self, kind: str) -> Case:
        rng = self._rng
        many = rng.random() < 0.5
        filler = (("h", b"v"),) * 10_000 if many else (("big", b"v" * 1_000_000),)
        if rng.random() < 0.2:
            filler = (("traceparent", b"v" * 1_000_000),)
        good = rng.random() < 0.5
        document = self._document()
        return self._case(
            kind,
            orjson.dumps(document) if good else b"no json",
            Fate((self._answer(document),)) if good else Fate(code="decode"),
            headers=filler,
        )

    def _deep(self, kind: str) -> Case:
        depth = self._rng.choice((62, 63, 64, 300, 1024, 1100, 100_000))
        left, right = self._rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        middle = b"1" if left == b"[" else b"0"
        value = (
            orjson.dumps(self._document())[:-1]
            + b',"deep":' + left * depth + middle + right * depth + b"}"
        )  # fmt: skip
        return self._judged(kind, value)

    def _large(self, kind: str) -> Case:
        inside = orjson.dumps(self._document())[:-1]
        value = self._rng.choice(
            (
                inside + b',"x":"' + b"x" * 262_000 + b'"}',
                inside + b',"x":"' + b"x" * 262_144 + b'"}',
                inside + b',"x":"' + b"x" * 1_100_000 + b'"}',
                inside + b',"x":[' + b"[],[]," * 40_000 + b"0]}",
                inside + b"," + b",".join(b'"%x":1' % key for key in range(100_000)) + b"}",
            )
        )
        return self._judged(kind, value)

    def _stamp(self, kind: str) -> Case:
        document = self._document()
        stamp = self._rng.choice((0, 1, LATEST_MS, 1_700_000_000_000, 946_684_800_000))
        return self._case(
            kind,
            orjson.dumps(document),
            Fate((self._answer(document),)),
            timestamp_ms=stamp,
        )
