"""A cluster that runs the world's pods, instead of the world itself."""

from dataclasses import dataclass
from typing import Protocol

from sandbox.world.deployments import Template


class Cluster(Protocol):
    """Who runs the pods in the world's stead: it is told what is wanted, and says by `place` what came of it."""

    def scale(self, service: str, replicas: int) -> None: ...

    def roll_out(self, service: str, template: Template) -> None: ...

    def lose_node(self, node: str) -> None: ...

    def return_node(self, node: str) -> None: ...

    def container_killed(self, service: str, pod: str) -> None: ...


@dataclass(frozen=True)
class Placed:
    """A pod of a cluster: where it stands, what it was made from, whether it serves."""

    name: str
    node: str
    template: Template
    ready: bool
