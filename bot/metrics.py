"""The bot's own Prometheus metrics: what this process counts, and gauges that are read from the database."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "Metrics"]

ACK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)  # Slack gives up at 3 s


class Metrics:
    """A registry of its own. Names and labels are documented in docs/operating.md; a test compares them."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.ack_seconds = Histogram(
            "tamv_bot_ack_seconds", "Time from a request of Slack to its acknowledgement.", buckets=ACK_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "tamv_bot_deliveries",
            "Deliveries by source: accepted, duplicate, or failed when handled.",
            ["source", "outcome"],
            registry=registry,
        )
        self._webhooks = Counter(
            "tamv_bot_webhooks", "Webhook calls by HTTP status.", ["source", "status"], registry=registry
        )
        self._parts_refused = Counter(
            "tamv_bot_webhook_parts_refused", "Parts of webhook calls, such as alerts, that could not be read.",
            ["source"], registry=registry,
        )  # fmt: skip
        self._slack_calls = Counter(
            "tamv_bot_slack_calls", "Calls of Slack's Web API by outcome.", ["method", "outcome"], registry=registry
        )
        self.slack_waiting = Gauge(
            "tamv_bot_slack_messages_waiting", "Messages that Slack does not take yet.", registry=registry
        )
        self.slack_waiting_seconds = Gauge(
            "tamv_bot_slack_waiting_seconds", "How long the oldest of these messages has been waiting.",
            registry=registry,
        )  # fmt: skip
        self._step_waits = Counter(
            "tamv_bot_step_waits", "How often a step had to wait for a remote service.", ["workflow", "step"],
            registry=registry,
        )  # fmt: skip
        self._step_failures = Counter(
            "tamv_bot_step_failures", "Steps that failed for good.", ["workflow", "step", "error"], registry=registry
        )
        self._workflows = Counter(
            "tamv_bot_workflows", "Workflows that ended in this process by outcome.", ["workflow", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.incidents = Gauge(
            "tamv_bot_incidents",
            "Incidents by current status and severity, without drills.",
            ["status", "severity"],
            registry=registry,
        )
        self.deliveries_waiting = Gauge(
            "tamv_bot_deliveries_waiting", "Deliveries that are accepted and not handled yet.", registry=registry
        )
        self.team_reloads = Counter(
            "tamv_bot_team_reloads", "Reloads of the team's folder by outcome.", ["outcome"], registry=registry
        )
        self.team_reloads.labels("refused")  # begins at 0, so that the first one is an increase
        self.outbox = Gauge("tamv_bot_outbox", "Workflows in the outbox that are not started yet.", registry=registry)
        self.database_up = Gauge("tamv_bot_database_up", "1 if the database answered this scrape.", registry=registry)
        self.ready = Gauge(
            "tamv_bot_ready",
            "1 if this process can do its job, by what it needs: database (writable), engine, slack, socket_mode.",
            ["check"],
            registry=registry,
        )
        self.runs_workflows = Gauge("tamv_bot_engine_runs", "1 if this process runs workflows.", registry=registry)
        self.executors_taken_over = Counter(
            "tamv_bot_takeovers",
            "Processes that died or hung, and whose workflows this one took over.",
            registry=registry,
        )
        Info("tamv_bot_build", "Version of the bot and of Python.", registry=registry).info(
            {"version": version("tamv-bot"), "python": platform.python_version()}
        )

    def delivered(self, source: str, *, new: bool) -> None:
        """Count a delivery. `source` is as deliveries name it: `github/issues` counts as github."""
        name = source.partition("/")[0]
        self._deliveries.labels(name, "accepted" if new else "duplicate").inc()
        self._deliveries.labels(name, "failed")  # begins at 0, so that the first failure is an increase

    def delivery_failed(self, source: str) -> None:
        """Count a delivery that was accepted and could not be handled, by a fault of the bot."""
        self._deliveries.labels(source.partition("/")[0], "failed").inc()

    def webhook(self, source: str, status: int) -> None:
        self._webhooks.labels(source, str(status)).inc()

    def webhook_parts_refused(self, source: str, count: int) -> None:
        self._parts_refused.labels(source).inc(count)

    def slack_call(self, method: str, outcome: str) -> None:
        """Count a call; `outcome` is `ok` or the key of the error."""
        self._slack_calls.labels(method, outcome).inc()

    def step_waits(self, workflow: str, step: str) -> None:
        self._step_waits.labels(workflow, _kind(step)).inc()

    def step_failed(self, workflow: str, step: str, error: str) -> None:
        self._step_failures.labels(workflow, _kind(step), error).inc()

    def workflow_ended(self, workflow: str, *, succeeded: bool) -> None:
        self._workflows.labels(workflow, "ok" if succeeded else "broke").inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format (CONTENT_TYPE)."""
        return generate_latest(self._registry)


def _kind(step: str) -> str:
    """Return a step's name without its subject (`scale: verify` → `verify`), to keep the number of label values low."""
    return re.sub(r"\d+", "n", step.rpartition(": ")[2])
