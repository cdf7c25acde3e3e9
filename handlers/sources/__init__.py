"""Sources of webhooks, one module each."""

from __future__ import annotations

from handlers.sources.alertmanager import Alertmanager
from handlers.sources.github import GitHub
from handlers.sources.grafana import Grafana
from handlers.sources.pagerduty import PagerDuty
from handlers.sources.source import Source

SOURCES: tuple[type[Source], ...] = (Alertmanager, Grafana, PagerDuty, GitHub)
