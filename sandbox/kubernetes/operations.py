"""What each verb does with the objects: reading and watching; writing, in earnest or as a dry run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

from sandbox.kubernetes import managed_fields
from sandbox.kubernetes.call import Call, Target
from sandbox.kubernetes.errors import (
    StatusError,
    bad_request,
    conflict,
    internal_error,
    invalid_object,
    invalid_patch_result,
    not_found,
    resource_not_found,
    unsupported_media_type,
)
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, deep_copy, name_of, timestamp
from sandbox.kubernetes.patches import json_merge_patch, json_patch, strategic_merge
from sandbox.kubernetes.resources.basic import NAMESPACE
from sandbox.kubernetes.schemas import check_applied, decode, json_type
from sandbox.kubernetes.shapes import bookmark, scale_of
from sandbox.kubernetes.state import Change, Store, WriteOptions, Writer

BOOKMARK_SECONDS = 10.0  # real ones
MAX_WATCH_SECONDS = 1800.0
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


# --- reading


def get(store: Store, target: Target) -> Object:
    """Return an object. Raises StatusError 404 if there is none."""
    obj = store.get(target.kind, target.namespace, target.name)
    if obj is None:
        raise not_found(target.kind, target.name)
    return obj


def list_objects(store: Store, call: Call) -> tuple[list[Object], Object]:
    """Return the objects that the call selects, and the list's metadata; `limit` and `continue` cut it into pages."""
    is_selected = call.selector()
    selected = [obj for obj in store.all(call.target.kind, call.target.namespace) if is_selected(obj)]
    metadata: Object = {"resourceVersion": str(store.version)}
    begin, limit = call.integer("continue"), call.integer("limit")
    page = selected[begin : begin + limit] if limit else selected[begin:]
    if begin + len(page) < len(selected):
        metadata["continue"] = str(begin + len(page))
        metadata["remainingItemCount"] = len(selected) - begin - len(page)
    return page, metadata


async def watch(store: Store, call: Call, show: Callable[[Object], Object]) -> AsyncIterator[bytes]:
    """Yield the events of a watch, one JSON document a line, until `timeoutSeconds` are over; first an empty line.

    `show` turns an object into what the call wants of it. Raises StatusError 410 if the watch starts too far back.
    """
    kind, is_selected = call.target.kind, call.selector()
    version = call.integer("resourceVersion")
    wants_initial_events = call.query.get("sendInitialEvents") == "true"
    sends_initial_events = wants_initial_events or (not version and "sendInitialEvents" not in call.query)
    wants_bookmarks = call.query.get("allowWatchBookmarks") in ("1", "true")
    if not sends_initial_events:
        store.changes_since(kind, version)
    watcher = store.watch(kind)
    loop = asyncio.get_running_loop()
    end = loop.time() + float(call.query.get("timeoutSeconds") or MAX_WATCH_SECONDS)
    try:
        yield b""
        if sends_initial_events:
            version = store.version
            for obj in store.all(kind, call.target.namespace):
                if is_selected(obj):
                    yield _event("ADDED", show(obj))
            if wants_bookmarks and wants_initial_events:
                yield _event("BOOKMARK", bookmark(kind, version, {"k8s.io/initial-events-end": "true"}))
        while (left := end - loop.time()) > 0:
            try:
                changes = store.changes_since(kind, version)
            except StatusError as error:
                yield _event("ERROR", error.status())
                return
            for change in changes:
                version = change.version
                if event := _event_type(change, is_selected):
                    yield _event(event, show(change.object))
            try:
                async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                    await watcher.wait()
            except TimeoutError:
                version = max(version, store.version) if not store.changes_since(kind, version) else version
                if wants_bookmarks:
                    yield _event("BOOKMARK", bookmark(kind, version))
    finally:
        watcher.close()


def _event_type(change: Change, is_selected: Callable[[Object], bool]) -> str | None:
    """Return the type of a change as a watch with selectors sees it: what is selected no more is deleted."""
    was_selected = change.before is not None and is_selected(change.before)
    if change.type != "DELETED" and is_selected(change.object):
        return "MODIFIED" if was_selected else "ADDED"
    return "DELETED" if was_selected else None


def _event(type: str, obj: Object) -> bytes:
    return json.dumps({"type": type, "object": obj}, separators=(",", ":")).encode() + b"\n"


# --- writing


def create(writer: Writer, call: Call) -> Object:
    kind, namespace = call.target.kind, call.target.namespace
    body = _placed(call.target, call.body())
    if namespace and writer.store.get(NAMESPACE, "", namespace) is None:
        raise not_found(NAMESPACE, namespace)
    if body["metadata"].get("resourceVersion"):
        raise internal_error("resourceVersion should not be set on objects to be created")
    return writer.create(kind, decode(kind, body, call.field_validation, call.warnings), call.options)


def update(writer: Writer, call: Call) -> Object:
    body = _placed(call.target, call.body())
    return _replace(writer, call, get(writer.store, call.target), body)


def patch(writer: Writer, call: Call) -> Object:
    before = get(writer.store, call.target)
    return _replace(writer, call, before, _placed(call.target, _patched(call, before)))


def apply(writer: Writer, call: Call) -> tuple[Object, bool]:
    """Apply an object on the server's side; return it, and whether it is new.

    Raises StatusError 409 when other managers own fields with other values, unless the call forces it.
    """
    target, options = call.target, replace(call.options, is_applied=True)
    if not call.query.get("fieldManager"):
        causes = [("fieldManager", "Required value: is required for apply patch")]
        raise invalid_object("PatchOptions", "meta.k8s.io", "", causes)
    body = call.body()
    placed = _placed(target, body)
    check_applied(target.kind, body)
    wanted = decode(target.kind, placed, call.field_validation, call.warnings)
    if (wanted.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    before = writer.store.get(target.kind, target.namespace, target.name)
    now = timestamp(writer.now())
    after = managed_fields.apply(target.kind, before, wanted, options.field_manager, force=options.force, now=now)
    if before is None:
        return writer.create(target.kind, after, options), True
    return writer.replace(target.kind, before, after, options), False


def delete(writer: Writer, kinds: Iterable[Kind], call: Call) -> tuple[Object, bool]:
    """Delete an object; return its last state, and whether it is gone already."""
    kind = call.target.kind
    obj = get(writer.store, call.target)
    body = call.body() if call.raw else {}
    _check_preconditions(kind, obj, body.get("preconditions") or {})
    options = call.options if not body.get("dryRun") else WriteOptions(dry_run=True)
    if options.dry_run:
        return obj, True
    policy = body.get("propagationPolicy") or call.query.get("propagationPolicy")
    if kind.orphans_dependents and policy is None and "orphanDependents" not in body:
        call.warnings.append(ORPHAN_WARNING)
        policy = "Orphan"
    if policy == "Orphan" or body.get("orphanDependents"):
        writer.orphan(kinds, obj)
    grace_period = body.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    last = writer.delete(kind, obj, None if grace_period is None else int(grace_period))
    return last, writer.store.get(kind, call.target.namespace, name_of(obj)) is None


def delete_collection(writer: Writer, call: Call) -> list[Object]:
    """Delete the objects that the call selects, and return them."""
    selected, _ = list_objects(writer.store, call)
    if not call.options.dry_run:
        for obj in selected:
            writer.delete(call.target.kind, obj)
    return selected


def scale(writer: Writer, call: Call) -> Object:
    """Read or change the `scale` subresource: the replicas without the rest of the object."""
    obj = get(writer.store, call.target)
    before = scale_of(obj)
    if call.method == "GET":
        return before
    if call.method not in ("PUT", "PATCH"):
        raise resource_not_found()
    if call.method == "PUT":
        wanted = call.body()
    elif call.content_type == STRATEGIC_PATCH:
        wanted = json_merge_patch(before, _patch_document(call))
    else:
        wanted = _patched(call, before)
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        struct_field = "Go struct field ScaleSpec.spec.replicas of type int32"
        raise invalid_patch_result(wanted, f"json: cannot unmarshal {json_type(replicas)} into {struct_field}")
    if replicas < 0:
        causes = [("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")]
        raise invalid_object("Scale", "autoscaling", name_of(obj), causes)
    version = (wanted.get("metadata") or {}).get("resourceVersion")
    if version not in (None, "", obj["metadata"]["resourceVersion"]):
        raise conflict(call.target.kind, name_of(obj))
    after = deep_copy(obj)
    after["spec"]["replicas"] = replicas
    return scale_of(writer.replace(call.target.kind, obj, after, call.options))


def _placed(target: Target, body: object) -> Object:
    """Return the body of a write as an object at its target. Raises StatusError 400 if it belongs elsewhere."""
    kind, namespace, name = target.kind, target.namespace, target.name
    if not isinstance(body, dict):
        raise bad_request("the body of the request is not an object")
    api_version, kind_name = body.get("apiVersion", kind.api_version), body.get("kind", kind.name)
    if (api_version, kind_name) != (kind.api_version, kind.name):
        raise bad_request(
            f"the API version in the data ({api_version}, Kind={kind_name}) does not match the expected API version "
            f"({kind.api_version}, Kind={kind.name})"
        )
    metadata = body.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not an object")
    if name and metadata.get("name") not in (None, "", name):
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if kind.namespaced and metadata.get("namespace") not in (None, "", namespace):
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request "
            f"({metadata['namespace']} != {namespace})"
        )
    placed = {**metadata, **({"name": name} if name else {}), **({"namespace": namespace} if kind.namespaced else {})}
    if not kind.namespaced:
        placed.pop("namespace", None)
    return {**body, "metadata": placed}


def _replace(writer: Writer, call: Call, before: Object, after: Object) -> Object:
    """Replace an object without its status, or (for the subresource `status`) its status only."""
    kind = call.target.kind
    if "status" in kind.subresources:
        is_status = call.target.subresource == "status"
        body, status = (before, after) if is_status else (after, before)
        after = {**body, "metadata": after["metadata"]}
        after.pop("status", None)
        if "status" in status:
            after["status"] = status["status"]
    after = decode(kind, after, call.field_validation, call.warnings, from_patch=call.method == "PATCH")
    return writer.replace(kind, before, after, call.options)


def _patched(call: Call, before: Object) -> Any:
    """Return `before` after the patch in the body. Raises StatusError 415 for a patch that the kind does not take."""
    accepts_strategic = not call.target.kind.custom
    if call.content_type == JSON_PATCH:
        operations = call.body()
        if not isinstance(operations, list):
            raise bad_request("error decoding patch: a JSON patch is a list of operations")
        return json_patch(before, operations)
    if call.content_type == MERGE_PATCH:
        return json_merge_patch(before, _patch_document(call))
    if call.content_type == STRATEGIC_PATCH and accepts_strategic:
        return strategic_merge(before, _patch_document(call))
    strategic = [STRATEGIC_PATCH] if accepts_strategic else []
    raise unsupported_media_type([JSON_PATCH, MERGE_PATCH, *strategic, APPLY_PATCH])


def _patch_document(call: Call) -> Object:
    body = call.body()
    if not isinstance(body, dict):
        raise bad_request("error decoding patch: the patch is not an object")
    return body


def _check_preconditions(kind: Kind, obj: Object, preconditions: Object) -> None:
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        actual = obj["metadata"][field]
        if preconditions.get(field) not in (None, actual):
            why = (
                f"the {label} in the precondition ({preconditions[field]}) does not match the {label} in record "
                f"({actual}). The object might have been deleted and then recreated"
            )
            raise conflict(kind, name_of(obj), why)
