"""The team's statistics as one message that is readable on a phone."""

from __future__ import annotations

from collections.abc import Sequence

from babel.dates import format_date
from babel.numbers import format_decimal
from slack_sdk.models.blocks import Block

from bot.domain.deployments import Deployments
from bot.domain.statistics import Month, Share, Statistics
from bot.messages.message import Message, context, section
from bot.messages.translations import Translations, format_duration

MONTHS = 6
WIDTH = 10
FIGURES = ("mtta", "mttr", "mtbf")


def statistics(stats: Statistics, deployed: Deployments, words: Translations) -> Message:
    """Show MTTA, MTTR, MTBF and deployments against their targets, severities, and the last months."""
    days = round((stats.until - stats.since).total_seconds() / 86400) if stats.since else None
    parts = ("title", "none", "severities", "trend", "about")
    rendered = {part: words.render_block("statistics", part, seen=stats, days=days) for part in parts}
    shares = [_share("deploy_success", deployed.success, words), _share("rollback_rate", deployed.rolled_back, words)]
    deployments = "\n".join([words.render_block("statistics", "deployments", count=deployed.count), *shares])
    if deployed.unread:
        unread = [words.label(f"statistics.roads.{road}") for road in deployed.unread]
        deployments += "\n" + words.render_block("statistics", "unread", roads=unread)
    if not stats.count:
        return Message(rendered["title"], [section(f"{rendered['title']}\n{rendered['none']}"), section(deployments)])
    lines = [
        words.render_block(
            "statistics", "figure", which=name, figure=getattr(stats, name), mark=_mark(getattr(stats, name).met)
        )
        for name in FIGURES
    ]
    blocks: list[Block] = [section(rendered["title"]), section("\n".join(lines)), section(rendered["severities"])]
    blocks.append(section(deployments))
    if len(stats.months) > 1:
        blocks.append(section(f"{rendered['trend']}\n```{_trend(stats.months[-MONTHS:], words)}```"))
    blocks.append(context(rendered["about"]))
    return Message(rendered["title"], blocks)


def _share(name: str, share: Share, words: Translations) -> str:
    percent = None if share.percent is None else format_decimal(round(share.percent, 1), locale=words.locale)
    target = None if share.target is None else format_decimal(share.target, locale=words.locale)
    return words.render_block(
        "statistics", "share", which=name, share=share, percent=percent, target=target, mark=_mark(share.met)
    )


def _mark(met: bool | None) -> str:
    return {True: "✅", False: "❌", None: "▫️"}[met]


def _trend(months: Sequence[Month], words: Translations) -> str:
    """Return one line per month, `sep 26 ▇▇▇▇       4 · 8 min`: a bar for the incidents, the mean time to resolve."""
    most = max(month.count for month in months) or 1
    lines = []
    for month in months:
        name = format_date(month.first, "MMM yy", locale=words.locale).replace(".", "")
        bar = "▇" * max(round(month.count / most * WIDTH), 1 if month.count else 0)
        mttr = f" · {format_duration(month.mttr)}" if month.mttr is not None else ""
        lines.append(f"{name:<8}{bar:<{WIDTH}} {month.count}{mttr}")
    return "\n".join(lines)
