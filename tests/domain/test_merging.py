"""What two people type at once is all kept."""

from __future__ import annotations

from bot.domain.incident import Cause, Impact, merged, names_of_differences

SHOWN = Cause(primary="A leak", contributing=("old",), lessons=("watch memory",))


def test_what_a_form_left_alone_keeps_what_others_wrote() -> None:
    now = Cause("A leak in render", ("old", "no limit"), "Alert", ("watch memory", "canary first"))
    given = Cause("A leak", ("old",), "A customer", ("watch memory", "page earlier"))
    assert merged(now, SHOWN, given) == Cause(
        "A leak in render", ("old", "no limit"), "A customer", ("watch memory", "canary first", "page earlier")
    )


def test_what_a_form_removed_is_gone_and_nothing_else() -> None:
    now = Cause("A leak", ("old",), lessons=("watch memory", "canary first"))
    assert merged(now, SHOWN, Cause("A leak", ("old",))).lessons == ("canary first",)


def test_the_same_words_twice_are_there_once() -> None:
    now = Cause(lessons=("watch memory", "page earlier"))
    assert merged(now, Cause(), Cause(lessons=("page earlier",))).lessons == ("watch memory", "page earlier")


def test_a_field_that_was_emptied_is_empty() -> None:
    shown = Impact(users=5, summary="slow")
    assert merged(Impact(users=5, summary="slow", revenue="$1"), shown, Impact(users=5)) == Impact(5, revenue="$1")


def test_differences_are_named() -> None:
    assert names_of_differences(SHOWN, Cause("A leak", ("old",), "Alert")) == ["detection", "lessons"]
