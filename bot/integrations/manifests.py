"""Helm's manifests: what they install, how what runs differs from it, and a diff that people can read."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bot.domain.errors import Unavailable
from bot.integrations.kubernetes.secret_values import hide_in_documents
from bot.integrations.kubernetes.workloads import KINDS, reference_to
from bot.yaml_text import LOADER

Object = dict[str, Any]
# What the API server refuses to change: validation.go of Kubernetes' apps group.
IMMUTABLE = {
    "Deployment": ("selector",),
    "DaemonSet": ("selector",),
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
}
_TITLES = {kind.title: kind for kind in KINDS.values()}


def workloads_in(manifest: str) -> dict[str, Object]:
    """Return the workloads of a manifest by their references. Raises Unavailable if it is not a valid manifest."""
    found = {}
    for document in _documents(manifest):
        if (kind := _TITLES.get(str(document.get("kind")))) and document.get("metadata"):
            found[reference_to(kind, str(document["metadata"]["name"]))] = document
    return found


def differences(live: Mapping[str, Any], installed: Mapping[str, Any]) -> list[str]:
    """Return where a workload that runs differs from its manifest: `image=…:v2.4.1`, `NAME=value`, `node-type=gpu`.

    The number of replicas is left out: it follows the load.
    """
    found: list[str] = []
    running = {container["name"]: container for container in _containers(live)}
    for container in _containers(installed):
        current = running.get(container["name"])
        if current is None:
            continue
        if current.get("image") != container.get("image"):
            found.append(f"image={current.get('image')}")
        found += _changed(_env(current), _env(container))
    return found + _changed(_node_selector(live), _node_selector(installed))


def immutable_changes(before: str, after: str, live: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the fields that differ between two manifests and that Kubernetes never changes in a workload that runs
    (`live`): `statefulset/ledger: volumeClaimTemplates`.
    """
    old, new = workloads_in(before), workloads_in(after)
    return [
        f"{reference}: {field}"
        for reference in sorted(old.keys() & new.keys() & live.keys())
        for field in IMMUTABLE.get(str(new[reference]["kind"]), ())
        if all(_field(other[reference], field) != _field(new[reference], field) for other in (old, live))
    ]


def _field(workload: Mapping[str, Any], name: str) -> Any:
    return (workload.get("spec") or {}).get(name)


def as_running(manifest: str, live: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the manifest with images, literal variables and node selectors of the workloads that run (`live`)."""
    documents = list(_documents(manifest))
    for document in documents:
        kind = _TITLES.get(str(document.get("kind")))
        if kind is None or (running := live.get(reference_to(kind, document["metadata"]["name"]))) is None:
            continue
        current = {container["name"]: container for container in _containers(running)}
        for container in _containers(document):
            if (other := current.get(container["name"])) is None:
                continue
            container["image"] = other.get("image")
            values = _env(other)
            for variable in container.get("env") or ():
                if "value" in variable and values.get(variable["name"]) is not None:
                    variable["value"] = values[variable["name"]]
        if selector := _node_selector(document):
            pod = document["spec"]["template"]["spec"]
            pod["nodeSelector"] = {name: _node_selector(running).get(name) for name in selector}
    return _dump(documents)


def manifest_diff(before: str, after: str) -> str:
    """Return a unified diff of two manifests. Of a Secret it says which keys change, never their values."""
    old, new = list(_documents(before)), list(_documents(after))
    old, new = hide_in_documents(old, new)
    lines = difflib.unified_diff(_dump(old).splitlines(), _dump(new).splitlines(), lineterm="", n=2)
    return "\n".join(list(lines)[2:])


def _documents(manifest: str) -> Iterator[Object]:
    try:
        for document in yaml.load_all(manifest, LOADER):
            if isinstance(document, dict):
                yield copy.deepcopy(document)
    except yaml.YAMLError as problem:
        raise Unavailable("nonsense", service="Helm", what="manifest") from problem


def _dump(documents: list[Object]) -> str:
    ordered = sorted(documents, key=lambda document: (str(document.get("kind")), str(document.get("metadata"))))
    return "---\n".join(
        yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000) for document in ordered
    )


def _containers(workload: Mapping[str, Any]) -> list[Object]:
    pod = _pod(workload)
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def _pod(workload: Mapping[str, Any]) -> Object:
    template = (workload.get("spec") or {}).get("template") or {}
    pod: Object = template.get("spec") or {}
    return pod


def _env(container: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        str(variable["name"]): None if variable.get("value") is None else str(variable["value"])
        for variable in container.get("env") or ()
    }


def _node_selector(workload: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: str(value) for name, value in (_pod(workload).get("nodeSelector") or {}).items()}


def _changed(live: Mapping[str, str | None], installed: Mapping[str, str | None]) -> list[str]:
    return [f"{name}={live.get(name)}" for name, value in sorted(installed.items()) if live.get(name) != value]
