"""What objects do to the traffic of the world's services: network policies cut it, load tests add to it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from sandbox.kubernetes.behaviour import Behaviour, Behaviours
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, namespace_of, status_of
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.others import NETWORK_POLICY
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.selectors import selects
from sandbox.kubernetes.store import Change, Store
from sandbox.world import World
from sandbox.world.deployments import Fault
from sandbox.world.services import NAMESPACE

STORAGE = ip_address("52.216.0.1")  # one of S3's
HTTPS = 443
ISOLATED = Fault(errors=1.0)
WITHOUT_STORAGE = Fault(latency=1.9, errors=0.07)  # textures come late, from the nearest cache, or not at all

LOAD_TEST = "load-test"  # the image's name; users, duration and target stand in its environment
MOST_ERRORS, SLOWEST = 0.02, 0.5  # ratio, seconds
THRESHOLDS_BROKEN = 99  # k6's exit code
NORMAL_USERS = 1000  # of a load test, who are as many again as there are


class Traffic:
    """Listens to the store; says to the world what reaches its services, and what they reach."""

    def __init__(self, world: World, store: Store, behaviours: Behaviours) -> None:
        self._world = world
        self._store = store
        self._behaviours = behaviours
        self._tested: dict[str, float] = {}  # the load of a service without its test

    def watch(self) -> None:
        self._store.listeners.append(self._changed)

    def _changed(self, kind: Kind, change: Change) -> None:
        if namespace_of(change.object) != NAMESPACE:
            return
        if kind is NETWORK_POLICY:
            self._cut()
        elif kind is JOB and (test := _test(change.object["spec"]["template"])):
            image, environment = test
            self._behaviours.set(image, Behaviour(run=_seconds(environment)))
        elif kind is POD and (test := _test(change.object)):
            self._load(*test, change.type != "DELETED" and status_of(change.object).get("phase") == "Running")

    def _cut(self) -> None:
        policies = self._store.all(NETWORK_POLICY, NAMESPACE)
        for name, deployment in self._world.deployments.items():
            mine = [one for one in policies if selects(one["spec"].get("podSelector"), {"app": name})]
            self._fault(name, "isolated", ISOLATED if _closed(mine) else None)
            without = deployment.service.storage and not _reach(mine)
            self._fault(name, "storage", WITHOUT_STORAGE if without else None)

    def _fault(self, service: str, name: str, fault: Fault | None) -> None:
        if fault and name not in self._world.deployments[service].faults:
            self._world.inject(service, name, fault)
        elif not fault and name in self._world.deployments[service].faults:
            self._world.clear(service, name)

    def _load(self, image: str, environment: dict[str, str], running: bool) -> None:
        service = environment.get("TARGET", "tamv-core")
        if service not in self._world.deployments:
            return
        if running and service not in self._tested:
            self._tested[service] = self._world.deployments[service].load
            self._world.set_load(self._tested[service] + int(environment.get("VUS", "1")) / NORMAL_USERS, service)
            run = _seconds(environment)
            self._world.after(round(run * 1000) - 1000, lambda: self._judge(image, service, run))
        elif not running and service in self._tested:
            self._world.set_load(self._tested.pop(service), service)

    def _judge(self, image: str, service: str, run: float) -> None:
        """A load test fails when its users are badly served: k6's thresholds, by how it is at the end."""
        seen = self._world.figures(service)
        badly = seen.errors > MOST_ERRORS or seen.p95 > SLOWEST
        self._behaviours.set(image, Behaviour(run=run, exit_code=THRESHOLDS_BROKEN if badly else 0))


def _closed(policies: Iterable[Object]) -> bool:
    """Whether nobody may come in: some policy says who may, and none names anybody."""
    about = [one["spec"] for one in policies if "Ingress" in one["spec"]["policyTypes"]]
    return bool(about) and not any(spec.get("ingress") for spec in about)


def _reach(policies: Iterable[Object]) -> bool:
    """Whether the storage outside of the cluster can be reached."""
    about = [one["spec"] for one in policies if "Egress" in one["spec"]["policyTypes"]]
    return not about or any(_leads_outside(rule) for spec in about for rule in spec.get("egress") or ())


def _leads_outside(rule: Object) -> bool:
    ports = [port.get("port") for port in rule.get("ports") or ()]
    if ports and HTTPS not in ports:
        return False
    blocks = [peer["ipBlock"] for peer in rule.get("to") or () if "ipBlock" in peer]
    return not rule.get("to") or any(_holds_storage(block) for block in blocks)


def _holds_storage(block: Object) -> bool:
    left_out = any(STORAGE in ip_network(cidr) for cidr in block.get("except") or ())
    return STORAGE in ip_network(block["cidr"]) and not left_out


def _test(pod: Object) -> tuple[str, dict[str, str]] | None:
    """The image and the environment of a load test, if this pod (or template of one) is one."""
    container = pod["spec"]["containers"][0]
    image = str(container["image"])
    if image.rpartition("/")[2].partition(":")[0] != LOAD_TEST:
        return None
    return image, {one["name"]: one.get("value", "") for one in container.get("env") or ()}


def _seconds(environment: dict[str, str]) -> float:
    """How long a load test runs: `90s`, `15m`, `1h` as k6 writes them."""
    text = environment.get("DURATION", "30s")
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]
