"""Errors as items: the stream goes on; a finisher stops at the first one.

Prints::

    [Ok(value=1), Err(error='not a number: x'), Ok(value=3)]
    sum of what is good: 4
    all or nothing: Err(error='not a number: x')
"""

import asyncio

from service import streams
from service.streams import Err, Ok, Stream


def parse(text: str) -> Ok[int] | Err[str]:
    """Return the number, or why there is none."""
    return Ok(int(text)) if text.isdigit() else Err(f"not a number: {text}")


def numbers() -> Stream[Ok[int] | Err[str]]:
    """Parse two numbers and a letter."""
    return streams.iter(["1", "x", "3"]).map(parse)


async def main() -> None:
    """Read the numbers with and without their error."""
    print(await numbers().collect())

    good = numbers().filter_map(lambda item: item.value if isinstance(item, Ok) else None)
    total = await good.fold(0, lambda total, number: total + number)
    print("sum of what is good:", total)

    print("all or nothing:", await numbers().try_collect())


if __name__ == "__main__":
    asyncio.run(main())
