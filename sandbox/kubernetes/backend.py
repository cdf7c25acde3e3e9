"""The cluster: its kinds, its objects and controllers on the world's time, and what may be changed from outside."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from sandbox.kubernetes import access, controllers
from sandbox.kubernetes.access import ADMIN, Accounts
from sandbox.kubernetes.call import Call
from sandbox.kubernetes.containers import Behaviours, Logs, Programs
from sandbox.kubernetes.controllers import Cluster, Controller
from sandbox.kubernetes.kinds import Kind, Kinds
from sandbox.kubernetes.production import Production, Traffic
from sandbox.kubernetes.resources import (
    argo_cd,
    autoscaling,
    basic,
    batch,
    daemon_sets,
    deployments,
    external_secrets,
    flux,
    litmus,
    nodes,
    pods,
    policy,
    stateful_sets,
)
from sandbox.kubernetes.seed import Seed
from sandbox.kubernetes.state import Store, Writer
from sandbox.world.world import World

# The kinds that are served from the start, in the order of discovery. To add a family: a module in `resources` with its
# kinds (their defaults, rules and columns) and their controllers, a line here and a line in `_controllers` below.
KINDS: tuple[Kind, ...] = (
    *pods.KINDS,
    *nodes.KINDS,
    *basic.KINDS,
    *controllers.KINDS,
    *deployments.KINDS,
    *stateful_sets.KINDS,
    *daemon_sets.KINDS,
    *batch.KINDS,
    *policy.KINDS,
    *autoscaling.KINDS,
    *access.KINDS,
    *external_secrets.KINDS,
    *argo_cd.KINDS,
    *litmus.KINDS,
    *flux.KINDS,
)
MAX_CALLS = 1000
MAX_SLEEP_SECONDS = 0.2  # real ones; the clock's speed may change, and the world be moved from another thread


class Kubernetes:
    """One cluster. Its time is the world's: what is due happens when the world comes to that moment.

    What may be changed to try something out: `behaviours` of images, `programs` that exec runs, `accounts`, and
    `vault`, the keys and values that External Secrets reads, by path, unless they are read by `read_secret`. Argo CD
    and Flux read `git`.
    `calls` has the last requests that were allowed and were not for reading, dry runs too.
    """

    def __init__(
        self, world: World, read_secret: external_secrets.ReadSecret | None = None, git: argo_cd.Git | None = None
    ) -> None:
        self.world = world
        self.kinds: Kinds = {kind.key: kind for kind in KINDS}
        self.store = Store()
        self.writer = Writer(self.store, self.now)
        self.behaviours = Behaviours()
        self.programs = Programs(partial(self.store.get, basic.SECRET))
        self.accounts = Accounts()
        self.vault: dict[str, dict[str, str]] = {}
        self.calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self.logs = Logs(world, self.behaviours)
        self.cluster = Cluster(self.store, self.writer, self.now, self.call_after)
        usage = autoscaling.ResourceUsage(self.store, world)
        self.store.computed |= {
            autoscaling.POD_METRICS: usage.pod_metrics,
            autoscaling.NODE_METRICS: usage.node_metrics,
        }
        world.advance()
        git = git or argo_cd.NoGit()
        self.cluster.start(self._controllers(usage, read_secret or self.vault.get, git))
        seed = Seed(self.store, world, self.now())
        seed.create()
        self.vault |= seed.secret_store()
        Production(world, self.cluster, git).start()
        Traffic(world, self.store, self.behaviours).start()
        self.cluster.settle()

    def _controllers(
        self, usage: autoscaling.ResourceUsage, read_secret: external_secrets.ReadSecret, git: argo_cd.Git
    ) -> list[Controller]:
        return [
            deployments.Deployments(self.cluster),
            deployments.ReplicaSets(self.cluster),
            daemon_sets.DaemonSets(self.cluster),
            stateful_sets.StatefulSets(self.cluster),
            batch.Jobs(self.cluster),
            batch.CronJobs(self.cluster),
            nodes.Scheduler(self.cluster),
            nodes.Kubelet(self.cluster, self.behaviours),
            nodes.NodeLifecycle(self.cluster),
            policy.DisruptionBudgets(self.cluster),
            policy.ResourceQuotas(self.cluster),
            autoscaling.Autoscalers(self.cluster, usage.cpu),
            external_secrets.ExternalSecrets(self.cluster, read_secret),
            argo_cd.ArgoCD(self.cluster, git),
            litmus.LitmusOperator(self.cluster, self.world),
            flux.Flux(self.cluster, git),
            basic.Definitions(self.cluster, self.kinds),
            basic.GarbageCollector(self.cluster, self.kinds),
        ]

    def now(self) -> datetime:
        """Return the moment that the world has come to."""
        return datetime.fromtimestamp(self.world.at / 1000, UTC)

    def call_after(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function in so many seconds of the world."""
        self.world.after(round(seconds * 1000), function)

    def advance(self) -> None:
        """Catch up with the clock."""
        self.world.run_due()
        self.cluster.settle()

    async def run(self) -> None:
        """Let what is due happen between requests, for those who watch. Runs until it is cancelled."""
        while True:
            try:
                self.advance()
            except Exception:
                logging.getLogger(__name__).exception("a controller failed; the others go on")
            due = self.world.due
            left = MAX_SLEEP_SECONDS if due is None else due / 1000 - self.world.clock.now().timestamp()
            await asyncio.sleep(min(max(left / self.world.clock.speed, 0.001), MAX_SLEEP_SECONDS))

    def kubeconfig(self, url: str, token: str = ADMIN, namespace: str = "tamv-prod") -> str:
        """Return a kubeconfig for the API at `url`, as YAML."""
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n"
            f"clusters:\n- name: sandbox\n  cluster: {{server: {url}}}\n"
            f"users:\n- name: sandbox\n  user: {{token: {token}}}\n"
            "contexts:\n- name: sandbox\n"
            f"  context: {{cluster: sandbox, user: sandbox, namespace: {namespace}}}\n"
        )
