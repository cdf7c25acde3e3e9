"""Help for commands, drawn from the signatures of their functions."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages.blocks import section
from bot.messages.message import Message
from bot.messages.words import Words
from bot.signature import Signature


def command_help(command: str, verbs: Sequence[Signature], words: Words) -> Message:
    """All verbs of a command, a line each."""
    lines = [
        words.part("help", "line", usage=verb.usage(f"/{command}"), about=_about(command, verb, words))
        for verb in verbs
    ]
    title = words.part("help", "title", command=command, about=words.label(f"help.{command}.about"))
    tail = words.part("help", "tail", command=command)
    groups = ["\n".join(lines[start : start + 12]) for start in range(0, len(lines), 12)]
    return Message(title, [section(text) for text in (title, *groups, tail)])


def verb_help(command: str, verb: Signature, words: Words) -> Message:
    """One verb with its example."""
    text = words.part(
        "help", "verb", usage=verb.usage(f"/{command}"), about=_about(command, verb, words), example=verb.example
    )
    return Message.of(text)


def _about(command: str, verb: Signature, words: Words) -> str:
    return words.label(f"help.{command}.{verb.name}")
