"""`python -m bot.messages.chart_worker`: the process that draws charts for `bot.messages.charts`.

Reads one line of JSON per snapshot from stdin: `snapshot`, the `queries` to draw, `marks` (`[ISO 8601, text, likely]`)
and `locale`; with `strip` all metrics are on one axis, and the marks are changes. Writes one line of JSON to stdout,
with the `sizes` of the PNGs that follow or with the `problem`.
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
from bot.messages.plot import draw, draw_strip
from bot.messages.translations import Translations

NICE = 10  # acknowledgements have priority
TIMEOUT_SECONDS = 60  # for one snapshot, after which SIGALRM ends the process; normally 0.3 s


def main() -> None:
    os.nice(NICE)
    while line := sys.stdin.buffer.readline():
        signal.alarm(TIMEOUT_SECONDS)
        try:
            pictures = list(_draw(json.loads(line)))
            reply: dict[str, Any] = {"sizes": [len(picture) for picture in pictures]}
        except Exception as problem:  # the parent process logs it, with secrets removed
            pictures, reply = [], {"problem": f"{type(problem).__name__}: {problem}"}
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + b"".join(pictures))
        sys.stdout.buffer.flush()
        signal.alarm(0)


def _draw(request: Mapping[str, Any]) -> Iterator[bytes]:
    snapshot, words = Snapshot.from_json(request["snapshot"]), _words(request["locale"])
    marks = [Mark(datetime.fromisoformat(at), text, likely) for at, text, likely in request["marks"]]
    metrics = {metric.query: metric for metric in snapshot.figures}
    if request.get("strip"):
        yield draw_strip(snapshot, [metrics[query] for query in request["queries"]], marks, words)
        return
    for query in request["queries"]:
        yield draw(snapshot, metrics[query], marks, words)


@cache
def _words(locale: str) -> Translations:
    return Translations(locale)


if __name__ == "__main__":
    main()
