"""Alertmanager's webhook, version 4.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from bot.domain import alert as domain
from bot.services.bot import Bot
from handlers.sources.source import Payload, Source, validate


class Alert(Payload):
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: AwareDatetime
    generatorURL: str = ""
    fingerprint: str = Field(min_length=1, max_length=64)


class Notification(Payload):
    version: Literal["4"]
    groupKey: str = Field(min_length=1)
    status: Literal["firing", "resolved"]
    groupLabels: dict[str, str] = Field(default_factory=dict)
    commonLabels: dict[str, str] = Field(default_factory=dict)
    commonAnnotations: dict[str, str] = Field(default_factory=dict)
    alerts: list[Alert] = Field(min_length=1)
    truncatedAlerts: int = 0


class Alertmanager(Source):
    """Authenticated by `Authorization: Bearer <ALERTMANAGER_WEBHOOK_TOKEN>`."""

    name = "alertmanager"
    setting = "alertmanager_webhook_token"
    signs_body = False

    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        header = headers.get("authorization", "").encode()
        return any(hmac.compare_digest(header, f"Bearer {secret}".encode()) for secret in self.secrets)

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return a new id each time: an identical body may be news, depending on the incident's state."""
        return uuid.uuid4().hex

    def read(self, event: str, body: Any) -> domain.Notification:
        notification = validate(Notification, body)
        return domain.Notification(
            group_key=notification.groupKey,
            alerts=tuple(
                domain.Alert(
                    fingerprint=alert.fingerprint,
                    firing=alert.status == "firing",
                    labels=alert.labels,
                    annotations=alert.annotations,
                    started_at=alert.startsAt,
                    link=alert.generatorURL,
                )
                for alert in notification.alerts
            ),
            group_labels=notification.groupLabels,
            common_labels=notification.commonLabels,
            common_annotations=notification.commonAnnotations,
            truncated=notification.truncatedAlerts,
        )

    async def handle(self, bot: Bot, event: domain.Notification, key: str) -> None:
        await bot.alerts.handle(event)
