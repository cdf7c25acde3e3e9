"""One request for a resource: what its path names, what it wants, who sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from starlette.datastructures import Headers, QueryParams

from sandbox.kubernetes import protobuf
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.problems import NoSuchPath, Problem, bad_request, no_such_resource
from sandbox.kubernetes.writes import Options

Kinds = Mapping[tuple[str, str, str], Kind]

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Target:
    """A resource, one object of it when there is a `name`, a `subresource` of that when there is one."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target(path: str, kinds: Kinds) -> Target:
    """What `/apis/apps/v1/namespaces/tamv-prod/deployments/xr-engine/scale` names.

    Problem 404 when its group has no such resource, NoSuchPath when there is not even the group.
    """
    parts = path.strip("/").split("/")
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise NoSuchPath
    if not any((group, version) == known[:2] for known in kinds):
        raise NoSuchPath
    namespace = ""
    match rest:
        case ["namespaces", namespace, plural, *last] if (group, version, plural) in kinds:
            pass
        case [plural, *last]:
            namespace = ""
        case _:
            raise no_such_resource()
    kind = kinds.get((group, version, plural))
    if kind is None or len(last) > 2 or (namespace and not kind.namespaced):
        raise no_such_resource()
    name, subresource = [*last, "", ""][:2]
    if subresource and subresource not in kind.subresources:
        raise no_such_resource()
    return Target(kind, namespace, name, subresource)


@dataclass(frozen=True)
class Call:
    """A request for a resource, its body still as bytes."""

    method: str
    target: Target
    query: QueryParams
    headers: Headers
    raw: bytes = b""
    warnings: list[str] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """The verb that RBAC knows: get, list, watch, create, update, patch, delete, deletecollection."""
        if self.method == "GET":
            if self.target.name:
                return "get"
            return "watch" if self.is_watch else "list"
        if self.method == "DELETE":
            return "delete" if self.target.name else "deletecollection"
        return VERBS[self.method]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in ("1", "true", "")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def options(self) -> Options:
        """Problem 400 for a dry run of a kind that does not exist."""
        dry_run = self.query.getlist("dryRun")
        if any(value not in ("All", "") for value in dry_run):
            message = f'Invalid value: "{dry_run[0]}": Unsupported value: "{dry_run[0]}": supported values: "All"'
            raise Problem(422, "Invalid", message)
        agent = self.headers.get("user-agent", "unknown").partition("/")[0]
        return Options(
            dry_run="All" in dry_run,
            manager=self.query.get("fieldManager") or agent,
            subresource=self.target.subresource,
            asked=True,
            force=self.query.get("force") == "true",
        )

    @property
    def validation(self) -> str:
        """What becomes of unknown fields: Ignore, Warn or Strict."""
        return self.query.get("fieldValidation") or "Warn"

    def body(self) -> Any:
        """The body, JSON, YAML or protobuf. Problem 400 when it cannot be read."""
        if self.content_type == protobuf.CONTENT_TYPE:
            return protobuf.decoded(self.raw)
        try:
            return yaml.safe_load(self.raw) if "yaml" in self.content_type else json.loads(self.raw or b"{}")
        except (ValueError, yaml.YAMLError) as wrong:
            raise bad_request(f"the object provided is unrecognized (must be of type {self.target.kind.name}): "
                              f"{wrong}") from wrong  # fmt: skip
