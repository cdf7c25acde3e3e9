"""The webhook of Grafana's own alerting, version 1.

Source: https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from bot.domain import alert as domain
from bot.services.bot import Bot
from handlers.sources.alertmanager import Group, notification_of
from handlers.sources.source import Source, bearer, validate


class Notification(Group):
    """`version` is not looked at: what is read here has been the same in all."""

    orgId: Any = None


class Grafana(Source):
    """Authenticated by `Authorization: Bearer <GRAFANA_WEBHOOK_TOKEN>`."""

    name = "grafana"
    setting = "grafana_webhook_token"
    signs_body = False

    def is_authentic(self, headers: Mapping[str, str], body: bytes) -> bool:
        return bearer(headers, self.secrets)

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return a new id each time: an identical body may be news, depending on the incident's state."""
        return uuid.uuid4().hex

    def read(self, event: str, body: Any) -> domain.Notification:
        notification = validate(Notification, body)
        sender = f"{notification.externalURL}?orgId={notification.orgId}" if notification.orgId else ""
        return notification_of(notification, self.name, sender or notification.externalURL)

    def refused_parts(self, event: domain.Notification) -> Sequence[str]:
        return event.refused

    async def handle(self, bot: Bot, event: domain.Notification, key: str) -> None:
        await bot.alerts.handle(event)
