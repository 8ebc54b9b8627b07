import pytest
from pydantic import ValidationError

from service.handlers.moderation import Moderator, Rule, Verdict, load_hook


def test_what_no_rule_matches_is_left_as_it_is() -> None:
    assert Moderator((Rule(pattern="bad"),)).judge("all good") == Verdict("all good")


def test_rules_mask_flag_and_drop_in_their_order() -> None:
    rules = (
        Rule(pattern=r"\d{4}", name="number"),
        Rule(pattern="hmm", action="flag"),
        Rule(pattern="never", action="drop"),
    )
    moderator = Moderator(rules)

    assert moderator.judge("HMM, pin 1234") == Verdict("HMM, pin ***", ("number", "hmm"))
    assert moderator.judge("pin 1234 never") == Verdict(None, ("number", "never"))


def test_a_replacement_is_taken_literally() -> None:
    assert Moderator((Rule(pattern="x", replacement=r"\1"),)).judge("axb").text == r"a\1b"


def test_a_hook_has_the_last_word() -> None:
    moderator = Moderator((), lambda text: None if "x" in text else text.upper())

    assert moderator.judge("abc") == Verdict("ABC", ("hook",))
    assert moderator.judge("ABC") == Verdict("ABC")
    assert moderator.judge("x") == Verdict(None, ("hook",))


def test_a_hook_is_found_by_its_path() -> None:
    assert load_hook("builtins:str") is str
    with pytest.raises(ValueError, match="cannot be imported"):
        load_hook("nowhere_at_all:x")


@pytest.mark.parametrize(
    ("path", "problem"),
    [("math:pi", "is not callable"), ("asyncio:sleep", "is async"), ("math", "cannot be imported")],
    ids=["a number", "a coroutine function", "a module"],
)
def test_a_hook_that_would_fail_for_each_sentence_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load_hook(path)


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        Rule(pattern="(")
