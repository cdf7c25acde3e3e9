"""The team's calendar: what is due, told once each.

A day's things are told from one time of day on, so that they wake nobody. Of what was due several times while the bot
was down only the newest is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Self

from bot.domain.backup import Aspect, Check
from bot.domain.rotation import Rotation

KEY_LIMIT = 90  # characters: it becomes a part of the keys of messages, runs and incidents


class DueKind(StrEnum):
    """What is due. Its words are the block of the same name of `messages/calendar.j2`."""

    SECRET = "secret"  # noqa: S105 - no secret: the rotation of one
    BACKUP = "backup"
    DRILL = "drill"
    TASK = "task"
    MAINTENANCE = "maintenance"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Due:
    """One due thing. `key` is the same whenever it is found, and another one for the next time that it is due.

    `title` is by language; `runbooks` can be started for it (of a drill: its scenarios); `facts` is plain JSON.
    """

    key: str
    kind: DueKind
    at: datetime
    title: Mapping[str, str] = field(default_factory=dict)
    runbooks: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "at": self.at.isoformat(),
            "runbooks": list(self.runbooks),
            "title": {str(language): text for language, text in self.title.items()},
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **raw,
                "kind": DueKind(raw["kind"]),
                "at": datetime.fromisoformat(raw["at"]),
                "runbooks": tuple(raw["runbooks"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Recurring:
    """A task that is due on `first` and then every so many days."""

    name: str
    title: Mapping[str, str]
    first: date
    every: timedelta
    runbook: str | None = None


@dataclass(frozen=True, slots=True)
class Exercise:
    """A drill that is held in these months; `last_held` is when one of its scenarios was last started."""

    title: Mapping[str, str]
    months: Sequence[int]
    scenarios: Sequence[str]
    last_held: datetime | None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A window of maintenance, once or `every` so often; it is told at least `notice` before."""

    name: str
    title: Mapping[str, str]
    begins: datetime
    lasts: timedelta
    notice: timedelta
    every: timedelta | None = None
    runbook: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a team has planned. Things are told at `at` in `zone`; the digest on `digest` (0 is Monday)."""

    zone: tzinfo
    at: time
    digest: int | None = None
    tasks: Sequence[Recurring] = ()
    exercises: Sequence[Exercise] = ()
    maintenance: Sequence[Maintenance] = ()
    rotations: Sequence[tuple[Rotation, str | None]] = ()  # each with the runbook that rotates it
    backups: Sequence[Check] = ()

    def moment(self, day: date) -> datetime:
        """Return when the things of a day are told."""
        return datetime.combine(day, self.at, self.zone)


def due(plan: Plan, now: datetime, since: datetime) -> list[Due]:
    """Return what is due at `now` (UTC), oldest first. What happens by the date counts only after `since`."""
    found = list(_maintenance(plan, now))
    if now.astimezone(plan.zone).time() >= plan.at:  # else it waits for the morning
        by_date = [*_digest(plan, now), *_tasks(plan, now), *_exercises(plan, now)]
        found += [thing for thing in by_date if thing.at > since]
        found += [*_rotations(plan, now), *_backups(plan, now)]
    return sorted(found, key=lambda thing: (thing.at, thing.key))


def _key(*parts: object) -> str:
    """Return the parts as a key of at most KEY_LIMIT characters; the same parts always give the same one."""
    key = "/".join(map(str, parts))
    return key if len(key) <= KEY_LIMIT else f"{key[: KEY_LIMIT - 9]}~{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _digest(plan: Plan, now: datetime) -> Iterator[Due]:
    if plan.digest is None:
        return
    today = now.astimezone(plan.zone).date()
    day = today - timedelta(days=(today.weekday() - plan.digest) % 7)
    yield Due(f"digest/{day}", DueKind.DIGEST, plan.moment(day))


def _tasks(plan: Plan, now: datetime) -> Iterator[Due]:
    today = now.astimezone(plan.zone).date()
    for task in plan.tasks:
        if today >= task.first:
            day = task.first + (today - task.first) // task.every * task.every
            runbooks = (task.runbook,) if task.runbook else ()
            yield Due(_key("task", task.name, day), DueKind.TASK, plan.moment(day), task.title, runbooks)


def _exercises(plan: Plan, now: datetime) -> Iterator[Due]:
    """Yield the exercises of this month that were not held in it yet."""
    first = now.astimezone(plan.zone).date().replace(day=1)
    for exercise in plan.exercises:
        held = exercise.last_held and exercise.last_held.astimezone(plan.zone).date() >= first
        if first.month in exercise.months and not held:
            key = _key("drill", "+".join(exercise.scenarios) or next(iter(exercise.title.values())), f"{first:%Y-%m}")
            yield Due(key, DueKind.DRILL, plan.moment(first), exercise.title, tuple(exercise.scenarios))


def upcoming(plan: Plan, now: datetime, within: timedelta) -> list[Due]:
    """Return the windows of maintenance that begin until then or go on now, the next one first."""
    windows = [(_next_window(window, now, plan.zone), window) for window in plan.maintenance]
    soon = [_window(begins, window, now) for begins, window in windows if now - window.lasts < begins <= now + within]
    return sorted(soon, key=lambda thing: str(thing.facts["begins"]))


def _next_window(window: Maintenance, now: datetime, zone: tzinfo) -> datetime:
    """Return the begin, in `zone`, of the window that goes on or comes next; of one that never comes back, its own."""
    begins = window.begins.astimezone(zone)
    if window.every and begins + window.lasts <= now:
        passed = (now - window.lasts - begins) // window.every
        begins += (passed + 1) * window.every  # of the wall clock: in summer and winter at the same hour
    return begins


def _window(begins: datetime, window: Maintenance, told_at: datetime) -> Due:
    facts = {"begins": begins.isoformat(), "ends": (begins + window.lasts).isoformat()}
    key = _key("maintenance", window.name, f"{begins:%Y-%m-%dT%H:%M}")
    runbooks = (window.runbook,) if window.runbook else ()
    return Due(key, DueKind.MAINTENANCE, told_at, window.title, runbooks, facts)


def _maintenance(plan: Plan, now: datetime) -> Iterator[Due]:
    """Yield the windows that are told from now on and not over: each at the last time of day before its notice."""
    for window in plan.maintenance:
        begins = _next_window(window, now, plan.zone)
        latest = begins - window.notice
        moment = plan.moment(latest.date())
        told_at = moment if moment <= latest else plan.moment(latest.date() - timedelta(days=1))
        if told_at <= now < begins + window.lasts:
            yield _window(begins, window, told_at)


def _rotations(plan: Plan, now: datetime) -> Iterator[Due]:
    for rotation, runbook in plan.rotations:
        if rotation.due_at and rotation.due_at <= now:
            facts = {"secret": rotation.secret, "environment": rotation.environment, "days": rotation.every.days}
            key = _key("secret", rotation.secret, rotation.environment, rotation.due_at.date())
            runbooks = (runbook,) if runbook else ()
            yield Due(key, DueKind.SECRET, rotation.due_at, runbooks=runbooks, facts=facts)


def _backups(plan: Plan, now: datetime) -> Iterator[Due]:
    """Yield what is wrong with a backup: each occasion once, and what stays wrong for good once a month."""
    for check in plan.backups:
        if check.holds is False and check.since is not None and check.since <= now:
            # A dump has had this key since before anything else was looked at.
            parts = (check.of,) if check.aspect is Aspect.DUMP else (check.of, check.aspect)
            runbooks = (check.runbook,) if check.runbook else ()
            key = _key("backup", *parts, check.mark)
            yield Due(key, DueKind.BACKUP, check.since, runbooks=runbooks, facts={"check": check.to_json()})
