"""Format numbers for people: significant digits, the language's separators, units."""

from __future__ import annotations

import math

from babel.numbers import format_decimal

from bot.messages.translations import Translations

UNKNOWN = "—"
THIN_SPACE = "\u202f"
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def number(value: float, words: Translations) -> str:
    """Return `1237`, `98.7`, `0.42`: three significant digits, two below 1; whole numbers are never rounded.

    Spanish separates thousands by a thin space, as the Real Academia recommends: half of the Spanish-speaking countries
    would read `1.237` as a decimal, the others `1,237`.
    """
    if value == 0:
        return "0"
    digits = 2 if abs(value) < 1 else 3
    decimals = min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)
    pattern = "#,##0" + ("." + "#" * decimals if decimals else "")
    if words.locale != "es":
        return format_decimal(value, format=pattern, locale=words.locale)
    if abs(value) < 10_000:
        pattern = pattern.replace("#,##0", "0")
    return format_decimal(value, format=pattern, locale=words.locale).replace(".", THIN_SPACE)


def amount(value: float | None, unit: str, words: Translations) -> str:
    """Return a value with its unit, or a dash for None."""
    if value is None:
        return UNKNOWN
    if unit == "bytes":
        power = min(int(math.log(max(abs(value), 1), 1024)), len(_BYTES) - 1)
        return f"{number(value / 1024**power, words)} {_BYTES[power]}"
    shown = words.label(f"snapshot.units.{unit}") if unit in ("req/s", "cores") else unit
    return number(value, words) if unit in ("", "count") else f"{number(value, words)} {shown}"


def percent(change: float, words: Translations) -> str:
    """Return a signed change in percent: `+310 %`, `−8 %`; from tenfold on as a factor, `×12`."""
    if change >= 900:
        return f"×{number(change / 100 + 1, words)}"
    rounded = round(change)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{number(abs(rounded), words)} %"
