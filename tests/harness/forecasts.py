"""TAMV's team with one metric that is looked ahead at, and a week of it: a disk that fills up, or nearly does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
MINUTE = 60_000
MORE_REPLICAS = """
name: more-replicas
title: {es: Más réplicas, en: More replicas}
inputs: {service: {type: service}}
steps:
  - {id: scale, uses: kubernetes.scale, with: {deployment: "{{ inputs.service }}", replicas: 8}}
"""


def forecasting_team(folder: Path, metric: str = "disk_used", others: Sequence[str] = ()) -> Path:
    """The folder of a team that looks ahead at a disk of xr-engine in percent, and has one runbook for it.

    `others` are more metrics with the same threshold of 90.
    """
    made = folder / "team"
    if made.exists():
        return made
    raw = yaml.safe_load((ROOT / "teams/tamv/team.yaml").read_text("utf-8"))
    disk = {"title": "Disco", "promql": metric, "unit": "%", "threshold": 90, "runbook": "more-replicas"}
    raw["queries"] |= {"disk": disk, **{name: disk | {"title": name, "promql": name} for name in others}}
    raw["boards"]["render"]["queries"] = ["disk", "request_rate", *others]
    raw["forecasts"] = {"services": ["xr-engine"]}
    (made / "runbooks").mkdir(parents=True)
    (made / "runbooks/more-replicas.yaml").write_text(MORE_REPLICAS, "utf-8")
    (made / "manifests").symlink_to(ROOT / "teams/tamv/manifests")
    (made / "team.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")
    return made


def filling(
    start: datetime, *, days: int = 8, turns: bool = False, climbs_for: int = 40
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times (milliseconds) and values of the disk, each minute of these days and of three hours after `start`.

    It has been filling up for `climbs_for` minutes; if it `turns`, it stops short of 90.
    """
    now = int(start.timestamp() * 1000)
    times = np.arange(now - days * 24 * 60 * MINUTE, now + 180 * MINUTE, MINUTE)
    minutes = (times - now) / MINUTE + climbs_for
    values = 50 + np.random.default_rng(1).normal(0, 0.5, len(times))
    values += np.where(minutes > 0, np.minimum(minutes * 0.65, 28 if turns else 48), 0)
    return times, values
