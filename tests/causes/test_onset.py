"""The onset of a shift: found where it is, not found in noise, not invented by gaps."""

from __future__ import annotations

import numpy as np
import pytest

from bot.causes.onset import NO_ONSET, onset


def series(length: int = 160, noise: float = 0.05, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, noise, length)


@pytest.mark.parametrize("ago", [3, 10, 40, 100])
def test_shift_is_found_where_it_is(ago: int) -> None:
    values = series()
    values[-ago:] += 1.0
    found = onset(values, 0.05)
    assert abs(found.ago - ago) <= 2
    assert found.size == pytest.approx(1.0, abs=0.1)
    assert found.strength > 9 and found.sudden > 0.8


def test_slow_rise_is_not_sudden() -> None:
    values = series()
    values[-60:] += np.linspace(0, 1, 60)
    assert onset(values, 0.05).sudden < 0.5


def test_noise_has_no_strong_onset() -> None:
    assert all(abs(onset(series(seed=seed), 0.05).size) < 0.15 for seed in range(30))


@pytest.mark.parametrize("values", [np.full(160, np.nan), np.array([1.0, 2.0]), np.array([])])
def test_too_few_samples_have_no_onset(values: np.ndarray) -> None:
    assert onset(values, 0.05) == NO_ONSET


def test_gap_is_no_onset() -> None:
    values = series()
    values[60:90] = np.nan
    assert abs(onset(values, 0.05).size) < 0.15
