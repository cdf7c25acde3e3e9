"""Messages about who is on call."""

from __future__ import annotations

from collections.abc import Sequence

from slack_sdk.models.blocks import Block

from bot.domain.on_call import Rota
from bot.messages.message import Message, context, section
from bot.messages.translations import Translations


def on_call(rotas: Sequence[Rota], words: Translations, emergency: str | None) -> Message:
    """Show who is on call, one paragraph per team, level 1 first."""
    rendered = words.render("on_call", emergency=emergency)
    if not rotas:
        return Message.of(rendered["none"])
    paragraphs = [
        words.render_block("on_call", "team", rota=rota, why=words.error(rota.problem) if rota.problem else None)
        for rota in rotas
    ]
    blocks: list[Block] = [section(rendered["title"]), *(section(paragraph) for paragraph in paragraphs[:40])]
    if rendered["emergency"]:
        blocks.append(context(rendered["emergency"]))
    return Message(rendered["title"], blocks)
