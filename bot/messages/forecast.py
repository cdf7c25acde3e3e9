"""A prediction that a metric will cross its threshold, and what became of it, as one message."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from slack_sdk.models.blocks import Block

from bot.domain.forecast import Outcome, Prediction, Score
from bot.domain.snapshot import MetricDefinition
from bot.messages.amounts import amount
from bot.messages.confirm import confirm
from bot.messages.message import Message, actions, button, section
from bot.messages.translations import Translations

MOST_WRONG = 3


def prediction_message(
    prediction: Prediction,
    metric: MetricDefinition,
    words: Translations,
    *,
    runbook: str | None = None,
    silenced: bool = False,
) -> Message:
    """Say what will be crossed, when and how sure that is; once it is over, how it ended.

    `runbook` is offered as a button. `silenced`: from now on the metric is not told, because it was wrong too often.
    """
    text = words.render_block(
        "forecast",
        prediction.outcome.value,
        prediction=prediction,
        title=metric.in_language(words.locale),
        limit=amount(metric.threshold, metric.unit, words),
        direction=metric.direction.value,
        percent=math.floor(100 * prediction.probability),  # never surer than it is
        silenced=silenced,
    )
    buttons = []
    if prediction.outcome is Outcome.WAITING:
        if runbook and prediction.run is None:
            ask = confirm(words, "run_due", runbook=runbook)
            label = words.label("buttons.run_due", runbook=runbook)
            buttons.append(button(label, "run_predicted", f"{prediction.id}|{runbook}", style="primary", confirm=ask))
        buttons.append(button(words.label("buttons.declare_predicted"), "declare_predicted", prediction.id))
        if prediction.snoozed_until is None:
            buttons.append(button(words.label("buttons.snooze_predicted"), "snooze_predicted", prediction.id))
    return Message(text, [section(text), *actions(buttons)])


def chart_title(prediction: Prediction, metric: MetricDefinition, words: Translations) -> str:
    """Return the title of the chart of a prediction, which no other prediction has."""
    return words.label(
        "predicted_chart",
        title=metric.in_language(words.locale),
        service=prediction.service,
        at=f"{prediction.at:%Y-%m-%d %H:%M} UTC",
    )


def score_sections(scores: Sequence[Score], titles: Mapping[str, str], words: Translations) -> list[Block]:
    """Return how often what was foreseen came true, with the metrics that were wrong; nothing if nothing was foreseen.

    `titles` are the metrics' names by query.
    """
    if not scores:
        return []
    total = {name: sum(getattr(one, name) for one in scores) for name in ("came", "did_not", "averted", "unknown")}
    wrong = [one for one in scores if one.did_not][:MOST_WRONG]
    lines = [
        words.render_block("forecast", "score_title"),
        words.render_block("forecast", "score", **total, waiting=sum(one.waiting for one in scores)),
        *(
            words.render_block("forecast", "score_line", score=one, title=titles.get(one.query, one.query))
            for one in wrong
        ),
    ]
    return [section("\n".join(lines))]


def incident_title(prediction: Prediction, metric: MetricDefinition, words: Translations) -> str:
    """Return the title that the form suggests for an incident of what is foreseen."""
    name = metric.in_language(words.locale)
    return words.label("predicted_title", title=name, service=prediction.service)
