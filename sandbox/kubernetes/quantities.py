"""Quantities as the API writes them. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""

from __future__ import annotations

SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
            "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}  # fmt: skip


def number(text: str | int | float) -> float:
    """`250m` is 0.25, `512Mi` 536870912. ValueError for what is no quantity."""
    if isinstance(text, int | float):
        return float(text)
    digits = text.rstrip("numkMGTi")
    if (ending := text[len(digits) :]) not in SUFFIXES:
        raise ValueError(f"no quantity: {text}")
    return float(digits) * SUFFIXES[ending]


cores = number


def as_cores(value: float) -> str:
    return f"{round(value * 1e9)}n"


def as_bytes(value: float) -> str:
    return f"{round(value / 1024)}Ki"
