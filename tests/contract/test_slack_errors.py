"""The bot's table of Slack's errors against the published lists, and what the client makes of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.domain.errors import Blocked, Refused, Unavailable
from bot.integrations.slack import error_of
from bot.integrations.slack_errors import Reaction, reaction_to
from tests.contract.webapi import CONTRACTS, load, needs_contracts

SOURCES = [path for folder in ("bot", "handlers") for path in (Path(__file__).parents[2] / folder).rglob("*.py")]


def published() -> Iterator[tuple[str, str, str]]:
    for method, errors in load("errors.json").items() if CONTRACTS.is_dir() else ():
        for error, facts in errors.items():
            yield method, error, facts["class"]


@needs_contracts
def test_every_published_error_of_every_method_has_its_class() -> None:
    rows = list(published())
    assert len(rows) > 1000
    other = [
        (method, error, expected, reaction_to(method, error).value)
        for method, error, expected in rows
        if reaction_to(method, error).value != expected
    ]
    assert other == []


@needs_contracts
def test_every_method_that_the_bot_calls_is_in_the_lists() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    called = set(re.findall(r'"((?:chat|conversations|usergroups|users|views|files|bookmarks|pins)\.[\w.]+)"', text))
    unlisted = called - load("errors.json").keys()
    assert unlisted == {"conversations.info"}  # its errors have the common meanings


def test_an_error_that_nobody_knows_is_tried_again() -> None:
    assert reaction_to("chat.postMessage", "some_error_of_next_year") is Reaction.AGAIN


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("fatal_error", Unavailable),
        ("some_error_of_next_year", Unavailable),
        ("token_revoked", Blocked),
        ("missing_scope", Blocked),
        ("is_archived", Refused),
        ("msg_too_long", Refused),
        ("invalid_post_type", Refused),
    ],
)
def test_each_class_is_one_exception(error: str, kind: type[Exception]) -> None:
    assert type(error_of("chat.postMessage", error)) is kind
