"""How objects go: pods after their grace period, others at once, what they own with them."""

from __future__ import annotations

from datetime import timedelta

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, copied, is_terminating, name_of, namespace_of, timestamp, uid_of
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.writes import Writer


def terminate(writer: Writer, pod: Object, grace: int | None = None) -> Object:
    """Mark a pod as ending; the kubelet removes it. One without a node, or without grace, goes at once."""
    seconds = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
    if seconds <= 0 or not pod["spec"].get("nodeName"):
        return writer.store.remove(POD, namespace_of(pod), name_of(pod)) or pod
    if is_terminating(pod):
        return pod
    ending = copied(pod)
    ending["metadata"]["deletionTimestamp"] = timestamp(writer.now() + timedelta(seconds=seconds))
    ending["metadata"]["deletionGracePeriodSeconds"] = seconds
    return writer.store.put(POD, ending)


def delete(writer: Writer, kind: Kind, obj: Object, grace: int | None = None) -> Object:
    """Delete an object; one with finalizers stays, marked, until they are gone. What it owned is collected after."""
    if kind is POD:
        return terminate(writer, obj, grace)
    if obj["metadata"].get("finalizers"):
        if is_terminating(obj):
            return obj
        ending = copied(obj)
        ending["metadata"]["deletionTimestamp"] = timestamp(writer.now())
        return writer.store.put(kind, ending)
    return writer.store.remove(kind, namespace_of(obj), name_of(obj)) or obj


def orphan(writer: Writer, kinds: tuple[Kind, ...], owner: Object) -> None:
    """Let what `owner` owns live on without it."""
    for kind in kinds:
        for obj in writer.store.all(kind, namespace_of(owner)):
            references = obj["metadata"].get("ownerReferences") or []
            others = [one for one in references if one["uid"] != uid_of(owner)]
            if len(others) < len(references):
                kept = copied(obj)
                kept["metadata"]["ownerReferences"] = others
                writer.store.put(kind, kept)
