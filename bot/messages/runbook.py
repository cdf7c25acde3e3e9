"""Runbooks and actions, told to somebody who asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slack_sdk.models.blocks import Block

from bot.domain.runbook import Runbook
from bot.messages.message import Message, section
from bot.messages.translations import Translations
from bot.signature import Signature


def library(books: Iterable[Runbook], words: Translations) -> Message:
    """Runbooks, a line each."""
    lines = [
        words.render_block("runbook", "line", book=runbook_, title=words.pick(runbook_.title)) for runbook_ in books
    ]
    if not lines:
        return Message.of(words.render_block("runbook", "none"))
    title = words.render_block("runbook", "list")
    groups = ["\n".join(lines[start : start + 10]) for start in range(0, len(lines), 10)]
    return Message(title, [section(text) for text in (title, *groups)])


def runbook(book: Runbook, words: Translations, risks: Sequence[str]) -> Message:
    """A runbook step by step; `risks` says how bad each step may be."""
    head = words.render_block(
        "runbook", "head", book=book, title=words.pick(book.title), about=words.pick(book.description)
    )
    lines = [
        words.render_block(
            "runbook", "step", number=number, step=step, title=words.pick(step.title) if step.title else "", risk=risk
        )
        for number, (step, risk) in enumerate(zip(book.steps, risks, strict=True), start=1)
    ]
    blocks: list[Block] = [section(head)]
    blocks += [section("\n".join(lines[start : start + 8])) for start in range(0, len(lines), 8)]
    return Message(head, blocks)


def actions(lines: Sequence[tuple[str, str, str]], short: Sequence[str], words: Translations) -> Message:
    """Actions as (name, risk, what it does), a line each, and the short words by which some are called."""
    title = words.render_block("runbook", "actions", short=short)
    shown = [words.render_block("runbook", "action", name=name, risk=risk, about=about) for name, risk, about in lines]
    groups = ["\n".join(shown[start : start + 12]) for start in range(0, len(shown), 12)]
    return Message(title, [section(text) for text in (title, *groups)])


def action(about: str, signature: Signature, risk: str, words: Translations) -> Message:
    """One action with its parameters."""
    usage = signature.usage("/ops")
    return Message.of(
        words.render_block("runbook", "action_help", usage=usage, risk=risk, about=about, example=signature.example)
    )
