"""What a release's manifest says of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bot.domain.errors import Unavailable
from bot.yaml_text import LOADER


@dataclass(frozen=True, slots=True)
class Installed:
    """A deployment as Helm wants it: None replicas when the chart leaves them to an autoscaler.

    `env` is that of the first container; None for a variable that comes from elsewhere (a secret, a field).
    """

    replicas: int | None
    env: Mapping[str, str | None]
    node_selector: Mapping[str, str]


def deployment_in(manifest: str, name: str) -> Installed | None:
    """The Deployment `name` of a manifest, if there is one. Unavailable when it is no manifest."""
    try:
        manifest_object = next(
            (document for document in yaml.load_all(manifest, LOADER) if _is_deployment(document, name)), None
        )
        return _installed(manifest_object["spec"]) if manifest_object else None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, IndexError) as problem:
        raise Unavailable("nonsense", service="Helm", what="manifest") from problem


def _is_deployment(document: Any, name: str) -> bool:
    return isinstance(document, dict) and document.get("kind") == "Deployment" and document["metadata"]["name"] == name


def _installed(spec: dict[str, Any]) -> Installed:
    pod = spec["template"]["spec"]
    replicas = spec.get("replicas")
    return Installed(
        int(replicas) if replicas is not None else None,
        {variable["name"]: variable.get("value") for variable in pod["containers"][0].get("env") or ()},
        {key: str(value) for key, value in (pod.get("nodeSelector") or {}).items()},
    )
