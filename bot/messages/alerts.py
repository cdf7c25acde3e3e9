"""Messages about the alerts of an incident: the line that is edited, and what can be split off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bot.domain.alert import STORM, IncidentAlert
from bot.domain.incident import Incident
from bot.messages.message import Message, section
from bot.messages.translations import Translations

NAMES_LIMIT = 8


def alert_line(incident: Incident, alerts: Sequence[IncidentAlert], words: Translations) -> Message:
    """Say how many alerts of an incident there are, what they are, and which come and go."""
    counted = Counter[str]()
    for alert in alerts:
        counted[alert.name] += alert.count
    flapping = [alert for alert in alerts if alert.returned]
    text = words.render_block(
        "alerts",
        "line",
        incident=incident,
        storm=incident.source == STORM,
        total=sum(counted.values()),
        groups=len({alert.group for alert in alerts}),
        firing=sum(alert.count for alert in alerts if alert.firing),
        names=counted.most_common(NAMES_LIMIT),
        more=max(0, len(counted) - NAMES_LIMIT),
        flapping=sorted(flapping, key=lambda alert: -alert.returned)[:NAMES_LIMIT],
    )
    return Message(text, [section(text)])


def splittable(incident: Incident, alerts: Sequence[IncidentAlert], words: Translations) -> Message:
    """List the alerts of an incident, by name, for `/incident split`."""
    counted = Counter[str]()
    for alert in alerts:
        counted[alert.name] += alert.count
    return Message.of(words.render_block("alerts", "splittable", incident=incident, names=counted.most_common(60)))
