"""Suggestions for mistyped words."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from unicodedata import combining, normalize

from bot.domain.errors import BadInput

CUTOFF = 0.55  # of difflib's ratio: half alike is a coincidence
MAX_COST = 5
MISTAKE, SWAP = 2, 1  # a swap of two neighbours is the most common mistake


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` most probably means, or None if none is similar enough or several are equally.

    The only one that begins with it, or with which it begins, comes first; then the fewest typing mistakes: a
    transposition (`stauts`) is one.
    """
    typed = _plain(word)
    by_lower = {_plain(candidate): candidate for candidate in candidates}
    begun = [one for one in by_lower if len(one) > 1 and (one.startswith(typed) or typed.startswith(one))]
    if len(typed) > 1 and len(begun) == 1:
        return by_lower[begun[0]]
    ranked = sorted((_rank(typed, candidate), candidate) for candidate in by_lower)
    if not ranked:
        return None
    (_, difference), best = ranked[0]
    if (len(ranked) > 1 and ranked[1][0] == ranked[0][0]) or 1 - difference < CUTOFF:
        return None
    return by_lower[best]


def known_service(name: str, services: Collection[str]) -> str:
    """Return the service that `name` means, in whatever case it is typed. Raises BadInput with the nearest one."""
    if name in services:
        return name
    same = [service for service in services if service.lower() == name.lower()]
    if len(same) != 1:
        raise BadInput("unknown_service", service=name, nearest=nearest(name, services), known=sorted(services))
    return same[0]


def _plain(text: str) -> str:
    """Return the text in lower case, without accents."""
    return "".join(char for char in normalize("NFD", text.lower()) if not combining(char))


def _rank(typed: str, candidate: str) -> tuple[int, float]:
    """Return the cost of the mistakes, those above MAX_COST alike, and how different the words are."""
    ratio = difflib.SequenceMatcher(a=typed, b=candidate).ratio()
    return min(_distance(typed, candidate), MAX_COST), 1 - ratio


def _distance(one: str, other: str) -> int:
    """Return the optimal string alignment distance, in which a swap costs SWAP and any other mistake MISTAKE."""
    before: list[int] = []
    row = [MISTAKE * length for length in range(len(other) + 1)]
    for i, left in enumerate(one, 1):
        before, previous, row = row, before, [MISTAKE * i]
        for j, right in enumerate(other, 1):
            cost = min(before[j] + MISTAKE, row[j - 1] + MISTAKE, before[j - 1] + MISTAKE * (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, previous[j - 2] + SWAP)
            row.append(cost)
    return row[-1]
