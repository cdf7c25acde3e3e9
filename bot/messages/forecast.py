"""A prediction that a metric will cross its threshold, and what became of it, as one message."""

from __future__ import annotations

import math

from bot.domain.forecast import Outcome, Prediction
from bot.domain.snapshot import MetricDefinition
from bot.messages.amounts import amount
from bot.messages.message import Message, actions, button, section
from bot.messages.translations import Translations


def prediction_message(
    prediction: Prediction, metric: MetricDefinition, words: Translations, *, silenced: bool = False
) -> Message:
    """Say what will be crossed, when and how sure that is; once it is over, how it ended.

    `silenced`: from now on the metric is not told, because it was wrong too often.
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
        buttons = [button(words.label("buttons.declare_predicted"), "declare_predicted", prediction.id)]
    return Message(text, [section(text), *actions(buttons)])


def incident_title(prediction: Prediction, metric: MetricDefinition, words: Translations) -> str:
    """Return the title that the form suggests for an incident of what is foreseen."""
    name = metric.in_language(words.locale)
    return words.label("predicted_title", title=name, service=prediction.service)
