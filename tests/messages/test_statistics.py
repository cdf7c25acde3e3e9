"""The figures as a message."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.domain.deployments import Deployments, Road, Sighting, count_deployments
from bot.domain.incident import Severity
from bot.domain.statistics import Record, compute
from bot.messages.statistics import statistics
from bot.messages.translations import load_translations
from tests.domain.test_statistics import START, TARGETS, record

WORDS = load_translations()


NONE = count_deployments([], success=99.5, rollback=2)


def told(records: list[Record], language: str, days: int = 90, deployed: Deployments = NONE) -> str:
    seen = compute(records, TARGETS, since=START, until=START + timedelta(days=days))
    blocks = statistics(seen, deployed, WORDS[language]).to_dict()["blocks"]
    return "\n".join(block["text"]["text"] if "text" in block else block["elements"][0]["text"] for block in blocks)


def test_in_spanish() -> None:
    text = told([record(0, 2, 8), record(800, 4, 20, Severity.SEV1), record(1600)], "es")
    assert "*Estadísticas de los últimos 90 días* · 3 incidentes" in text
    assert (
        "✅ *Tiempo de respuesta (MTTA)*: *3 min* de media · mediana 3 min · p90 3 min 48 s (objetivo: menos de 5 min)"
        in text
    )
    assert "❌ *Tiempo de resolución (MTTR)*: *14 min* de media" in text
    assert "✅ *Tiempo entre fallos (MTBF)*: *33 d 8 h* de media" in text
    assert "🔴 SEV1: 1 · 🟠 SEV2: 2" in text
    assert "El MTTR no incluye 1 sin resolver." in text
    assert "mar 26  ▇▇▇▇▇▇▇▇▇▇ 1 · 8 min" in text


@pytest.mark.parametrize(("language", "words"), [("es", "nada que medir"), ("en", "nothing to measure")])
def test_nothing_is_said_as_nothing(language: str, words: str) -> None:
    text = told([], language)
    assert words in text and "0 " in text and "✅" not in text


def test_one_incident_has_no_interval() -> None:
    text = told([record(0, 2, 8)], "en")
    assert "▫️ *Time between failures (MTBF)*: unknown (target: over 30 d)" in text
    assert "```" not in text  # one month is no trend


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("es", ("producción*: 3", "❌ *Con éxito*: *66,7 %* (objetivo: más de 99,5 %)", "*Vueltas atrás*: *33,3 %*")),
        ("en", ("production*: 3", "❌ *Successful*: *66.7 %* (target: over 99.5 %)", "*Rolled back*: *33.3 %*")),
    ],
)
def test_how_deployments_went(language: str, lines: tuple[str, ...]) -> None:
    made = [Sighting(Road.HELM, f"s{n}", "2.1.0", START) for n in range(2)]
    made.append(Sighting(Road.BOT, "s3", "2.1.0", START, succeeded=False, taken_back=True))
    deployed = count_deployments(made, success=99.5, rollback=2)
    text = told([record(0, 2, 8)], language, deployed=deployed)
    assert all(line in text for line in lines), text
