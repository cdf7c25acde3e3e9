"""Where trouble comes from, on recorded cases of others: PetShop, a microservice application with injected faults.

The data are Amazon's (amazon-science/petshop-root-cause-analysis, CC-BY-4.0) and no part of this project: they are read
from beside it, or from the folder that PETSHOP names. Only the place is asked for. A sample stands for five minutes and
a case has five of them, so what is normal is taken from another day, the end of the recording without a fault.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from bot.causes.evidence import Evidence, ServiceEvidence, find

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "petshop"
BAR = "causes, PetShop: the place only"
PARTS = ("low_traffic", "high_traffic")  # the others lack the recording without a fault
STEP_SECONDS = 300.0
NORMAL_SAMPLES = 60

Series = Mapping[tuple[str, str], Any]  # node and metric → one value a sample


async def petshop() -> list[Figure]:
    """How often the first place is wrong, and how often none of the first three is right."""
    folder = Path(os.environ.get("PETSHOP", BESIDE)) / "dataset"
    figures = []
    for part in PARTS:
        named = [_named(folder / part, case) for case in sorted((folder / part).glob("t*/*/target.json"))]
        if not named:
            return [Figure(BAR, "-", None, "%", note=f"{folder / part} has no cases")]
        first = 100 * sum(root not in places[:1] for root, places in named) / len(named)
        three = 100 * sum(root not in places[:3] for root, places in named) / len(named)
        title = part.replace("_", " ")
        figures.append(Figure(BAR, f"{title}: first place wrong", first, "%", note=f"{len(named)} cases"))
        figures.append(Figure(BAR, f"{title}: none of three right", three, "%"))
    return figures


def _named(part: Path, case: Path) -> tuple[str, Sequence[str]]:
    """Return where a case's trouble comes from, and where the bot looks for it, the likeliest place first."""
    target = json.loads(case.read_text("utf-8"))
    normal, faulty = _series(part / "noissue" / "metrics.csv"), _series(case.with_name("metrics.csv"))
    calls = _calls(part / "graph.csv")
    service = target["target"]["node"]
    services = {name: _evidence(name, calls[name], normal, faulty) for name in calls}
    at = datetime.fromtimestamp(target["target"]["timestamp"], UTC)
    found = find(Evidence(service, at, STEP_SECONDS, services, alerting=True))
    root = found.places.get("dependency", service)
    return target["root_cause"]["node"], list(dict.fromkeys([root, *found.suffering, *found.ill]))


def _evidence(name: str, calls: Sequence[str], normal: Series, faulty: Series) -> ServiceEvidence:
    def joined(metric: str) -> Any:
        before, now = normal.get((name, metric)), faulty.get((name, metric))
        if before is None or now is None or not np.isfinite(now).any():
            return None
        return np.concatenate([before[-NORMAL_SAMPLES:], now])

    availability = joined("availability")
    errors = None if availability is None else np.clip(1 - availability / 100, 0, 1)
    return ServiceEvidence(name, latency=joined("latency"), errors=errors, traffic=joined("requests"), depends_on=calls)


def _series(file: Path) -> Series:
    """Read means and sums; the first three lines name each column's node, metric and statistic."""
    with file.open(encoding="utf-8", newline="") as opened:
        (_, *nodes), (_, *metrics), (_, *statistics), *rows = csv.reader(opened)
    values = [row for row in rows if row and row[0].replace(".", "").isdigit()]
    return {
        (node, metric): np.array([float(row[place]) if row[place] else np.nan for row in values])
        for place, (node, metric, statistic) in enumerate(zip(nodes, metrics, statistics, strict=True), 1)
        if statistic in ("Average", "Sum")
    }


def _calls(file: Path) -> dict[str, list[str]]:
    """Return which nodes each node calls; a row has a mark for each of them."""
    with file.open(encoding="utf-8", newline="") as opened:
        (_, *names), *rows = csv.reader(opened)
    return {
        name: [called for called, mark in zip(names, marks, strict=True) if float(mark or 0) and called != name]
        for name, *marks in rows
    }
