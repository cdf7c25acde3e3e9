"""The cluster: its objects and controllers on the world's time, and what may be asked of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from sandbox.kubernetes.access import ADMIN, Accounts
from sandbox.kubernetes.behaviour import Behaviours
from sandbox.kubernetes.call import Call
from sandbox.kubernetes.controllers.autoscalers import Autoscalers
from sandbox.kubernetes.controllers.budgets import Budgets
from sandbox.kubernetes.controllers.collector import Collector
from sandbox.kubernetes.controllers.cron_jobs import CronJobs
from sandbox.kubernetes.controllers.daemon_sets import DaemonSets
from sandbox.kubernetes.controllers.definitions import Definitions
from sandbox.kubernetes.controllers.deployments import Deployments
from sandbox.kubernetes.controllers.external_secrets import ExternalSecrets, Read
from sandbox.kubernetes.controllers.jobs import Jobs
from sandbox.kubernetes.controllers.kubelet import Kubelet
from sandbox.kubernetes.controllers.nodes import Nodes
from sandbox.kubernetes.controllers.queue import Cluster
from sandbox.kubernetes.controllers.replica_sets import ReplicaSets
from sandbox.kubernetes.controllers.scheduler import Scheduler
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.logs import Logs
from sandbox.kubernetes.production import Production
from sandbox.kubernetes.programs import Programs
from sandbox.kubernetes.resources import apps, batch, main, others
from sandbox.kubernetes.seed import Seed
from sandbox.kubernetes.store import Store
from sandbox.kubernetes.traffic import Traffic
from sandbox.kubernetes.usage import Usage
from sandbox.kubernetes.writes import Writer
from sandbox.world import World

KINDS: tuple[Kind, ...] = (*main.KINDS, *apps.KINDS, *batch.KINDS, *others.KINDS)
LAST_CALLS = 1000
LONGEST_NAP = 0.2  # real seconds; the clock's speed may change, and the world be moved from another thread


class Kubernetes:
    """One cluster. Its time is the world's: what is due happens when the world comes to that moment.

    What may be changed by who tries something out: `behaviours` of images, `programs` that exec runs, `accounts`, and
    `vault`, the keys and values that External Secrets reads, by path, unless they are read by `read_secret`.
    `calls` has the last requests that were allowed and were not for reading, dry runs too.
    """

    def __init__(self, world: World, read_secret: Read | None = None) -> None:
        self.world = world
        self.kinds = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
        self.store = Store()
        self.writer = Writer(self.store, self.now)
        self.behaviours = Behaviours()
        self.programs = Programs(self.store)
        self.accounts = Accounts()
        self.vault: dict[str, dict[str, str]] = {}
        self.calls: deque[Call] = deque(maxlen=LAST_CALLS)
        self.logs = Logs(world, self.behaviours)
        self.cluster = Cluster(self.store, self.writer, self.now, self.after)
        usage = Usage(self.store, world)
        self.store.computed |= {others.POD_METRICS: usage.pods, others.NODE_METRICS: usage.nodes}
        world.advance()
        self.cluster.run(
            [
                Deployments(self.cluster),
                ReplicaSets(self.cluster),
                DaemonSets(self.cluster),
                Jobs(self.cluster),
                CronJobs(self.cluster),
                Scheduler(self.cluster),
                Kubelet(self.cluster, self.behaviours),
                Nodes(self.cluster),
                Budgets(self.cluster),
                Autoscalers(self.cluster, usage.cpu),
                ExternalSecrets(self.cluster, read_secret or self.vault.get),
                Definitions(self.cluster, self.kinds),
                Collector(self.cluster, self.kinds),
            ]
        )
        seed = Seed(self.store, world, self.now())
        seed.plant()
        self.vault |= seed.vault()
        Production(world, self.cluster).watch()
        Traffic(world, self.store, self.behaviours).watch()
        self.cluster.settle()

    def now(self) -> datetime:
        """The moment that the world has come to."""
        return datetime.fromtimestamp(self.world.at / 1000, UTC)

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Call `do` in so many seconds of the world."""
        self.world.after(round(seconds * 1000), do)

    def advance(self) -> None:
        """Come up to the clock's time."""
        self.world.advance()
        self.cluster.settle()

    async def run(self) -> None:
        """Let what is due happen while nobody asks, for those who watch. Runs until it is cancelled."""
        while True:
            try:
                self.advance()
            except Exception:
                logging.getLogger(__name__).exception("a controller failed; the others go on")
            due = self.world.due
            left = LONGEST_NAP if due is None else (due / 1000 - self.world.clock.now().timestamp())
            await asyncio.sleep(min(max(left / self.world.clock.speed, 0.001), LONGEST_NAP))

    def kubeconfig(self, url: str, token: str = ADMIN, namespace: str = "tamv-prod") -> str:
        """A kubeconfig for the API at `url`, as YAML."""
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n"
            f"clusters:\n- name: sandbox\n  cluster: {{server: {url}}}\n"
            f"users:\n- name: sandbox\n  user: {{token: {token}}}\n"
            "contexts:\n- name: sandbox\n"
            f"  context: {{cluster: sandbox, user: sandbox, namespace: {namespace}}}\n"
        )
