"""What is done to an object on its way into the store, for every write alike."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, copied, name_of, namespace_of, timestamp, uid_of
from sandbox.kubernetes.ownership import updated
from sandbox.kubernetes.problems import already_exists, bad_request, conflict, invalid, not_found
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.validation import check

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of generated names: no vowels, so no words
KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "name",
)


@dataclass(frozen=True)
class Options:
    """How a write is meant.

    `dry_run` has no effect; `manager` is who gets the changed fields in `managedFields`, nobody when it is "";
    `force` takes them from others in server-side apply. `applied` says that they are shared out already,
    `asked` that somebody outside has written the object, so that it must be checked.
    """

    dry_run: bool = False
    manager: str = ""
    force: bool = False
    subresource: str = ""
    applied: bool = False
    asked: bool = False


def suffix(text: str, length: int) -> str:
    """A part of a name that is made from `text`: the same text gives the same."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:length])


class Writer:
    """Creates, replaces and deletes objects as the API server would, for requests and for controllers."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self.store = store
        self.now = now

    def create(self, kind: Kind, obj: Object, options: Options = Options()) -> Object:
        """Problem 409 when it exists."""
        new = copied(obj)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise invalid(kind, "", [("metadata.name", "Required value: name or generateName is required")])
            metadata["name"] = metadata["generateName"] + suffix(str(self.store.version), 5)
        if self.store.get(kind, namespace_of(new), name_of(new)) is not None:
            raise already_exists(kind, name_of(new))
        new["apiVersion"], new["kind"] = kind.api_version, kind.name
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(self.now())
        metadata.pop("resourceVersion", None)
        metadata.pop("deletionTimestamp", None)
        if kind.spec_counts:
            metadata["generation"] = 1
        kind.default(new)
        if options.asked:
            check(kind, new)
        new = self._shared(kind, None, new, options)
        return new if options.dry_run else self.store.put(kind, new)

    def replace(self, kind: Kind, before: Object, obj: Object, options: Options = Options()) -> Object:
        """Put `obj` where `before` is. Problem 409 when `obj` was made from an older version.

        What does not change anything is not written, and gets no new version.
        """
        new = copied(obj)
        metadata, had = new.setdefault("metadata", {}), before["metadata"]
        if metadata.get("resourceVersion") not in (None, "", had["resourceVersion"]):
            raise conflict(kind, name_of(before))
        if metadata.get("uid") not in (None, "", had["uid"]):
            raise conflict(kind, name_of(before), f"Precondition failed: UID in precondition: {metadata['uid']}, "
                           f"UID in object meta: {had['uid']}")  # fmt: skip
        for field in KEPT:
            metadata.pop(field, None)
            if field in had:
                metadata[field] = had[field]
        metadata["resourceVersion"] = had["resourceVersion"]
        new["apiVersion"], new["kind"] = kind.api_version, kind.name
        kind.default(new)
        if kind.spec_counts and _wanted(new) != _wanted(before):
            metadata["generation"] = had.get("generation", 0) + 1
        if options.asked and not options.subresource:
            check(kind, new, before)
        if not options.applied and _said(new) == _said(before):
            return before
        new = self._shared(kind, before, new, options)
        if new == before:
            return before
        if options.dry_run:
            return new
        if (
            "deletionTimestamp" in metadata
            and not metadata.get("finalizers")
            and "deletionGracePeriodSeconds" not in metadata
        ):
            self.store.remove(kind, namespace_of(new), name_of(new))
            return new
        return self.store.put(kind, new)

    def _shared(self, kind: Kind, before: Object | None, after: Object, options: Options) -> Object:
        if options.applied or not options.manager:
            return after
        if before is not None:  # managedFields in the body of an update are not for the client to say
            kept = {key: value for key, value in after["metadata"].items() if key != "managedFields"}
            after = {**after, "metadata": kept}
        return updated(kind, before, after, options.manager, options.subresource, timestamp(self.now()))

    def set_status(self, kind: Kind, obj: Object, status: Object) -> Object:
        """The object with another status, when it differs."""
        if obj.get("status") == status:
            return obj
        return self.store.put(kind, {**obj, "status": status})

    def change(self, kind: Kind, obj: Object, change: Callable[[Object], None]) -> Object:
        """The object after `change`, for controllers: what is there now, whatever version they have seen."""
        before = self.store.get(kind, namespace_of(obj), name_of(obj))
        if before is None or uid_of(before) != uid_of(obj):
            raise not_found(kind, name_of(obj))
        new = copied(before)
        change(new)
        return self.replace(kind, before, new)


def _said(obj: Object) -> Object:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def _wanted(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field not in ("metadata", "status", "apiVersion", "kind")}


def check_body(kind: Kind, namespace: str, name: str, body: object) -> Object:
    """The body of a write, as an object of its kind in its place. Problem 400 when it belongs elsewhere."""
    if not isinstance(body, dict):
        raise bad_request("the body of the request is not an object")
    given = (body.get("apiVersion", kind.api_version), body.get("kind", kind.name))
    if given != (kind.api_version, kind.name):
        raise bad_request(
            f"the API version in the data ({given[0]}, Kind={given[1]}) does not match the expected API version "
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
