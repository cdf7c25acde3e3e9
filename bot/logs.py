"""Log lines of the process: text or JSON, without secrets."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import TextIO

from bot.redaction import Redaction, log_without_secrets

_IDS = {"incident": re.compile(r"\bINC-\d{4}-\d{4,}\b"), "run": re.compile(r"\bR-[0-9a-z]{6,}\b")}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`; `incident`, `run`, `trace` where there are any."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        message = self._redaction.text(record.getMessage())
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        line |= {name: match[0] for name, pattern in _IDS.items() if (match := pattern.search(message))}
        if record.exc_info:
            line["trace"] = self._redaction.text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(redaction: Redaction, style: str, level: str, stream: TextIO | None = None) -> None:
    """Write every log line of this process, redacted, to `stream` (default: standard error)."""
    log_without_secrets(redaction, stream)
    root = logging.getLogger()
    root.setLevel(level)
    if style == "json":
        for handler in root.handlers:
            handler.setFormatter(JsonFormatter(redaction))
