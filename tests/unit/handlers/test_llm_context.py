import asyncio
import random
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import pytest

from service.errors import SchemaError

OpenHandler = Callable[..., Awaitable[Any]]


def _message(content: str, role: str = "user", conversation: str = "c", **more: Any) -> Any:
    return {"conversation": conversation, "role": role, "content": content, **more}


async def test_contexts_equal_a_recomputation_from_the_whole_history(
    open_handler: OpenHandler,
) -> None:
    random_ = random.Random(5)
    budget = 60
    opened = await open_handler("llm_context", max_tokens=budget)
    histories: dict[str, list[tuple[str, str]]] = {}
    seen: list[Any] = []

    for number in range(3000):
        if seen and random_.random() < 0.2:
            message = random_.choice(seen[-100:])  # a duplicate
        else:
            conversation = f"c{random_.randrange(30)}"
            history = histories.setdefault(conversation, [])
            role = "system" if not history else random_.choice(["user", "assistant"])
            text = "x" * random_.randint(1, 60)
            history.append((role, text))
            message = _message(text, role, conversation, id=number)
            seen.append(message)
        (context,) = opened.values(message)

        history = histories[message["conversation"]]
        costs = [ceil(len(text) / 4) for _, text in history]
        left = budget - costs[0] - (costs[-1] if len(history) > 1 else 0)
        first = len(history) - 1
        while first > 1 and costs[first - 1] <= left:
            first -= 1
            left -= costs[first]
        expected = history[:1] + history[max(1, first) :]
        assert [(m["role"], m["content"]) for m in context["messages"]] == expected
        assert context["tokens"] <= budget
        assert context["dropped"] == len(history) - len(expected)


async def test_a_message_beyond_the_budget_keeps_its_end(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_context", max_tokens=2)
    opened.values(_message("before"))

    (context,) = opened.values(_message("0123456789"))

    assert context["messages"] == [{"role": "user", "content": "23456789"}]
    assert context["tokens"] == 2


async def test_the_context_is_published_under_its_conversation(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_context")

    (result,) = opened.results(_message("hello", conversation="abc"))

    assert result.key == "abc"


async def test_a_message_without_an_id_is_known_by_its_place(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_context")
    opened.values(_message("hello"), offset=3)

    (again,) = opened.values(_message("hello"), offset=3)
    (other,) = opened.values(_message("hello"), offset=4)

    assert (len(again["messages"]), len(other["messages"])) == (1, 2)


async def test_a_silent_conversation_is_forgotten(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_context", ttl_s=60)
    opened.values(_message("hello"))
    await asyncio.sleep(61)

    (context,) = opened.values(_message("again"))

    assert len(context["messages"]) == 1


@pytest.mark.parametrize("field", ["conversation", "role", "content"])
async def test_a_message_without_a_field_is_a_schema_error(
    open_handler: OpenHandler, field: str
) -> None:
    opened = await open_handler("llm_context")

    with pytest.raises(SchemaError) as caught:
        opened.values({**_message("hello"), field: None})

    assert caught.value.path == field
