"""OpenTelemetry traces over OTLP/HTTP: a run is a trace, a step a span, a remote call of a step a span below it.

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. A span's ids are derived from the ids of the run and the step:
a run is one trace although a restart, or another process, cut it into parts. Spans are sent by a thread of their own;
what a collector does not take is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from importlib.metadata import version
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

from bot.domain.run import Run, RunState, StepRun, StepState, base_step_id, is_undo

PATH = "/v1/traces"  # below the endpoint: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
EXPORT_TIMEOUT_SECONDS = 5.0
FAILED = (RunState.FAILED, RunState.UNDONE, StepState.FAILED)

_ids: ContextVar[tuple[int, int] | None] = ContextVar("trace id and span id of the next span", default=None)


class Traces:
    """Makes the spans of runs and sends them. `redact` takes secrets out of every text of a span."""

    STOP_SECONDS: ClassVar[float] = 2.0  # for the last spans, when the process stops

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}{PATH}",
            headers=dict(headers or {}),
            certificate_file=ca_bundle,
            timeout=EXPORT_TIMEOUT_SECONDS,
        )
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "tamv-bot", "service.version": version("tamv-bot")}),
            id_generator=_DerivedIds(),
            sampler=_OfARun(),
            shutdown_on_exit=False,  # `aclose` does it, within a time limit
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Redacted(exporter, redact)))
        self._tracer = self._provider.get_tracer("tamv-bot")

    def instrument(self) -> None:
        """Make a span of every HTTP call that a step makes; no call carries a trace's id to the outside."""
        set_global_textmap(CompositePropagator([]))
        for instrumentor in (AioHttpClientInstrumentor(), URLLib3Instrumentor()):
            instrumentor.instrument(tracer_provider=self._provider, url_filter=_without_query)

    async def aclose(self) -> None:
        """Send what is left; give up after `STOP_SECONDS`."""
        for instrumentor in (AioHttpClientInstrumentor(), URLLib3Instrumentor()):
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
        stopping = threading.Thread(target=self._provider.shutdown, name="stop traces", daemon=True)
        stopping.start()
        await asyncio.to_thread(stopping.join, self.STOP_SECONDS)

    @contextmanager
    def within(self, run_id: str, step_id: str) -> Iterator[None]:
        """Make spans of this task's remote calls below the span of the step."""
        token = attach(_below(_trace_id(run_id), _span_id(run_id, step_id)))
        try:
            yield
        finally:
            detach(token)

    def step(self, run: Run, step: StepRun) -> None:
        """Send the span of a step, or of the undo of one, that has ended."""
        facts = {
            "step.id": base_step_id(step.id),
            "step.action": step.uses,
            "step.outcome": step.state.value,
            "step.error": step.error,
        }
        with _next_ids(_trace_id(run.id), _span_id(run.id, step.id)):
            span = self._tracer.start_span(
                f"undo {step.uses}" if is_undo(step.id) else step.uses,
                _below(_trace_id(run.id), _span_id(run.id)),
                SpanKind.INTERNAL,
                _attributes(run, facts),
                start_time=_nanoseconds(step.began_at or step.ended_at or run.started_at),
            )
        if step.state in FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(step.ended_at))

    def run(self, run: Run) -> None:
        """Send the span of a run that has ended: the root of its trace."""
        with _next_ids(_trace_id(run.id), _span_id(run.id)):
            span = self._tracer.start_span(
                f"runbook {run.runbook}",
                Context(),
                SpanKind.INTERNAL,
                _attributes(run, {"run.outcome": run.state.value}),
                start_time=_nanoseconds(run.started_at),
            )
        if run.state in FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(run.ended_at))


def _attributes(run: Run, more: Mapping[str, str | None]) -> dict[str, str | bool]:
    facts: dict[str, str | bool | None] = {
        "run.id": run.id,
        "run.runbook": run.runbook,
        "run.environment": run.environment,
        "run.dry_run": run.dry_run,
        "incident.id": run.incident_id,
        **more,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _trace_id(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"trace {run_id}".encode()).digest()[:16])


def _span_id(run_id: str, step_id: str = "") -> int:
    return int.from_bytes(hashlib.sha256(f"span {run_id}/{step_id}".encode()).digest()[:8])


def _below(trace_id: int, span_id: int) -> Context:
    """Return a context in which new spans are below that one."""
    parent = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


@contextmanager
def _next_ids(trace_id: int, span_id: int) -> Iterator[None]:
    token = _ids.set((trace_id, span_id))
    try:
        yield
    finally:
        _ids.reset(token)


class _DerivedIds(IdGenerator):
    """The ids that the caller has set, else random ones."""

    _random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        ids = _ids.get()
        return ids[1] if ids else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        ids = _ids.get()
        return ids[0] if ids else self._random.generate_trace_id()


class _OfARun(Sampler):
    """Keeps the spans of runs and what is below them; other remote calls make none."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        *rest: Any,
        **more: Any,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        kept = "run.id" in (attributes or {}) or (parent.is_valid and parent.trace_flags.sampled)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if kept else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "of a run"


class _Redacted(SpanExporter):
    """Sends spans without secrets, and without what a library says about a failure."""

    def __init__(self, exporter: SpanExporter, redact: Callable[[str], str]) -> None:
        self._exporter = exporter
        self._redact = redact

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([self._redacted(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _redacted(self, span: ReadableSpan) -> ReadableSpan:
        attributes = {
            name: self._redact(value) if isinstance(value, str) else value
            for name, value in (span.attributes or {}).items()
        }
        return ReadableSpan(
            self._redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


def _without_query(url: object) -> str:
    parts = urlsplit(str(url))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _nanoseconds(moment: datetime | None) -> int | None:
    """Return a time as OTLP has it: nanoseconds since 1970; None is now."""
    return None if moment is None else int(moment.timestamp() * 1_000_000) * 1000
