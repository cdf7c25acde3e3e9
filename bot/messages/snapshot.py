"""Messages about snapshots: the metrics, and a comparison of two snapshots; rows fit on a phone."""

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
_OWN_WORDS = ("timed_out", "unreachable")  # shown without "try again": the reader cannot


def snapshot(snapshot: Snapshot, words: Translations, *, title: str, moment: str, later: bool = False) -> Message:
    """Show a snapshot's metrics. `moment` names its occasion (`declared`, …, `asked`); `later`: it will be retried."""
    facts = {"title": _code(title), "service": snapshot.service, "moment": moment, "at": snapshot.at}
    head = words.render_block("snapshot", "title", **facts)
    rows = [_row(metric, words) for metric in snapshot.figures]
    gaps = _missing(snapshot, words, later)
    basis = words.render_block(
        "snapshot",
        "basis",
        verdicts=dict.fromkeys(metric.verdict.value for metric in snapshot.figures),
        normal=any(metric.normal is not None for metric in snapshot.figures),
        incident=snapshot.calm_until < snapshot.at,
        start=snapshot.start,
        calm_until=snapshot.calm_until,
    )
    plain = [_plain(metric, words) for metric in snapshot.figures]
    text = "\n".join([head, *plain, *gaps])
    return Message(fit(text, TEXT_LIMIT), [section(head), *_sections(rows), *_sections(gaps), *_contexts(basis)])


def comparison(before: Snapshot, after: Snapshot, words: Translations, *, title: str) -> Message:
    """Show how the metrics changed between two snapshots, and the verdict."""
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
    """Return the title of each query's chart file: `Latencia p95 · al declarar · 02:14 UTC`."""
    when = f"{before:%H:%M} → {snapshot.at:%H:%M} UTC" if before else f"{snapshot.at:%H:%M} UTC"
    occasion = [] if before else [words.label(f"snapshot.moments.{moment}")]
    return {
        metric.query: " · ".join([fit(metric.in_language(words.locale), TITLE_LIMIT), *occasion, when])
        for metric in snapshot.figures
    }


def charts_comment(snapshot: Snapshot, words: Translations, *, title: str, moment: str) -> str:
    """Return the text above the charts."""
    return words.render_block("snapshot", "charts", title=_code(title), moment=moment, at=snapshot.at)


def marks(moments: Mapping[str, datetime], words: Translations) -> list[Mark]:
    """Return an incident's milestones as marks for charts."""
    return [Mark(at, words.label(f"milestones.{name}")) for name, at in moments.items()]


def _row(metric: MetricResult, words: Translations) -> str:
    details = []
    if metric.normal is not None:
        details.append(f"{words.label('snapshot.normal')} {amount(metric.normal, metric.unit, words)}")
    if metric.change is not None:
        details.append(percent(metric.change, words))
    if metric.count > 1:
        details.append(
            words.render_block("snapshot", "worst", count=metric.count, label=Mrkdwn(escape(metric.label[:80])))
        )
    return words.render_block(
        "snapshot",
        "row",
        figure=metric,
        title=_name(metric, words),
        value=amount(metric.value, metric.unit, words),
        limit="" if metric.threshold is None else _limit(metric, words),
        details=[Mrkdwn(detail) for detail in details],
    )


def _plain(metric: MetricResult, words: Translations) -> str:
    return words.render_block(
        "snapshot",
        "plain",
        figure=metric,
        title=_name(metric, words),
        value=amount(metric.value, metric.unit, words),
        change="" if metric.change is None else percent(metric.change, words),
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


def _limit(metric: MetricResult, words: Translations) -> str:
    limit = words.label(f"snapshot.limits.{metric.direction}")
    return f"{limit} {amount(metric.threshold, metric.unit, words)}"


def _missing(snapshot: Snapshot, words: Translations, later: bool) -> list[str]:
    """Return why metrics are missing, one sentence per reason."""
    reasons: dict[str, list[Missing]] = {}
    for missing in snapshot.missing:
        reasons.setdefault(_why(missing, words), []).append(missing)
    return [
        words.render_block(
            "snapshot",
            "missing",
            everything=len(same_reason) == len(snapshot.missing) and not snapshot.figures,
            titles=[_name(missing.measure, words) for missing in same_reason],
            why=Mrkdwn(why),
            later=later and any(missing.temporary for missing in same_reason),
        )
        for why, same_reason in reasons.items()
    ]


def _why(missing: Missing, words: Translations) -> str:
    if missing.error in _OWN_WORDS:
        why = words.label(f"snapshot.why.{missing.error}", **missing.facts)
    else:
        why = words.error(BotError(missing.error, **missing.facts))
    return why.rstrip(".") + "."


def _name(definition: MetricDefinition, words: Translations) -> str:
    return _code(definition.in_language(words.locale)) if not definition.title else definition.in_language(words.locale)


def _code(text: str) -> str:
    """Return a title as it is; PromQL, recognised by brackets, as code that cannot be broken out of."""
    if not any(char in text for char in "(){}[]"):
        return text
    return Mrkdwn(f"`{escape(fit(' '.join(text.split()), TITLE_LIMIT).replace('`', chr(39)))}`")


def _sections(rows: Sequence[str]) -> list[Block]:
    """Return the rows in as few sections as possible."""
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
