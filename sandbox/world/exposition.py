"""The world's present values in Prometheus' text format 0.0.4, for a real Prometheus to scrape.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from sandbox.prometheus.literals import go_float
from sandbox.prometheus.tsdb import NAME, Labels
from sandbox.world.metrics import METADATA
from sandbox.world.world import World

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


def exposition(world: World) -> str:
    """All that the world exports now, family by family."""
    world.advance()
    families: dict[str, list[str]] = {name: [] for name in METADATA}
    for source in world.sources():
        for series, value in zip(source.series, source.values(), strict=True):
            families[_family(series.labels[NAME])].append(f"{_series(series.labels)} {go_float(value)}")
    lines: list[str] = []
    for name, samples in families.items():
        if samples:
            known = METADATA[name]
            lines += [f"# HELP {name} {known.help}", f"# TYPE {name} {known.type}", *samples]
    return "\n".join([*lines, ""])


def _family(name: str) -> str:
    for part in HISTOGRAM_PARTS:
        if name.removesuffix(part) in METADATA:
            return name.removesuffix(part)
    return name


def _series(labels: Labels) -> str:
    own = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if name != NAME)
    return f"{labels[NAME]}{{{own}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
