"""Manifests that stand in the repository: read, and nothing outside their folder ever."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.domain.errors import BadInput

# What may be applied and deleted, with its plural: what a drill or a runbook has a use for, and nothing that holds a
# secret or gives rights. The Role in deploy/kubernetes names the same.
PLURALS = {
    "networking.k8s.io/v1 NetworkPolicy": "networkpolicies",
    "policy/v1 PodDisruptionBudget": "poddisruptionbudgets",
    "autoscaling/v2 HorizontalPodAutoscaler": "horizontalpodautoscalers",
}
JOB = "batch/v1 Job"
LARGEST = 256 * 1024  # bytes; none that a person has reviewed is longer


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as its file says it. `body` names no namespace: the run does."""

    kind: str
    name: str
    body: dict[str, Any]


def read(folder: Path, path: str, kinds: Collection[str]) -> list[Manifest]:
    """The objects of `folder/path`, in their order. `kinds` are those that may be meant, as `batch/v1 Job`.

    Raises BadInput for a path that leaves the folder (by `..`, by a symbolic link), a file that is not there or cannot
    be read, an object of another kind, and one that names a namespace of its own.
    """
    objects = _loaded(path, _text(folder, path))
    if not objects:
        raise BadInput("manifest_wrong", path=path, why="no object")
    return [_checked(path, document, kinds) for document in objects]


def _text(folder: Path, path: str) -> str:
    root = folder.resolve()
    try:
        file = (root / path).resolve()
    except (OSError, ValueError):
        raise BadInput("manifest_outside", path=path, folder=folder.name) from None
    if not file.is_relative_to(root) or file.suffix not in (".yaml", ".yml"):
        raise BadInput("manifest_outside", path=path, folder=folder.name)
    if not file.is_file():
        manifests = sorted(str(file.relative_to(root)) for file in root.rglob("*.y*ml"))
        raise BadInput("no_such_manifest", path=path, known=manifests)
    if file.stat().st_size > LARGEST:
        raise BadInput("manifest_wrong", path=path, why=f"more than {LARGEST // 1024} KiB")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise BadInput("manifest_wrong", path=path, why=type(unreadable).__name__) from None


def _loaded(path: str, text: str) -> list[Any]:
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None)
        position = f"line {mark.line + 1}: " if mark else ""
        raise BadInput("manifest_wrong", path=path, why=f"{position}{getattr(wrong, 'problem', 'not YAML')}") from None


def _checked(path: str, document: Any, kinds: Collection[str]) -> Manifest:
    try:
        api, kind, metadata = str(document["apiVersion"]), str(document["kind"]), dict(document["metadata"])
        name = str(metadata["name"])
    except (KeyError, TypeError, ValueError):
        raise BadInput("manifest_wrong", path=path, why="apiVersion, kind, metadata.name") from None
    if f"{api} {kind}" not in kinds:
        raise BadInput("manifest_kind", path=path, kind=f"{api} {kind}", known=sorted(kinds))
    if "namespace" in metadata:
        raise BadInput("manifest_wrong", path=path, why="metadata.namespace")
    return Manifest(f"{api} {kind}", name, document)
