"""Traces: what a collector gets over OTLP/HTTP of a run, and what becomes of the bot without one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bot.domain.run import Run, RunState, StepState
from demo.environment import DemoEnvironment, demo_environment
from sandbox.server import Sandbox
from tests.harness.lamp import ANA, Lamp, begin, ended, registered, runs
from tests.harness.receiver import Receiver

SECRET = "a-very-secret-key-of-the-collector"


@pytest.fixture
def lamp() -> Iterator[Lamp]:
    yield from registered()


@pytest.fixture
async def collector() -> AsyncIterator[Receiver]:
    async with Receiver().serving("/v1/traces") as receiver:
        yield receiver


def settings(url: str) -> dict[str, Any]:
    return {
        "otel_exporter_otlp_endpoint": url.removesuffix("/v1/traces"),
        "otel_exporter_otlp_headers": f"x-api-key={SECRET}",
    }


async def played(stage: DemoEnvironment, *steps: dict[str, Any], **more: Any) -> Run:
    return await ended(stage, await begin(runs(stage, *steps, **more), ANA))


def spans(collector: Receiver) -> dict[str, Span]:
    """What was received, by the name of the span."""
    found: dict[str, Span] = {}
    for request in collector.received:
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for scope in resource.scope_spans:
                found |= {span.name: span for span in scope.spans}
    return found


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


async def test_a_run_is_a_trace_and_a_step_a_span_with_its_remote_calls(
    collector: Receiver, lamp: Lamp, tmp_path: Path
) -> None:
    sandbox, database = Sandbox(), f"sqlite:///{tmp_path}/bot.db"
    async with demo_environment(sandbox, database, **settings(collector.url)) as stage:
        look = {"id": "look", "uses": "prometheus.query", "with": {"query": "latency_p95", "service": "tamv-core"}}
        dim = {"id": "dim", "uses": "lamp.dim", "with": {"to": 10}}
        check = {"id": "check", "uses": "flow.check", "with": {"that": False, "otherwise": f"the key is {SECRET}"}}
        run = await played(stage, look, dim, check)
        assert run.state is RunState.UNDONE
    found = spans(collector)
    root = found["runbook dim"]
    assert {"prometheus.query", "lamp.dim", "flow.check", "undo lamp.dim"} <= set(found)
    assert {span.trace_id for span in found.values()} == {root.trace_id}
    assert root.parent_span_id == b""
    for name in ("prometheus.query", "lamp.dim", "flow.check", "undo lamp.dim"):
        assert found[name].parent_span_id == root.span_id, name
    facts = {"run.id": run.id, "run.runbook": "dim", "run.environment": "production", "run.outcome": "undone"}
    assert attributes(root) == facts | {"run.dry_run": ""}
    assert attributes(found["undo lamp.dim"])["step.id"] == "dim"
    failed = attributes(found["flow.check"])
    assert (failed["run.id"], failed["step.id"], failed["step.action"]) == (run.id, "check", "flow.check")
    assert (failed["step.outcome"], failed["step.error"]) == (StepState.FAILED.value, "condition_failed")
    assert found["flow.check"].status.code == root.status.code == Status.STATUS_CODE_ERROR
    step = found["lamp.dim"]
    assert root.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano <= root.end_time_unix_nano
    calls = [span for span in found.values() if span.parent_span_id == found["prometheus.query"].span_id]
    assert calls and all("/prometheus/api/v1/" in str(attributes(call)) for call in calls)
    assert all("query=" not in str(attributes(call)) for call in calls)
    assert all(request.headers["x-api-key"] == SECRET for request in collector.received)
    assert not [request for request in collector.received if SECRET.encode() in request.body]


async def test_a_collector_that_hangs_holds_nothing_up(collector: Receiver, lamp: Lamp, tmp_path: Path) -> None:
    collector.answers = [60.0] * 10
    sandbox, database = Sandbox(), f"sqlite:///{tmp_path}/bot.db"
    async with demo_environment(sandbox, database, **settings(collector.url)) as stage:
        run = await played(stage, {"id": "dim", "uses": "lamp.dim", "with": {"to": 10}})
        assert run.state is RunState.SUCCEEDED
        traces = stage.bot.deps.traces
        assert traces
        began = time.monotonic()
        await traces.aclose()
        assert time.monotonic() - began < 2 * traces.STOP_SECONDS
        await traces.aclose()  # it is closed once more with all others
