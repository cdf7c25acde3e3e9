"""Numbers, durations and moments as Prometheus reads and writes them."""

import math
import re
from datetime import UTC, datetime
from decimal import Decimal

import promql_parser as promql

from sandbox.prometheus.errors import bad_data


def go_float(value: float) -> str:
    """The shortest decimal that reads back as `value`, without an exponent (Go's FormatFloat 'f', -1)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_float(value: float) -> str:
    """A sample's value in the HTTP API: as go_float, but with an exponent when tiny or huge."""
    size = abs(value)
    if size and math.isfinite(value) and (size < 1e-6 or size >= 1e21):
        return go_exponent(value)
    return go_float(value)


def go_exponent(value: float) -> str:
    """The shortest decimal with an exponent (Go's FormatFloat 'e', -1), as alerts carry their value."""
    if not math.isfinite(value):
        return go_float(value)
    mantissa, exponent = f"{Decimal(repr(value)).normalize():E}".split("E")
    return f"{mantissa}e{int(exponent):+03d}"


def moment(text: str, parameter: str) -> int:
    """A time in ms from Unix seconds or RFC 3339. QueryError that names the parameter."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds) and abs(seconds) < 1e12:
            return round(seconds * 1000)
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            read = None
        if read is not None and read.tzinfo is not None:
            return round(read.astimezone(UTC).timestamp() * 1000)
    raise bad_data(f'invalid parameter "{parameter}": cannot parse "{text}" to a valid timestamp')


def duration(text: str, parameter: str) -> int:
    """A duration in ms from seconds or PromQL's form (`1h30m`). QueryError that names the parameter."""
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
