"""Who is on call, in a message."""

from __future__ import annotations

from collections.abc import Sequence

from slack_sdk.models.blocks import Block

from bot.domain.on_call import Rota
from bot.messages.message import Message, context, section
from bot.messages.translations import Translations


def on_call(rotas: Sequence[Rota], words: Translations, emergency: str | None) -> Message:
    """A paragraph for each team, level 1 first."""
    say = words.render("on_call", emergency=emergency)
    if not rotas:
        return Message.of(say["none"])
    paragraphs = [
        words.render_block("on_call", "team", rota=rota, why=words.error(rota.problem) if rota.problem else None)
        for rota in rotas
    ]
    blocks: list[Block] = [section(say["title"]), *(section(paragraph) for paragraph in paragraphs[:40])]
    if say["emergency"]:
        blocks.append(context(say["emergency"]))
    return Message(say["title"], blocks)
