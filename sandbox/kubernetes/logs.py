"""What containers have written. A pod of production writes of the load that it carried, tick for tick of the world."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.kubernetes.behaviour import Behaviours
from sandbox.kubernetes.objects import Object, labels_of, moment, name_of, namespace_of, status_of
from sandbox.kubernetes.problems import bad_request
from sandbox.world import World
from sandbox.world.effects import P95_OVER_MEDIAN
from sandbox.world.metrics import BUCKETS, STATUSES, PodSource
from sandbox.world.services import NAMESPACE

TICK = timedelta(seconds=15)
EVERY = 12  # lines of a tick, at least
LONGEST_PAST = timedelta(hours=2)
PATHS = ("/api/v1/session", "/api/v1/scene", "/api/v1/assets", "/api/v1/presence", "/health")


@dataclass(frozen=True)
class Line:
    at: datetime
    text: str

    def shown(self, *, timestamps: bool) -> str:
        stamp = f"{self.at.isoformat(timespec='microseconds').replace('+00:00', '000Z')} " if timestamps else ""
        return f"{stamp}{self.text}\n"


class Logs:
    def __init__(self, world: World, behaviours: Behaviours) -> None:
        self._world = world
        self._behaviours = behaviours

    def lines(self, pod: Object, container: str, since: datetime | None, until: datetime) -> Iterator[Line]:
        """The lines of a container after `since` (its start, at most two hours back) up to `until`, in order."""
        began = self._began(pod)
        if began is None:
            return
        begin = max(began, since or began, until - LONGEST_PAST)
        if pod["spec"].get("restartPolicy") != "Always":
            lines = self._of_a_run(pod, container, began)
        elif (source := self._source(pod)) is not None:
            lines = self._of_a_service(pod, source, begin, until)
        else:
            lines = self._idle(pod, begin, until)
        yield from (line for line in lines if begin <= line.at <= until)

    def previous(self, pod: Object) -> Iterator[Line]:
        """The last lines of a container that was killed. Problem 400 when none was."""
        for status in status_of(pod).get("containerStatuses") or ():
            ended = status.get("lastState", {}).get("terminated")
            if ended:
                at = moment(ended["finishedAt"])
                yield from self._idle(pod, at - timedelta(minutes=2), at - timedelta(seconds=3))
                yield Line(at - timedelta(seconds=2), "WARN memory above 95% of the limit")
                yield Line(at - timedelta(seconds=1), "ERROR allocation failed, process is being killed")
                return
        container = pod["spec"]["containers"][0]["name"]
        raise bad_request(f'previous terminated container "{container}" in pod "{name_of(pod)}" not found')

    def _began(self, pod: Object) -> datetime | None:
        began = [
            moment(state[kind]["startedAt"])
            for status in status_of(pod).get("containerStatuses") or ()
            if (state := status.get("state", {}))
            for kind in ("running", "terminated")
            if kind in state
        ]
        return min(began, default=None)

    def _source(self, pod: Object) -> PodSource | None:
        service = labels_of(pod).get("app", "")
        if namespace_of(pod) != NAMESPACE or service not in self._world.deployments:
            return None
        pods = self._world.deployments[service].pods
        return next((one.source for one in pods if one.name == name_of(pod)), None)

    def _of_a_service(self, pod: Object, source: PodSource, begin: datetime, until: datetime) -> Iterator[Line]:
        """Requests with the latency and the errors that the pod's own metrics had in each tick."""
        counts = [series for series in source.series if "le" in series.labels or "status" in series.labels]
        times = counts[0].times
        first = max(int(times.searchsorted(int((begin - TICK).timestamp() * 1000))), 1)
        for index in range(first, len(times)):
            at = datetime.fromtimestamp(int(times[index]) / 1000, UTC)
            if at - TICK > until:
                return
            grown = [float(series.values[index] - series.values[index - 1]) for series in counts]
            latency, errors = _latency(grown[: len(BUCKETS) + 1]), grown[-2:]
            yield from self._tick(pod, at - TICK, latency, errors, sum(grown[-len(STATUSES) :]))

    def _tick(self, pod: Object, at: datetime, p95: float, errors: list[float], requests: float) -> Iterator[Line]:
        wrong = min(max(int(sum(errors)), 0), 8)
        total = EVERY + wrong if requests > 0 else 0
        for number in range(total):
            dice = hashlib.sha256(f"{name_of(pod)}/{at.timestamp()}/{number}".encode()).digest()
            when = at + TICK * (number + dice[0] / 256) / total
            path = PATHS[dice[1] % len(PATHS)]
            took = p95 / P95_OVER_MEDIAN * (0.5 + 1.4 * dice[2] / 255)
            if number >= EVERY:
                code = "503" if dice[3] % 5 < 3 else "500"
                yield Line(when, f"ERROR GET {path} {code} {round(took * 2200)}ms upstream did not answer in time")
            elif dice[4] > 242 or took > 0.5:
                yield Line(when, f"WARN slow request GET {path} 200 {round(max(took, p95) * 1000)}ms")
            else:
                yield Line(when, f"INFO GET {path} 200 {round(took * 1000)}ms")

    def _idle(self, pod: Object, begin: datetime, until: datetime) -> Iterator[Line]:
        """One who has little to do: a line every half minute."""
        step = 30.0
        number = int(begin.timestamp() // step) + 1
        while (at := datetime.fromtimestamp(number * step, UTC)) <= until:
            dice = hashlib.sha256(f"{name_of(pod)}/{number}".encode()).digest()
            yield Line(at, f"INFO GET {PATHS[dice[0] % len(PATHS)]} 200 {dice[1] % 60 + 4}ms")
            number += 1

    def _of_a_run(self, pod: Object, container: str, began: datetime) -> Iterator[Line]:
        """What the image's behaviour says, spread over the time that it runs."""
        behaviour = self._behaviours.of(next(one for one in pod["spec"]["containers"] if one["name"] == container))
        texts = behaviour.log or ("INFO begin", "ERROR it went wrong" if behaviour.exit_code else "INFO done")
        for number, text in enumerate(texts):
            yield Line(began + timedelta(seconds=behaviour.run * number / len(texts)), text)


def _latency(grown: list[float]) -> float:
    """The 95th percentile in seconds of what has come into the buckets."""
    total = grown[-1]
    if total <= 0:
        return 0.1
    return next((bound for bound, count in zip(BUCKETS, grown, strict=False) if count >= 0.95 * total), BUCKETS[-1])
