"""The bot's table of Slack's errors against the published lists, and what the client makes of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.domain.errors import Blocked, Refused, Unavailable
from bot.integrations.slack import PAGE_SIZE, error_of
from bot.integrations.slack_errors import Reaction, reaction_to
from bot.messages.incident import SECTIONS_A_PAGE, TOPIC_LIMIT
from bot.messages.message import (
    PLAIN_LIMIT,
    SECTION_LIMIT,
    SHORT_BLOCKS,
    TEXT_LIMIT,
    Message,
    actions,
    context,
    header,
    section,
)
from bot.workflows.incidents.declare import CHANNEL_NAME_LIMIT, INVITE_LIMIT
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
    # Their errors have the common meanings.
    assert unlisted == {"chat.delete", "conversations.info", "conversations.members", "conversations.open"}


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


@needs_contracts
def test_the_bots_limits_are_those_of_slack() -> None:
    limits = {method: facts.get("sizes") or {} for method, facts in load("limits.json").items()}
    assert PAGE_SIZE <= limits["conversations.history"]["limit"] < 1000
    assert limits["conversations.invite"]["users"] == INVITE_LIMIT
    assert limits["conversations.setTopic"]["topic_characters"] == TOPIC_LIMIT
    assert limits["conversations.create"]["name_characters"] == CHANNEL_NAME_LIMIT
    assert limits["chat.postMessage"]["blocks"] >= SHORT_BLOCKS
    assert PLAIN_LIMIT < TEXT_LIMIT <= limits["chat.postMessage"]["text_recommended"]
    assert SECTIONS_A_PAGE * SECTION_LIMIT < 9_597  # seen to be accepted in all blocks of a message together


@pytest.mark.parametrize("text", ["a " * 30_000, "línea\n" * 5_000, "<&>" * 9_000, "x"])
def test_the_simpler_forms_of_a_message_are_ever_shorter_and_never_empty(text: str) -> None:
    message = Message(text[:4000], [header(text), section(text), section(text), context(text), *actions([])])
    whole, shorter, plain = message.forms()
    assert whole is message
    sizes = [sum(len(part) for part in _all(form)) for form in (whole, shorter, plain)]
    assert sizes[0] >= sizes[1] and sizes[2] <= PLAIN_LIMIT
    assert plain.text and not plain.blocks


def _all(message: Message) -> list[str]:
    return [message.text, *(str(block.to_dict()) for block in message.blocks)]
