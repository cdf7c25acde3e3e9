"""A typed function as a verb: how a line is read, and what is said when it cannot be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import Field

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.signature import Mention, Rest, Signature, tokenize, unescape_slack


class Level(StrEnum):
    HIGH = "high"
    LOW = "low"


async def declare(ctx: object, title: Rest | None = None, *, level: Level | None = None, service: str = "") -> None: ...
async def give(ctx: object, level: Level, person: Mention, *, why: str | None = None) -> None: ...
async def restart(ctx: object, name: str, namespace: str | None = None, *, after: float = 0) -> None: ...
async def note_(ctx: object, text: Rest) -> None: ...
async def scale(ctx: object, name: str, replicas: Annotated[int, Field(ge=0)], *, dry_run: bool = False) -> None: ...


DECLARE = Signature.of(declare, example="/i declare Render lento level=high")
GIVE = Signature.of(give, example="/i give high @ana")
NOTE = Signature.of(note_, example="/i note hola")
RESTART = Signature.of(restart, example="/i restart xr-engine")
SCALE = Signature.of(scale, example="/i scale xr-engine 10")


@pytest.mark.parametrize(
    ("signature", "line", "read"),
    [
        (DECLARE, "", {}),
        (DECLARE, "Render lento", {"title": "Render lento"}),
        (DECLARE, "Render lento level=HIGH service=xr-engine", {"title": "Render lento", "level": Level.HIGH,
                                                               "service": "xr-engine"}),
        (DECLARE, "level=low Render lento", {"title": "Render lento", "level": Level.LOW}),
        (DECLARE, '"Render = lento" level="low"', {"title": "Render = lento", "level": Level.LOW}),
        (DECLARE, "“Render lento” level=‘low’", {"title": "Render lento", "level": Level.LOW}),
        (DECLARE, 'title="dos palabras"', {"title": "dos palabras"}),
        (DECLARE, "l'été d'Ana", {"title": "l'été d'Ana"}),
        (DECLARE, 'una "comilla', {"title": 'una "comilla'}),
        (DECLARE, "a &lt;b&gt; &amp; <!channel> <@U0ANA00001|ana>", {"title": "a <b> & @channel @ana"}),
        (DECLARE, "Render lento level = high", {"title": "Render lento", "level": Level.HIGH}),
        (DECLARE, "Render lento level:low service: xr", {"title": "Render lento service: xr", "level": Level.LOW}),
        (DECLARE, "Render --level=high", {"title": "Render", "level": Level.HIGH}),
        (DECLARE, '"level = high" cpu = 5', {"title": "level = high cpu = 5"}),
        (DECLARE, "Render level=ＨＩＧＨ\u200b", {"title": "Render", "level": Level.HIGH}),
        (DECLARE, "Render level=“High.”", {"title": "Render", "level": Level.HIGH}),
        (SCALE, "xr-engine\u00a0１０", {"name": "xr-engine", "replicas": 10}),
        (SCALE, "name=xr²… replicas=\u200b3", {"name": "xr²…", "replicas": 3}),
        (GIVE, "high <@U0ANA00001|ana>", {"level": Level.HIGH, "person": "U0ANA00001"}),
        (GIVE, "high <@U0ANA00001> why='va bien'", {"level": Level.HIGH, "person": "U0ANA00001", "why": "va bien"}),
        (GIVE, "<@W0BRUNO002> level=low", {"level": Level.LOW, "person": "W0BRUNO002"}),
        (NOTE, 'tal  cual: a=b, "c" --d', {"text": 'tal  cual: a=b, "c" --d'}),
        (NOTE, "dos\nlíneas", {"text": "dos\nlíneas"}),
        (SCALE, "xr-engine 10", {"name": "xr-engine", "replicas": 10}),
        (SCALE, "xr-engine 10 --dry-run", {"name": "xr-engine", "replicas": 10, "dry_run": True}),
        (SCALE, "xr-engine 10 —dry-run", {"name": "xr-engine", "replicas": 10, "dry_run": True}),
        (SCALE, "REPLICAS=3 xr-engine --Dry-Run", {"name": "xr-engine", "replicas": 3, "dry_run": True}),
        (SCALE, "<!subteam^S0SRETEAM1|@sres> 3", {"name": "S0SRETEAM1", "replicas": 3}),
        (SCALE, "<@U0ANA00001|ana torres> 3", {"name": "U0ANA00001", "replicas": 3}),
        (SCALE, "<#C0GENERAL1|general> 3", {"name": "C0GENERAL1", "replicas": 3}),
        (SCALE, "<mailto:ana@tamv.world|ana@tamv.world> 3", {"name": "ana@tamv.world", "replicas": 3}),
        (NOTE, "<!subteam^S0SRETEAM1|@sres> y <@U0ANA00001|ana>", {"text": "@sres y @ana"}),
        (SCALE, "replicas=3 xr-engine", {"name": "xr-engine", "replicas": 3}),
        (SCALE, "xr-engine --replicas 3 -dry-run", {"name": "xr-engine", "replicas": 3, "dry_run": True}),
        (SCALE, "--dry-run xr-engine 3", {"name": "xr-engine", "replicas": 3, "dry_run": True}),
        (RESTART, "xr-engine -n tamv-prod", {"name": "xr-engine", "namespace": "tamv-prod"}),
        (RESTART, "--namespace tamv-prod xr-engine", {"name": "xr-engine", "namespace": "tamv-prod"}),
        (RESTART, "xr-engine after=1.5", {"name": "xr-engine", "after": 1.5}),
        (DECLARE, "Render lento --level high -n x", {"title": "Render lento -n x", "level": Level.HIGH}),
    ],
)  # fmt: skip
def test_a_line_is_read(signature: Signature, line: str, read: dict[str, Any]) -> None:
    assert signature.read(signature.split(line), "/i") == read


@pytest.mark.parametrize(
    ("signature", "line", "key", "facts"),
    [
        (GIVE, "", "argument_missing", {"argument": "level"}),
        (GIVE, "high", "argument_missing", {"argument": "person"}),
        (GIVE, "hihg <@U1>", "bad_value", {"value": "hihg", "nearest": "high", "expected": "high | low"}),
        (GIVE, "high ana", "bad_value", {"value": "ana", "expected": "@"}),
        (GIVE, "high <@U1> sobra", "too_many_words", {"word": "sobra"}),
        (GIVE, "high <@U1> wy=x", "unknown_option", {"option": "wy", "nearest": "why"}),
        (SCALE, "xr-engine muchos", "bad_value", {"argument": "replicas", "value": "muchos"}),
        (SCALE, "xr-engine -1", "bad_value", {"argument": "replicas", "value": "-1"}),
        (SCALE, "xr-engine +2", "bad_value", {"argument": "replicas", "value": "+2"}),
        (SCALE, "xr-engine 1_000", "bad_value", {"argument": "replicas", "value": "1_000"}),
        (SCALE, "xr-engine 2.0", "bad_value", {"argument": "replicas", "value": "2.0"}),
        (SCALE, "xr-engine -wet-run", "unknown_option", {"option": "wet-run"}),
        (SCALE, "xr-engine 3 -n", "unknown_option", {"option": "n"}),
        (RESTART, "xr-engine after=inf", "bad_value", {"argument": "after"}),
        (RESTART, "xr-engine after=1e3", "bad_value", {"argument": "after"}),
        (RESTART, "xr-engine a <@U1|ana>", "too_many_words", {"word": "@ana"}),
        (SCALE, "xr-engine 1 dry_run=quizá", "bad_value", {"argument": "dry_run"}),
        (SCALE, "xr-engine 1 --wet-run", "unknown_option", {"option": "wet-run", "nearest": "dry-run"}),
        (NOTE, "   ", "argument_missing", {"argument": "text"}),
    ],
)
def test_what_cannot_be_read_says_what_would_be_right(
    signature: Signature, line: str, key: str, facts: dict[str, Any]
) -> None:
    with pytest.raises(BadInput) as wrong:
        signature.read(signature.split(line), "/i")
    assert wrong.value.key == key
    assert {name: wrong.value.facts[name] for name in facts} == facts
    assert wrong.value.facts["example"] == signature.example


def test_usage_says_what_must_and_what_may_be_given() -> None:
    assert GIVE.usage("/i") == "/i give high|low @person [why=…]"
    assert DECLARE.usage("/i") == "/i declare [title] [level=high|low] [service=…]"
    assert NOTE.usage("/i") == "/i note text"
    assert SCALE.usage("/i") == "/i scale name replicas [--dry-run]"


@pytest.mark.parametrize(
    ("slack", "seen"),
    [
        ("<@U0ANA00001|ana> y <@U0BRUNO002>", "@ana y @U0BRUNO002"),
        ("<#C0GENERAL1|general> <#C1>", "#general #C1"),
        ("<!channel> <!here|here> <!subteam^S1|@sre-team>", "@channel @here @sre-team"),
        ("<https://tamv.world|tamv> <https://tamv.world>", "tamv https://tamv.world"),
        ("&lt;!channel&gt; &amp;amp;", "<!channel> &amp;"),
        ("1 < 2 > 0", "1 < 2 > 0"),
    ],
)
def test_what_slack_sends_becomes_what_the_person_saw(slack: str, seen: str) -> None:
    assert unescape_slack(slack) == seen


def test_the_nearest_word_and_none_when_nothing_is_near() -> None:
    assert nearest("STATSU", ["status", "list"]) == "status"
    assert nearest("xyzzy", ["status", "list"]) is None


@pytest.mark.parametrize("line", ["a" * 100_000, '"' * 5_000, "a=" * 5_000, "<@" * 5_000, "'\"" * 5_000, "— " * 5_000])
def test_nothing_that_is_typed_takes_long(line: str) -> None:
    """Reading is linear: a test that hangs here has found a regular expression that is not."""
    tokenize(line)
    unescape_slack(line)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("stauts", "status"),
        ("statu", "status"),
        ("stast", "stats"),
        ("SEV9", None),
        ("sev", None),
        ("lsit", "list"),
        ("zzz", None),
    ],
)
def test_a_swap_of_letters_is_the_first_guess_and_a_tie_is_none(typed: str, meant: str | None) -> None:
    verbs = ["status", "stats", "list", "severity", "resolve"]
    severities = ["SEV1", "SEV2", "SEV3", "SEV4"]
    assert nearest(typed, severities if typed.lower().startswith("sev") else verbs) == meant
