"""What is asked of one pod besides reading and writing it: eviction, its log, a program in it."""

from __future__ import annotations

from sandbox.kubernetes.call import Call
from sandbox.kubernetes.controllers.budgets import check_budgets
from sandbox.kubernetes.deletion import terminate
from sandbox.kubernetes.objects import Object, is_terminating
from sandbox.kubernetes.problems import conflict
from sandbox.kubernetes.reading import get
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.writes import Writer

DONE: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def evict(writer: Writer, call: Call) -> Object:
    """Delete a pod if the disruption budgets allow it. Problem 429 when one does not."""
    pod = get(writer.store, call.target)
    body = call.body()
    options = body.get("deleteOptions") or {}
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted not in (None, "", pod["metadata"]["uid"]):
        raise conflict(POD, pod["metadata"]["name"], f"Precondition failed: UID in precondition: {wanted}")
    if is_terminating(pod):
        return DONE
    if pod["status"].get("phase") == "Running":
        check_budgets(writer.store, pod)
    if not (call.options.dry_run or options.get("dryRun")):
        terminate(writer, pod, options.get("gracePeriodSeconds"))
    return DONE
