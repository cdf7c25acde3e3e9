"""`tempo.*`: find slow requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field

from bot.actions.context import Context
from bot.actions.registry import action
from bot.domain.errors import BadInput, NotConfigured
from bot.domain.policy import Risk
from bot.domain.times import Duration
from bot.integrations.tempo import slower_than


@dataclass(frozen=True, slots=True)
class SlowTrace:
    """`link` opens the trace in Grafana."""

    id: str
    name: str
    began: datetime
    milliseconds: int
    link: str | None


@dataclass(frozen=True, slots=True)
class Traces:
    """The slowest first. Without Tempo it is empty, and `link` opens the query in Grafana's Explore."""

    service: str
    slower_than: int
    query: str
    link: str | None
    traces: list[SlowTrace]


@action("tempo.search", risk=Risk.READ, example="/ops tempo.search xr-engine slower_than_ms=500 window=1h")
async def search(
    ctx: Context,
    service: str | None = None,
    slower_than_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 500,
    window: Duration = timedelta(hours=1),
    limit: Annotated[int, Field(ge=1, le=50)] = 5,
) -> Traces:
    """Show the slowest requests of a service, with links."""
    name = service or ctx.team.default_service
    if name is None:
        raise BadInput("service_needed", services=sorted(ctx.team.services))
    ctx.service(name)
    query, ends = slower_than(name, slower_than_ms), ctx.clock.now()
    begins = ends - window
    link = _explore(ctx, query, begins, ends)
    if ctx.deps.tempo is None:
        if link is None:
            raise NotConfigured("tempo_off")
        return Traces(name, slower_than_ms, query, link, [])
    traces = await ctx.deps.tempo.search(query, begins, ends, limit)
    hour = timedelta(hours=1)
    slow = [
        SlowTrace(
            trace.id,
            trace.name,
            trace.began,
            trace.milliseconds,
            _explore(ctx, trace.id, trace.began - hour, trace.began + hour),
        )
        for trace in traces
    ]
    return Traces(name, slower_than_ms, query, link, slow)


def _explore(ctx: Context, query: str, begins: datetime, ends: datetime) -> str | None:
    """Return the URL of Grafana's Explore with this query; None without Grafana.

    Source:
    https://grafana.com/docs/grafana/latest/explore/get-started-with-explore/#generate-explore-urls-from-external-tools
    """
    if ctx.deps.grafana_url is None:
        return None
    source = {"type": "tempo", "uid": ctx.team.tempo_datasource}
    pane: dict[str, Any] = {
        "datasource": ctx.team.tempo_datasource,
        "queries": [{"refId": "A", "datasource": source, "queryType": "traceql", "query": query}],
        "range": {"from": str(round(begins.timestamp() * 1000)), "to": str(round(ends.timestamp() * 1000))},
    }
    panes = json.dumps({"a": pane}, separators=(",", ":"))
    return f"{ctx.deps.grafana_url.rstrip('/')}/explore?{urlencode({'schemaVersion': 1, 'panes': panes})}"
