"""Help of commands, from the signatures of their functions."""

from __future__ import annotations

from collections.abc import Sequence

from bot.messages.message import Message, section
from bot.messages.translations import Translations
from bot.signature import Signature


def command_help(command: str, verbs: Sequence[Signature], words: Translations) -> Message:
    """List all verbs of a command."""
    shown = words.names.rename(f"/{command}")
    lines = [
        words.render_block("help", "line", usage=verb.usage(shown), about=_about(command, verb, words))
        for verb in verbs
    ]
    title = words.render_block("help", "title", command=shown, about=words.label(f"help.{command}.about"))
    tail = words.render_block("help", "tail", command=shown)
    groups = ["\n".join(lines[start : start + 12]) for start in range(0, len(lines), 12)]
    return Message(title, [section(text) for text in (title, *groups, tail)])


def verb_help(command: str, verb: Signature, words: Translations) -> Message:
    """Show one verb with an example."""
    usage, example = words.names.rename(verb.usage(f"/{command}")), words.example(verb.example)
    about = _about(command, verb, words)
    return Message.of(words.render_block("help", "verb", usage=usage, about=about, example=example))


def _about(command: str, verb: Signature, words: Translations) -> str:
    return words.label(f"help.{command}.{verb.name}")
