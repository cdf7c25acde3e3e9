"""Random text that is the same at every call."""

from __future__ import annotations

import random
import string

ALNUM = string.ascii_letters + string.digits


def alnum(seed: int, length: int) -> str:
    """Return letters and digits."""
    return _text(seed, length, ALNUM)


def base64_text(seed: int, length: int) -> str:
    return _text(seed, length, ALNUM + "+/")


def hexadecimal(seed: int, length: int) -> str:
    return _text(seed, length, "0123456789abcdef")


def uuid(seed: int) -> str:
    return "-".join(hexadecimal(seed * 31 + part, length) for part, length in enumerate((8, 4, 4, 4, 12)))


def private_key(seed: int) -> str:
    lines = [base64_text(seed + number, 64) for number in range(12)]
    return "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"])


def _text(seed: int, length: int, alphabet: str) -> str:
    made = random.Random(seed)  # noqa: S311 - no secret is made
    return "".join(made.choice(alphabet) for _ in range(length))
