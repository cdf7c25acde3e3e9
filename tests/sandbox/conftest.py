"""A world whose clock stands still until a test moves it, and the cluster in it."""

from __future__ import annotations

import pytest

from sandbox.kubernetes.backend import Kubernetes
from sandbox.world.world import World
from tests.harness.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def world(clock: HandClock) -> World:
    return World(clock)


@pytest.fixture
def kubernetes(world: World) -> Kubernetes:
    return Kubernetes(world)
