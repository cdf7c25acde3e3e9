"""`python -m bot.messages.chart_worker`: draws the charts that `bot.messages.charts` asks for, and nothing else.

On stdin a line of JSON for each snapshot: `snapshot`, the `queries` whose charts are wanted, `marks` (`[ISO 8601,
text]`) and `locale`. On stdout a line of JSON, `sizes` or what the `problem` was, and behind it the PNGs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from bot.domain.snapshot import Snapshot
from bot.messages.charts import Mark
from bot.messages.plot import draw
from bot.messages.translations import Translations

NICE = 10  # whoever waits for an acknowledgement comes first
LONGEST = 60  # seconds a snapshot may take, or this process ends where it stands; it takes a third of one


def main() -> None:
    os.nice(NICE)
    while line := sys.stdin.buffer.readline():
        signal.alarm(LONGEST)
        try:
            pictures = list(_drawn(json.loads(line)))
            reply: dict[str, Any] = {"sizes": [len(picture) for picture in pictures]}
        except Exception as problem:  # the one who asked logs it: there secrets are taken out
            pictures, reply = [], {"problem": f"{type(problem).__name__}: {problem}"}
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + b"".join(pictures))
        sys.stdout.buffer.flush()
        signal.alarm(0)


def _drawn(request: Mapping[str, Any]) -> Iterator[bytes]:
    snapshot, words = Snapshot.from_json(request["snapshot"]), _words(request["locale"])
    marks = [Mark(datetime.fromisoformat(at), text) for at, text in request["marks"]]
    figures = {figure.query: figure for figure in snapshot.figures}
    for query in request["queries"]:
        yield draw(snapshot, figures[query], marks, words)


@cache
def _words(locale: str) -> Translations:
    return Translations(locale)


if __name__ == "__main__":
    main()
