"""A kubelet for the bot's pods on the real control plane: what their specification says is run, probed and reported.

fakelet leaves pods to it whose image is tagged `broken`. A container is a process with the environment, volumes,
account, user and read-only root of its specification; its files are this machine's instead of an image's, and it
listens on an address of the loopback interface instead of one of its own: 127.244.x.y for the pod's 10.244.x.y, in
`HOST`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml

from bot.tasks import cancel_and_wait
from sandbox.deadline import deadline
from tests.architecture.tree import ROOT
from tests.contract.kubernetes.conftest import Cluster

TICK = 0.1  # seconds
# What the Dockerfile sets, with this machine's interpreter.
IMAGE = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1",
         "PYTHONUNBUFFERED": "1", "HOME": "/home/tamv", "MPLCONFIGDIR": "/tmp/matplotlib"}  # fmt: skip
PLACES = (sys.base_prefix, sys.prefix, str(ROOT))  # where the bot and its interpreter are
# Arguments: an empty folder, user, group, how many volumes, `from to options` of each, and the program.
ENTER = """
root=$1; user=$2; group=$3; volumes=$4; shift 4
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
for each in /*; do
    case $each in /run|/tmp|/root|/home) mkdir "$root$each"; continue;; esac
    if [ -L "$each" ]; then cp -P "$each" "$root$each"
    elif [ -d "$each" ]; then mkdir "$root$each"; mount --rbind "$each" "$root$each"; fi
    if [ -d "$each" ] && [ ! -L "$each" ]; then mount -o remount,bind,ro "$root$each" || true; fi
done
while [ "$volumes" -gt 0 ]; do
    chroot "$root" mkdir -p "$2"
    to=$root$(chroot "$root" readlink -f "$2")
    mount --bind "$1" "$to"
    mount -o "remount,bind,$3" "$to"
    volumes=$((volumes - 1)); shift 3
done
mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid="$user" --regid="$group" --clear-groups --no-new-privs \
    --inh-caps=-all --bounding-set=-all -- env -i --chdir=/tmp "$@"
"""


@dataclass
class Pod:
    """One pod of the API server's, and the process that is its container."""

    spec: dict[str, Any]
    name: str
    address: str
    restarts: int = 0
    process: Process | None = None
    probes: dict[str, tuple[float, int]] = field(default_factory=dict)  # when it is due, failures in a row
    reported: tuple[Any, ...] = ()

    @property
    def container(self) -> dict[str, Any]:
        (only,) = self.spec["containers"]
        return dict(only)

    def port(self, port: int | str) -> int:
        named = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        return int(named.get(port, port))


class Kubelet:
    """Runs the pods of one label in one namespace until the block ends."""

    def __init__(self, cluster: Cluster, selector: str, folder: Path) -> None:
        self.pods: dict[str, Pod] = {}
        self.may_restart = asyncio.Event()
        self.may_restart.set()
        self._cluster = cluster
        self._selector = selector
        self._folder = folder
        self._path = f"/api/v1/namespaces/{cluster.namespace}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Kubelet]:
        async with aiohttp.ClientSession() as http:
            task = asyncio.create_task(self._run(http))
            try:
                yield self
            finally:
                await cancel_and_wait([task])
                for pod in self.pods.values():
                    await self._stop(pod, signal.SIGKILL)
                if task.done() and not task.cancelled():
                    task.result()

    async def endpoints(self, service: str) -> list[str]:
        """The URLs behind a service: of the ready pods, as the control plane has them."""
        query = {"labelSelector": f"kubernetes.io/service-name={service}"}
        found = await self._cluster.get(
            f"/apis/discovery.k8s.io/v1/namespaces/{self._cluster.namespace}/endpointslices", query
        )
        return sorted(
            f"http://{_loopback(address)}:{part['ports'][0]['port']}"
            for part in found["items"]
            for one in part.get("endpoints") or []
            if one["conditions"]["ready"]
            for address in one["addresses"]
        )

    def log(self, pod: Pod) -> str:
        return (self._folder / f"{pod.name}.log").read_text("utf-8", "replace")

    async def _run(self, http: aiohttp.ClientSession) -> None:
        while True:
            found = await self._cluster.get(f"{self._path}/pods", {"labelSelector": self._selector})
            known = {one["metadata"]["uid"]: one for one in found["items"] if one["status"].get("startTime")}
            for uid in self.pods.keys() - known.keys():
                await self._stop(self.pods.pop(uid), signal.SIGTERM)
            for uid, one in known.items():
                if uid not in self.pods:
                    self.pods[uid] = Pod(one["spec"], one["metadata"]["name"], _loopback(one["status"]["podIP"]))
                    await self._start(self.pods[uid])
                await self._look(self.pods[uid], http)
            await asyncio.sleep(TICK)

    async def _look(self, pod: Pod, http: aiohttp.ClientSession) -> None:
        """Start it again if it has died, probe what is due, and report what has changed."""
        assert pod.process
        if pod.process.returncode is not None:
            await self._report(pod, started=False, ready=False)
            if not self.may_restart.is_set():
                return
            pod.restarts += 1
            pod.probes.clear()
            await self._start(pod)
        started = "startupProbe" in pod.probes and pod.probes["startupProbe"][1] == 0
        if not started:
            started = await self._passes(pod, "startupProbe", http)
        elif not await self._passes(pod, "livenessProbe", http) and pod.probes["livenessProbe"][1] >= 3:
            pod.process.kill()
        ready = started and await self._passes(pod, "readinessProbe", http)
        await self._report(pod, started=started, ready=ready)

    async def _passes(self, pod: Pod, name: str, http: aiohttp.ClientSession) -> bool:
        """Whether a probe has passed when it was asked last; it is asked when it is due."""
        probe = pod.container[name]
        due, failures = pod.probes.get(name, (0.0, 1))
        if time.monotonic() >= due:
            url = f"http://{pod.address}:{pod.port(probe['httpGet']['port'])}{probe['httpGet']['path']}"
            limit = aiohttp.ClientTimeout(probe.get("timeoutSeconds", 1))
            passed = False
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(url, timeout=limit, allow_redirects=False) as answer:
                    passed = 200 <= answer.status < 400
            failures = 0 if passed else failures + 1
            pod.probes[name] = (time.monotonic() + probe["periodSeconds"], failures)
        return failures == 0

    async def _report(self, pod: Pod, *, started: bool, ready: bool) -> None:
        if pod.reported == (reported := (started, ready, pod.restarts)):
            return
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        state = {"running": {"startedAt": now}} if started else {"waiting": {"reason": "ContainerCreating"}}
        container = {
            "name": pod.container["name"], "image": pod.container["image"], "imageID": "", "ready": ready,
            "started": started, "restartCount": pod.restarts, "state": state,
        }  # fmt: skip
        conditions = [
            {"type": kind, "status": str(ready), "lastTransitionTime": now} for kind in ("ContainersReady", "Ready")
        ]
        status = {"phase": "Running", "containerStatuses": [container], "conditions": conditions}
        code, answer, _ = await self._cluster.ask(
            "PATCH", f"{self._path}/pods/{pod.name}/status", body={"status": status},
            content_type="application/strategic-merge-patch+json",
        )  # fmt: skip
        assert code in (200, 404), answer
        pod.reported = reported

    async def _start(self, pod: Pod) -> None:
        folder = self._folder / f"{pod.name}-{pod.restarts}"
        (folder / "root").mkdir(parents=True)
        user, group = pod.spec["securityContext"]["runAsUser"], pod.spec["securityContext"]["runAsGroup"]
        mounts = list(pod.container["volumeMounts"])
        volumes = {one["name"]: one for one in pod.spec["volumes"]}
        placed: list[str] = []
        for mount in mounts:
            source = folder / mount["name"]
            source.mkdir()
            await self._fill(source, volumes[mount["name"]], pod)
            for path in (source, *source.rglob("*")):
                os.chown(path, user, group)
            placed += [str(source), mount["mountPath"], "ro" if mount.get("readOnly") else "rw"]
        variables = IMAGE | await self._environment(pod) | {"HOST": pod.address}
        for place in PLACES:
            placed += [place, place, "ro"]
        arguments = [
            str(folder / "root"), str(user), str(group), str(len(mounts) + len(PLACES)), *placed,
            *(f"{name}={value}" for name, value in variables.items()), *pod.container["args"],
        ]  # fmt: skip
        with (self._folder / f"{pod.name}.log").open("ab") as log:
            pod.process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "sh", "-ec", ENTER, "enter", *arguments, stdout=log, stderr=log
            )

    async def _fill(self, folder: Path, volume: dict[str, Any], pod: Pod) -> None:
        """Write what a volume holds."""
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "serviceAccountToken" in source:
                account = f"{self._path}/serviceaccounts/{pod.spec['serviceAccountName']}/token"
                request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
                _, made, _ = await self._cluster.ask("POST", account, body=request)
                (folder / source["serviceAccountToken"]["path"]).write_text(made["status"]["token"])
            elif "downwardAPI" in source:
                (folder / "namespace").write_text(self._cluster.namespace)
            elif "configMap" in source or "secret" in source:
                kept = source.get("configMap") or source["secret"]
                kind = "configmaps" if "configMap" in source else "secrets"
                data = await self._data(kind, kept.get("name") or kept["secretName"])
                for item in kept.get("items") or [{"key": key, "path": key} for key in data]:
                    path = folder / item["path"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(data[item["key"]])
            else:
                assert "emptyDir" in source, source

    async def _environment(self, pod: Pod) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in pod.container["envFrom"]:
            if "configMapRef" in source:
                found |= await self._data("configmaps", source["configMapRef"]["name"])
            else:
                found |= await self._data("secrets", source["secretRef"]["name"])
        api = urlsplit(yaml.safe_load(self._cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
        return found | {"KUBERNETES_SERVICE_HOST": str(api.hostname), "KUBERNETES_SERVICE_PORT": str(api.port)}

    async def _data(self, kind: str, name: str) -> dict[str, str]:
        data: dict[str, str] = (await self._cluster.get(f"{self._path}/{kind}/{name}")).get("data") or {}
        return data if kind == "configmaps" else {key: base64.b64decode(text).decode() for key, text in data.items()}

    @staticmethod
    async def _stop(pod: Pod, how: signal.Signals) -> None:
        """Tell it to end, as long as it has for that, and be sure of it then."""
        if pod.process is None or pod.process.returncode is not None:
            return
        pod.process.send_signal(how)
        try:
            async with deadline(pod.spec["terminationGracePeriodSeconds"]):
                await pod.process.wait()
        except TimeoutError:
            pod.process.kill()


def _loopback(address: str) -> str:
    """Where a pod listens that has this address."""
    return f"127.{address.partition('.')[2]}"
