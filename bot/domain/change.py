"""What changed before an incident: one list from all the sources that know of changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

SAME_CHANGE = timedelta(minutes=3)  # two sources rarely agree to the second


class ChangeKind(StrEnum):
    """What kind of change. The sentence for each kind is in `messages/why.j2`, in the block `change_<kind>`."""

    DEPLOYMENT = "deployment"  # by Helm or GitHub, which do not say what it changed in the pods
    VERSION = "version"
    CONFIGURATION = "configuration"
    LIMITS = "limits"
    OBJECT = "object"  # a ConfigMap or a Secret that its pods use; what in it changed is not looked at
    REPLICAS = "replicas"
    AUTOSCALED = "autoscaled"
    NODE = "node"
    KILLED = "killed"
    QUOTA = "quota"
    POLICY = "policy"
    CERTIFICATE = "certificate"  # it ended
    JOB = "job"
    MERGE = "merge"
    WORKFLOW = "workflow"
    RUN = "run"
    ALERT = "alert"


_OF_DEPLOYMENTS = {
    ChangeKind.DEPLOYMENT,
    ChangeKind.VERSION,
    ChangeKind.CONFIGURATION,
    ChangeKind.LIMITS,
    ChangeKind.REPLICAS,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A change: when (UTC), of what kind, of which service, node or repository, and by whom if that is known.

    `facts` are plain JSON and depend on the kind; values of settings are among them only where they cannot be a secret.
    `sources` are those that know of it: kubernetes, helm, github, bot, alertmanager.
    """

    kind: ChangeKind
    at: datetime
    about: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    link: str = ""
    sources: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "at": self.at.isoformat(),
            "about": self.about,
            "facts": dict(self.facts),
            "by": self.by,
            "link": self.link,
            "sources": list(self.sources),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Change:
        return cls(
            ChangeKind(raw["kind"]),
            datetime.fromisoformat(raw["at"]),
            raw["about"],
            raw["facts"],
            raw["by"],
            raw["link"],
            tuple(raw["sources"]),
        )


def merged_changes(changes: Iterable[Change], *, since: datetime, until: datetime) -> list[Change]:
    """Return the changes within a time, each once, oldest first.

    A change that several sources report is one if they agree on kind, subject and version within three minutes; a
    deployment is one with what it changed in the pods.
    """
    result: list[Change] = []
    for change in sorted(changes, key=lambda one: one.at):
        if not since <= change.at <= until:
            continue
        same = next((number for number, known in enumerate(result) if _is_same(known, change)), None)
        if same is None:
            result.append(change)
        else:
            result[same] = _joined(result[same], change)
    return result


def _is_same(known: Change, change: Change) -> bool:
    if known.about != change.about or change.at - known.at > SAME_CHANGE:
        return False
    if set(known.sources) & set(change.sources):
        return (known.kind, known.facts) == (change.kind, change.facts)
    if ChangeKind.DEPLOYMENT in (known.kind, change.kind):
        return {known.kind, change.kind} <= _OF_DEPLOYMENTS
    return known.kind is change.kind and change.kind in _OF_DEPLOYMENTS


def _joined(known: Change, other: Change) -> Change:
    says_what = next((one for one in (known, other) if one.kind is not ChangeKind.DEPLOYMENT), known)
    return replace(
        known,
        kind=says_what.kind,
        at=says_what.at,
        facts={**other.facts, **known.facts},
        by=known.by or other.by,
        link=known.link or other.link,
        sources=tuple(dict.fromkeys([*known.sources, *other.sources])),
    )


def _plain(version: object) -> str:
    return str(version or "").removeprefix("v")


def template_changes(service: str, templates: Sequence[Template]) -> list[Change]:
    """Return what changed from each pod template of a service to the next one; `templates` are oldest first."""
    changes = []
    for before, after in pairwise(templates):
        kind, facts = _difference(before, after)
        changes.append(Change(kind, after.at, service, facts, sources=("kubernetes",)))
    return changes


def still_applies(facts: Mapping[str, Any], about: str, changes: Sequence[Change]) -> bool:
    """Return True if a change of a version, of settings or of limits, given by its facts, was not taken back since."""
    for kind, name in ((ChangeKind.CONFIGURATION, "settings"), (ChangeKind.LIMITS, "limits")):
        if changed := facts.get(name):
            now = {
                one["name"]: one.get("to")
                for change in changes
                if change.kind is kind and change.about == about
                for one in change.facts.get(name) or ()
            }
            return any(now.get(one["name"], one.get("to")) == one.get("to") for one in changed)
    versions = [change for change in changes if change.kind is ChangeKind.VERSION and change.about == about]
    running = next((change.facts["to"] for change in reversed(versions) if change.facts.get("to")), facts.get("to"))
    return bool(running) and _plain(running) == _plain(facts.get("to"))


@dataclass(frozen=True, slots=True)
class PodTraits:
    """What the cluster says of a pod; `template` is the pod template that it was made of."""

    name: str
    node: str | None = None
    zone: str | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """What matters of a pod template: when it was rolled out, the image's tag, environment, limits and placement.

    `env` has None for values that come from elsewhere (a Secret, a ConfigMap). `id` tells its pods from others, and
    `pods_since` is when the oldest of these that are there was made.
    """

    id: str
    at: datetime
    image: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    pods_since: datetime | None = None

    @property
    def tag(self) -> str:
        return self.image.rpartition("/")[2].rpartition(":")[2]


def in_order_of_rollout(templates: Sequence[Template]) -> list[Template]:
    """Return templates, oldest revision first, each with the time of its rollout.

    One that is used again keeps the age of its first use in the cluster: then its pods say since when it runs.
    """
    result: list[Template] = []
    for template in templates:
        used_again = bool(result) and template.at < result[-1].at
        result.append(replace(template, at=template.pods_since or template.at) if used_again else template)
    return result


def _difference(before: Template, after: Template) -> tuple[ChangeKind, dict[str, Any]]:
    if before.image != after.image:
        return ChangeKind.VERSION, {"from": before.tag, "to": after.tag}
    if before.limits != after.limits:
        names = sorted(
            name for name in {**before.limits, **after.limits} if before.limits.get(name) != after.limits.get(name)
        )
        return ChangeKind.LIMITS, {
            "limits": [{"name": name, "from": before.limits.get(name), "to": after.limits.get(name)} for name in names]
        }
    names = sorted(name for name in {**before.env, **after.env} if before.env.get(name) != after.env.get(name))
    facts: dict[str, Any] = {"settings": [_setting(name, before.env.get(name), after.env.get(name)) for name in names]}
    if before.node_selector != after.node_selector:
        facts["nodes"] = ", ".join(f"{name}={value}" for name, value in sorted(after.node_selector.items()))
    return ChangeKind.CONFIGURATION, facts


def _setting(name: str, before: str | None, after: str | None) -> dict[str, Any]:
    """Return a setting's name, and its values where they are switches or numbers: others may be secrets."""
    return {"name": name, "from": _harmless(before), "to": _harmless(after)}


def _harmless(value: str | None) -> str | None:
    is_switch = value is not None and value.strip().lower() in ("true", "false", "on", "off", "yes", "no")
    is_number = value is not None and len(value) <= 6 and value.replace(".", "", 1).isdigit()
    return value.strip() if value is not None and (is_switch or is_number) else None
