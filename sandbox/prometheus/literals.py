"""Numbers, durations, times and regular expressions as Prometheus reads and writes them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

import promql_parser as promql

from sandbox.prometheus.values import bad_data


def go_float(value: float) -> str:
    """Return the shortest decimal that reads back as `value`, without an exponent (Go's FormatFloat 'f', -1)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_float(value: float) -> str:
    """Format a sample's value for the HTTP API: as go_float, but with an exponent when tiny or huge."""
    size = abs(value)
    if size and math.isfinite(value) and (size < 1e-6 or size >= 1e21):
        return go_exponent(value)
    return go_float(value)


def go_exponent(value: float) -> str:
    """Return the shortest decimal with an exponent (Go's FormatFloat 'e', -1), as alerts carry their value."""
    if not math.isfinite(value):
        return go_float(value)
    mantissa, exponent = f"{Decimal(repr(value)).normalize():E}".split("E")
    return f"{mantissa}e{int(exponent):+03d}"


def parse_time(text: str, parameter: str) -> int:
    """Parse Unix seconds or RFC 3339 into ms. Raises QueryError that names the parameter."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds) and abs(seconds) < 1e12:
            return round(seconds * 1000)
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = None
        if time is not None and time.tzinfo is not None:
            return round(time.astimezone(UTC).timestamp() * 1000)
    raise bad_data(f'invalid parameter "{parameter}": cannot parse "{text}" to a valid timestamp')


def parse_duration(text: str, parameter: str) -> int:
    """Parse seconds or PromQL's form (`1h30m`) into ms. Raises QueryError that names the parameter."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = promql.parse_duration(text).total_seconds()
        except ValueError:
            seconds = math.nan
    if not math.isfinite(seconds) or abs(seconds) > 1e10:
        raise bad_data(f'invalid parameter "{parameter}": cannot parse "{text}" to a valid duration')
    return round(seconds * 1000)


MILLISECOND = timedelta(milliseconds=1)


def milliseconds(duration: timedelta) -> int:
    return duration // MILLISECOND


@lru_cache(maxsize=1024)
def pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression of PromQL, for use with `fullmatch`. Raises QueryError."""
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise bad_data(f"error parsing regexp: {error}: `{text}`") from None
