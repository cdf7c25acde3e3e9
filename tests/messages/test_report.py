"""The report in both languages: whole, true to what was typed, and a page that stands alone."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bot.codeowners import assignee
from bot.domain.diagnosis import Piece, Suspect
from bot.domain.followup import FollowUpState
from bot.domain.incident import Cause, Impact
from bot.domain.people import BOT, Person
from bot.domain.report import Chart, build_report
from bot.domain.timeline import Kind
from bot.messages.followups import issue_body
from bot.messages.markdown import Markdown, escape, link, plain
from bot.messages.report import RenderedReport, ReportContext, summary, write
from bot.messages.report_page import draw_svg
from bot.messages.translations import load_translations
from bot.shipped import TEMPLATES
from bot.team import TeamFile, load_team
from tests.domain.story import ANA, BRUNO, Story, after, completed, followups, resolved, snapshot

WORDS = load_translations()
LANGUAGES = ("es", "en")
NAMES = {ANA.id: ANA.name, BRUNO.id: BRUNO.name}
HOSTILE = [
    "a | b || c",
    "`rm -rf /` and `` more ``",
    "<!channel> <!here> @here",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% for x in y %} {# no #}",
    "[click](javascript:alert(1)) ![x](http://evil/x.png)",
    "**bold** _it_ ~~gone~~ # not a heading",
    "1. not a list",
    "- [ ] not a box",
    "a\n\n# new heading\n| x | y |",
    "&lt;b&gt; &amp; \\| backslash",
    '<a id="event-1"></a>',
    "$x$ and $$y$$",
]


class Page(HTMLParser):
    """What stands in a page: its text, its tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._skip = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skip = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attrs.get(attribute) or "" for name, attrs in self.tags if name == tag]


def written(story: Story, language: str = "es", *, charts: bool = True) -> RenderedReport:
    snapshots = [snapshot(after(1), 812, 41), snapshot(after(13), 190, 70)]
    chart = Chart("charts/resolved latency_p95.png", snapshots[1].figures[0].title, after(13))
    report = build_report(
        story.incident,
        story.timeline,
        followups(),
        snapshots,
        charts=[chart] if charts else [],
        links={1: [("Prometheus", "https://prometheus.tamv.world/graph")]},
    )
    words = WORDS[language]
    drawing = draw_svg(snapshots[1], snapshots[1].figures[0], words, (after(0), after(9)))
    return write(
        report,
        words,
        ReportContext(NAMES, "https://tamv.slack.com/archives/C", "<Mundos>", "TAMV", {chart.name: drawing}),
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_section_of_the_manual(language: str) -> None:
    headings = re.findall(r"^## (.+)$", written(completed(), language).markdown, re.MULTILINE)
    es = [
        "En qué se fueron los 9 minutos", "Qué lo curó y qué no", "A quién afectó", "Para los clientes",
        "Qué fue bien", "Qué fue mal", "Dónde hubo suerte", "Por qué no se vio antes", "Los cinco porqués", "Hitos",
        "Causa raíz", "Qué se hizo", "Tareas de seguimiento", "Lo aprendido",
        "Métricas", "Quién hizo qué", "Avisos a la guardia", "Problemas del bot", "Cronología completa",
    ]  # fmt: skip
    en = [
        "Where the 9 minutes went", "What cured it and what did not", "Whom it hurt", "For customers",
        "What went well", "What went badly", "Where we were lucky", "Why it was not seen earlier", "The five whys",
        "Milestones", "Root cause", "What was done", "Follow-ups", "Lessons learned", "Metrics",
        "Who did what", "Pages", "Problems of the bot", "Full timeline",
    ]  # fmt: skip
    assert headings == {"es": es, "en": en}[language]


def test_what_people_said_stands_there_with_its_evidence() -> None:
    text = written(completed()).markdown
    assert "- **Personas:** 1240[¹²](#event-12)" in text
    assert r"- **Dinero:** \$4,200[¹²](#event-12)" in text
    assert "- **Principal:** Fuga de memoria en el render[¹³](#event-13)" in text
    assert "1. ¿Por qué pasó? Fuga de memoria en el render[¹³](#event-13)" in text
    assert "- [ ] Alertar del uso de memoria (SRETeam, 8 dic 2026) [GitHub #41](" in text
    assert "- [x] Bajar los límites de memoria (Bruno Díaz, 1 dic 2026) [GitHub #42](" in text
    assert "| Respuesta | 24 nov 03:14:04[⁵](#event-5) | 2 min | 1 min 30 s |" in text
    assert "Ana Torres mira los cuadros" in text  # a mention in a message became the name


@pytest.mark.parametrize(("language", "missing"), [("es", "**Falta contar:**"), ("en", "**Still to tell:**")])
def test_what_nobody_said_is_marked_with_how_to_say_it(language: str, missing: str) -> None:
    text = written(resolved(), language).markdown
    assert missing in text and "`/incident impact`" in text and "`/incident cause`" in text
    assert missing not in written(completed(), language).markdown


def test_every_event_stands_in_the_timeline_and_every_reference_leads_there() -> None:
    page = Page(written(completed()).html)
    anchors = {one for one in page.all("a", "id") if one}
    assert anchors == {f"event-{seq}" for seq in range(1, 14)}
    referred = {href[1:] for href in page.all("a", "href") if href.startswith("#")}
    assert referred and referred <= anchors


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_stands_alone(language: str) -> None:
    page = Page(written(completed(), language).html)
    assert page.all("html", "lang") == [language]
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    (picture,) = page.all("img", "src")
    assert picture.startswith("data:image/svg+xml;base64,")
    drawing = base64.b64decode(picture.partition(",")[2]).decode()
    assert "prefers-color-scheme:dark" in drawing and "<script" not in drawing
    assert page.all("img", "alt")[0].startswith("Latenc")
    assert {"completed", "☐", "☑"} - {"completed"} <= set(page.text)


def test_a_picture_that_is_not_there_is_its_description() -> None:
    report = build_report(completed().incident, completed().timeline, [], [], charts=[Chart("charts/x.png", {}, None)])
    page = Page(write(report, WORDS["es"], ReportContext(NAMES)).html)
    assert page.all("img", "src") == [] and "charts/x.png" in page.text


@pytest.mark.parametrize("typed", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_shown_as_typed(typed: str, language: str) -> None:
    calm = Page(written(completed(), language).html)
    story = completed()
    story.then(lambda now: now.with_impact(Impact(3, (typed,), typed, typed), by=ANA, at=after(70)))
    story.then(lambda now: now.with_cause(Cause(typed, (typed,), typed, (typed,)), by=ANA, at=after(71)))
    story.then(lambda now: now.note(typed, by=Person("U0X", typed), at=after(72)))
    page = Page(written(story, language).html)
    shown = " ".join(typed.split()).replace("@here", "@\u200bhere")
    assert page.text.count(shown) >= 6
    added = len(story.timeline) - 13
    for tag, more in (("img", 0), ("script", 0), ("h1", 0), ("h2", 0), ("table", 0), ("code", 0), ("tr", added)):
        assert len(page.all(tag, "")) == len(calm.all(tag, "")) + more, tag
    hrefs = set(page.all("a", "href")) - {""}
    assert all(href.startswith(("https://", "#event-")) for href in hrefs)


@pytest.mark.parametrize("typed", HOSTILE)
def test_a_hostile_title_stays_one_heading(typed: str) -> None:
    page = Page(written(resolved(typed)).html)
    assert len(page.all("h1", "")) == 1 and len(page.all("title", "")) == 1
    assert " ".join(typed.split()).replace("@here", "@\u200bhere") in page.text


@pytest.mark.parametrize("typed", HOSTILE)
def test_escaped_text_comes_back_whole_from_markdown(typed: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"- {escape(typed)}\n")
    assert Page(html).text.strip() == " ".join(typed.split()).replace("@here", "@\u200bhere")
    assert {tag for tag, _ in Page(html).tags} == {"ul", "li"}


def test_nobody_is_mentioned_on_github() -> None:
    assert escape("ask @octocat, not a@b.c") == "ask @&#8203;octocat, not a@b.c"


def test_invisible_direction_marks_are_dropped() -> None:
    assert escape("abc\u202edef\u2066") == "abcdef"


def test_slack_markup_in_text_becomes_names() -> None:
    names = {"U1": "Ana"}
    assert plain("<@U1> <@U2|bruno> <#C1|general> <https://a.b/c|text> <!channel>", names) == (
        "Ana bruno #general https://a.b/c <!channel>"
    )


def test_only_web_addresses_become_links() -> None:
    assert link("javascript:alert(1)", "x") == "x"
    assert not isinstance(link("javascript:alert(1)", "x"), Markdown)
    assert link("https://a.b/(c) d", "x|y") == r"[x\|y](https://a.b/%28c%29%20d)"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_event_has_a_line(language: str) -> None:
    story = Story.begin()
    facts = {"reason": "x", "role": "ops", "suspect": {"cause": "bad_version", "place": "xr-engine"}}
    for kind in Kind:
        story.then(lambda now, kind=kind: now.with_event(kind, facts, by=ANA, at=after(1)))  # type: ignore[misc]
    report = build_report(story.incident, story.timeline, [], [])
    text = write(report, WORDS[language], ReportContext(NAMES)).markdown
    assert len(re.findall(r'^\| <a id="event-\d+"></a>', text, re.MULTILINE)) == len(Kind)  # one is not of the story
    written_at = next(event.seq for event in story.timeline if event.kind is Kind.REPORT_WRITTEN)
    assert {"es": f"Falta el número {written_at}", "en": f"Number {written_at} is left out"}[language] in text


def test_the_same_facts_give_the_same_bytes() -> None:
    assert written(completed()) == written(completed())


def test_a_drill_and_a_reopening_are_told() -> None:
    story = resolved(drill=True)
    story.then(lambda now: now.reopen("Volvió a subir", by=BRUNO, at=after(20)))
    text = written(story).markdown
    assert "**Simulacro.**" in text
    assert "«Volvió a subir». Antes se había dado por mitigado a las" in text
    assert "| Resolución | todavía no | — | — |" in text


@pytest.mark.parametrize(
    ("language", "words"),
    [("es", "eguían fuera de límite"), ("en", "till out of bounds")],
)
def test_a_figure_that_is_still_bad_is_named(language: str, words: str) -> None:
    snapshots = [snapshot(after(1), 812, 41), snapshot(after(13), 721, 70)]
    report = build_report(completed().incident, completed().timeline, [], snapshots)
    name = {"es": "Latencia p95", "en": "Latency p95"}[language]
    for text in (
        write(report, WORDS[language], ReportContext(NAMES)).markdown,
        str(summary(report, WORDS[language]).to_dict()),
    ):
        assert re.search(f"{words}( at the end)?:? {name}", text)


def test_a_broken_timeline_is_said_loudly() -> None:
    report = build_report(completed().incident, completed().timeline, [], [])
    text = write(report, WORDS["en"], ReportContext(NAMES, broken=7)).markdown
    assert "**The timeline's hash chain is broken at event #7.**" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_message_in_the_channel(language: str) -> None:
    story = resolved("<!channel> & `x`")
    report = build_report(story.incident, story.timeline, followups(), [])
    message = summary(report, WORDS[language]).to_dict()
    text = str(message["blocks"])
    assert "<!channel>" not in str(message)
    first, code, last, buttons = message["blocks"]
    assert {"es": "Recuperado en *9 min*, atendido en 2 min", "en": "Recovered in *9 min*, answered in 2 min"}[
        language
    ] in first["text"]["text"]
    lines = code["text"]["text"].strip("`").splitlines()
    assert all(int(line.split()[1]) for line in lines), "a phase that took no time is not told"
    assert [line.split()[0] for line in lines][-1] == {"es": "Decidir", "en": "Decide"}[language]
    assert sum(int(line.split()[1]) for line in lines) == 9 and max(map(len, lines)) <= 34
    assert {"es": "No consta qué lo curó", "en": "What cured it is not known"}[language] in text
    assert {"es": "*Falta contar:* impacto, ", "en": "*Still to tell:* impact, "}[language] in last["text"]["text"]
    assert [one["action_id"] for one in buttons["elements"]] == ["complete_report"]
    url = "https://tamv.slack.com/archives/C/p1"
    both = summary(report, WORDS[language], url).to_dict()["blocks"][-1]["elements"]
    assert [(one["action_id"], one.get("style")) for one in both] == [
        ("complete_report", "primary"),
        ("open_report", None),
    ]
    closed = story.then(lambda now: now.close(by=ANA, at=after(80)))
    only = summary(build_report(closed.incident, closed.timeline, [], []), WORDS[language], url).to_dict()["blocks"]
    assert [one["action_id"] for one in only[-1]["elements"]] == ["open_report"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_cured_and_who_asked_and_who_approved(language: str) -> None:
    figure = {
        "title": {"es": "Latencia p95", "en": "Latency p95"},
        "unit": "ms",
        "threshold": 500,
        "direction": "above",
    }
    story, approved = resolved(), {"run": "R-1", "digest": "b", "people": [BRUNO.id]}
    for digest, before, now_, out in (("a", 943, 650, (1, 1, 0)), ("b", 650, 310, (1, 0, 0))):
        measured: dict[str, Any] = {
            "before": after(3).isoformat(),
            "after": after({"a": 8, "b": 12}[digest]).isoformat(),
            "figures": [figure | {"before": before, "after": now_}],
        }
        measured["out"] = dict(zip(("before", "after", "unknown"), out, strict=True))
        facts: dict[str, Any] = {"run": "R-1", "digest": digest, "effects": [f"Cambio {digest}"], "verdict": "helped"}
        facts |= {"measured": measured, "began": after({"a": 3, "b": 9}[digest]).isoformat(), "action": "helm.upgrade"}
        if digest == "b":
            story.then(lambda now: now.with_event(Kind.RUN_APPROVED, approved, by=BRUNO, at=after(8)))
        story.then(lambda now, facts=facts: now.with_event(Kind.RUN_CHANGED, facts, by=ANA, at=after(8)))  # type: ignore[misc]
    text = written(story, language).markdown
    es = [
        "- ➖ Cambio a: **no bastó**[¹²](#event-12)",
        "Latencia p95 943 ms → 650 ms (máx. 500) · 03:15 · lo pidió Ana Torres\n",
        "- ✅ Cambio b: **lo curó**[¹⁴](#event-14)",
        "Latencia p95 650 ms → 310 ms (máx. 500) · 03:21 · lo pidió Ana Torres · aprobó Bruno Díaz\n",
    ]
    en = [
        "- ➖ Cambio a: **not enough**[¹²](#event-12)",
        "Latency p95 943 ms → 650 ms (max. 500) · 03:15 · asked by Ana Torres\n",
        "- ✅ Cambio b: **cured it**[¹⁴](#event-14)",
        "Latency p95 650 ms → 310 ms (max. 500) · 03:21 · asked by Ana Torres · approved by Bruno Díaz\n",
    ]
    for line in {"es": es, "en": en}[language]:
        assert line in text
    assert {"es": "*Lo curó:* Cambio b", "en": "*Cured by:* Cambio b"}[language] in str(
        summary(build_report(story.incident, story.timeline, [], []), WORDS[language]).to_dict()
    )


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("es", "> ⚠️ **La causa sigue ahí:** Versión defectuosa (xr-engine)[¹²](#event-12). Tarea de SRETeam"),
        ("en", "> ⚠️ **The cause is still there:** Bad version (xr-engine)[¹²](#event-12). Follow-up of SRETeam"),
    ],
)  # fmt: skip
def test_a_cause_that_is_still_there_is_warned_of_with_its_follow_up(language: str, said: str) -> None:
    facts = {"suspects": [{"cause": "bad_version", "place": "xr-engine"}]}
    story = resolved().then(lambda now: now.with_event(Kind.CAUSE_REMAINS, facts, by=BOT, at=after(20)))
    assert f"{said} " in written(story, language).markdown.replace(",", " "), "the one that is due next"
    own = {"followup": "INC-2026-0001/F1", "title": "xr-engine"}
    late = replace(followups()[1], id="INC-2026-0001/F2", state=FollowUpState.FILED)  # due earlier
    report = build_report(
        story.incident,
        story.then(lambda now: now.with_event(Kind.FOLLOWUP_OPENED, own, by=BOT, at=after(21))).timeline,
        [late, followups()[0]],
        [],
    )
    assert report.next_due == late and report.warned_task == followups()[0]


@pytest.mark.parametrize(
    ("language", "said"), [("es", "lo curó una de estas dos"), ("en", "one of these two cured it")]
)
def test_two_changes_in_one_window_share_the_credit(language: str, said: str) -> None:
    story = resolved()
    for digest, began, ended in (("a", 3, 9), ("b", 4, 8)):
        measured: dict[str, Any] = {
            "before": after(began).isoformat(),
            "after": after(ended).isoformat(),
            "figures": [],
        }
        measured |= {"out": {"before": 1, "after": 0, "unknown": 0}}
        facts = {"run": digest, "digest": digest, "effects": [digest], "verdict": "helped", "measured": measured}
        story.then(lambda now, facts=facts: now.with_event(Kind.RUN_CHANGED, facts, by=ANA, at=after(9)))  # type: ignore[misc]
    assert written(story, language).markdown.count(said) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_statement_for_customers_names_nothing_internal(language: str) -> None:
    text = written(completed(), language).markdown
    heading = {"es": "## Para los clientes", "en": "## For customers"}[language]
    (statement,) = [line for line in text.partition(heading)[2].partition("##")[0].splitlines() if line[:1] == ">"]
    assert r"\<Mundos\>" in statement and "03:12" in statement and "03:21" in statement
    internal = ("xr-engine", "Ana", "Bruno", "INC-", "SEV", "HighLatency", "memoria", "render")
    assert not [name for name in internal if name in statement]


def test_the_issue_of_a_follow_up(team: TeamFile) -> None:
    followup = followups()[0]
    who = assignee("SRETeam", team)
    body = issue_body(
        followup, completed().incident, team, WORDS["en"], who, link="https://tamv.slack.com/archives/C/p1"
    )
    assert "| Owner | SRETeam · @tamv/SRETeam |" in body
    assert "[in Slack](https://tamv.slack.com/archives/C/p1)" in body
    assert "Cause: Fuga de memoria en el render." in body
    assert "by hand" not in body


@pytest.fixture(scope="module")
def team() -> TeamFile:
    return load_team(TEMPLATES.parent / "teams/tamv/team.yaml")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("es", ["Versión defectuosa, a favor: los pods nuevos van peor", "ya no Más peticiones: las peticiones no",
                "descartó: Versión defectuosa", "**confirmó** la causa: Cambio de configuración"]),
        ("en", ["Bad version, for it: the new pods are worse", "no longer More requests: requests did not rise",
                "ruled out: Bad version", "**confirmed** the cause: Changed settings"]),
    ],
)  # fmt: skip
def test_report_says_what_was_thought_when_what_refuted_it_and_who_confirmed_it(language: str, said: list[str]) -> None:
    rose, did_not = Piece("more_requests", 1.0, 2.0), Piece("more_requests", 0.0, -3.0)
    load = Suspect("more_load", "xr-engine", 0.6, [rose])
    version = Suspect("bad_version", "xr-engine", 0.3, [Piece("new_pods_worse", 1.0, 2.5)])
    refuted = replace(load, probability=0.01, evidence=[], against=[did_not], refuted_by=["more_requests"])
    story = Story.begin()
    for outcome, suspects in (
        ("unclear", [load, version]),
        ("claim", [replace(version, probability=0.9), refuted]),
    ):
        weighed = {
            "service": "xr-engine",
            "outcome": outcome,
            "suspects": [one.to_json() for one in suspects],
            "changes": [],
            "missing": [],
        }
        _say(story, Kind.CAUSES_WEIGHED, weighed, BOT)
    _say(story, Kind.CAUSE_RULED_OUT, {"suspect": version.to_json(), "reason": None}, ANA)
    confirmed = Suspect("bad_configuration", "xr-engine", 0.0)
    _say(story, Kind.CAUSE_CONFIRMED, {"suspect": confirmed.to_json(), "reason": None}, BRUNO)
    report = build_report(story.incident, story.timeline, [], [])
    text = write(report, WORDS[language], ReportContext(NAMES)).markdown
    places = [text.find(sentence) for sentence in said]
    assert -1 not in places and places == sorted(places), text


def _say(story: Story, kind: Kind, facts: dict[str, Any], by: Person) -> None:
    story.then(lambda now: now.with_event(kind, facts, by=by, at=after(len(story.timeline))))
