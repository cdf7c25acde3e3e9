"""Log lines in JSON: ids, no secrets, a trace in one line."""

from __future__ import annotations

import json
import logging
from io import StringIO

from bot.logs import JsonFormatter
from bot.redaction import Redaction


def test_a_line_is_one_object_with_the_ids_that_it_names() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(Redaction(["hunter2-hunter2"])))
    log = logging.getLogger("test.json")
    log.addHandler(handler)
    log.propagate = False
    log.warning("step scale of R-3fa91c is retried for %s: hunter2-hunter2", "INC-2026-0001")
    try:
        raise ValueError("hunter2-hunter2\nsecond line")
    except ValueError:
        log.exception("it broke")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["level"], first["incident"], first["run"]) == ("WARNING", "INC-2026-0001", "R-3fa91c")
    assert "incident" not in second and "ValueError" in second["trace"]
    assert "hunter2" not in stream.getvalue()
