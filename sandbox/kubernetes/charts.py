"""The Helm chart of TAMV's services, and its releases as Helm stores them: a Secret for each revision."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sandbox import yaml_file
from sandbox.kubernetes.objects import Object
from sandbox.world.services import NODE_TYPE, STANDARD_GPU, Service

CHART = Path(__file__).with_name("chart")
REGISTRY = "registry.tamv.world"
PORT = 3000
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
MIB = 1024 * 1024
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C where there is one


def values(service: Service, replicas: int, secrets: str = "") -> Object:
    """Return the values of a service's chart, without the tag."""
    return {
        "image": {"repository": f"{REGISTRY}/{service.name}"},
        "replicas": replicas,
        "env": dict(service.env),
        "secrets": secrets,
        "nodeSelector": {NODE_TYPE: STANDARD_GPU} if service.gpu_share else {},
        "gpu": bool(service.gpu_share),
        "resources": {
            "requests": {"cpu": f"{round(service.cpu * 1250)}m", "memory": f"{round(service.memory * 1.25 / MIB)}Mi"},
            "limits": {"memory": f"{round(service.memory * 2 / MIB)}Mi"},
        },
    }


def write(service: Service, replicas: int, folder: Path, secrets: str = "") -> Path:
    """Write the chart of a service, for `helm upgrade --install SERVICE FOLDER/SERVICE`, and return its folder."""
    chart = folder / service.name
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    for file in sorted((CHART / "templates").iterdir()):
        (chart / "templates" / file.name).write_text(file.read_text("utf-8"), "utf-8")
    metadata = {**_file("Chart.yaml"), "name": service.name, "appVersion": service.version}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata), "utf-8")
    (chart / "values.yaml").write_text(yaml.safe_dump(_merged(service, replicas, secrets)), "utf-8")
    return chart


def _merged(service: Service, replicas: int, secrets: str) -> Object:
    own = values(service, replicas, secrets)
    merged: Object = {**_file("values.yaml"), **own}
    return {**merged, "image": {**own["image"], "tag": service.version}}


def manifests(name: str, chart_values: Object, tag: str) -> list[Object]:
    """Render the chart without a canary: the Service and the Deployment."""
    labels = {"app": name}
    container: Object = {
        "name": name,
        "image": f"{chart_values['image']['repository']}:{tag}",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
        "resources": chart_values["resources"],
    }
    if chart_values["env"]:
        container["env"] = [{"name": key, "value": str(value)} for key, value in sorted(chart_values["env"].items())]
    if chart_values["secrets"]:
        container["envFrom"] = [{"secretRef": {"name": chart_values["secrets"]}}]
    spec: Object = {"containers": [container]}
    if chart_values["nodeSelector"]:
        spec["nodeSelector"] = chart_values["nodeSelector"]
    if chart_values["gpu"]:
        spec["tolerations"] = [GPU_TOLERATION]
    pod_labels = {**labels, "track": "stable"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": chart_values["replicas"],
            "selector": {"matchLabels": pod_labels},
            "template": {"metadata": {"labels": pod_labels}, "spec": spec},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": labels,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    return [service, deployment]


def installed(name: str, namespace: str, manifest: Object) -> Object:
    """Return a manifest as Helm installs it, with the release that it belongs to."""
    metadata = {
        **manifest["metadata"],
        "namespace": namespace,
        "labels": {**manifest["metadata"]["labels"], "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace},
    }
    return {**manifest, "metadata": metadata}


def revision(
    name: str,
    namespace: str,
    number: int,
    tag: str,
    chart_values: Object,
    status: str,
    at: datetime,
    first: datetime,
) -> Object:
    """Build the Secret in which Helm keeps one revision of a release."""
    failure = f'Upgrade "{name}" failed: context deadline exceeded'
    description = "Install complete" if number == 1 else failure if status == "failed" else "Upgrade complete"
    release = {
        "name": name,
        "info": {
            "first_deployed": first.isoformat(),
            "last_deployed": at.isoformat(),
            "description": description,
            "status": status,
        },
        "chart": _chart(name, chart_values, tag),
        "config": {"image": {"tag": tag}},
        "manifest": _rendered(name, manifests(name, chart_values, tag)),
        "version": number,
        "namespace": namespace,
        "apply_method": "ssa",
    }
    encoded = base64.b64encode(gzip.compress(json.dumps(release).encode(), mtime=0))
    labels = {
        "name": name,
        "owner": "helm",
        "status": status,
        "version": str(number),
        "modifiedAt": str(int(at.timestamp())),
    }
    return {
        "metadata": {"name": f"sh.helm.release.v1.{name}.v{number}", "namespace": namespace, "labels": labels},
        "type": "helm.sh/release.v1",
        "data": {"release": base64.b64encode(encoded).decode()},
    }


def _chart(name: str, chart_values: Object, tag: str) -> Mapping[str, Any]:
    templates = [
        {"name": f"templates/{file.name}", "data": base64.b64encode(file.read_bytes()).decode()}
        for file in sorted((CHART / "templates").iterdir())
    ]
    metadata = {**_file("Chart.yaml"), "name": name, "appVersion": tag}
    defaults = {**_file("values.yaml"), **chart_values}
    defaults["image"] = {**defaults["image"], "tag": tag}
    return {"metadata": metadata, "lock": None, "templates": templates, "values": defaults}


@cache
def _file(name: str) -> Object:
    content: Object = yaml_file.read(CHART / name)
    return content


def _rendered(name: str, objects: Sequence[Object]) -> str:
    return "".join(
        f"---\n# Source: {name}/templates/{obj['kind'].lower()}.yaml\n{yaml.dump(obj, Dumper=DUMPER, sort_keys=False)}"
        for obj in objects
    )
