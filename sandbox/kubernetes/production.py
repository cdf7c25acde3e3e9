"""The world's production and the cluster's namespace tamv-prod are the same thing, seen from two sides.

What the API is asked for becomes pods, and these carry the world's load; what happens in the world (a scenario scales,
a node is lost, a container is killed) happens to the API's objects. Network policies and load tests act on the traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from sandbox.kubernetes.containers import Behaviour, Behaviours
from sandbox.kubernetes.controllers import Cluster
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import (
    Object,
    annotations_of,
    deep_copy,
    is_terminating,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    selector_matches,
    status_of,
    timestamp,
)
from sandbox.kubernetes.resources import flux
from sandbox.kubernetes.resources.argo_cd import APPLICATION, TRACKING_ID, WORKLOADS, Git, application
from sandbox.kubernetes.resources.argo_cd import MANAGER as ARGOCD
from sandbox.kubernetes.resources.argo_cd import NAMESPACE as ARGOCD_NAMESPACE
from sandbox.kubernetes.resources.basic import NAMESPACE as NAMESPACES
from sandbox.kubernetes.resources.basic import NETWORK_POLICY, SERVICE
from sandbox.kubernetes.resources.batch import JOB
from sandbox.kubernetes.resources.deployments import DEPLOYMENT
from sandbox.kubernetes.resources.nodes import NODE, gpu_node, node_conditions
from sandbox.kubernetes.resources.pods import POD, pod_status
from sandbox.kubernetes.resources.stateful_sets import STATEFUL_SET
from sandbox.kubernetes.state import Change, Store, WriteOptions
from sandbox.world.deployments import Fault, Placed, Template
from sandbox.world.services import GPU_NODES, NAMESPACE
from sandbox.world.world import World

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


class Production:
    """Keeps both sides equal from `start` on. To the world it is the cluster that runs its pods."""

    def __init__(self, world: World, cluster: Cluster, git: Git) -> None:
        self._world = world
        self._cluster = cluster
        self._git = git

    def start(self) -> None:
        self._world.cluster = self
        self._cluster.store.listeners.append(self._on_change)

    # --- from the API to the world

    def _on_change(self, kind: Kind, change: Change) -> None:
        if kind is NODE:
            self._on_node_change(change)
        if namespace_of(change.object) != NAMESPACE:
            return
        if kind is SERVICE and name_of(change.object) in self._world.deployments:
            self._world.place(name_of(change.object), self._placed_pods(name_of(change.object)))
        if kind is POD:
            for service in self._world.deployments:
                if labels_of(change.object).get("app") == service or self._selects(service, change.object):
                    self._world.place(service, self._placed_pods(service))
        service = labels_of(change.object).get("app", "")
        if service not in self._world.deployments:
            return
        if kind in WORKLOADS.values() and name_of(change.object) == service:
            if change.type == "DELETED" and self._workload(service):
                return  # it runs as another kind now
            deployment = self._world.deployments[service]
            deployment.replicas = 0 if change.type == "DELETED" else change.object["spec"]["replicas"]
            deployment.template = _world_template(change.object["spec"]["template"])

    def _placed_pods(self, service: str) -> list[Placed]:
        """Return the service's pods; those that its Service does not select get no traffic."""
        return [
            Placed(name_of(pod), pod["spec"]["nodeName"], _world_template(pod), _serves(pod) and selected)
            for pod in self._cluster.store.all(POD, NAMESPACE)
            if pod["spec"].get("nodeName")
            and ((selected := self._selects(service, pod)) or labels_of(pod).get("app") == service)
        ]

    def _selects(self, service: str, pod: Object) -> bool:
        """Return whether the Service of this name sends traffic to a pod; without it, all of its pods serve."""
        found = self._cluster.store.get(SERVICE, NAMESPACE, service)
        if found is None or not found["spec"].get("selector"):
            return labels_of(pod).get("app") == service
        return all(labels_of(pod).get(name) == value for name, value in found["spec"]["selector"].items())

    def _on_node_change(self, change: Change) -> None:
        """Take a GPU node from the world while it is deleted or not ready."""
        name = name_of(change.object)
        is_ready = change.type != "DELETED" and is_true(change.object, "Ready")
        if not is_ready and name in self._world.nodes:
            self._world.lose_node(name)
        elif is_ready and name not in self._world.nodes and any(name == node.name for node in GPU_NODES):
            self._world.return_node(name)

    # --- from the world to the API

    def scale(self, service: str, replicas: int) -> None:
        def change(deployment: Object) -> None:
            deployment["spec"]["replicas"] = replicas

        self._change_workload(service, change, "kubectl-scale")

    def roll_out(self, service: str, template: Template) -> None:
        def change(deployment: Object) -> None:
            apply_world_template(deployment["spec"]["template"], template)

        self._change_workload(service, change, "kubectl-edit")

    def lose_node(self, node: str) -> None:
        present = self._cluster.store.get(NODE, "", node)
        if present is not None and is_true(present, "Ready"):
            self._set_node_ready(present, False)
            self._cluster.settle()

    def return_node(self, node: str) -> None:
        present = self._cluster.store.get(NODE, "", node)
        if present is None:
            self._cluster.writer.create(NODE, gpu_node(self._world.nodes[node], self._cluster.now()))
        elif not is_true(present, "Ready"):
            self._set_node_ready(present, True)
        self._cluster.settle()

    def container_killed(self, service: str, pod: str) -> None:
        present = self._cluster.store.get(POD, NAMESPACE, pod)
        if present is None:
            return
        now = timestamp(self._cluster.now())
        killed = deep_copy(present)
        for container in killed["status"].get("containerStatuses") or ():
            started = container["state"].get("running", {}).get("startedAt", now)
            terminated = {"exitCode": 137, "reason": "OOMKilled", "startedAt": started, "finishedAt": now}
            container["restartCount"] += 1
            container["lastState"] = {"terminated": terminated}
            container["state"] = {"running": {"startedAt": now}}
        self._cluster.store.put(POD, killed)
        message = f"Memory cgroup out of memory: Killed process in container {service}"
        self._cluster.record_event(present, "OOMKilling", message, source="kubelet", warning=True)

    def run_as_stateful_set(self, service: str) -> None:
        """Replace the service's deployment by a StatefulSet of the same pods, which serve before the others go."""
        before = self._cluster.store.get(DEPLOYMENT, NAMESPACE, service)
        if before is None:
            return
        spec = {name: deep_copy(before["spec"])[name] for name in ("replicas", "selector", "template")}
        metadata = {"name": service, "namespace": NAMESPACE, "labels": {"app": service}}
        stateful_set = {"metadata": metadata, "spec": {**spec, "serviceName": service}}
        made = self._cluster.writer.create(STATEFUL_SET, stateful_set, WriteOptions(field_manager="kubectl-apply"))
        for _ in range(spec["replicas"]):
            self._cluster.settle()
            for pod in self._cluster.controlled_by(made, POD):
                if not is_true(pod, "Ready"):
                    status = pod_status(pod, self._cluster.now(), "Running")
                    self._cluster.store.put(POD, {**deep_copy(pod), "status": status})
        self._cluster.writer.delete(DEPLOYMENT, before)
        self._cluster.settle()

    def put_into_git(self, service: str, by: str) -> None:
        """Write the service's workload into Git as it is, and let Argo CD or Flux (`flux`) keep it so."""
        found = self._workload(service)
        if found is None:
            return
        kind, live = found
        path = f"deploy/{NAMESPACE}/{service}"
        self._git.commit(f"{path}/{kind.name.lower()}.yaml", _manifest(kind, live), f"{service}: deployed from Git")
        if by == "flux":
            self._give_to_flux(service, path)
            return

        def track(workload: Object) -> None:
            tracking_id = f"{service}:apps/{kind.name}:{NAMESPACE}/{service}"
            workload["metadata"].setdefault("annotations", {})[TRACKING_ID] = tracking_id

        self._change_workload(service, track, ARGOCD)
        if self._cluster.store.get(NAMESPACES, "", ARGOCD_NAMESPACE) is None:
            self._cluster.writer.create(NAMESPACES, {"metadata": {"name": ARGOCD_NAMESPACE}})
        self._cluster.writer.create(APPLICATION, application(service, self._git.address, path, NAMESPACE))
        self._cluster.settle()

    def _give_to_flux(self, service: str, path: str) -> None:
        def mark(workload: Object) -> None:
            labels = {f"{flux.GROUP}/name": service, f"{flux.GROUP}/namespace": flux.NAMESPACE}
            workload["metadata"].setdefault("labels", {}).update(labels)

        self._change_workload(service, mark, flux.MANAGER)
        writer, store = self._cluster.writer, self._cluster.store
        if store.get(NAMESPACES, "", flux.NAMESPACE) is None:
            writer.create(NAMESPACES, {"metadata": {"name": flux.NAMESPACE}})
            writer.create(flux.GIT_REPOSITORY, flux.git_repository(self._git.address, "main"))
        writer.create(flux.KUSTOMIZATION, flux.kustomization(service, path, NAMESPACE))
        self._cluster.settle()

    def _set_node_ready(self, node: Object, ready: bool) -> None:
        status = {**status_of(node), "conditions": node_conditions(ready, self._cluster.now())}
        self._cluster.store.put(NODE, {**node, "status": status})

    def _workload(self, service: str) -> tuple[Kind, Object] | None:
        """Return what the service runs as, with its kind."""
        for kind in WORKLOADS.values():
            if found := self._cluster.store.get(kind, NAMESPACE, service):
                return kind, found
        return None

    def _change_workload(self, service: str, change: Callable[[Object], None], manager: str) -> None:
        found = self._workload(service)
        if found is None:
            return
        kind, before = found
        after = deep_copy(before)
        change(after)
        self._cluster.writer.replace(kind, before, after, WriteOptions(field_manager=manager))
        self._cluster.settle()


def _manifest(kind: Kind, live: Object) -> str:
    """Return a workload as a file that people keep in Git."""
    spec, container = live["spec"], live["spec"]["template"]["spec"]["containers"][0]
    env = "".join(
        f"""            - name: {variable["name"]}
              value: {json.dumps(variable["value"])}
"""
        for variable in container.get("env") or ()
        if "value" in variable
    )
    return f"""# What is deployed of it.
apiVersion: apps/v1
kind: {kind.name}
metadata:
  name: {name_of(live)}
  namespace: {namespace_of(live)}
spec:
  replicas: {spec["replicas"]}  # enough for a normal day
  template:
    spec:
      containers:
        - name: {container["name"]}
          image: {container["image"]}
""" + (f"          env:\n{env}" if env else "")


def _serves(pod: Object) -> bool:
    return is_true(pod, "Ready") and not is_terminating(pod)


def _world_template(pod: Object) -> Template:
    """Return what the world needs of a pod, or of a pod template."""
    container = pod["spec"]["containers"][0]
    env = {
        variable["name"]: variable.get("value", "")
        for variable in container.get("env") or ()
        if "valueFrom" not in variable
    }
    restarted_at = annotations_of(pod).get(RESTARTED_AT)
    restarted = int(datetime.fromisoformat(restarted_at).timestamp() * 1000) if restarted_at else 0
    tag = container["image"].rpartition("/")[2].partition(":")[2] or "latest"
    return Template(tag, env, dict(pod["spec"].get("nodeSelector") or {}), restarted)


def apply_world_template(pod: Object, template: Template) -> None:
    """Change a pod template of the API so that it equals the world's."""
    container = pod["spec"]["containers"][0]
    container["image"] = f"{container['image'].rpartition(':')[0]}:{template.version}"
    references = [variable for variable in container.get("env") or () if "valueFrom" in variable]
    container["env"] = [*references, *({"name": name, "value": value} for name, value in sorted(template.env.items()))]
    pod["spec"]["nodeSelector"] = dict(template.node_selector)
    for parent, field in ((container, "env"), (pod["spec"], "nodeSelector")):
        if not parent[field]:
            del parent[field]
    if template.restarted:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=template.restarted)
        pod["metadata"].setdefault("annotations", {})[RESTARTED_AT] = at.isoformat().replace("+00:00", "Z")


# --- traffic

STORAGE_ADDRESS = ip_address("52.216.0.1")  # one of S3's
HTTPS_PORT = 443
ISOLATED = Fault(errors=1.0)
WITHOUT_STORAGE = Fault(latency=1.9, errors=0.07)  # textures come late, from the nearest cache, or not at all

LOAD_TEST_IMAGE = "load-test"  # users, duration and target are in its environment
MAX_ERROR_RATIO, MAX_P95_SECONDS = 0.02, 0.5
THRESHOLDS_FAILED = 99  # k6's exit code
NORMAL_USERS = 1000  # a load test of so many users doubles the load
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600}


class Traffic:
    """Cuts the traffic of the world's services by network policies, and adds that of load tests, from `start` on."""

    def __init__(self, world: World, store: Store, behaviours: Behaviours) -> None:
        self._world = world
        self._store = store
        self._behaviours = behaviours
        self._load_before: dict[str, float] = {}  # of the services that are being tested

    def start(self) -> None:
        self._store.listeners.append(self._on_change)

    def _on_change(self, kind: Kind, change: Change) -> None:
        if namespace_of(change.object) != NAMESPACE:
            return
        if kind is NETWORK_POLICY:
            self._apply_policies()
        elif kind is JOB and (test := _load_test(change.object["spec"]["template"])):
            image, environment = test
            self._behaviours.set(image, Behaviour(run=_test_seconds(environment)))
        elif kind is POD and (test := _load_test(change.object)):
            is_running = change.type != "DELETED" and status_of(change.object).get("phase") == "Running"
            self._apply_load_test(*test, is_running)

    def _apply_policies(self) -> None:
        specs = [policy["spec"] for policy in self._store.all(NETWORK_POLICY, NAMESPACE)]
        for name, deployment in self._world.deployments.items():
            selecting = [spec for spec in specs if selector_matches(spec.get("podSelector"), {"app": name})]
            self._set_fault(name, "isolated", None if _admits_traffic(selecting) else ISOLATED)
            has_storage = not deployment.service.storage or _reaches_storage(selecting)
            self._set_fault(name, "storage", None if has_storage else WITHOUT_STORAGE)

    def _set_fault(self, service: str, name: str, fault: Fault | None) -> None:
        if fault and name not in self._world.deployments[service].faults:
            self._world.inject(service, name, fault)
        elif not fault and name in self._world.deployments[service].faults:
            self._world.clear(service, name)

    def _apply_load_test(self, image: str, environment: dict[str, str], is_running: bool) -> None:
        service = environment.get("TARGET", "tamv-core")
        if service not in self._world.deployments:
            return
        if is_running and service not in self._load_before:
            load = self._load_before[service] = self._world.deployments[service].load
            self._world.set_load(load + int(environment.get("VUS", "1")) / NORMAL_USERS, service)
            run = _test_seconds(environment)
            self._world.after(round(run * 1000) - 1000, lambda: self._check_thresholds(image, service, run))
        elif not is_running and service in self._load_before:
            self._world.set_load(self._load_before.pop(service), service)

    def _check_thresholds(self, image: str, service: str, run: float) -> None:
        """Let a load test fail if its users are badly served at its end, as k6's thresholds do."""
        figures = self._world.figures(service)
        has_failed = figures.errors > MAX_ERROR_RATIO or figures.p95 > MAX_P95_SECONDS
        self._behaviours.set(image, Behaviour(run=run, exit_code=THRESHOLDS_FAILED if has_failed else 0))


def _admits_traffic(specs: Iterable[Object]) -> bool:
    """Return True if some policy for ingress has a rule, or there is no such policy."""
    ingress = [spec for spec in specs if "Ingress" in spec["policyTypes"]]
    return not ingress or any(spec.get("ingress") for spec in ingress)


def _reaches_storage(specs: Iterable[Object]) -> bool:
    """Return True if the storage outside of the cluster can be reached."""
    egress = [spec for spec in specs if "Egress" in spec["policyTypes"]]
    return not egress or any(_allows_storage(rule) for spec in egress for rule in spec.get("egress") or ())


def _allows_storage(rule: Object) -> bool:
    ports = [port.get("port") for port in rule.get("ports") or ()]
    if ports and HTTPS_PORT not in ports:
        return False
    blocks = [peer["ipBlock"] for peer in rule.get("to") or () if "ipBlock" in peer]
    return not rule.get("to") or any(_contains_storage(block) for block in blocks)


def _contains_storage(block: Object) -> bool:
    is_excepted = any(STORAGE_ADDRESS in ip_network(cidr) for cidr in block.get("except") or ())
    return STORAGE_ADDRESS in ip_network(block["cidr"]) and not is_excepted


def _load_test(pod: Object) -> tuple[str, dict[str, str]] | None:
    """Return the image and the environment of a load test, None if the pod (or pod template) is none."""
    container = pod["spec"]["containers"][0]
    image = str(container["image"])
    if image.rpartition("/")[2].partition(":")[0] != LOAD_TEST_IMAGE:
        return None
    return image, {variable["name"]: variable.get("value", "") for variable in container.get("env") or ()}


def _test_seconds(environment: dict[str, str]) -> float:
    """Return how long a load test runs: `90s`, `15m`, `1h` as k6 writes them."""
    text = environment.get("DURATION", "30s")
    return float(text[:-1]) * SECONDS_PER_UNIT[text[-1]]
