"""The webhooks of the sandbox's GitHub: shape, signature, what is told and what is not."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.deadline import deadline
from sandbox.github.backend import Deliverer, GitHub
from tests.harness.receiver import Received, Receiver
from tests.sandbox.github_story import everything


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as receiver:
        yield receiver


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    backend = GitHub(load_company(), Clock(), deliverer=Deliverer(timeout=0.3))
    yield backend
    await backend.aclose()


async def received(github: GitHub, receiver: Receiver) -> list[tuple[str, str | None, Received]]:
    async with deadline(5):
        await github.deliverer.idle()
    return [(r.headers["x-github-event"], r.json.get("action"), r) for r in receiver.received]


async def test_what_happens_is_told(github: GitHub, receiver: Receiver) -> None:
    github.add_hook(receiver.url, "secret")
    await everything(github)
    told = [f"{event}.{action}" if action else event for event, action, _ in await received(github, receiver)]
    assert told == [
        "ping",
        "issues.opened",
        "issues.labeled",
        "issues.assigned",
        "issues.closed",
        "issues.reopened",
        "issues.edited",
        "issues.unlabeled",
        "issues.unassigned",
        "pull_request.opened",
        "pull_request.review_requested",
        "pull_request.closed",
        "workflow_run.requested",
        "workflow_run.requested",
        "workflow_run.in_progress",
        "workflow_run.completed",
    ]


async def test_closing_says_who_did_it(github: GitHub, receiver: Receiver) -> None:
    github.add_hook(receiver.url, "secret", ["issues"])
    issue = github.tracker.open("x", None, "tamv-bot")
    await github.person("bruno").close(issue, "not_planned")
    event, action, request = (await received(github, receiver))[-1]
    assert (event, action) == ("issues", "closed")
    assert request.json["sender"]["login"] == "bruno-diaz"
    assert request.json["issue"]["state_reason"] == "not_planned"
    assert request.json["repository"]["full_name"] == "tamv/tamv-platform"


async def test_webhooks_are_signed(github: GitHub, receiver: Receiver) -> None:
    github.add_hook(receiver.url, "secret")
    [(_, _, request)] = await received(github, receiver)
    expected = hmac.new(b"secret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert request.headers["x-github-delivery"]


async def test_a_failed_webhook_is_not_tried_again_but_can_be_redelivered(github: GitHub, receiver: Receiver) -> None:
    github.add_hook(receiver.url, "secret", ["issues"])
    receiver.answers = [202, 500, 2.0]
    github.tracker.open("x", None, "ana-torres")
    github.tracker.open("y", None, "ana-torres")
    await received(github, receiver)
    assert [delivery.answer for delivery in github.deliverer.log] == [202, 500, "TimeoutError"]
    github.redeliver(github.deliverer.log[1].guid)
    told = await received(github, receiver)
    assert told[3][2].headers["x-github-delivery"] == told[1][2].headers["x-github-delivery"]
    assert told[3][2].body == told[1][2].body


async def test_only_what_was_asked_for_is_told(github: GitHub, receiver: Receiver) -> None:
    github.add_hook(receiver.url, "secret", ["workflow_run"])
    await everything(github)
    assert {event for event, _, _ in await received(github, receiver)} == {"ping", "workflow_run"}
