"""A real Kubernetes control plane on the loopback interface; fakelet plays the kubelets of its nodes."""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from demo.bot_process import free_port
from tests.harness.processes import running
from tests.real.parts import installed

ADDRESS = "127.0.0.1"
SERVICES = "10.96.0.0/16"


class ControlPlane:
    """The parts of one cluster, whose files are in `folder`. A part runs from its start until `parts` is closed."""

    def __init__(self, folder: Path, parts: contextlib.ExitStack) -> None:
        self._folder = folder
        self._parts = parts
        self._certificate = folder / "tls.crt"
        self._key = folder / "tls.key"
        self.kubeconfig = folder / "kubeconfig"

    def start(self, nodes: int) -> None:
        """Start everything, with so many nodes, and come back when pods can be run."""
        subprocess.run([*_program("certificate"), str(self._folder)], check=True, stderr=subprocess.DEVNULL)
        etcd = self._start_etcd()
        self._start_api_server(etcd)
        served = [f"--kubeconfig={self.kubeconfig}", *self._certified()]
        alone = ["--leader-elect=false", f"--bind-address={ADDRESS}"]
        signed = [f"--service-account-private-key-file={self._key}", f"--root-ca-file={self._certificate}"]
        self._start("kube-controller-manager", "secure-port", "healthz", *served, *alone, *signed)
        self._start("kube-scheduler", "secure-port", "healthz", *served, *alone)
        self._start("fakelet", "port", "healthz", *served, f"--nodes={nodes}")

    def _start_etcd(self) -> str:
        url, peers = (f"http://{ADDRESS}:{free_port()}" for _ in range(2))
        command = [
            *_program("etcd"),
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",  # nothing here outlives the machine
        ]
        self._parts.enter_context(running(command, f"{url}/readyz", self._folder / "etcd.log"))
        return url

    def _start_api_server(self, etcd: str) -> None:
        token = secrets.token_hex()
        (self._folder / "tokens").write_text(f"{token},tests,tests,system:masters\n")
        url = self._start(
            "kube-apiserver",
            "secure-port",
            "readyz",
            f"--etcd-servers={etcd}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            "--endpoint-reconciler-type=none",  # there is no network in which anybody would look for it
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._folder / 'tokens'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            *self._certified(),
        )
        cluster = {"server": url, "certificate-authority": str(self._certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "tests"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def _certified(self) -> list[str]:
        return [f"--tls-cert-file={self._certificate}", f"--tls-private-key-file={self._key}"]

    def _start(self, name: str, port_flag: str, ready_path: str, *flags: str) -> str:
        """Start a part on a free port, and give the URL at which it answers."""
        port = free_port()
        url = f"https://{ADDRESS}:{port}"
        command = [*_program(name), f"--{port_flag}={port}", *flags]
        trusted = ssl.create_default_context(cafile=self._certificate)
        self._parts.enter_context(
            running(command, f"{url}/{ready_path}", self._folder / f"{name}.log", trusted=trusted)
        )
        return url


@contextlib.contextmanager
def kubernetes(nodes: int = 3) -> Iterator[Path]:
    """An empty cluster until the block ends: its kubeconfig, of an account that may do everything.

    Its nodes are named `node-1` and so on.
    """
    with tempfile.TemporaryDirectory(prefix="kubernetes-") as name, contextlib.ExitStack() as parts:
        plane = ControlPlane(Path(name), parts)
        plane.start(nodes)
        yield plane.kubeconfig


def _program(name: str) -> list[str]:
    """How a part is run: the program of its name in KUBEBUILDER_ASSETS, or the part of that name in our own build."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (found := Path(assets) / name).exists():
        return [str(found)]
    return [str(installed("control-plane")), name]
