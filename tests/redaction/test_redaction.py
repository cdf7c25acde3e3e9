"""No secret is left in what is stored, posted or logged, and nothing else is taken out."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bot.domain.incident import Declaration, Impact, Incident, Severity
from bot.domain.people import Person
from bot.redaction import Redaction, log_without_secrets

# Each is put together here, so that no scanner of this repository takes it for a real one.
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
SECRETS = {
    "slack bot": "xoxb-" + "1234567890-abcdefXYZ",
    "slack app": "xapp-" + "1-A0TAMVBOT-99887766",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8",
    "github, fine": "github_pat_" + "11ABCDEFG0123456789_abcdefghijk",
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "vault": "hvs." + "CAESIJ1234567890abcdef",
    "jwt": JWT,
    "stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "gitlab": "glpat-" + "abcdefghij0123456789",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow" + "IBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "private key, cut off": "-----BEGIN PRIVATE KEY-----\nMIIEow" + "IBAAKCAQEA",
}
NAMED = [
    ("postgresql://tamv:{}@db.tamv-prod/tamv", "hunter2xx"),
    ("redis://:{}@cache:6379/0", "hunter2xx"),
    ("curl -H 'Authorization: Bearer {}' x", "abcdef0123456789"),
    ("Authorization: Basic {}", "dGFtdjpodW50ZXIy"),
    ("password={}", "hunter2xx"),
    ('DB_PASSWORD = "{}"', "with blanks in it"),
    ("contraseña={} y ya", "hunter2xx"),
    ("AWS_SECRET_ACCESS_KEY={}", "wJalrXUtnFEMIK7MDENGbPxRfiCY"),
    ('{{"api_key": "{}"}}', "0123456789abcdef"),
    ("X-Api-Key: {}", "0123456789abcdef"),
    ("https://hooks.slack.com/services/{}", "T000/B000/XXXXXXXX"),
    ("https://tamv.world/callback?access_token={}&state=1", "abcdef0123456789"),
]
INNOCENT = [
    "Latencia alta en render: p95 de 900 ms (umbral 500 ms)",
    "token: caducado, hay que renovarlo",
    "El secreto de la cocina es el chile",
    "secret rotation is due",
    "/incident impact users=1240 revenue=\"$4,200\" summary='Render lento'",
    "https://grafana.tamv.world/d/apps?orgId=1&from=now-1h",
    "postgresql://db.tamv-prod/tamv",
    "INC-2026-0001 · <@U0ANA00001> · <!date^1767751800^{time}|02:10 UTC>",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "rate(http_requests_total{service=\"xr-engine\",status=~\"5..\"}[5m])",
    "ana@tamv.world",
    "el deploy 2.1.0 rompió el login a las 02:10:33",
    "",
]  # fmt: skip


@pytest.mark.parametrize("kind", SECRETS)
def test_what_looks_like_a_secret_is_taken_out(kind: str) -> None:
    secret = SECRETS[kind]
    clean = Redaction().text(f"antes {secret} después")
    assert "***" in clean and clean.startswith("antes ")
    assert not any(line in clean for line in secret.splitlines())


@pytest.mark.parametrize(("text", "secret"), NAMED)
def test_what_is_named_as_a_secret_is_taken_out_and_its_name_stays(text: str, secret: str) -> None:
    given = text.format(secret)
    clean = Redaction().text(given)
    assert secret not in clean and "***" in clean
    assert clean.startswith(given[: given.index(secret)].rstrip("\"'"))


@pytest.mark.parametrize("text", INNOCENT)
def test_nothing_else_is_taken_out(text: str) -> None:
    assert Redaction(["a-real-secret"]).text(text) == text


def test_the_secrets_of_the_settings_are_known_by_value_also_in_an_address() -> None:
    redaction = Redaction(["k3y/with+signs", "k3y/with", "abc", ""])
    assert redaction.text("¿k3y/with+signs? k3y%2Fwith%2Bsigns k3y/with abc") == "¿***? *** *** abc"


def test_values_are_cleaned_however_deep_and_keep_their_types() -> None:
    at = datetime(2026, 1, 7, tzinfo=UTC)
    incident, event = Incident.declare(
        "INC-2026-0001",
        Declaration(f"login {JWT}", Severity.SEV2, by=Person("U1", "Ana"), at=at, facts={"labels": {"a": [JWT]}}),
    )
    clean, told = Redaction().of((incident, event))
    assert clean.title == "login ***" and clean.severity is Severity.SEV2
    assert clean.milestones == incident.milestones and clean.impact == Impact()
    assert told.facts["labels"] == {"a": ["***"]} and told.at == at
    assert Redaction().of({"password": "hunter2", "db_token": "x1-in-words", "empty": {"secret": ""}, "n": 3}) == {
        "password": "***",
        "db_token": "***",
        "empty": {"secret": ""},
        "n": 3,
    }
    assert Redaction().of({"secret": "tamv-db-password"}) == {"secret": "tamv-db-password"}  # a Kubernetes object


@pytest.mark.parametrize(
    "piece", ["a.", "://", "://a:", "token:", "password=", "password ", "eyJ-", "eyJaaaaa.", "xoxb-", "-----BEGIN ",
              "path=", "ENV A", "/user:x ", "openssl -k", "password(", "verification ",
              "Bearer ", '"', "secret=\"", "\\"]
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """A test that hangs here has found a pattern whose time grows with the square of the text."""
    Redaction(["a-real-secret"]).text(piece * (400_000 // len(piece)))


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    loggers = (logging.root, logging.getLogger("dbos"))
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.usefixtures("loggers_as_they_were")
def test_log_lines_and_stack_traces_hold_no_secret() -> None:
    stream = io.StringIO()
    log_without_secrets(Redaction(["routing-key-of-ours"]), stream)
    logging.getLogger("dbos").error("dbos says %s", JWT)
    try:
        raise ValueError("routing-key-of-ours is wrong, postgresql://a:hunter2xx@b/c too")
    except ValueError:
        logging.getLogger("bot.anything").exception("it broke with %s", "routing-key-of-ours")
    logged = stream.getvalue()
    assert "Traceback" in logged and logged.count("dbos says") == 1
    assert "routing-key-of-ours" not in logged and JWT not in logged and "hunter2xx" not in logged
