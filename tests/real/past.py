"""The sandbox's past as OpenMetrics text, so that a real Prometheus which scrapes the world goes on where it ends.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

import math
from collections.abc import Mapping

from sandbox.prometheus.literals import go_float
from sandbox.prometheus.tsdb import NAME, Tsdb


def past(tsdb: Tsdb, target: Mapping[str, str]) -> str:
    """Every sample of `tsdb`; `target` are the labels that scraping gives a series which does not have them itself."""
    rows = []
    for series in tsdb:
        labels = {**target, **series.labels}
        own = ",".join(f'{name}="{value}"' for name, value in labels.items() if name != NAME)
        rows += [
            f"{labels[NAME]}{{{own}}} {go_float(value)} {at / 1000:.3f}"
            for at, value in zip(series.times.tolist(), series.values.tolist(), strict=True)
            if not math.isnan(value)
        ]
    return "\n".join([*rows, "# EOF", ""])
