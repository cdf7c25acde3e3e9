"""Messages about runbooks and actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from slack_sdk.models.blocks import Block

from bot.domain.runbook import Runbook
from bot.messages.message import Message, section
from bot.messages.translations import Translations
from bot.signature import Signature


def library(runbooks: Iterable[Runbook], words: Translations) -> Message:
    """List runbooks."""
    lines = [words.render_block("runbook", "line", book=item, title=words.pick(item.title)) for item in runbooks]
    if not lines:
        return Message.of(words.render_block("runbook", "none"))
    title = words.render_block("runbook", "list")
    groups = ["\n".join(lines[start : start + 10]) for start in range(0, len(lines), 10)]
    return Message(title, [section(text) for text in (title, *groups)])


def runbook(definition: Runbook, words: Translations, risks: Sequence[str]) -> Message:
    """Show a runbook's steps; `risks` are theirs."""
    head = words.render_block(
        "runbook", "head", book=definition, title=words.pick(definition.title), about=words.pick(definition.description)
    )
    lines = [
        words.render_block(
            "runbook", "step", number=number, step=step, title=words.pick(step.title) if step.title else "", risk=risk
        )
        for number, (step, risk) in enumerate(zip(definition.steps, risks, strict=True), start=1)
    ]
    blocks: list[Block] = [section(head)]
    blocks += [section("\n".join(lines[start : start + 8])) for start in range(0, len(lines), 8)]
    return Message(head, blocks)


class ActionLine(NamedTuple):
    """What a list of actions says of one: its name, an example as it is typed, its risk, and what it does."""

    name: str
    example: str
    risk: str
    about: str


def common_actions(
    lines: Sequence[ActionLine], counts: Mapping[str, int], runbooks: Sequence[str], words: Translations
) -> Message:
    """Show how the actions that are used most are typed, and where the others are: `counts` by service.

    `runbooks` are those that are typed like an action.
    """
    title = words.render_block("runbook", "common")
    shown = [words.render_block("runbook", "example", example=words.example(one.example), action=one) for one in lines]
    others = words.render_block("runbook", "others", counts=counts, runbooks=runbooks)
    return Message(title, [section(text) for text in (title, "\n".join(shown), others)])


def actions(lines: Sequence[ActionLine], short: Sequence[str], words: Translations) -> Message:
    """List actions, and the aliases of some."""
    title = words.render_block("runbook", "actions", short=short)
    shown = [words.render_block("runbook", "action", name=one.name, risk=one.risk, about=one.about) for one in lines]
    groups = ["\n".join(shown[start : start + 12]) for start in range(0, len(shown), 12)]
    return Message(title, [section(text) for text in (title, *groups)])


def action(about: str, signature: Signature, risk: str, words: Translations) -> Message:
    """Show one action with its parameters."""
    usage = words.names.rename(signature.usage("/ops"))
    example = words.example(signature.example)
    return Message.of(
        words.render_block("runbook", "action_help", usage=usage, risk=risk, about=about, example=example)
    )
