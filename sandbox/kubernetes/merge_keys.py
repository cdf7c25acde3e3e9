"""By which fields the elements of a list are told apart when lists are merged.

The API carries them in its types as `x-kubernetes-patch-merge-key` and `x-kubernetes-list-map-keys`; here they go by
the field's name, because no two of the kinds that are served disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BY_NAME: Mapping[str, tuple[str, ...]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
PORTS = ("containerPort", "port")  # of a container, of a Service
SETS = ("finalizers",)  # lists of plain values without order


def merge_key(field: str, items: Sequence[Any]) -> str | None:
    """The field that names an element of the list `field`; None for a list that is replaced as a whole."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    candidates = PORTS if field == "ports" else BY_NAME.get(field, ())
    fitting = (key for key in candidates if all(key in item or "$patch" in item for item in items))
    return next(fitting, None)


def map_keys(field: str, items: Sequence[Any]) -> tuple[str, ...]:
    """The fields that name an element for server-side apply; none for a list that belongs to one manager as a whole."""
    key = merge_key(field, items)
    if key is None:
        return ()
    match field:
        case "ports":
            return (key, "protocol")
        case "topologySpreadConstraints":
            return (key, "whenUnsatisfiable")
        case _:
            return (key,)
