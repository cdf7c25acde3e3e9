"""A snapshot, and two of them compared, as messages: rows that a phone shows whole, signs that have words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from slack_sdk.models.blocks import Block

from bot.domain.errors import BotError
from bot.domain.snapshot import Change, MetricDefinition, MetricResult, Missing, Snapshot, assess, compare
from bot.messages.amounts import amount, percent
from bot.messages.charts import Mark
from bot.messages.message import SECTION_LIMIT, TEXT_LIMIT, Message, context, fit, section
from bot.messages.translations import Mrkdwn, Translations, escape

TITLE_LIMIT = 120
_OWN_WORDS = ("timed_out", "unreachable")  # said without "try again", which is up to nobody here


def snapshot(snapshot: Snapshot, words: Translations, *, title: str, moment: str, later: bool = False) -> Message:
    """The figures of a snapshot, on the occasion `moment` (`declared`, …, `asked`). `later`: it is tried again."""
    facts = {"title": _code(title), "service": snapshot.service, "moment": moment, "at": snapshot.at}
    head = words.render_block("snapshot", "title", **facts)
    rows = [_row(figure, words) for figure in snapshot.figures]
    gaps = _missing(snapshot, words, later)
    basis = words.render_block(
        "snapshot",
        "basis",
        verdicts=dict.fromkeys(figure.verdict.value for figure in snapshot.figures),
        normal=any(figure.normal is not None for figure in snapshot.figures),
        incident=snapshot.calm_until < snapshot.at,
        start=snapshot.start,
        calm_until=snapshot.calm_until,
    )
    plain = [_plain(figure, words) for figure in snapshot.figures]
    text = "\n".join([head, *plain, *gaps])
    return Message(fit(text, TEXT_LIMIT), [section(head), *_sections(rows), *_sections(gaps), *_contexts(basis)])


def comparison(before: Snapshot, after: Snapshot, words: Translations, *, title: str) -> Message:
    """How the figures went from one moment to the other, and whether that is better."""
    changes = compare(before, after)
    head = words.render_block(
        "snapshot",
        "compared",
        title=_code(title),
        service=after.service,
        before=before.at,
        after=after.at,
        effect=assess(changes).value,
    )
    rows = [_change(change, words) for change in changes] or [words.render_block("snapshot", "nothing")]
    gaps = list(dict.fromkeys([*_missing(before, words, False), *_missing(after, words, False)]))
    text = "\n".join([head, *rows, *gaps])
    return Message(fit(text, TEXT_LIMIT), [section(head), *_sections(rows), *_sections(gaps)])


def chart_titles(
    snapshot: Snapshot, words: Translations, *, moment: str, before: datetime | None = None
) -> dict[str, str]:
    """What the file of each query's chart is called: `Latencia p95 · al declarar · 02:14 UTC`."""
    when = f"{before:%H:%M} → {snapshot.at:%H:%M} UTC" if before else f"{snapshot.at:%H:%M} UTC"
    occasion = [] if before else [words.label(f"snapshot.moments.{moment}")]
    return {
        figure.query: " · ".join([fit(figure.in_language(words.locale), TITLE_LIMIT), *occasion, when])
        for figure in snapshot.figures
    }


def charts_comment(snapshot: Snapshot, words: Translations, *, title: str, moment: str) -> str:
    """What stands above the charts."""
    return words.render_block("snapshot", "charts", title=_code(title), moment=moment, at=snapshot.at)


def marks(moments: Mapping[str, datetime], words: Translations) -> list[Mark]:
    """An incident's milestones as marks of a chart."""
    return [Mark(at, words.label(f"milestones.{name}")) for name, at in moments.items()]


def _row(figure: MetricResult, words: Translations) -> str:
    details = []
    if figure.normal is not None:
        details.append(f"{words.label('snapshot.normal')} {amount(figure.normal, figure.unit, words)}")
    if figure.change is not None:
        details.append(percent(figure.change, words))
    if figure.count > 1:
        details.append(
            words.render_block("snapshot", "worst", count=figure.count, label=Mrkdwn(escape(figure.label[:80])))
        )
    return words.render_block(
        "snapshot",
        "row",
        figure=figure,
        title=_name(figure, words),
        value=amount(figure.value, figure.unit, words),
        limit="" if figure.threshold is None else _limit(figure, words),
        details=[Mrkdwn(detail) for detail in details],
    )


def _plain(figure: MetricResult, words: Translations) -> str:
    return words.render_block(
        "snapshot",
        "plain",
        figure=figure,
        title=_name(figure, words),
        value=amount(figure.value, figure.unit, words),
        change="" if figure.change is None else percent(figure.change, words),
    )


def _change(change: Change, words: Translations) -> str:
    before, after = change.before, change.after
    return words.render_block(
        "snapshot",
        "change",
        trend=change.trend.value,
        title=_name(after, words),
        before=amount(before.value, before.unit, words),
        after=amount(after.value, after.unit, words),
        limit="" if after.threshold is None else _limit(after, words),
    )


def _limit(figure: MetricResult, words: Translations) -> str:
    limit = words.label(f"snapshot.limits.{figure.direction}")
    return f"{limit} {amount(figure.threshold, figure.unit, words)}"


def _missing(snapshot: Snapshot, words: Translations, later: bool) -> list[str]:
    """Why figures are missing, a sentence for each reason."""
    reasons: dict[str, list[Missing]] = {}
    for missing in snapshot.missing:
        reasons.setdefault(_why(missing, words), []).append(missing)
    return [
        words.render_block(
            "snapshot",
            "missing",
            everything=len(those) == len(snapshot.missing) and not snapshot.figures,
            titles=[_name(missing.measure, words) for missing in those],
            why=Mrkdwn(why),
            later=later and any(missing.temporary for missing in those),
        )
        for why, those in reasons.items()
    ]


def _why(missing: Missing, words: Translations) -> str:
    if missing.error in _OWN_WORDS:
        why = words.label(f"snapshot.why.{missing.error}", **missing.facts)
    else:
        why = words.error(BotError(missing.error, **missing.facts))
    return why.rstrip(".") + "."


def _name(measure: MetricDefinition, words: Translations) -> str:
    return _code(measure.in_language(words.locale)) if not measure.title else measure.in_language(words.locale)


def _code(text: str) -> str:
    """A title as it is; PromQL, which has brackets, as code, with nothing in it that would end the code."""
    if not any(char in text for char in "(){}[]"):
        return text
    return Mrkdwn(f"`{escape(fit(' '.join(text.split()), TITLE_LIMIT).replace('`', chr(39)))}`")


def _sections(rows: Sequence[str]) -> list[Block]:
    """Rows in as few sections as hold them."""
    sections: list[str] = []
    for row in rows:
        row = fit(row, SECTION_LIMIT)
        if sections and len(sections[-1]) + len(row) + 1 <= SECTION_LIMIT:
            sections[-1] += f"\n{row}"
        else:
            sections.append(row)
    return [section(text) for text in sections[:20]]


def _contexts(text: str) -> list[Block]:
    return [context(text)] if text else []
