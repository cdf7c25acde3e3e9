"""Containers: how they behave, what they log, and the programs that `exec` runs in them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from sandbox.kubernetes.errors import bad_request
from sandbox.kubernetes.objects import Object, labels_of, name_of, namespace_of, parse_time, status_of
from sandbox.world.effects import P95_OVER_MEDIAN
from sandbox.world.metrics import BUCKETS, STATUSES, PodSource
from sandbox.world.services import NAMESPACE
from sandbox.world.world import World

DEFAULT_START = 20.0  # s until a pod is ready

LOG_TICK = timedelta(seconds=15)
LINES_PER_TICK = 12
MAX_LOG_AGE = timedelta(hours=2)
IDLE_LOG_SECONDS = 30.0
PATHS = ("/api/v1/session", "/api/v1/scene", "/api/v1/assets", "/api/v1/presence", "/health")

STDOUT, STDERR = 1, 2
CHUNK = 64 * 1024
DISKS = """\
Filesystem      Size  Used Avail Use% Mounted on
overlay          98G   41G   57G  42% /
tmpfs           7.8G     0  7.8G   0% /dev/shm
"""
SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "ash")


# --- behaviour: what a real cluster learns by running an image, and tests and exercises set here


@dataclass(frozen=True)
class Behaviour:
    """What a container of an image does. Times are seconds of the world.

    `start` is the time until it is ready. With `fault` it never gets there. A container of a Job runs `run` and ends
    with `exit_code`; `log` is what it writes meanwhile.
    """

    start: float = DEFAULT_START
    fault: Literal["ImagePullBackOff", "CrashLoopBackOff", "NotReady"] | None = None
    run: float = 30.0
    exit_code: int = 0
    log: Sequence[str] = ()


# What suites find of any version unless a test sets it otherwise, by the name of their image.
MEASURES: Mapping[str, Mapping[str, float]] = {
    "visual-regression": {"screens_changed": 0, "difference_percent": 0.02},
    "performance": {"p95_ms": 212.5, "errors_percent": 0.1},
}


@dataclass
class Backfill:
    """What `migrate:backfill` does: each pod fills in `per_pod` of the `rows` of its namespace, and says how many."""

    rows: int = 1_000_000
    per_pod: int = 250_000
    pods: dict[str, list[str]] = field(default_factory=dict)  # by namespace, in the order in which they worked

    def log(self, pod: Object) -> list[str]:
        """Return what a pod writes; it works when it is first asked."""
        worked = self.pods.setdefault(namespace_of(pod), [])
        if name_of(pod) not in worked:
            worked.append(name_of(pod))
        before = worked.index(name_of(pod)) * self.per_pod
        marks = (before + self.per_pod // 2, before + self.per_pod)
        return [f"progress {min(mark, self.rows)}/{self.rows}" for mark in marks]


class Behaviours:
    """Behaviours by image, as shell patterns (`*/tamv-core:v2.4.1`); the last one that was set counts.

    A pattern with a blank in it (`*/tamv-core:* npm run migrate:up*`) is matched against the image, its command and its
    variables (`*/performance:* VERSION=v2.6.0*`).
    """

    def __init__(self) -> None:
        self.backfill = Backfill()
        self._patterns: list[tuple[str, Behaviour]] = []

    def set(self, pattern: str, behaviour: Behaviour) -> None:
        self._patterns.insert(0, (pattern, behaviour))

    def of(self, container: Object) -> Behaviour:
        """Return the behaviour of a container of a pod's spec."""
        image = str(container["image"])
        variables = [f"{one['name']}={one.get('value', '')}" for one in container.get("env") or ()]
        command = " ".join([image, *(container.get("command") or ()), *(container.get("args") or ())])
        texts = (command, " ".join([command, *variables]))
        for pattern, behaviour in self._patterns:
            if any(fnmatchcase(text, pattern) for text in (texts if " " in pattern else (image,))):
                return behaviour
        measures = MEASURES.get(image.rpartition("/")[2].partition(":")[0])
        return Behaviour(run=20.0, log=(json.dumps({"measures": measures}),)) if measures else Behaviour()


# --- logs


@dataclass(frozen=True)
class LogLine:
    at: datetime
    text: str

    def format(self, *, timestamps: bool) -> str:
        stamp = f"{self.at.isoformat(timespec='microseconds').replace('+00:00', '000Z')} " if timestamps else ""
        return f"{stamp}{self.text}\n"


class Logs:
    """Makes up the logs. A pod of production logs the load that it carried, tick by tick of the world."""

    def __init__(self, world: World, behaviours: Behaviours) -> None:
        self._world = world
        self._behaviours = behaviours

    def lines(self, pod: Object, container: str, since: datetime | None, until: datetime) -> Iterator[LogLine]:
        """Yield the lines of a container between `since` (its start, at most two hours back) and `until`, in order."""
        started = self._started(pod)
        if started is None:
            return
        begin = max(started, since or started, until - MAX_LOG_AGE)
        if pod["spec"].get("restartPolicy") != "Always":
            lines = self._lines_of_run(pod, container, started)
        elif (source := self._source(pod)) is not None:
            lines = self._lines_of_service(pod, source, begin, until)
        else:
            lines = self._idle_lines(pod, begin, until)
        yield from (line for line in lines if begin <= line.at <= until)

    def previous(self, pod: Object) -> Iterator[LogLine]:
        """Yield the last lines of a killed container. Raises StatusError 400 if none was killed."""
        for status in status_of(pod).get("containerStatuses") or ():
            terminated = status.get("lastState", {}).get("terminated")
            if terminated:
                at = parse_time(terminated["finishedAt"])
                yield from self._idle_lines(pod, at - timedelta(minutes=2), at - timedelta(seconds=3))
                yield LogLine(at - timedelta(seconds=2), "WARN memory above 95% of the limit")
                yield LogLine(at - timedelta(seconds=1), "ERROR allocation failed, process is being killed")
                return
        container = pod["spec"]["containers"][0]["name"]
        raise bad_request(f'previous terminated container "{container}" in pod "{name_of(pod)}" not found')

    def _started(self, pod: Object) -> datetime | None:
        times = [
            parse_time(state[name]["startedAt"])
            for status in status_of(pod).get("containerStatuses") or ()
            if (state := status.get("state", {}))
            for name in ("running", "terminated")
            if name in state
        ]
        return min(times, default=None)

    def _source(self, pod: Object) -> PodSource | None:
        service = labels_of(pod).get("app", "")
        if namespace_of(pod) != NAMESPACE or service not in self._world.deployments:
            return None
        pods = self._world.pods(service)
        return next((world_pod.source for world_pod in pods if world_pod.name == name_of(pod)), None)

    def _lines_of_service(self, pod: Object, source: PodSource, begin: datetime, until: datetime) -> Iterator[LogLine]:
        """Yield requests with the latency and the errors that the pod's own metrics had in each tick."""
        counts = [series for series in source.series if "le" in series.labels or "status" in series.labels]
        times = counts[0].times
        first = max(int(times.searchsorted(int((begin - LOG_TICK).timestamp() * 1000))), 1)
        for index in range(first, len(times)):
            at = datetime.fromtimestamp(int(times[index]) / 1000, UTC)
            if at - LOG_TICK > until:
                return
            increases = [float(series.values[index] - series.values[index - 1]) for series in counts]
            latency, errors = _p95(increases[: len(BUCKETS) + 1]), increases[-2:]
            yield from self._lines_of_tick(pod, at - LOG_TICK, latency, errors, sum(increases[-len(STATUSES) :]))

    def _lines_of_tick(
        self, pod: Object, at: datetime, p95: float, errors: list[float], requests: float
    ) -> Iterator[LogLine]:
        failed = min(max(int(sum(errors)), 0), 8)
        total = LINES_PER_TICK + failed if requests > 0 else 0
        for number in range(total):
            dice = hashlib.sha256(f"{name_of(pod)}/{at.timestamp()}/{number}".encode()).digest()
            when = at + LOG_TICK * (number + dice[0] / 256) / total
            path = PATHS[dice[1] % len(PATHS)]
            took = p95 / P95_OVER_MEDIAN * (0.5 + 1.4 * dice[2] / 255)
            if number >= LINES_PER_TICK:
                code = "503" if dice[3] % 5 < 3 else "500"
                yield LogLine(when, f"ERROR GET {path} {code} {round(took * 2200)}ms upstream did not answer in time")
            elif dice[4] > 242 or took > 0.5:
                yield LogLine(when, f"WARN slow request GET {path} 200 {round(max(took, p95) * 1000)}ms")
            else:
                yield LogLine(when, f"INFO GET {path} 200 {round(took * 1000)}ms")

    def _idle_lines(self, pod: Object, begin: datetime, until: datetime) -> Iterator[LogLine]:
        """Yield a request every half minute."""
        number = int(begin.timestamp() // IDLE_LOG_SECONDS) + 1
        while (at := datetime.fromtimestamp(number * IDLE_LOG_SECONDS, UTC)) <= until:
            dice = hashlib.sha256(f"{name_of(pod)}/{number}".encode()).digest()
            yield LogLine(at, f"INFO GET {PATHS[dice[0] % len(PATHS)]} 200 {dice[1] % 60 + 4}ms")
            number += 1

    def _lines_of_run(self, pod: Object, container: str, started: datetime) -> Iterator[LogLine]:
        """Yield the log of the image's behaviour, spread over the time that it runs."""
        spec = next(spec for spec in pod["spec"]["containers"] if spec["name"] == container)
        behaviour = self._behaviours.of(spec)
        backfills = any("migrate:backfill" in word for word in spec.get("command") or ())
        texts: Sequence[str] = self._behaviours.backfill.log(pod) if backfills and not behaviour.log else behaviour.log
        texts = texts or ("INFO begin", "ERROR it went wrong" if behaviour.exit_code else "INFO done")
        for number, text in enumerate(texts):
            yield LogLine(started + timedelta(seconds=behaviour.run * number / len(texts)), text)


def _p95(increases: list[float]) -> float:
    """Return the 95th percentile in seconds of what was added to the buckets of a histogram."""
    total = increases[-1]
    if total <= 0:
        return 0.1
    return next((bound for bound, count in zip(BUCKETS, increases, strict=False) if count >= 0.95 * total), BUCKETS[-1])


# --- programs


@dataclass
class Dump:
    """What pg_dump writes: `size` bytes of an archive; with `fail_at` it breaks off there, with exit code 1."""

    size: int = 2 * 1024 * 1024
    fail_at: int | None = None

    def content(self, begin: int, length: int) -> bytes:
        """Return bytes of the archive, the same at each call: pg_dump's magic, then what looks compressed."""
        noise = hashlib.sha256(str(begin).encode()).digest() * (CHUNK // 32)
        return (b"PGDMP\x01\x10\x00" + noise if begin == 0 else noise)[:length]

    def whole(self) -> bytes:
        """Return the whole archive."""
        return b"".join(self.content(at, min(CHUNK, self.size - at)) for at in range(0, self.size, CHUNK))


@dataclass
class ProgramExit:
    """How a program ended. `missing` is a program that the container does not have."""

    code: int = 0
    missing: str = ""


class Programs:
    """Plays a few programs. `commands` have been run so far; `dump` is what the next pg_dump does.

    `secret` returns the Secret of a namespace and a name, which may be part of a container's environment.
    """

    def __init__(self, secret: Callable[[str, str], Object | None]) -> None:
        self.dump = Dump()
        self.commands: list[list[str]] = []
        self._secret = secret

    async def run(self, command: Sequence[str], pod: Object, exit: ProgramExit) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what a command writes, as (stream, bytes), and fill in `exit` at the end."""
        words = list(command)
        self.commands.append(words)
        while words and words[0] in SHELLS:
            script = [word for word in words[1:] if not word.startswith("-")]
            if not script:
                return  # a shell that nobody types into ends at once
            words = _last_command(script[0])
        program = words[0].rpartition("/")[2] if words else ""
        match program:
            case "pg_dump":
                async for chunk in self._pg_dump(pod, exit):
                    yield chunk
            case "df":
                yield STDOUT, DISKS.encode()
            case "echo":
                yield STDOUT, (" ".join(words[1:]) + "\n").encode()
            case "true":
                return
            case "false":
                exit.code = 1
            case _:
                exit.missing = words[0] if words else "sh"

    async def _pg_dump(self, pod: Object, exit: ProgramExit) -> AsyncIterator[tuple[int, bytes]]:
        if not {"DATABASE_URL", "PGHOST"} & self._environment(pod):
            yield STDERR, b"pg_dump: error: connection to server on socket failed: No such file or directory\n"
            exit.code = 1
            return
        end = self.dump.size if self.dump.fail_at is None else min(self.dump.fail_at, self.dump.size)
        for at in range(0, end, CHUNK):
            yield STDOUT, self.dump.content(at, min(CHUNK, end - at))
        if self.dump.fail_at is not None:
            yield STDERR, b"pg_dump: error: connection to server was lost\n"
            exit.code = 1

    def _environment(self, pod: Object) -> set[str]:
        """Return the names of the environment variables of a pod's first container."""
        container = pod["spec"]["containers"][0]
        names = {variable["name"] for variable in container.get("env") or ()}
        for source in container.get("envFrom") or ():
            secret = self._secret(namespace_of(pod), (source.get("secretRef") or {}).get("name", ""))
            names |= set((secret or {}).get("data") or ())
        return names


def _last_command(script: str) -> list[str]:
    """Return the first command of a script's last line that is none of the shell's own (`set`, `exec`)."""
    last = next((line for line in reversed(script.splitlines()) if line.strip()), "")
    for part in last.replace("&&", ";").split(";"):
        words = shlex.split(part, comments=True)
        while words and (words[0] == "exec" or "=" in words[0]):
            words = words[1:]
        if words and words[0] not in ("set", "cd", "export", "umask"):
            return words
    return ["true"]
