"""What to do next: the causes that fit and the runbooks that are proposed, and how the incident comes to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from slack_sdk.models.blocks import Block, ButtonElement

from bot.domain.ending import Ending
from bot.domain.incident import Incident, Status
from bot.messages.incident import LOOK_AGAIN_MINUTES, Endings, end_button
from bot.messages.message import TEXT_LIMIT, Message, actions, button, fit, section
from bot.messages.translations import Translations
from bot.messages.why import Why, causes_blocks

PROPOSED = 5


def next_step(
    incident: Incident, why: Why | None, runbooks: Sequence[Mapping[str, Any]], words: Translations
) -> Message | None:
    """Return the message; None without anything to say. The first of the `runbooks` fits best."""
    blocks: list[Block] = []
    if why and incident.status.is_open:
        blocks += causes_blocks(why, words, treated=bool(runbooks) or incident.status is Status.MITIGATED)
    elif why and why.diagnosis.shown and not why.confirmed:
        blocks.append(section(words.render_block("next_step", "fitted", suspects=why.diagnosis.shown)))
    elif why:
        blocks += causes_blocks(why, words, treated=True)
    evidence = [button(words.label("buttons.show_evidence"), "show_evidence", incident.id)] if _has_causes(why) else []
    if not runbooks:
        blocks += actions(evidence)
        return Message(_text(incident, "causes", words), blocks) if blocks else None
    best, *others = runbooks[:PROPOSED]
    value = f"{incident.id}|{best['name']}"
    blocks.append(section(_proposed("proposal", best, words)))
    buttons = [
        button(words.label("buttons.run_proposed"), "run_proposed", value, style="primary"),
        button(words.label("buttons.rehearse_proposed"), "rehearse_proposed", value),
        *evidence,
    ]
    if not incident.commander:
        buttons.append(button(words.label("buttons.take_command"), "take_command", incident.id))
    blocks += actions(buttons, block_id=value)
    for other in others:
        value = f"{incident.id}|{other['name']}"
        accessory = button(words.label("buttons.run_proposed"), "run_proposed", value)
        blocks.append(section(_proposed("other", other, words), accessory=accessory, block_id=value))
    return Message(_text(incident, "proposed", words), blocks)


def _has_causes(why: Why | None) -> bool:
    return why is not None and bool(why.diagnosis.shown or why.confirmed)


def _proposed(part: str, runbook: Mapping[str, Any], words: Translations) -> str:
    return words.render_block("next_step", part, title=words.pick(runbook), runbook=runbook["name"])


def _text(incident: Incident, part: str, words: Translations) -> str:
    return fit(words.render_block("next_step", "text", incident=incident, part=part), TEXT_LIMIT)


def ending_message(incident: Incident, ending: Ending, words: Translations, confirmed: Endings) -> Message:
    """Return the message about one ending; a line without buttons once it was none, or the incident is closed.

    `confirmed` is what the buttons ask back.
    """
    ended_at = ending.resolved.at + timedelta(minutes=LOOK_AGAIN_MINUTES) if ending.resolved else None
    state = "back" if ending.back else _state(ending)
    text = words.render_block("ending", state, incident=incident, ending=ending, look_again_at=ended_at)
    if ending.remains and not ending.back:
        text += f"\n{words.render_block('ending', 'remains', remains=ending.remains.facts['suspects'])}"
    return Message(text, [section(text), *actions(_buttons(incident, ending, words, confirmed))])


def _state(ending: Ending) -> str:
    if ending.dismissed:
        return "dismissed"
    return "resolved" if ending.resolved else "mitigated" if ending.mitigated else "calm"


def _buttons(incident: Incident, ending: Ending, words: Translations, confirmed: Endings) -> list[ButtonElement]:
    if ending.back or incident.status is Status.CLOSED:
        return []
    if ending.resolved or ending.dismissed:
        return [button(words.label("buttons.reopen"), "reopen", incident.id)]
    if ending.mitigated:
        followup = button(words.label("buttons.open_followup"), "open_followup", incident.id)
        return [end_button(incident, words, "resolve", confirmed, style="primary"), followup]
    return [
        end_button(incident, words, "mitigate", confirmed, style="primary"),
        end_button(incident, words, "resolve", confirmed),
    ]
