"""Causes with their evidence, and what changed before an incident."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slack_sdk.models.blocks import Block, PlainTextObject
from slack_sdk.models.views import View

from bot.domain.change import Change
from bot.domain.diagnosis import WORTH_SAYING, Diagnosis, Outcome, Piece, Suspect
from bot.domain.findings import ILL, SOURCE
from bot.domain.people import Person
from bot.messages.amounts import number
from bot.messages.charts import Mark
from bot.messages.message import Message, actions, button, context, fit, section
from bot.messages.text import as_text
from bot.messages.translations import Mrkdwn, Translations

CHANGES_SHOWN = 8
CHANGES_ON_CHART = 5
EVIDENCE_SHOWN = 5
PIECES = 2  # the strongest ones for a cause, and as many against it
TOLD_BY_NAME: Mapping[str, Sequence[str]] = {  # findings that a cause's own text has already
    "bad_version": ("new_version",),
    "bad_canary": ("new_version",),
    "bad_configuration": ("new_configuration",),
    "more_load": ("more_requests",),
    "too_few_replicas": ("fewer_pods",),
    "node_loss": ("node_not_ready",),
}
SHARES = ("failing", "accelerator_full", "database_full")  # findings whose numbers are shares


@dataclass(frozen=True, slots=True)
class Treatment:
    """What treats a cause: an action in words, the command, and how often it helped of the times it was measured."""

    what: str
    command: str
    helped: int = 0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class Why:
    """All that is said of an incident's causes. `confirmed` is the cause that a person confirmed, and who."""

    diagnosis: Diagnosis
    changes: Sequence[Change] = ()
    changes_since: datetime | None = None
    ruled_out: Sequence[Suspect] = ()
    confirmed: tuple[Suspect, Person] | None = None
    treatments: Mapping[str, Treatment] = field(default_factory=dict)


def causes_message(why: Why, words: Translations, incident_id: str | None = None) -> Message:
    """Return the causes that fit, at most three; in an incident with the button for the evidence."""
    blocks = _causes(why, words)
    if incident_id and (why.diagnosis.shown or why.confirmed):
        show = button(words.label("buttons.show_evidence"), "show_evidence", incident_id)
        blocks += actions([show])
    return Message(_first_text(blocks), blocks)


def causes_blocks(why: Why, words: Translations, *, treated: bool) -> list[Block]:
    """Return the causes in as few words as they need: with evidence where one is claimed, and with its treatment where
    no runbook is proposed (`treated`).
    """
    shown = why.diagnosis.shown
    if why.confirmed or not shown:
        blocks = _causes(why, words)
        return blocks[:1] if treated else blocks
    treatment = [] if treated else _treatment(why, shown[0], words)
    if why.diagnosis.outcome is Outcome.CLAIM:
        text = _block(words, "claim", suspect=shown[0], cause=cause_text(shown[0], words))
        return [section(text), *_evidence(shown[0], words, limit=PIECES), *_besides(shown[1:], words), *treatment]
    lines = [_block(words, "unclear", count=len(shown))]
    lines += [
        _block(words, "fits", number=position, suspect=suspect, cause=cause_text(suspect, words), pieces=())
        for position, suspect in enumerate(shown, start=1)
    ]
    return [section("\n".join(lines)), *treatment]


def why_message(why: Why, words: Translations, incident_id: str | None = None) -> Message:
    """Return the answer to `/why`: the causes, what changed, and what could not be asked."""
    message = causes_message(why, words, incident_id)
    blocks = [*message.blocks, *_changes(why, words)]
    if why.ruled_out:
        names = [Mrkdwn(cause_text(suspect, words)) for suspect in why.ruled_out]
        blocks.append(context(_block(words, "ruled_out", causes=names)))
    if why.diagnosis.missing:
        blocks.append(context(_block(words, "missing", missing=why.diagnosis.missing)))
    return Message(message.text, blocks)


def evidence_sheet(why: Why, words: Translations, incident_id: str, *, charted: bool = False) -> View:
    """Return the sheet with each cause's evidence, what speaks against it, and the buttons of who knows better.

    `charted`: the metrics and the changes are drawn in the card's thread.
    """
    blocks: list[Block] = []
    for suspect in why.diagnosis.shown:
        blocks.append(section(f"*{_capitalized(cause_text(suspect, words))}* · {_odds(suspect, words)}"))
        blocks += _evidence(suspect, words, limit=EVIDENCE_SHOWN)
        value = f"{incident_id}|{suspect.cause}"
        blocks += actions(
            [
                button(words.label("buttons.rule_out"), "rule_out", value),
                button(words.label("buttons.confirm_cause"), "confirm_cause", value, style="primary"),
            ]
        )
    blocks += _changes(why, words)
    if charted:
        blocks.append(context(_block(words, "charted")))
    if why.diagnosis.missing:
        blocks.append(context(_block(words, "missing", missing=why.diagnosis.missing)))
    return View(
        type="modal",
        title=PlainTextObject(text=fit(words.label("why.evidence"), 24)),
        close=PlainTextObject(text=words.label("buttons.back")),
        blocks=blocks,
    )


def cause_text(suspect: Suspect, words: Translations) -> str:
    """Return a cause as the end of a sentence, in mrkdwn."""
    found = defaultdict(_nothing, {piece.finding: _shown(piece, words) for piece in _all_pieces(suspect)})
    return _block(words, f"cause_{suspect.cause}", found=found, place=suspect.place)


def piece_text(piece: Piece, words: Translations) -> str:
    """Return what was found, or what was not, as a part of a sentence in mrkdwn."""
    part = "found" if piece.value >= ILL else "not"
    return _block(words, f"{part}_{piece.finding}", facts=_shown(piece, words))


def change_text(change: Change, words: Translations) -> str:
    """Return a change in mrkdwn: when, what, and by whom."""
    facts = defaultdict(lambda: None, change.facts)
    line = _block(words, f"change_{change.kind}", change=change, facts=facts)
    line = _block(words, "by", line=Mrkdwn(line), change=change)
    return _block(words, "when", line=line, change=change)


def reasons(weighed: Sequence[tuple[int, Diagnosis]], words: Translations) -> Mapping[int, Sequence[str]]:
    """Return by number of event why the bot thought so, as plain text: what spoke for and against the causes that
    fitted, and against those that had fitted before.
    """
    result: dict[int, Sequence[str]] = {}
    before: Sequence[Suspect] = ()
    for seq, diagnosis in weighed:
        lines = []
        for suspect in diagnosis.shown:
            known = {"for": _strongest(suspect, PIECES), "against": suspect.against[:PIECES]}
            lines += [_reason(part, suspect, pieces, words) for part, pieces in known.items() if pieces]
        fits = {suspect.cause for suspect in diagnosis.shown}
        now = {suspect.cause: suspect for suspect in diagnosis.suspects}
        for suspect in before:
            if suspect.cause not in fits:
                lines.append(
                    _reason("gone", suspect, now[suspect.cause].against if suspect.cause in now else (), words)
                )
        result[seq], before = lines, diagnosis.shown
    return result


def _reason(part: str, suspect: Suspect, pieces: Sequence[Piece], words: Translations) -> str:
    refuting = sorted(pieces, key=lambda piece: piece.finding not in suspect.refuted_by)[:PIECES]
    texts = [Mrkdwn(piece_text(piece, words)) for piece in refuting]
    cause = words.label(f"causes.{suspect.cause}")
    return as_text(_block(words, f"reason_{part}", cause=cause, pieces=texts), {}).replace("`", "")


def changes_on_chart(
    diagnosis: Diagnosis, changes: Sequence[Change], since: datetime, words: Translations
) -> list[Mark]:
    """Return the newest changes as marks of a chart that begins at `since`, and always those that a cause points at."""
    blamed = {piece.facts.get("at") for suspect in diagnosis.shown for piece in suspect.evidence} - {None}
    seen = [change for change in changes if since <= change.at <= diagnosis.at]
    others = [change for change in seen if change.at.isoformat() not in blamed][-CHANGES_ON_CHART:]
    marks = []
    for change in seen:
        likely = change.at.isoformat() in blamed
        if likely or change in others:
            text = _block(words, f"change_{change.kind}", change=change, facts=defaultdict(lambda: None, change.facts))
            marks.append(Mark(change.at, as_text(text, {}).replace("`", ""), likely))
    return marks


def _causes(why: Why, words: Translations) -> list[Block]:
    if why.confirmed:
        suspect, by = why.confirmed
        text = _block(words, "confirmed", by=by, cause=cause_text(suspect, words))
        return [section(text), *_treatment(why, suspect, words)]
    shown = why.diagnosis.shown
    if not shown:
        quiet = why.diagnosis.outcome is Outcome.NOTHING and _is_quiet(why.diagnosis)
        return [section(_block(words, "nothing", service=why.diagnosis.service, quiet=quiet))]
    if why.diagnosis.outcome is Outcome.CLAIM:
        first = shown[0]
        text = _block(words, "claim", suspect=first, cause=cause_text(first, words))
        evidence = _evidence(first, words, limit=PIECES)
        return [section(text), *evidence, *_besides(shown[1:], words), *_treatment(why, first, words)]
    lines = [_block(words, "unclear", count=len(shown))]
    for position, suspect in enumerate(shown, start=1):
        pieces = [Mrkdwn(piece_text(piece, words)) for piece in _strongest(suspect, PIECES)]
        lines.append(
            _block(words, "fits", number=position, suspect=suspect, cause=cause_text(suspect, words), pieces=pieces)
        )
    return [section("\n".join(lines)), *_treatment(why, shown[0], words)]


def _besides(suspects: Sequence[Suspect], words: Translations) -> list[Block]:
    """Return the causes that are claimed besides the first one."""
    lines = [_block(words, "besides", suspect=suspect, cause=cause_text(suspect, words)) for suspect in suspects]
    return [section("\n".join(lines))] if lines else []


def _is_quiet(diagnosis: Diagnosis) -> bool:
    pieces = [piece for suspect in diagnosis.suspects for piece in _all_pieces(suspect) if piece.finding == "ill"]
    return bool(pieces) and pieces[0].value < ILL


def _evidence(suspect: Suspect, words: Translations, limit: int) -> list[Block]:
    lines = []
    if found := [Mrkdwn(piece_text(piece, words)) for piece in _strongest(suspect, limit)]:
        lines.append(_block(words, "for_it", pieces=found))
    if against := [Mrkdwn(piece_text(piece, words)) for piece in suspect.against[:PIECES]]:
        lines.append(_block(words, "against", pieces=against))
    if suspect.unknown:
        sources = list(dict.fromkeys(SOURCE[finding] for finding in suspect.unknown))
        lines.append(_block(words, "unknown", unknown=sources))
    return [section("\n".join(lines))] if lines else []


def _strongest(suspect: Suspect, limit: int) -> Sequence[Piece]:
    """Return the strongest evidence for a cause, what its own name does not say already first."""
    told = {"ill", *TOLD_BY_NAME.get(suspect.cause, ())}
    pieces = [piece for piece in suspect.evidence if piece.weight >= WORTH_SAYING]
    return sorted(pieces, key=lambda piece: piece.finding in told)[:limit]


def _treatment(why: Why, suspect: Suspect, words: Translations) -> list[Block]:
    treatment = why.treatments.get(suspect.cause)
    if treatment is None:
        return []
    return [
        section(
            _block(
                words,
                "treat",
                what=treatment.what,
                command=treatment.command,
                helped=treatment.helped,
                measured=treatment.measured,
            )
        )
    ]


def _changes(why: Why, words: Translations) -> list[Block]:
    if why.changes_since is None:
        return []
    if not why.changes:
        return [section(_block(words, "no_changes", since=why.changes_since))]
    lines = [_block(words, "changes", since=why.changes_since)]
    lines += [f"• {change_text(change, words)}" for change in reversed(why.changes[-CHANGES_SHOWN:])]
    if (more := len(why.changes) - CHANGES_SHOWN) > 0:
        lines.append(_block(words, "more_changes", count=more))
    return [section("\n".join(lines))]


def _all_pieces(suspect: Suspect) -> list[Piece]:
    return [*suspect.evidence, *suspect.against]


def _odds(suspect: Suspect, words: Translations) -> str:
    return words.label("why.odds", odds=suspect.out_of_ten)


def _shown(piece: Piece, words: Translations) -> Mapping[str, Any]:
    """Return a finding's facts as people read them: times as times, numbers with the language's separators."""
    facts: dict[str, Any] = {**piece.facts}
    for name in ("since", "at"):
        if isinstance(facts.get(name), str):
            facts[name] = datetime.fromisoformat(facts[name])
    for name in ("from", "to", "now", "times"):
        if isinstance(facts.get(name), int | float):
            is_share = piece.finding in SHARES and name != "times"
            facts[name] = f"{number(facts[name] * 100, words)} %" if is_share else number(facts[name], words)
    facts["change"] = defaultdict(lambda: None, facts.get("change") or {})
    return defaultdict(lambda: None, facts)


def _nothing() -> Mapping[str, Any]:
    """Return the facts of a finding that was not made: templates ask for any of them."""
    return defaultdict(lambda: None, change=defaultdict(lambda: None))


def _block(words: Translations, part: str, **facts: Any) -> str:
    return words.render_block("why", part, **facts)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _first_text(blocks: Sequence[Block]) -> str:
    content = blocks[0].to_dict() if blocks else {}
    return fit(str((content.get("text") or {}).get("text") or ""), 3000)
