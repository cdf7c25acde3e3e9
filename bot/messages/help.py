"""Help of commands, from the signatures of their functions."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages.message import Message, section
from bot.messages.translations import Translations
from bot.signature import Signature


def command_help(command: str, verbs: Sequence[Signature], words: Translations) -> Message:
    """List all verbs of a command."""
    lines = [
        words.render_block("help", "line", usage=verb.usage(f"/{command}"), about=_about(command, verb, words))
        for verb in verbs
    ]
    title = words.render_block("help", "title", command=command, about=words.label(f"help.{command}.about"))
    tail = words.render_block("help", "tail", command=command)
    groups = ["\n".join(lines[start : start + 12]) for start in range(0, len(lines), 12)]
    return Message(title, [section(text) for text in (title, *groups, tail)])


def verb_help(command: str, verb: Signature, words: Translations) -> Message:
    """Show one verb with an example."""
    text = words.render_block(
        "help", "verb", usage=verb.usage(f"/{command}"), about=_about(command, verb, words), example=verb.example
    )
    return Message.of(text)


def _about(command: str, verb: Signature, words: Translations) -> str:
    return words.label(f"help.{command}.{verb.name}")
