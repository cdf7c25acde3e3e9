"""The route of an Alertmanager configuration: how alerts are grouped, and how often a group is told."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import promql_parser as promql
import yaml

DURATIONS = ("group_wait", "group_interval", "repeat_interval")
EXAMPLE = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yaml"


@dataclass(frozen=True)
class Route:
    """The root route and its one webhook receiver. `group_by` None groups by all labels."""

    receiver: str
    group_by: tuple[str, ...] | None
    group_wait: timedelta = timedelta(seconds=30)
    group_interval: timedelta = timedelta(minutes=5)
    repeat_interval: timedelta = timedelta(hours=4)
    send_resolved: bool = True


def load(path: Path = EXAMPLE) -> Route:
    """The route of a configuration file with one route and one webhook. ValueError for anything else."""
    read = yaml.safe_load(path.read_text("utf-8"))
    route, receivers = read["route"], read["receivers"]
    if route.get("routes") or len(receivers) != 1 or len(receivers[0]["webhook_configs"]) != 1:
        raise ValueError(f"{path.name}: the sandbox knows one route with one webhook")
    group_by = route.get("group_by", [])
    return Route(
        receiver=route["receiver"],
        group_by=None if group_by == ["..."] else tuple(group_by),
        send_resolved=receivers[0]["webhook_configs"][0].get("send_resolved", True),
        **{name: promql.parse_duration(route[name]) for name in DURATIONS if name in route},
    )
