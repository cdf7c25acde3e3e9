"""What the world consists of: the services and GPU nodes of TAMV's production when all is well."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NAMESPACE = "tamv-prod"
NODE_TYPE = "node-type"  # the label that a node selector names
STANDARD_GPU = "gpu"


@dataclass(frozen=True)
class Service:
    """A service at its normal load.

    `rate` is requests a second over all replicas, `p95` seconds, `busy` the share of its replicas' capacity that
    the normal load takes, `errors` the ratio of 5xx answers. `cpu` (cores) and `memory` (bytes) are per replica.
    A service that renders has `gpu_share` of its time on the GPU, and `users` and `frames` (FPS).
    One with `storage` needs objects from outside the cluster; `database` is the RDS instance that it keeps its data in.
    """

    name: str
    replicas: int
    rate: float
    p95: float
    version: str
    cpu: float
    memory: float
    busy: float = 0.30
    errors: float = 0.002
    gpu_share: float = 0.0
    gpu_busy: float = 0.24
    users: float = 0.0
    frames: float = 0.0
    deadline: float = 2.0
    storage: bool = False
    database: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GpuNode:
    """A node with one GPU; `power` is its rendering capacity, 1 for a standard one."""

    name: str
    type: str
    power: float


GIB = 1024.0**3

SERVICES = (
    Service(
        "tamv-core",
        4,
        rate=140.0,
        p95=0.120,
        version="v2.4.0",
        cpu=0.45,
        memory=0.6 * GIB,
        database="tamv-prod-postgres",
    ),
    Service("isabella-ai", 3, rate=36.0, p95=0.340, version="v3.0.2", cpu=1.10, memory=2.2 * GIB),
    Service(
        "xr-engine",
        3,
        rate=60.0,
        p95=0.180,
        version="v4.1.0",
        cpu=1.60,
        memory=3.1 * GIB,
        gpu_share=0.6,
        users=1240.0,
        frames=88.0,
        deadline=1.03,
        storage=True,
        env={"EXPERIMENTAL_FEATURES": "false", "ADVANCED_RENDERING": "true"},
    ),
    Service("blockchain-msr", 2, rate=12.0, p95=0.240, version="v1.9.3", cpu=0.50, memory=1.1 * GIB),
    Service("tenochtitlan-security", 2, rate=90.0, p95=0.060, version="v2.0.5", cpu=0.35, memory=0.5 * GIB),
    Service("quantum-processor", 2, rate=5.0, p95=0.380, version="v0.8.1", cpu=0.90, memory=1.4 * GIB),
)

# The high-memory pool stands empty, scaled to zero, until a node selector asks for it.
GPU_NODES = (
    GpuNode("gpu-node-1", STANDARD_GPU, 1.0),
    GpuNode("gpu-node-2", STANDARD_GPU, 1.0),
    GpuNode("gpu-node-3", STANDARD_GPU, 1.0),
    GpuNode("gpu-node-4", "gpu-high-memory", 2.7),
    GpuNode("gpu-node-5", "gpu-high-memory", 2.7),
)
GPU_POWER = 3.0  # of the standard pool, for which the services' gpu_busy holds

# What a feature costs when it is on: (replicas' work, GPU work), as factors.
FEATURES: Mapping[str, tuple[float, float]] = {
    "EXPERIMENTAL_FEATURES": (1.10, 1.28),
    "ADVANCED_RENDERING": (1.0, 1.0),
}
# What it saves when it is off.
SAVINGS: Mapping[str, tuple[float, float]] = {
    "EXPERIMENTAL_FEATURES": (1.0, 1.0),
    "ADVANCED_RENDERING": (1.0, 0.90),
}


def feature_work(env: Mapping[str, str]) -> tuple[float, float]:
    """The factors by which the features in `env` change the work of the replicas and of the GPUs."""
    replicas = gpu = 1.0
    for feature in FEATURES:
        costs = FEATURES if is_on(env.get(feature, "false")) else SAVINGS
        if feature in env:
            replicas, gpu = replicas * costs[feature][0], gpu * costs[feature][1]
    return replicas, gpu


def is_on(value: str) -> bool:
    return value.strip().lower() in ("true", "1", "yes", "on")
