"""Causes weighed by findings that a test names; all others were looked for and are not there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bot.causes.catalogue import CAUSES
from bot.domain.diagnosis import Finding, Suspect, weigh
from bot.domain.findings import BASE


def ranked(
    values: Mapping[str, float], *, unknown: Collection[str] = (), excluded: Sequence[str] = ()
) -> list[Suspect]:
    """The causes, the likeliest first; findings that are not named are 0, the `unknown` ones could not be asked for."""
    findings = {name: Finding(values.get(name, 0.0)) for name in BASE if name not in unknown}
    places = {cause.name: "xr-engine" for cause in CAUSES.all()}
    return weigh(CAUSES.all(), findings, BASE, places=places, excluded=excluded)
