"""Whether an object is one that the API server would take, and what it says when not."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from sandbox.kubernetes import models
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, at_path, labels_of, name_of
from sandbox.kubernetes.pod_rules import broken
from sandbox.kubernetes.problems import internal, invalid, undecodable, unpatchable
from sandbox.kubernetes.resources.apps import DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET
from sandbox.kubernetes.resources.batch import CRON_JOB, JOB
from sandbox.kubernetes.resources.main import CONFIG_MAP, SECRET
from sandbox.kubernetes.resources.others import DISRUPTION_BUDGET
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.schedule import Schedule
from sandbox.kubernetes.selectors import selects

TYPED = {"int32": "numeric (int or float)", "bool": "boolean"}
STRICT, WARN = "Strict", "Warn"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
SELECTING = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET)
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
KEY = re.compile(r"[-._a-zA-Z0-9]+")
KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def decoded(kind: Kind, obj: Object, mode: str, warnings: list[str], *, by_patch: bool = False) -> Object:
    """The object as the server keeps it, without the fields that its kind does not have; these are in `warnings`.

    Problem 400 for a value of a wrong type, and for an unknown field when `mode` is Strict; 422 when it is a patch that
    has made the object so.
    """
    wrong, _, unknown = models.check(kind, obj)
    why = [
        f"json: cannot unmarshal {found} into Go struct field {path} of type {wanted}" for path, found, wanted in wrong
    ]
    if kind is SECRET and not _is_base64(obj.get("data")):
        why.append("illegal base64 data at input byte 0")
    told = [f'unknown field "{path}"' for path in unknown]
    if told and mode == STRICT:
        why.append(f"strict decoding error: {', '.join(told)}")
    if why:
        raise unpatchable(obj, why[0]) if by_patch else undecodable(kind, why[0])
    if mode == WARN:
        warnings += told
    if not models.is_known(kind):
        return obj
    known: Object = models.pruned(obj, models.model_name(kind))
    return known


def check_typed(kind: Kind, obj: Object) -> None:
    """Problem 500 for what is applied and is not of its kind's schema: server-side apply has no other word for it."""
    wrong, _, unknown = models.check(kind, obj)
    why = [f".{path.partition('.')[2]}: expected {TYPED.get(go, go)}, got {found}" for path, found, go in wrong]
    why += [f".{path}: field not declared in schema" for path in unknown]
    if why:
        name, namespace = (obj["metadata"].get(key, "") for key in ("name", "namespace"))
        place = f"{namespace}/{name}; {kind.api_version}, Kind={kind.name}"
        raise internal(f"failed to create typed patch object ({place}): {why[0]}")


def check(kind: Kind, obj: Object, before: Object | None = None) -> None:
    """Problem 422 for an object, defaults filled in, that breaks a rule of its kind."""
    rules = (_required(kind, obj), _names(obj), _data(kind, obj), _workload(kind, obj), _work(kind, obj),
             _kept(kind, obj, before))  # fmt: skip
    causes = list(dict.fromkeys(cause for rule in rules for cause in rule))
    if causes:
        raise invalid(kind, str(obj["metadata"].get("name", "")), causes)


def _is_base64(data: Any) -> bool:
    try:
        return all(base64.b64decode(value, validate=True) is not None for value in (data or {}).values())
    except ValueError:
        return False


def _required(kind: Kind, obj: Object) -> Iterator[tuple[str, str]]:
    for path in models.check(kind, obj)[1]:
        yield path, "Required value"


def _names(obj: Object) -> Iterator[tuple[str, str]]:
    name = name_of(obj)
    if not NAME.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f'Invalid value: "{name}": {NAME_RULE}'
    for value in labels_of(obj).values():
        if len(value) > 63:
            yield "metadata.labels", f'Invalid value: "{value}": must be no more than 63 bytes'
        elif not LABEL.fullmatch(value):
            yield "metadata.labels", f'Invalid value: "{value}": {LABEL_RULE}'


def _data(kind: Kind, obj: Object) -> Iterator[tuple[str, str]]:
    if kind in (CONFIG_MAP, SECRET):
        for key in obj.get("data") or ():
            if not KEY.fullmatch(key):
                yield f"data[{key}]", f'Invalid value: "{key}": {KEY_RULE}'


def _workload(kind: Kind, obj: Object) -> Iterator[tuple[str, str]]:
    spec: Any = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if kind is POD:
        yield from broken(spec, "spec")
    if kind is DISRUPTION_BUDGET and {"minAvailable", "maxUnavailable"} <= spec.keys():
        yield "spec", f"Invalid value: {json.dumps(spec)}: minAvailable and maxUnavailable cannot be both set"
    replicas = spec.get("replicas", 0)
    if isinstance(replicas, int) and replicas < 0:
        yield "spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0"
    template = spec.get("template")
    if not isinstance(template, dict):
        return
    if kind in SELECTING and spec.get("selector"):
        labels = template["metadata"].get("labels") or {}
        if not selects(spec["selector"], labels):
            yield (
                "spec.template.metadata.labels",
                f"Invalid value: {json.dumps(labels)}: `selector` does not match template `labels`",
            )
    yield from broken(template["spec"], "spec.template.spec")
    policy = template["spec"].get("restartPolicy")
    if kind in SELECTING and policy != "Always":
        yield "spec.template.spec.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"'


def _work(kind: Kind, obj: Object) -> Iterator[tuple[str, str]]:
    """What ends by itself must not be restarted; and when it begins."""
    if kind not in (JOB, CRON_JOB):
        return
    path = "spec.template" if kind is JOB else "spec.jobTemplate.spec.template"
    template: Any = at_path(obj, path.split("."))
    if template["spec"].get("restartPolicy") not in ("OnFailure", "Never"):
        yield f"{path}.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'
    if kind is CRON_JOB:
        yield from broken(template["spec"], f"{path}.spec")
        try:
            Schedule(obj["spec"].get("schedule", ""))
        except ValueError as wrong:
            yield "spec.schedule", f'Invalid value: "{obj["spec"]["schedule"]}": {wrong}'


def _kept(kind: Kind, obj: Object, before: Object | None) -> Iterator[tuple[str, str]]:
    """What may not be changed any more."""
    if before is None:
        return
    fixed = [["spec", "selector"]] if kind in SELECTING else []
    if kind.name == "Job":
        fixed = [["spec", "selector"], ["spec", "template"]]
    for path in fixed:
        if at_path(obj, path) != at_path(before, path):
            yield ".".join(path), "Invalid value: field is immutable"
    if before.get("immutable") and (obj.get("data"), obj.get("immutable")) != (before.get("data"), True):
        yield "data", "Forbidden: field is immutable when `immutable` is set"
