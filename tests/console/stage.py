"""A workspace in the middle of an incident, with everything that Block Kit can show; for tests and for the eye."""

from __future__ import annotations

import io
import time
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sandbox.slack.backend import Slack
from sandbox.slack.block_kit import block_problems, with_ids
from sandbox.slack.person import Person
from sandbox.slack.state import Bookmark, Caption, Channel, File, Message
from tests.console.forms import CONFIRMED, options, plain

Block = dict[str, Any]

matplotlib.use("agg")

REPORT = """# INC-2026-0007 · xr-engine is slow

| milestone | time |
|---|---:|
| detected | 10:02 |
| resolved | 10:31 |

1. **Scaled** to 10 replicas ([#3](#event-3))
2. Rolled back `v4.2.0` ([Slack](https://tamv.slack.com/archives/C0INCIDENT))

<a id="event-3"></a>Event 3: `scale 10` <script>window.broken = 1</script>
"""
PAGE = """<!doctype html><h1 id="title">Report</h1><p>All is well.</p>
<script>document.getElementById("title").textContent = "changed"; parent.document.title = "broken"</script>"""

ELEMENTS: list[Block] = [
    {"type": "button", "action_id": "approve", "text": plain("Approve"), "style": "primary", "value": "run-1"},
    {
        "type": "button",
        "action_id": "reject",
        "text": plain("Reject"),
        "style": "danger",
        "value": "run-1",
        "confirm": {
            "title": plain("Reject the rollback?"),
            "text": {"type": "mrkdwn", "text": "The run *stops* here."},
            "confirm": plain("Reject"),
            "deny": plain("Go back"),
            "style": "danger",
        },
    },
    {"type": "button", "action_id": "grafana", "text": plain("Grafana"), "url": "https://grafana.example/d/render"},
    {
        "type": "static_select",
        "action_id": "severity",
        "placeholder": plain("Severity"),
        "options": options("sev1", "sev2"),
    },
    {"type": "users_select", "action_id": "commander", "placeholder": plain("Commander")},
    {"type": "overflow", "action_id": "more", "options": options("snooze", "escalate")},
]


def every_block(image: str) -> list[Block]:
    """All kinds of blocks that a message can hold; `image` is the id of a file."""
    return with_ids(
        [
            CONFIRMED,
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "*bold* _italic_ ~gone~ `code` <@U0ANA00001> <#C0INCIDENT> <!subteam^S0SRETEAM1> <!here>"
                    " <https://example.org/a?b=1&amp;c=2|the dashboard> :rotating_light:\n> quoted\n```line 1\nline 2```",
                    "verbatim": True,
                },
                "accessory": {"type": "button", "action_id": "details", "text": plain("Details"), "value": "1"},
            },
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": "*Severity*\nSEV2"},
                    {"type": "mrkdwn", "text": "*Detected*\n<!date^1795600920^{date_short_pretty} {time}|10:02 UTC>"},
                    {"type": "plain_text", "text": ":fire: is shown", "emoji": True},
                    {"type": "plain_text", "text": ":fire: is typed", "emoji": False},
                ],
            },
            {"type": "divider"},
            {
                "type": "image",
                "slack_file": {"id": image},
                "alt_text": "p95 of xr-engine",
                "title": plain("p95 latency"),
            },
            {
                "type": "rich_text",
                "elements": [
                    {
                        "type": "rich_text_list",
                        "style": "bullet",
                        "elements": [
                            {"type": "rich_text_section", "elements": [{"type": "text", "text": "pods of xr-engine"}]},
                            {
                                "type": "rich_text_section",
                                "elements": [
                                    {"type": "user", "user_id": "U0BRUNO002"},
                                    {"type": "text", "text": " looks at logs", "style": {"italic": True}},
                                ],
                            },
                        ],
                    },
                    {"type": "rich_text_quote", "elements": [{"type": "text", "text": "users see 40 FPS"}]},
                    {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "kubectl get pods"}]},
                ],
            },
            {
                "type": "table",
                "column_settings": [{"is_wrapped": True}, {"align": "right"}, {"align": "right"}],
                "rows": [
                    [{"type": "raw_text", "text": text} for text in row]
                    for row in (("Figure", "Now", "Limit"), ("p95", "812 ms", "500 ms"), ("Errors", "1.4 %", "2 %"))
                ],
            },
            {"type": "markdown", "text": "## Markdown\n\n- **one**\n- [two](https://example.org)\n\n`three`"},
            {
                "type": "context",
                "elements": [
                    {"type": "image", "slack_file": {"id": image}, "alt_text": "chart"},
                    {"type": "mrkdwn", "text": "Asked by <@U0BRUNO002> · expires in *15 min*"},
                ],
            },
            {"type": "actions", "block_id": "decide", "elements": ELEMENTS},
        ]
    )


class Stage:
    """Puts things into a Slack as the bot and the people would."""

    def __init__(self, slack: Slack) -> None:
        self.slack = slack
        self.incidents = slack.channel("tamv-incidents")

    def post(
        self, blocks: list[Block] | None = None, *, channel: Channel | None = None, text: str = "", **fields: Any
    ) -> Message:
        """A message of the bot; ValueError when Slack would not take its blocks."""
        made = with_ids(blocks or [])
        if problems := block_problems(made, "message"):
            raise ValueError(problems)
        return self.slack.post(channel or self.incidents, self.slack.bot_user, text=text, blocks=made, **fields)

    def file(self, name: str, content: bytes, mimetype: str, alt_text: str = "") -> File:
        id = self.slack.new_id("F")
        made = File(id, name, len(content), int(time.time()), alt_text, name, mimetype, content, completed=True)
        self.slack.files[id] = made
        return made

    def chart(self) -> File:
        figure = Figure(figsize=(8, 3.4), dpi=100, layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 10, 20, 25, 30, 40], [180, 190, 180, 610, 812, 790], color="#1264a3", linewidth=2)
        axes.axhline(500, color="#e01e5a", linestyle="--")
        axes.set_title("xr-engine · p95 (ms)")
        axes.spines[["top", "right"]].set_visible(False)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        return self.file("p95.png", drawn.getvalue(), "image/png", "p95 latency of xr-engine: 812 ms, limit 500 ms")

    def channel(self, name: str, *members: str) -> Channel:
        ids = [self.slack.user(member).id for member in members]
        bot = self.slack.bot_user.id
        made = Channel(self.slack.new_id("C"), name, bot, int(time.time()), [bot, *ids])
        self.slack.channels[made.id] = made
        self.slack.changed()
        return made

    async def incident(self) -> Channel:
        """An incident's channel as the bot leaves it: topic, bookmarks, a pinned card, charts, talk, a thread, a report."""
        channel = self.channel("inc-2026-0007-xr-engine-lento")
        for handle in ("ana", "bruno", "carla", "emma"):
            self.slack.join(channel, self.slack.user(handle))
        channel.topic = Caption(
            "🟠 SEV2 · mitigado · Comandante: <@U0ANA00001> · xr-engine lento", self.slack.bot_user.id
        )
        for number, title in enumerate(("Render 4D", "Pods de xr-engine", "Trazas lentas")):
            link = f"https://grafana.example/d/{number}"
            channel.bookmarks.append(Bookmark(f"Bk{number}", channel.id, title, link, ":bar_chart:", 0))
        card = self.post(channel=channel, blocks=card_blocks())
        channel.pins.append(card.ts)
        self.post(channel=channel, blocks=snapshot_blocks(), text="Foto de métricas")
        chart = self.chart()
        self.post(channel=channel, text="", files=[chart.id])
        ana, bruno = Person(self.slack, "ana"), Person(self.slack, "bruno")
        said = await bruno.say(
            channel.id, "@ana veo la GPU al 97 % desde el despliegue de las 9:58. ¿Escalamos? #tamv-incidents"
        )
        await ana.say(channel.id, "Sí, a 10. Y apago las funciones experimentales.", thread=said)
        await bruno.say(channel.id, "Hecho, mirando p95…", thread=said)
        await ana.react(said, "pushpin")
        await bruno.react(said, "eyes")
        self.post(channel=channel, blocks=approval_blocks())
        report = self.file("INC-2026-0007.md", REPORT.encode(), "text/plain")
        page = self.file("INC-2026-0007.html", PAGE.encode(), "text/plain")
        self.post(
            channel=channel,
            text="📄 *Informe* de INC-2026-0007: <https://github.com/tamv/tamv-platform/issues/12|seguimientos>",
            files=[report.id, page.id],
        )
        self.post(
            channel=channel,
            text="No tienes el rol para aprobar esto: lo pidió la misma persona.",
            ephemeral_to="U0ANA00001",
        )
        return channel


def card_blocks() -> list[Block]:
    return [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": "🟠 SEV2 · Latencia alta en xr-engine", "emoji": False},
        },
        {
            "type": "section",
            "text": {
                "type": "mrkdwn",
                "text": "*INC-2026-0007* · *mitigado* · `xr-engine` · 🔔 1 alerta(s) activa(s)\nComandante: <@U0ANA00001> · Operaciones: <@U0BRUNO002>",
                "verbatim": True,
            },
        },
        {
            "type": "section",
            "text": {
                "type": "mrkdwn",
                "text": "*Último informe* (<!date^1795600920^{time}|10:02>, <@U0ANA00001>)\n> Escalado a 10 réplicas; p95 baja. Los usuarios aún ven 55 FPS.",
            },
        },
        {
            "type": "context",
            "elements": [
                {
                    "type": "mrkdwn",
                    "text": "Detectado <!date^1795600920^{time}|10:02> · Declarado <!date^1795600980^{time}|10:03> · Reconocido <!date^1795601160^{time}|10:06>",
                }
            ],
        },
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "action_id": "take",
                    "text": plain("Tomar el mando"),
                    "style": "primary",
                    "value": "7",
                },
                {"type": "button", "action_id": "update", "text": plain("Informar"), "value": "7"},
                {"type": "button", "action_id": "resolve", "text": plain("Resolver"), "value": "7"},
                {"type": "button", "action_id": "followup", "text": plain("Crear seguimiento"), "value": "7"},
            ],
        },
    ]


def snapshot_blocks() -> list[Block]:
    rows = (
        ("Cifra", "Ahora", "Límite", "Veredicto", "Cambio"),
        ("Latencia p95", "812 ms", "500 ms", "🔴 mal", "+344 %"),
        ("Tasa de errores", "1,4 %", "2 %", "🟢 bien", "+0,9"),
        ("Uso de GPU", "97 %", "90 %", "🔴 mal", "+34"),
        ("Cuadros por segundo", "55 fps", "60 fps", "🔴 mal", "-33"),
    )
    return [
        {"type": "section", "text": {"type": "mrkdwn", "text": "📈 *Foto de métricas* · `xr-engine` · última hora"}},
        {
            "type": "table",
            "column_settings": [{}, {"align": "right"}, {"align": "right"}, {}, {"align": "right"}],
            "rows": [[{"type": "raw_text", "text": text} for text in row] for row in rows],
        },
    ]


def approval_blocks() -> list[Block]:
    return [
        {
            "type": "section",
            "text": {
                "type": "mrkdwn",
                "text": "🔐 *Rollback de xr-engine* espera a otra persona\n```helm rollback xr-engine 41\n- image: xr-engine:v4.2.0\n+ image: xr-engine:v4.1.0```",
            },
        },
        {
            "type": "context",
            "elements": [{"type": "mrkdwn", "text": "Lo pidió <@U0ANA00001> · caduca en *15 min* · `a91f3c`"}],
        },
        {"type": "actions", "block_id": "approval", "elements": ELEMENTS},
    ]
