"""What a team asks of its backups, compared with what RDS and S3 say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from bot.domain.times import DailyWindow

# RDS saves the transaction log every five minutes. A restorable time that is late by no more than this catches up.
# Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIT.html
LOG_LATE = timedelta(minutes=15)
COMPLETE_WITHIN = timedelta(hours=1)  # of the end of its window: a daily backup that began in it may still go on
PRUNE_WITHIN = timedelta(days=2)  # beyond the retention of dumps, which somebody has to approve the deletion of
SHRUNK = 0.5  # of the size of the dump before: what is smaller is hardly the same database


class Aspect(StrEnum):
    """What is looked at. Its words are the block of the same name of `messages/backups.j2`."""

    DATABASE = "database"
    RETENTION = "retention"
    WINDOW = "window"
    MAINTENANCE = "maintenance"
    MULTI_AZ = "multi_az"
    RECOVERY_POINT = "recovery_point"
    DAILY = "daily"
    DUMP = "dump"
    KEPT = "kept"
    PROOF = "proof"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a backup should be, and what it is; `of` names the database or the place of dumps.

    `holds` is None while it is not known. `facts` is plain JSON: times in ISO 8601, durations in seconds; `problem`
    says what is wrong. `since` is when that is worth telling, and `mark` tells one occasion from the next.
    """

    of: str
    aspect: Aspect
    holds: bool | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    mark: str = ""
    runbook: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"since": self.since.isoformat() if self.since else None}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        since = raw.get("since")
        return cls(
            **{**raw, "aspect": Aspect(raw["aspect"]), "since": datetime.fromisoformat(since) if since else None}
        )


@dataclass(frozen=True, slots=True)
class WantedBackups:
    """What is asked of a database; what is None is not asked. `window` and `maintenance` are RDS's words, in UTC.

    `proof` and `backup` are the runbooks that prove a restore and that make a backup.
    """

    retention: timedelta | None = None
    window: str | None = None
    maintenance: str | None = None
    multi_az: bool = False
    rpo: timedelta | None = None
    rto: timedelta | None = None
    proven_every: timedelta | None = None
    proof: str | None = None
    backup: str | None = None


@dataclass(frozen=True, slots=True)
class FoundBackups:
    """What RDS says of a database; `daily_at` is when its newest automated backup was made."""

    retention: timedelta
    window: str
    maintenance: str
    multi_az: bool
    restorable_until: datetime | None
    daily_at: datetime | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The newest restore of a database whose integrity was checked: when, and how long it took.

    `failed_at` is a later attempt that failed, at the step `failed_step`; both None without one.
    """

    at: datetime | None = None
    took: timedelta | None = None
    failed_at: datetime | None = None
    failed_step: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDump:
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class WantedDumps:
    """What is asked of the dumps in one place: the newest is no older than `fresh`, none older than `retention`."""

    fresh: timedelta
    retention: timedelta | None = None
    backup: str | None = None


def check_database(name: str, wanted: WantedBackups, found: FoundBackups | None, now: datetime) -> list[Check]:
    """Return one check for each thing that is asked of a database; `found` is None where RDS has no such database."""
    month = f"{now:%Y-%m}"

    def check(aspect: Aspect, problem: str | None, mark: object = "", **facts: Any) -> Check:
        since, told = (now, f"{mark}/{month}".lstrip("/")) if problem else (None, "")
        return Check(name, aspect, problem is None, {"problem": problem, **facts}, since, told)

    if found is None:
        return [check(Aspect.DATABASE, "missing")]
    checks = []
    if wanted.retention is not None:
        problem = None if found.retention == wanted.retention else "differs" if found.retention else "none"
        days = {"found": found.retention.days, "wanted": wanted.retention.days}
        checks.append(check(Aspect.RETENTION, problem, found.retention.days, **days))
    for aspect, asked, is_ in (
        (Aspect.WINDOW, wanted.window, found.window),
        (Aspect.MAINTENANCE, wanted.maintenance, found.maintenance),
    ):
        if asked is not None:
            checks.append(check(aspect, None if is_ == asked else "differs", is_, found=is_, wanted=asked))
    if wanted.multi_az:
        checks.append(check(Aspect.MULTI_AZ, None if found.multi_az else "none"))
    if wanted.rpo is not None:
        checks.append(_recovery_point(name, wanted.rpo, found.restorable_until, now))
    if wanted.window is not None:
        checks.append(_daily(name, wanted, DailyWindow.parse(wanted.window), found.daily_at, now))
    return checks


def _recovery_point(name: str, rpo: timedelta, until: datetime | None, now: datetime) -> Check:
    if until is None:
        return Check(
            name,
            Aspect.RECOVERY_POINT,
            False,
            {"problem": "none", "rpo": rpo.total_seconds()},
            now,
            f"none/{now:%Y-%m}",
        )
    age = max(now - until, timedelta())
    problem = "late" if age >= rpo else None
    facts = {"problem": problem, "until": until.isoformat(), "age": age.total_seconds(), "rpo": rpo.total_seconds()}
    since = until + rpo + LOG_LATE if problem else None
    return Check(name, Aspect.RECOVERY_POINT, problem is None, facts, since, until.isoformat())


def _daily(name: str, wanted: WantedBackups, window: DailyWindow, at: datetime | None, now: datetime) -> Check:
    """Check that the newest automated backup is of the last window, and began in it."""
    opens, closes = window.last(now - COMPLETE_WITHIN)
    problem = None
    if at is None or at < opens:
        problem = "missing"
    elif not window.contains(at):
        problem = "outside"
    facts = {"problem": problem, "at": at.isoformat() if at else None, "window": wanted.window}
    since = closes + COMPLETE_WITHIN if problem == "missing" else at if problem else None
    return Check(name, Aspect.DAILY, problem is None, facts, since, f"{opens:%Y-%m-%d}", wanted.backup)


def check_dumps(name: str, wanted: WantedDumps, dumps: Sequence[StoredDump], now: datetime) -> list[Check]:
    """Return the checks of the dumps in one place, `dumps` being the newest first."""
    if not dumps:
        facts = {"problem": "none", "fresh": wanted.fresh.total_seconds()}
        return [Check(name, Aspect.DUMP, False, facts, now, "none", wanted.backup)]
    newest, before = dumps[0], dumps[1].size if len(dumps) > 1 else None
    problem, since = None, None
    if now - newest.at >= wanted.fresh:
        problem, since = "old", newest.at + wanted.fresh
    elif not newest.size:
        problem, since = "empty", newest.at
    elif before and newest.size < SHRUNK * before:
        problem, since = "shrunk", newest.at
    facts = {"problem": problem, "at": newest.at.isoformat(), "size": newest.size, "before": before}
    facts["fresh"] = wanted.fresh.total_seconds()
    mark = newest.at.isoformat()
    checks = [Check(name, Aspect.DUMP, problem is None, facts, since, mark, wanted.backup)]
    if wanted.retention is not None:
        oldest = dumps[-1].at
        late = now - oldest > wanted.retention + PRUNE_WITHIN
        facts = {"problem": "old" if late else None, "count": len(dumps), "oldest": oldest.isoformat()}
        facts["wanted"] = wanted.retention.days
        since = oldest + wanted.retention + PRUNE_WITHIN if late else None
        checks.append(Check(name, Aspect.KEPT, not late, facts, since, f"{now:%Y-%m}", wanted.backup))
    return checks


def check_proof(name: str, wanted: WantedBackups, proof: Proof, now: datetime) -> Check | None:
    """Return whether a restore of the database was proven lately, in time; None where nobody asks for it.

    It is due again `proven_every` after the last one; one that was never held, from the first day of each month.
    """
    if wanted.proven_every is None:
        return None
    slow = proof.took is not None and wanted.rto is not None and proof.took >= wanted.rto
    problem, since, mark = None, None, ""
    if proof.failed_at is not None:
        problem, since, mark = "failed", proof.failed_at, proof.failed_at.isoformat()
    elif proof.at is None:
        first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        problem, since, mark = "never", first, f"{first:%Y-%m}"
    elif now - proof.at >= wanted.proven_every:
        since = proof.at + (now - proof.at) // wanted.proven_every * wanted.proven_every
        problem, mark = "due", f"{since:%Y-%m-%d}"
    elif slow:
        problem, since, mark = "slow", proof.at, proof.at.isoformat()
    facts = {
        "problem": problem,
        "at": proof.at.isoformat() if proof.at else None,
        "took": proof.took.total_seconds() if proof.took else None,
        "rto": wanted.rto.total_seconds() if wanted.rto else None,
        "failed_at": proof.failed_at.isoformat() if proof.failed_at else None,
        "failed_step": proof.failed_step,
    }
    return Check(name, Aspect.PROOF, problem is None, facts, since, mark, wanted.proof)
