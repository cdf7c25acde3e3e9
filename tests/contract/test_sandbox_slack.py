"""The sandbox's Slack, held against what Slack publishes: Block Kit, request types, answers, payloads."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.slack.block_kit import block_problems, view_problems
from tests.contract import block_samples as samples
from tests.contract.webapi import CONTRACTS, block_kit_problems, covered, load, needs_contracts, problems

VIEWS = sorted(path.name for path in (CONTRACTS / "slack" / "python-slack-sdk-views").glob("*.json"))
ONLY_IN_ANSWERS = {"id", "team_id", "state", "hash", "root_view_id", "previous_view_id", "app_id", "bot_id"}
HOME = ("clear_on_close", "notify_on_close")


@pytest.mark.parametrize("reason", samples.BAD_BLOCKS)
def test_a_message_that_slack_refuses_is_refused(reason: str) -> None:
    assert block_problems(samples.BAD_BLOCKS[reason], "message")


@pytest.mark.parametrize("reason", samples.BAD_VIEWS)
def test_a_view_that_slack_refuses_is_refused(reason: str) -> None:
    assert view_problems(samples.BAD_VIEWS[reason])


def test_the_good_neighbours_of_the_bad_samples_are_accepted() -> None:
    for blocks in (
        [samples.section(), {"type": "divider"}, samples.actions()],
        [{"type": "header", "text": samples.plain("x" * 150)}],
        [samples.section(text=samples.mrkdwn("x" * 3000))],
        [samples.actions(samples.button()), samples.actions(samples.button())],
        [samples.actions(samples.select(options=samples.options(100)))],
        [samples.field(), samples.field(samples.select())],
        [{"type": "divider"}] * 50,
    ):
        assert block_problems(blocks, "message") == []
    assert view_problems(samples.modal(*[{"type": "divider"}] * 100, title=samples.plain("x" * 24))) == []


@needs_contracts
@pytest.mark.parametrize("name", VIEWS)
def test_the_sample_views_of_slacks_own_sdk_are_accepted(name: str) -> None:
    assert view_problems(as_request(load(f"python-slack-sdk-views/{name}"))) == []


@needs_contracts
def test_all_the_samples_are_there() -> None:
    assert len(VIEWS) == 16


@needs_contracts
def test_whatever_the_block_kit_schema_refuses_the_sandbox_refuses() -> None:
    """Break the blocks of the sample views in every place, one at a time: none that the schema refuses gets through."""
    chance = random.Random(20260101)  # noqa: S311 - no secret
    blocks = {json.dumps(block) for name in VIEWS for block in load(f"python-slack-sdk-views/{name}")["blocks"]}
    good = [block for each in sorted(blocks) if not block_kit_problems([block := json.loads(each)], "Blocks")]
    assert len(blocks) - len(good) == 4  # mrkdwn in options of checkboxes: the schema is known to be wrong
    broken = [mutant for block in good for mutant in mutants(block, chance)]
    assert len(broken) > 2000
    refused = [block for block in chance.sample(broken, 600) if block_kit_problems([block], "Blocks")]
    assert len(refused) > 200
    assert [block for block in refused if not block_problems([block], "message")] == []


@needs_contracts
def test_the_bad_samples_that_the_schema_knows_are_truly_bad() -> None:
    """Most of our bad samples are refused by the published schema too: they are not our inventions."""
    known = [reason for reason, blocks in samples.BAD_BLOCKS.items() if block_kit_problems(blocks, "Blocks")]
    assert len(known) >= 40


def as_request(view: dict[str, Any]) -> dict[str, Any]:
    """A view from an answer, without the keys that only answers have."""
    dropped = ONLY_IN_ANSWERS | (set(HOME) if view["type"] == "home" else set())
    return {key: value for key, value in view.items() if key not in dropped}


def mutants(value: Any, chance: random.Random) -> Iterator[Any]:
    """Copies of a JSON value with one place broken each."""
    for path in list(_paths(value)):
        if not path:
            continue
        yield _changed(value, path, "drop")
        yield _changed(value, path, chance.choice(["null-ish", "number", "long", "extra"]))


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from _paths(child, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], how: str) -> Any:
    mutant = copy.deepcopy(value)
    parent = mutant
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    match how:
        case "drop":
            del parent[key]
        case "null-ish":
            parent[key] = {}
        case "number":
            parent[key] = 7
        case "long":
            parent[key] = "x" * 3001 if isinstance(parent[key], str) else [parent[key]] * 101
        case "extra":
            if isinstance(parent[key], dict):
                parent[key]["surprise"] = True
            else:
                parent[key] = ["surprise"]
    return mutant


@needs_contracts
def test_the_request_check_knows_numbers_in_query_strings_and_finds_faults() -> None:
    assert covered("conversations.history")
    assert problems("conversations.history", {"channel": "C1", "limit": "200", "inclusive": "1"}) == []
    assert problems("conversations.history", {"channel": "C1", "limit": "many"})
    assert problems("chat.postMessage", {"channel": "C1"})
    assert problems("chat.postMessage", {"channel": "C1", "text": "a"}) == []
    long = [{"type": "header", "text": samples.plain("x" * 151)}]
    assert problems("chat.postMessage", {"channel": "C1", "text": "a", "blocks": long})
    assert problems("views.open", {"trigger_id": "1", "view": samples.modal()}) == []
    assert problems("views.open", {"trigger_id": "1", "view": samples.modal(title=samples.plain("x" * 25))})
