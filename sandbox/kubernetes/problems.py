"""What the API refuses, as the Status objects that the real one sends.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object

REASONS = {"Required value": "FieldValueRequired", "Forbidden": "FieldValueForbidden",
           "Unsupported value": "FieldValueNotSupported", "Duplicate value": "FieldValueDuplicate"}  # fmt: skip
IN_ERROR = "the server rejected our request due to an error in our request"


class Problem(Exception):
    """A request that is not carried out: HTTP `code`, the API's `reason` and the message for people."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Object:
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        return status if self.details is None else {**status, "details": self.details}


def success(kind: Kind, obj: Object) -> Object:
    """The Status that says that `obj` is deleted."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**_about(kind, obj["metadata"]["name"]), "uid": obj["metadata"]["uid"]},
    }


def not_found(kind: Kind, name: str) -> Problem:
    return Problem(404, "NotFound", f'{kind.resource} "{name}" not found', _about(kind, name))


class NoSuchPath(Exception):
    """Nothing at all is served there; the API says so in plain text."""


def no_such_resource() -> Problem:
    return Problem(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> Problem:
    return Problem(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _about(kind, name))


def conflict(kind: Kind, name: str, why: str | None = None) -> Problem:
    reason = why or ("the object has been modified; please apply your changes to the latest version and try again")
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {reason}'
    return Problem(409, "Conflict", message, _about(kind, name))


def invalid(kind: Kind, name: str, causes: Sequence[tuple[str, str]]) -> Problem:
    """`causes` are the wrong fields and what is wrong with each."""
    return _invalid(kind.name, kind.group, name, causes)


def invalid_scale(name: str, replicas: int) -> Problem:
    causes = [("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")]
    return _invalid("Scale", "autoscaling", name, causes)


def applied_by_nobody() -> Problem:
    causes = [("fieldManager", "Required value: is required for apply patch")]
    return _invalid("PatchOptions", "meta.k8s.io", "", causes)


def _invalid(kind: str, group: str, name: str, causes: Sequence[tuple[str, str]]) -> Problem:
    told = ", ".join(f"{field}: {message}" for field, message in causes)
    told = told if len(causes) == 1 else f"[{told}]"
    about = {"name": name, "group": group, "kind": kind}
    details: Object = {key: value for key, value in about.items() if value}
    details["causes"] = [
        {"reason": REASONS.get(message.partition(":")[0], "FieldValueInvalid"), "message": message, "field": field}
        for field, message in causes
    ]
    return Problem(422, "Invalid", f'{f"{kind}.{group}" if group else kind} "{name}" is invalid: {told}', details)


def in_error() -> Problem:
    """A JSON Patch that cannot be done; the real API keeps to itself why."""
    return Problem(422, "Invalid", IN_ERROR, {})


def bad_request(message: str) -> Problem:
    return Problem(400, "BadRequest", message)


def undecodable(kind: Kind, why: str) -> Problem:
    return bad_request(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}')


def unpatchable(obj: Object, why: str) -> Problem:
    """What a patch would make of an object is not of its kind; the message has the whole of it, quoted."""
    whole = json.dumps(obj, separators=(",", ":"))
    message = f"Invalid value: {json.dumps(whole)}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return Problem(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": causes})


def gone(version: int, oldest: int) -> Problem:
    return Problem(410, "Expired", f"too old resource version: {version} ({oldest})")


def not_allowed() -> Problem:
    message = "the server does not allow this method on the requested resource"
    return Problem(405, "MethodNotAllowed", message, {})


def internal(message: str) -> Problem:
    """What the API server has no name for."""
    return Problem(500, "", message)


def unsupported(accepted: Sequence[str]) -> Problem:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return Problem(415, "UnsupportedMediaType", message)


def unauthorized() -> Problem:
    return Problem(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, kind: Kind, namespace: str, name: str, subresource: str = "") -> Problem:
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    asked = f'{kind.resource} "{name}"' if name else kind.resource
    message = (
        f'{asked} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    )
    return Problem(403, "Forbidden", message, _about(kind, name))


def _about(kind: Kind, name: str) -> Object:
    about = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in about.items() if value}
