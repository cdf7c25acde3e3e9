"""Alertmanager's webhook, version 4.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from bot.domain import alert as domain
from bot.domain.errors import BadInput
from bot.services.bot import Bot
from handlers.sources.source import Payload, Source, Text, bearer, validate

FINGERPRINT_LIMIT = 64
MOST_TRUNCATED = 1_000_000  # what is more is no number of alerts


def _texts(value: Any) -> Any:
    """Return labels whose values are text: a template may have made a number of one. An empty label is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    texts = {name: item if isinstance(item, str) else _text(item) for name, item in value.items()}
    return {name: text for name, text in texts.items() if text}


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> int:
    """Return how many alerts were left out; 0 where the sender does not say a number."""
    try:
        return int(min(max(float(value), 0), MOST_TRUNCATED))
    except (TypeError, ValueError, OverflowError):
        return 0


def _in_reach(moment: datetime) -> datetime:
    """Return a time in UTC that a calendar has: a sender may have meant no time at all by the last or the first one."""
    return min(max(moment, domain.EARLIEST), domain.LATEST).astimezone(UTC)


Texts = Annotated[dict[str, str], BeforeValidator(_texts)]
SharedTexts = Annotated[Texts, BeforeValidator(lambda value: value if isinstance(value, dict) else None)]
Status = Annotated[
    Literal["firing", "resolved"],
    BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value),
]
Moment = Annotated[AwareDatetime, AfterValidator(_in_reach)]


class Alert(Payload):
    status: Status
    labels: Texts
    annotations: Texts = Field(default_factory=dict)
    startsAt: Moment
    endsAt: Any = None
    generatorURL: Text = ""
    fingerprint: Text = ""
    dashboardURL: Text = ""
    panelURL: Text = ""
    silenceURL: Text = ""


TELL_APART = ("alertname", "service")
LABELS_REMEMBERED = 8192  # the alerts of a group share most of theirs


class Group(Payload):
    """What a notification says of its group. The alerts are read one by one: a wrong one takes no other with it.

    What only describes them is left out where it cannot be read.
    """

    groupKey: str = Field(min_length=1)
    status: Status
    groupLabels: SharedTexts = Field(default_factory=dict)
    commonLabels: SharedTexts = Field(default_factory=dict)
    commonAnnotations: SharedTexts = Field(default_factory=dict)
    alerts: list[Any] = Field(min_length=1)
    truncatedAlerts: Annotated[int, BeforeValidator(_number)] = 0
    externalURL: Text = ""


class Notification(Group):
    version: Annotated[Literal["4"], BeforeValidator(lambda value: "4" if value == 4 else value)]


class _At(Payload):
    at: Moment


class Alertmanager(Source):
    """Authenticated by `Authorization: Bearer <ALERTMANAGER_WEBHOOK_TOKEN>`."""

    name = "alertmanager"
    setting = "alertmanager_webhook_token"
    signs_body = False

    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return bearer(headers, self.secrets)

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return a new id each time: an identical body may be news, depending on the incident's state."""
        return uuid.uuid4().hex

    def read(self, event: str, body: Any) -> domain.Notification:
        notification = validate(Notification, body)
        return notification_of(notification, self.name, notification.externalURL)

    def refused_parts(self, event: domain.Notification) -> Sequence[str]:
        return event.refused

    async def handle(self, bot: Bot, event: domain.Notification, key: str) -> None:
        await bot.alerts.handle(event)


def notification_of(group: Group, source: str, sender: str) -> domain.Notification:
    """Return a notification with those of its alerts that can be read. Raises BadInput if there are none."""
    alerts, refused, first = [], [], None
    for position, raw in enumerate(group.alerts):
        try:
            alerts.append(_alert(validate(Alert, raw, where=f"alerts.{position}")))
        except BadInput as problem:
            first = first or problem
            refused.append(str(problem))
    if first and not alerts:
        raise first
    return domain.Notification(
        group_key=group.groupKey,
        alerts=tuple(alerts),
        group_labels=group.groupLabels,
        common_labels=group.commonLabels,
        common_annotations=group.commonAnnotations,
        truncated=group.truncatedAlerts,
        sender=sender,
        source=source,
        firing_group=group.status == "firing",
        refused=tuple(refused),
    )


def _alert(alert: Alert) -> domain.Alert:
    links = {"dashboardURL": alert.dashboardURL, "panelURL": alert.panelURL, "silenceURL": alert.silenceURL}
    return domain.Alert(
        fingerprint=_fingerprint(alert),
        firing=alert.status == "firing",
        labels=alert.labels,
        annotations=alert.annotations,
        started_at=alert.startsAt,
        ended_at=_ended_at(alert.endsAt),
        link=alert.generatorURL,
        links={name: url for name, url in links.items() if url},
    )


def _fingerprint(alert: Alert) -> str:
    """Return the alert's fingerprint, and what it is called and about if its labels have another fingerprint.

    Scripts and relays make fingerprints up: one for alerts of different names, or of different services.
    """
    of_labels = fingerprint_of(alert.labels)
    if alert.fingerprint in ("", of_labels) or len(alert.fingerprint) > FINGERPRINT_LIMIT:
        return of_labels
    told_apart = {name: alert.labels[name] for name in TELL_APART if name in alert.labels}
    return f"{alert.fingerprint}/{fingerprint_of(told_apart)}"


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Return the fingerprint of a label set: FNV-1a, 64 bits, as in prometheus/common, model/signature.go."""
    value = 0xCBF29CE484222325
    for name in sorted(labels):
        value = _mixed(value, name, labels[name])
    return f"{value:016x}"


@lru_cache(LABELS_REMEMBERED)
def _mixed(value: int, name: str, content: str) -> int:
    for byte in b"%s\xff%s\xff" % (name.encode(), content.encode()):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _ended_at(value: Any) -> Any:
    """Return when an alert ended; None for Go's zero time, and where it cannot be read."""
    try:
        ended_at = validate(_At, {"at": value}).at
    except BadInput:
        return None
    return ended_at if ended_at > domain.EARLIEST else None
