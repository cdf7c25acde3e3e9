"""A Kubernetes cluster, as actions see it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from bot.integrations.kubernetes.applications import Applications
from bot.integrations.kubernetes.chaos import ChaosEngines
from bot.integrations.kubernetes.cluster import Cluster
from bot.integrations.kubernetes.colors import SecondColors
from bot.integrations.kubernetes.exec import Dumps, Exec
from bot.integrations.kubernetes.flux import Flux
from bot.integrations.kubernetes.history import History
from bot.integrations.kubernetes.jobs import Jobs
from bot.integrations.kubernetes.nodes import Nodes
from bot.integrations.kubernetes.objects import ExternalSecrets, Objects
from bot.integrations.kubernetes.pods import Describer, Pods
from bot.integrations.kubernetes.quotas import Quotas
from bot.integrations.kubernetes.workloads import Workloads


class Kubernetes:
    """A cluster, by a kubeconfig file, or from inside the cluster without one."""

    def __init__(self, kubeconfig: str | None, timeout: float = 10.0) -> None:
        self.cluster = Cluster(kubeconfig, timeout)
        self.workloads = Workloads(self.cluster)
        self.second_colors = SecondColors(self.cluster, self.workloads)
        self.applications = Applications(self.cluster)
        self.flux = Flux(self.cluster)
        self.pods = Pods(self.cluster)
        self.descriptions = Describer(self.cluster, self.pods, self.workloads)
        self.quotas = Quotas(self.cluster, self.workloads)
        self.nodes = Nodes(self.cluster)
        self.history = History(self.cluster, self.workloads)
        self.jobs = Jobs(self.cluster)
        self.chaos = ChaosEngines(self.cluster)
        self.objects = Objects(self.cluster)
        self.programs = Exec(self.cluster)
        self.dumps = Dumps(self.programs)
        self.external_secrets = ExternalSecrets(self.cluster)

    async def __aenter__(self) -> Self:
        await self.cluster.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cluster.__aexit__(kind, problem, trace)
