"""Deployments counted from what happened, each once, whichever roads it was seen on.

A deployment may be seen in Helm's history, as a ReplicaSet, at GitHub and as a run of the bot, several times on each: a
canary, its promotion, a retry. Sightings of one service and one version that follow each other are one deployment. What
goes back to a version that was there before is no deployment, but the end of the one that it took back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.statistics import Share

SAME_MOMENT = timedelta(minutes=15)  # for sightings on two roads whose versions cannot be compared
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class Road(StrEnum):
    BOT = "bot"
    HELM = "helm"
    KUBERNETES = "kubernetes"
    GITHUB = "github"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A deployment as one road saw it. Empty `service` or `version`: unknown. `succeeded`: None while it goes on.

    `goes_back`: it restores an earlier version. `taken_back`: it was undone by itself.
    """

    road: Road
    service: str
    version: str
    at: datetime
    succeeded: bool | None = True
    goes_back: bool = False
    taken_back: bool = False

    @property
    def plain_version(self) -> str:
        """The version as it can be compared: without `v` and without the image's repository."""
        return self.version.rpartition("/")[2].rpartition(":")[2].lower().removeprefix("v")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment; `rolled_back` if it was taken back, by itself or by what came next."""

    service: str
    version: str
    at: datetime
    succeeded: bool | None
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class Deployments:
    """`count` deployments; `success` and `rolled_back` are shares of them. `unread`: roads that could not be asked.

    A deployment succeeded if it came to its end and was not rolled back. `rolled_back` is what DORA calls the change
    fail rate, seen from the response (N. Forsgren and others, *Accelerate*).
    """

    count: int
    success: Share
    rolled_back: Share
    unread: Sequence[Road] = ()


def count_deployments(
    sightings: Iterable[Sighting],
    *,
    success: float | None,
    rollback: float | None,
    since: datetime | None = None,
    unread: Sequence[Road] = (),
) -> Deployments:
    """Count the deployments since then. `success` and `rollback` are the limits in percent."""
    ended = [
        deployment
        for deployment in deployments(sightings)
        if deployment.succeeded is not None and (since is None or deployment.at >= since)
    ]
    good = sum(bool(deployment.succeeded) and not deployment.rolled_back for deployment in ended)
    back = sum(deployment.rolled_back for deployment in ended)
    return Deployments(
        len(ended),
        Share(_percent(good, len(ended)), success, higher_is_better=True),
        Share(_percent(back, len(ended)), rollback),
        tuple(unread),
    )


def deployments(sightings: Iterable[Sighting]) -> list[Deployment]:
    """Return each deployment once, by service, oldest first."""
    by_service: defaultdict[str, list[Sighting]] = defaultdict(list)
    for sighting in sorted(sightings, key=lambda seen: seen.at):
        by_service[sighting.service].append(sighting)
    return [
        deployment
        for service, seen in by_service.items()
        for deployment in (_of_service(_groups(seen)) if service else _unnamed(seen))
    ]


def _groups(sightings: Sequence[Sighting]) -> list[list[Sighting]]:
    """Group the sightings of one service, oldest first, by deployment."""
    groups: list[list[Sighting]] = []
    for sighting in sightings:
        if groups and _continues(groups[-1], sighting):
            groups[-1].append(sighting)
        else:
            groups.append([sighting])
    return groups


def _continues(group: Sequence[Sighting], sighting: Sighting) -> bool:
    if sighting.goes_back != group[0].goes_back and not _goes_back_elsewhere(group, sighting):
        return False
    if any(_same_version(seen, sighting) for seen in group):
        return True  # a promotion, a retry, a restart: that version is there already
    comparable = any(_comparable(seen, sighting) for seen in group)
    return not comparable and sighting.at - group[-1].at <= SAME_MOMENT


def _goes_back_elsewhere(group: Sequence[Sighting], sighting: Sighting) -> bool:
    """Return True if only one of two roads can tell that both go back."""
    return any(seen.road is not sighting.road and _same_version(seen, sighting) for seen in group)


def _same_version(one: Sighting, other: Sighting) -> bool:
    a, b = one.plain_version, other.plain_version
    if not a or not b:
        return False
    both_commits = _COMMIT.fullmatch(a) and _COMMIT.fullmatch(b)
    return a == b or bool(both_commits and (a.startswith(b) or b.startswith(a)))


def _comparable(one: Sighting, other: Sighting) -> bool:
    """Return True if two versions that differ mean two deployments: both known, and both commits or both numbers."""
    a, b = one.plain_version, other.plain_version
    return bool(a and b) and bool(_COMMIT.fullmatch(a)) == bool(_COMMIT.fullmatch(b))


def _of_service(groups: Sequence[Sequence[Sighting]]) -> list[Deployment]:
    result: list[Deployment] = []
    before: set[str] = set()
    for group in groups:
        versions = {seen.plain_version for seen in group} - {""}
        goes_back = any(seen.goes_back for seen in group) or bool(versions & before)
        succeeded = _outcome(group)
        if not goes_back:
            taken_back = any(seen.taken_back for seen in group)
            result.append(Deployment(group[0].service, _version(group), group[0].at, succeeded, taken_back))
        elif succeeded:
            _take_back(result, group)
        before |= versions
    return result


def _take_back(result: list[Deployment], group: Sequence[Sighting]) -> None:
    """Mark the last deployment as rolled back. One that nobody saw was there, too: it is what was taken back."""
    at = group[0].at
    if result and not result[-1].rolled_back:
        result[-1] = replace(result[-1], rolled_back=True)
    elif not result:
        result.append(Deployment(group[0].service, "", at, succeeded=True, rolled_back=True))


def _unnamed(sightings: Sequence[Sighting]) -> list[Deployment]:
    """Return sightings of an unknown service: each is one deployment."""
    return [
        Deployment("", seen.version, seen.at, seen.succeeded, seen.taken_back)
        for seen in sightings
        if not seen.goes_back
    ]


def _outcome(group: Sequence[Sighting]) -> bool | None:
    """Return the last known outcome, of the roads that know more than that something was begun."""
    outcomes = [seen.succeeded for seen in group if seen.succeeded is not None]
    reported = [seen.succeeded for seen in group if seen.succeeded is not None and seen.road is not Road.KUBERNETES]
    return (reported or outcomes)[-1] if outcomes else None


def _version(group: Sequence[Sighting]) -> str:
    return next((seen.plain_version for seen in group if seen.version), "")


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
