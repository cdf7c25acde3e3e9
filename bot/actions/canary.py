"""The pods of a new version beside those that still run the one before: what `prometheus.watch` asks of a canary."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.actions.boards import Board, board_of_pods, fill_names
from bot.actions.context import Context
from bot.actions.kubernetes import pods_of
from bot.domain.canary import Comparison, chance_of_each, compare, requests_needed
from bot.domain.errors import WrongState
from bot.integrations.prometheus import Line, longest_range, narrowed

SAMPLE = 60  # seconds; samples of the same pod that share none of their time say more than many that do
OVERTIME = timedelta(minutes=5)  # longer than asked for, until enough of the new version has been seen

PodLines = Sequence[tuple[Line, int]]


@dataclass(slots=True)
class Canary:
    """Compares the pods that run the image tag `tag` with the service's others, since `since`.

    `looks` is how often it will be asked with new samples. Pods that have gone meanwhile still count.
    """

    service: str
    tag: str
    since: datetime
    looks: int
    _pods: dict[str, str] = field(default_factory=dict)

    async def compare(self, ctx: Context, board: Board) -> Sequence[Comparison]:
        """Return how each metric that has a threshold and can be asked by pod compares now.

        Empty if all pods run this tag. Raises WrongState if none does, and what Prometheus and Kubernetes raise.
        """
        found = {pod.name: pod.tag for pod in await pods_of(ctx, self.service, ctx.namespace(self.service))}
        self._pods |= found
        if (tags := set(found.values())) == {self.tag}:
            return []
        if self.tag not in tags:
            raise WrongState("no_pod_runs", service=self.service, tag=self.tag, tags=sorted(tags - {""}))
        metrics = board_of_pods(ctx.team, board)
        series = await asyncio.gather(*(self._samples(ctx, promql) for _, promql in metrics))
        chance = chance_of_each(self.looks, len(metrics))
        return [
            compare(metric, self._of(lines, new=True), self._of(lines, new=False), chance)
            for (metric, _), lines in zip(metrics, series, strict=True)
        ]

    async def requests(self, ctx: Context, board: Board) -> tuple[int | None, int]:
        """Return how many requests the new version has answered (None: nothing says so), and how many are needed."""
        needed = requests_needed(metric for metric, _ in board_of_pods(ctx.team, board))
        traffic = (query.by_pod for query in ctx.team.queries.values() if query.signal == "traffic")
        promql = next(filter(None, traffic), None)
        if promql is None:
            return None, needed
        lines = await self._samples(ctx, fill_names(promql, ctx.team, self.service))
        answered = sum(rate * step for line, step in lines if self._is(line, new=True) for _, rate in line.points)
        return math.floor(answered), needed

    async def _samples(self, ctx: Context, promql: str) -> PodLines:
        """Return a query's series by pod, each with the seconds between its samples.

        A range of a minute holds too few samples where Prometheus scrapes seldom: then it is asked as it is written.
        """
        for query in dict.fromkeys([narrowed(promql, SAMPLE), promql]):
            step = max(longest_range(query), SAMPLE)
            start, now = self.since + timedelta(seconds=step), ctx.clock.now()
            if start > now:
                break
            lines = await ctx.prometheus.range(query, start.replace(microsecond=0), now.replace(microsecond=0), step)
            if any(self._is(line, new=True) and line.points for line in lines):
                return [(line, step) for line in lines]
        return []

    def _of(self, lines: PodLines, *, new: bool) -> list[float]:
        return [value for line, _ in lines if self._is(line, new=new) for _, value in line.points]

    def _is(self, line: Line, *, new: bool) -> bool:
        tag = self._pods.get(line.labels.get("pod", ""))
        return tag is not None and (tag == self.tag) is new
