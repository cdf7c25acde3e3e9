"""Reading: one object, many of them, and what changes of them from then on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from sandbox.kubernetes.call import Call, Target
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, labels_of
from sandbox.kubernetes.problems import Problem, bad_request, not_found
from sandbox.kubernetes.selectors import field_selector, label_selector
from sandbox.kubernetes.store import Change, Store

BOOKMARK_EVERY = 10.0  # real seconds
LONGEST_WATCH = 1800.0  # s

Shown = Callable[[Object], Object]


def get(store: Store, target: Target) -> Object:
    """Problem 404 when there is none."""
    found = store.get(target.kind, target.namespace, target.name)
    if found is None:
        raise not_found(target.kind, target.name)
    return found


def fits(call: Call) -> Callable[[Object], bool]:
    """Whether an object is one that the call's namespace and selectors ask for."""
    by_label = label_selector(call.query.get("labelSelector") or "")
    by_field = field_selector(call.query.get("fieldSelector") or "", call.target.kind.fields)
    namespace, name = call.target.namespace, call.target.name

    def fitting(obj: Object) -> bool:
        metadata = obj["metadata"]
        if namespace and metadata.get("namespace") != namespace:
            return False
        return (not name or metadata["name"] == name) and by_label(labels_of(obj)) and by_field(obj)

    return fitting


def list_of(store: Store, call: Call) -> tuple[list[Object], Object]:
    """The objects that the call asks for, and the list's metadata; `limit` and `continue` cut it into pages."""
    wanted = fits(call)
    fitting = [obj for obj in store.all(call.target.kind, call.target.namespace) if wanted(obj)]
    metadata: Object = {"resourceVersion": str(store.version)}
    begin = _number(call, "continue")
    limit = _number(call, "limit")
    page = fitting[begin : begin + limit] if limit else fitting[begin:]
    if begin + len(page) < len(fitting):
        metadata["continue"] = str(begin + len(page))
        metadata["remainingItemCount"] = len(fitting) - begin - len(page)
    return page, metadata


async def watch(store: Store, call: Call, shown: Shown) -> AsyncIterator[bytes]:
    """What changes, one JSON document a line, until `timeoutSeconds` are over. Problem 410 when it begins too late."""
    kind, fitting = call.target.kind, fits(call)
    version = _number(call, "resourceVersion")
    initial = call.query.get("sendInitialEvents") == "true" or (not version and "sendInitialEvents" not in call.query)
    bookmarks = call.query.get("allowWatchBookmarks") in ("1", "true")
    if not initial:
        store.since(kind, version)
    watching = store.watch(kind)
    loop = asyncio.get_running_loop()
    end = loop.time() + float(call.query.get("timeoutSeconds") or LONGEST_WATCH)
    try:
        yield b""
        if initial:
            version = store.version
            for obj in store.all(kind, call.target.namespace):
                if fitting(obj):
                    yield _line("ADDED", shown(obj))
            if bookmarks and call.query.get("sendInitialEvents") == "true":
                yield _line("BOOKMARK", _bookmark(kind, version, {"k8s.io/initial-events-end": "true"}))
        while (left := end - loop.time()) > 0:
            try:
                changes = store.since(kind, version)
            except Problem as gone:
                yield _line("ERROR", gone.status())
                return
            for change in changes:
                version = change.version
                if line := _told(change, fitting, shown):
                    yield line
            try:
                async with asyncio.timeout(min(left, BOOKMARK_EVERY)):
                    await watching.wait()
            except TimeoutError:
                version = max(version, store.version) if not store.since(kind, version) else version
                if bookmarks:
                    yield _line("BOOKMARK", _bookmark(kind, version))
    finally:
        watching.close()


def _told(change: Change, fitting: Callable[[Object], bool], shown: Shown) -> bytes | None:
    """The line of a change for one who sees only what fits: what stops to fit is deleted for him."""
    before = change.before is not None and fitting(change.before)
    now = change.type != "DELETED" and fitting(change.object)
    if now:
        return _line("MODIFIED" if before else "ADDED", shown(change.object))
    return _line("DELETED", shown(change.object)) if before else None


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def _bookmark(kind: Kind, version: int, annotations: Object | None = None) -> Object:
    metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}


def _number(call: Call, name: str) -> int:
    text = call.query.get(name) or "0"
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": {name} must be a number')
    return int(text)
