"""Small deterministic noise: the same seed, key and time always give the same value."""

import math
import random

PERIODS = (41.0, 97.0, 263.0)  # seconds; prime, so that the sum does not repeat within hours


class Noise:
    """Smooth noise in -1..1, of its own course for each key."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._phases: dict[str, tuple[float, ...]] = {}

    def __call__(self, key: str, seconds: float) -> float:
        phases = self._phases.get(key)
        if phases is None:
            chance = random.Random(f"{self._seed}/{key}")
            phases = self._phases[key] = tuple(chance.uniform(0, math.tau) for _ in PERIODS)
        waves = (math.sin(math.tau * seconds / p + phase) for p, phase in zip(PERIODS, phases, strict=True))
        return sum(waves) / len(PERIODS)
