"""The part of Go's templates that alert annotations use: `{{ $labels.service }}`, `{{ $value | humanize }}`."""

import math
import re
from collections.abc import Callable, Mapping

EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")
VALUE = re.compile(r"\$value|\.Value")
PRINTF = re.compile(r'printf "(%(?:\.\d+)?[efg](?:%%)?)"')

Labels = Mapping[str, str]
Template = Callable[[Labels, float], str]


def humanize(value: float) -> str:
    """A number with an SI prefix, four digits: 1234567 → 1.235M."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    prefixes = ("k", "M", "G", "T", "P", "E", "Z", "Y") if abs(value) >= 1 else ("m", "u", "n", "p", "f", "a")
    factor = 1000.0 if abs(value) >= 1 else 0.001
    prefix = ""
    for next_prefix in prefixes:
        if 1 <= abs(value) < 1000:
            break
        prefix, value = next_prefix, value / factor
    return f"{value:.4g}{prefix}"


def humanize_percentage(value: float) -> str:
    """A ratio as a percentage: 0.0312 → 3.12%."""
    return f"{value * 100:.4g}%"


def humanize_duration(value: float) -> str:
    """Seconds as days, hours, minutes, seconds; below one second with a prefix: 0.9123 → 912.3ms."""
    if abs(value) < 1:
        return humanize(value) + "s"
    seconds = int(abs(value))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    if len(parts) == 1:
        return f"{value:.4g}s"
    return ("-" if value < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts)


FORMATS: dict[str, Callable[[float], str]] = {
    "humanize": humanize,
    "humanizePercentage": humanize_percentage,
    "humanizeDuration": humanize_duration,
}


def template(text: str) -> Template:
    """The text with its expressions compiled. ValueError for an expression that is not known here."""
    parts: list[str | Template] = []
    end = 0
    for found in EXPRESSION.finditer(text):
        parts += [text[end : found.start()], _compiled(found[1])]
        end = found.end()
    parts.append(text[end:])
    return lambda labels, value: "".join(part if isinstance(part, str) else part(labels, value) for part in parts)


def _compiled(expression: str) -> Template:
    source, *filters = [part.strip() for part in expression.split("|")]
    prefixed = PRINTF.match(source)
    if prefixed:
        source, filters = source[prefixed.end() :].strip(), [prefixed[0], *filters]
    label = LABEL.fullmatch(source)
    if label and not filters:
        name = label[1]
        return lambda labels, _: labels.get(name, "")
    if VALUE.fullmatch(source) and len(filters) <= 1:
        show = _format(filters[0]) if filters else repr
        return lambda _, value: show(value)
    raise ValueError(f"unknown template expression: {{{{ {expression} }}}}")


def _format(name: str) -> Callable[[float], str]:
    if name in FORMATS:
        return FORMATS[name]
    printed = PRINTF.fullmatch(name)
    if printed is None:
        raise ValueError(f"unknown template function: {name}")
    pattern = printed[1]
    return lambda value: pattern % value
