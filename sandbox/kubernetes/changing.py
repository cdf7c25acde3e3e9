"""Writing by request: create, replace, patch and delete, in earnest or as a dry run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sandbox.kubernetes.call import Call
from sandbox.kubernetes.deletion import delete, orphan
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.models import json_name
from sandbox.kubernetes.objects import Object, copied, name_of, timestamp
from sandbox.kubernetes.ownership import applied
from sandbox.kubernetes.patches import json_patched, merged, strategically_merged
from sandbox.kubernetes.problems import (
    applied_by_nobody,
    bad_request,
    conflict,
    internal,
    invalid_scale,
    no_such_resource,
    not_found,
    unpatchable,
    unsupported,
)
from sandbox.kubernetes.reading import get, list_of
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.main import NAMESPACE
from sandbox.kubernetes.selectors import as_text
from sandbox.kubernetes.validation import check_typed, decoded
from sandbox.kubernetes.writes import Options, Writer, check_body

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
JOB_ORPHANS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


def create(writer: Writer, call: Call) -> Object:
    kind, namespace = call.target.kind, call.target.namespace
    body = check_body(kind, namespace, "", call.body())
    if namespace and writer.store.get(NAMESPACE, "", namespace) is None:
        raise not_found(NAMESPACE, namespace)
    if body["metadata"].get("resourceVersion"):
        raise internal("resourceVersion should not be set on objects to be created")
    return writer.create(kind, decoded(kind, body, call.validation, call.warnings), call.options)


def update(writer: Writer, call: Call) -> Object:
    target = call.target
    body = check_body(target.kind, target.namespace, target.name, call.body())
    return _put(writer, call, get(writer.store, target), body)


def patch(writer: Writer, call: Call) -> Object:
    target = call.target
    before = get(writer.store, target)
    return _put(writer, call, before, check_body(target.kind, target.namespace, target.name, patched(call, before)))


def apply(writer: Writer, call: Call) -> tuple[Object, bool]:
    """Server-side apply; says whether the object is new. Problem 409 when others have other values, without force."""
    target, options = call.target, replace(call.options, applied=True)
    if not call.query.get("fieldManager"):
        raise applied_by_nobody()
    given = call.body()
    body = check_body(target.kind, target.namespace, target.name, given)
    check_typed(target.kind, given)
    wanted = decoded(target.kind, body, call.validation, call.warnings)
    if (wanted.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    before = writer.store.get(target.kind, target.namespace, target.name)
    now = timestamp(writer.now())
    after = applied(target.kind, before, wanted, options.manager, force=options.force, now=now)
    if before is None:
        return writer.create(target.kind, after, options), True
    return writer.replace(target.kind, before, after, options), False


def patched(call: Call, before: Object) -> Any:
    """`before` after the patch in the call's body. Problem 415 for a kind of patch that the resource does not take."""
    match call.content_type:
        case "application/json-patch+json":
            operations = call.body()
            if not isinstance(operations, list):
                raise bad_request("error decoding patch: a JSON patch is a list of operations")
            return json_patched(before, operations)
        case "application/merge-patch+json":
            return merged(before, _document(call))
        case "application/strategic-merge-patch+json" if not call.target.kind.custom:
            return strategically_merged(before, _document(call))
        case _:
            custom = call.target.kind.custom
            raise unsupported([JSON_PATCH, MERGE_PATCH, *([] if custom else [STRATEGIC_PATCH]), APPLY])


def _document(call: Call) -> Object:
    body = call.body()
    if not isinstance(body, dict):
        raise bad_request("error decoding patch: the patch is not an object")
    return body


def _put(writer: Writer, call: Call, before: Object, after: Object) -> Object:
    """Keep `after`: as a whole without its status, or (for the subresource) the status only."""
    kind = call.target.kind
    if "status" in kind.subresources:
        wanted, state = (before, after) if call.target.subresource == "status" else (after, before)
        after = {**wanted, "metadata": after["metadata"]}
        after.pop("status", None)
        if "status" in state:
            after["status"] = state["status"]
    after = decoded(kind, after, call.validation, call.warnings, by_patch=call.method == "PATCH")
    return writer.replace(kind, before, after, call.options)


def remove(writer: Writer, kinds: tuple[Kind, ...], call: Call) -> tuple[Kind, Object, bool]:
    """The deleted object, and whether it is gone already."""
    kind = call.target.kind
    found = get(writer.store, call.target)
    body = call.body() if call.raw else {}
    _check_preconditions(kind, found, body.get("preconditions") or {})
    options = call.options if not body.get("dryRun") else Options(dry_run=True)
    if options.dry_run:
        return kind, found, True
    policy = body.get("propagationPolicy") or call.query.get("propagationPolicy")
    if kind is JOB and policy is None and "orphanDependents" not in body:
        call.warnings.append(JOB_ORPHANS)
        policy = "Orphan"
    if policy == "Orphan" or body.get("orphanDependents"):
        orphan(writer, kinds, found)
    grace = body.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    left = delete(writer, kind, found, None if grace is None else int(grace))
    return kind, left, writer.store.get(kind, call.target.namespace, name_of(found)) is None


def remove_all(writer: Writer, call: Call) -> list[Object]:
    """The deleted objects of a whole collection, those that the selectors choose."""
    found, _ = list_of(writer.store, call)
    if not call.options.dry_run:
        for obj in found:
            delete(writer, call.target.kind, obj)
    return found


def _check_preconditions(kind: Kind, obj: Object, wanted: Object) -> None:
    for field, told in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        has = obj["metadata"][field]
        if wanted.get(field) not in (None, has):
            why = (
                f"the {told} in the precondition ({wanted[field]}) does not match the {told} in record ({has}). "
                "The object might have been deleted and then recreated"
            )
            raise conflict(kind, name_of(obj), why)


def scale(writer: Writer, call: Call) -> Object:
    """The `scale` subresource: how many replicas are wanted, read and changed without the rest of the object."""
    obj = get(writer.store, call.target)
    shown = _scale_of(obj)
    if call.method == "GET":
        return shown
    if call.method not in ("PUT", "PATCH"):
        raise no_such_resource()
    if call.method == "PUT":
        wanted = call.body()
    elif call.content_type == STRATEGIC_PATCH:
        wanted = merged(shown, _document(call))
    else:
        wanted = patched(call, shown)
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        found = json_name(replicas)
        why = f"json: cannot unmarshal {found} into Go struct field ScaleSpec.spec.replicas of type int32"
        raise unpatchable(wanted, why)
    if replicas < 0:
        raise invalid_scale(name_of(obj), replicas)
    version = (wanted.get("metadata") or {}).get("resourceVersion")
    if version not in (None, "", obj["metadata"]["resourceVersion"]):
        raise conflict(call.target.kind, name_of(obj))
    after = copied(obj)
    after["spec"]["replicas"] = replicas
    return _scale_of(writer.replace(call.target.kind, obj, after, call.options))


def _scale_of(obj: Object) -> Object:
    metadata = {
        field: obj["metadata"][field]
        for field in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if field in obj["metadata"]
    }
    status = {
        "replicas": (obj.get("status") or {}).get("replicas", 0),
        "selector": as_text(obj["spec"].get("selector")),
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": status,
    }
