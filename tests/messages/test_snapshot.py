"""Snapshots in words: every figure with its sign, its word, its limit and its change; what is missing is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.snapshot import Direction, MetricDefinition, MetricResult, Missing, Snapshot
from bot.messages.amounts import amount, percent
from bot.messages.message import Message
from bot.messages.snapshot import chart_titles, comparison, marks, snapshot
from bot.messages.translations import Translations
from tests.contract.webapi import block_kit_problems, needs_contracts

AT = datetime(2026, 1, 7, 2, 14, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
THIN = "\u202f"

LATENCY = MetricResult(
    "latency_p95", {"es": "Latencia p95", "en": "Latency p95"}, "ms", 500, Direction.ABOVE, 1237.2, 301.8
)
ERRORS = MetricResult("error_rate", {"es": "Tasa de errores", "en": "Error rate"}, "%", 2, Direction.ABOVE, 0.94, 0.44)
FRAMES = MetricResult("frame_rate", {"es": "Cuadros", "en": "Frame rate"}, "fps", 60, Direction.BELOW, None, 71.8)
RATE = MetricResult("request_rate", {"es": "Peticiones", "en": "Requests"}, "req/s", value=12_340, normal=5)
GPUS = MetricResult("gpu", {"es": "Uso de GPU", "en": "GPU"}, "%", 90, Direction.ABOVE, 94.1, 84, "gpu-node-2", 4)
SILENT = Missing(MetricDefinition("gpu", {"es": "Uso de GPU", "en": "GPU"}), "timed_out",
                 {"service": "Prometheus", "seconds": 5.0}, temporary=True)  # fmt: skip
HOSTILE = "<!channel> & `x` *bold* {{ 7 * 7 }} {% raw %} <@U0ANA00001>"


@pytest.fixture(params=["es", "en"])
def words(request: pytest.FixtureRequest) -> Translations:
    return Translations(request.param)


@pytest.fixture
def es() -> Translations:
    return Translations("es")


def taken(*figures: MetricResult, missing: tuple[Missing, ...] = (), calm: datetime | None = None) -> Snapshot:
    return Snapshot("render", "xr-engine", AT, HOUR, calm or AT - timedelta(minutes=17), figures, (), missing)


def shown(message: Message) -> str:
    """Everything that the blocks show."""
    return "\n".join(_texts(message.to_dict()["blocks"]))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["text"]] if isinstance(value.get("text"), str) else [t for v in value.values() for t in _texts(v)]
    return [text for one in value for text in _texts(one)] if isinstance(value, list) else []


def test_a_row_says_value_verdict_limit_normal_and_change(es: Translations) -> None:
    rows = shown(snapshot(taken(LATENCY, ERRORS), es, title="Render 4D", moment="declared"))
    assert "📈 *Render 4D* · `xr-engine` · al declarar" in rows
    assert "🔴 *Latencia p95*: *1237 ms* (máx. 500 ms)" in rows
    assert "normal 302 ms · +310 %" in rows
    assert "✅ *Tasa de errores*: *0,94 %* (máx. 2 %)" in rows
    assert "normal 0,44 % · +114 %" in rows
    assert "🔴 fuera de límite · ✅ dentro de límite · normal: la mediana antes del incidente" in rows


def test_the_same_in_english() -> None:
    rows = shown(snapshot(taken(LATENCY), Translations("en"), title="4D render", moment="resolved"))
    assert "at resolution" in rows
    assert "🔴 *Latency p95*: *1,237 ms* (max. 500 ms)" in rows
    assert "normal 302 ms · +310 %" in rows


def test_what_is_not_known_is_not_judged(es: Translations) -> None:
    rows = shown(snapshot(taken(FRAMES, RATE), es, title="T", moment="declared"))
    assert "❔ *Cuadros*: *sin datos*" in rows
    assert "normal 71,8 fps" in rows
    assert f"▫️ *Peticiones*: *12{THIN}340 pet./s*\n" in rows
    assert "normal 5 pet./s · ×2468" in rows


def test_of_several_series_the_row_names_the_worst(es: Translations) -> None:
    assert "peor de 4: gpu-node-2" in shown(snapshot(taken(GPUS), es, title="T", moment="declared"))


def test_every_sign_has_a_word_beside_it(words: Translations) -> None:
    for figure in (LATENCY, ERRORS, FRAMES, GPUS):
        rows = shown(snapshot(taken(figure), words, title="T", moment="asked"))
        assert words.label(f"snapshot.icons.{figure.verdict}") in rows
        assert words.label(f"snapshot.verdicts.{figure.verdict}") in rows


def test_the_notification_has_the_figures_too(words: Translations) -> None:
    message = snapshot(taken(LATENCY, ERRORS, missing=(SILENT,)), words, title="Render 4D", moment="declared")
    for expected in (amount(1237.2, "ms", words), amount(0.94, "%", words), "+310 %", "Prometheus", "Render 4D"):
        assert expected in message.text


def test_what_is_missing_is_said_with_its_reason_and_what_comes_next(es: Translations) -> None:
    message = snapshot(taken(LATENCY, missing=(SILENT,)), es, title="T", moment="declared", later=True)
    assert "⚠️ Falta Uso de GPU: Prometheus no respondió en 5 s. Se reintenta y se añadirá aquí." in shown(message)
    final = shown(snapshot(taken(LATENCY, missing=(SILENT,)), es, title="T", moment="declared"))
    assert "Se reintenta" not in final


def test_when_prometheus_is_silent_altogether_it_is_said_once(es: Translations) -> None:
    other = Missing(MetricDefinition("x", {"es": "Equis"}), SILENT.error, SILENT.facts, temporary=True)
    rows = shown(snapshot(taken(missing=(SILENT, other)), es, title="T", moment="declared", later=True))
    assert rows.count("Prometheus no respondió") == 1
    assert "No hay métricas" in rows
    assert "mediana" not in rows


def test_a_query_that_is_wrong_promises_nothing(es: Translations) -> None:
    wrong = Missing(MetricDefinition("sum(", {}), "promql_wrong", {"promql": "sum(", "why": "1:5: parse error"})
    rows = shown(snapshot(taken(LATENCY, missing=(wrong,)), es, title="T", moment="declared", later=True))
    assert "Falta `sum(`: Prometheus rechazó la consulta: 1:5: parse error." in rows
    assert "Se reintenta" not in rows


def test_two_moments_are_compared_figure_by_figure_with_a_verdict(es: Translations) -> None:
    before = taken(LATENCY, FRAMES)
    better = MetricResult("latency_p95", LATENCY.title, "ms", 500, Direction.ABOVE, 310.0)
    message = comparison(before, taken(better, RATE), es, title="Render 4D")
    assert "✅ Mejoró" in shown(message)
    assert "✅ *Latencia p95*: 1237 ms → *310 ms* — mejor (máx. 500 ms)" in shown(message)
    assert "310 ms" in message.text


def test_nothing_to_compare_is_said(words: Translations) -> None:
    message = comparison(taken(LATENCY), taken(RATE), words, title="T")
    assert words.render_block("snapshot", "nothing") in shown(message)


def test_hostile_text_is_shown_as_typed_and_pings_nobody(words: Translations) -> None:
    figure = MetricResult(HOSTILE, {"es": HOSTILE, "en": HOSTILE}, "ms", 1, Direction.ABOVE, 5, 1, HOSTILE, 2)
    missing = Missing(MetricDefinition(HOSTILE, {}), "promql_wrong", {"why": HOSTILE})
    for message in (
        snapshot(taken(figure, missing=(missing,)), words, title=HOSTILE, moment="declared"),
        comparison(taken(figure), taken(figure, missing=(missing,)), words, title=HOSTILE),
    ):
        for text in (message.text, shown(message)):
            assert "<!channel>" not in text
            assert "<@U0ANA" not in text
            assert "&lt;!channel&gt; &amp;" in text
            assert "49" not in text
            assert "7 * 7" in text


def test_promql_is_shown_as_code_that_nothing_in_it_can_end(es: Translations) -> None:
    promql = 'sum by (pod) (rate(x{a=~`b*`, c!="_d_"}[5m])) * 100'
    rows = shown(snapshot(taken(MetricResult(promql, {}, value=1.0)), es, title=promql, moment="asked"))
    expected = "`sum by (pod) (rate(x{a=~'b*', c!=\"_d_\"}[5m])) * 100`"
    assert rows.count(expected) == 2


@needs_contracts
@pytest.mark.parametrize("count", [0, 1, 4, 40, 200])
def test_slack_takes_the_message_whatever_is_in_it(words: Translations, count: int) -> None:
    figures = [
        MetricResult(f"q{i}", {"es": HOSTILE * 9, "en": HOSTILE * 9}, "ms", 1, Direction.ABOVE, i, 1)
        for i in range(count)
    ]
    messages = [
        snapshot(taken(*figures, missing=(SILENT,) * count), words, title=HOSTILE * 40, moment="declared", later=True),
        comparison(taken(*figures), taken(*figures), words, title=HOSTILE * 40),
    ]
    for message in messages:
        blocks = message.to_dict()["blocks"]
        assert block_kit_problems(blocks, "Blocks") == []
        assert len(blocks) <= 50
        assert len(message.text) <= 4000


@pytest.mark.parametrize(
    ("value", "unit", "spanish", "english"),
    [
        (1237.4, "ms", "1237 ms", "1,237 ms"),
        (12_340, "ms", f"12{THIN}340 ms", "12,340 ms"),
        (0.0423, "%", "0,042 %", "0.042 %"),
        (98.765, "%", "98,8 %", "98.8 %"),
        (0, "", "0", "0"),
        (7.0, "count", "7", "7"),
        (-3.5, "s", "-3,5 s", "-3.5 s"),
        (1536, "bytes", "1,5 KiB", "1.5 KiB"),
        (0, "bytes", "0 B", "0 B"),
        (3, "cores", "3 núcleos", "3 cores"),
        (41.26, "req/s", "41,3 pet./s", "41.3 req/s"),
        (1e-9, "s", "0 s", "0 s"),
        (None, "ms", "—", "—"),
    ],
)
def test_amounts_have_the_digits_that_count(value: float | None, unit: str, spanish: str, english: str) -> None:
    assert amount(value, unit, Translations("es")) == spanish
    assert amount(value, unit, Translations("en")) == english


@pytest.mark.parametrize(
    ("change", "said"),
    [(310.2, "+310 %"), (-8.4, "−8 %"), (0.2, "±0 %"), (899, "+899 %"), (900, "×10"), (1140, "×12,4")],
)
def test_changes_have_a_sign_and_become_a_multiple_when_they_are_large(
    change: float, said: str, es: Translations
) -> None:
    assert percent(change, es) == said


def test_chart_titles_and_marks_are_in_the_language(words: Translations) -> None:
    title = chart_titles(taken(LATENCY), words, moment="declared")["latency_p95"]
    assert title == f"{LATENCY.in_language(words.locale)} · {words.label('snapshot.moments.declared')} · 02:14 UTC"
    between = chart_titles(taken(LATENCY), words, moment="asked", before=AT - HOUR)["latency_p95"]
    assert between.endswith("01:14 → 02:14 UTC")
    assert [one.text for one in marks({"detected": AT}, words)] == [words.label("milestones.detected")]
