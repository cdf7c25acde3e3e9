"""A certificate of the team's own authority, and headers of a tenant: the same settings for every client."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bot.domain.errors import BotError
from bot.integrations.alertmanager import Alertmanager
from bot.integrations.certificates import VARIABLES, trust
from bot.integrations.pagerduty import PagerDuty
from bot.integrations.prometheus import Prometheus
from bot.integrations.slack import Slack
from bot.integrations.tempo import Tempo
from bot.settings import load_settings, plain

ANSWER = {
    "ok": True,
    "status": "success",
    "data": {"resultType": "vector", "result": []},
    "traces": [],
    "incidents": [],
    "more": False,
}

SILENCE = {"id": "x", "status": {"state": "expired"}}


@dataclass
class Secured:
    """An HTTPS server whose certificate is signed by nobody but `authority`, and the headers that it was sent."""

    url: str
    authority: Path
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secured]:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    authority = _certificate(tmp_path)
    found = Secured("", authority)

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            body = json.dumps(SILENCE if "/silence/" in self.path else ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"https://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TAMV's own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(secret)
    return folder / "server.pem"


async def _ask_everybody(url: str) -> None:
    now = datetime.now(UTC)
    await Prometheus(url).query("up")
    async with Alertmanager(url) as alertmanager, Tempo(url) as tempo:
        await alertmanager.state("x")
        await tempo.search("{}", now, now, 1)
    async with Slack("xoxb-1", f"{url}/api/") as slack:
        await slack.call("api.test")
    await PagerDuty("token", "key", None, url, url).incident_by_key("k")


async def test_every_client_trusts_the_teams_own_authority(secured: Secured) -> None:
    with pytest.raises(BotError):
        await Prometheus(secured.url).query("up")
    trust(secured.authority)
    await _ask_everybody(secured.url)
    assert len(secured.headers) == 5


async def test_headers_of_a_tenant_are_sent_with_every_request(secured: Secured) -> None:
    trust(secured.authority)
    configured = load_settings(
        slack_bot_token="xoxb-1",
        slack_signing_secret="secret",
        prometheus_headers="X-Scope-OrgID=tamv, X-Other: a=b",
        ca_bundle=str(secured.authority),
    )
    headers = plain(configured.prometheus_headers)
    assert headers == {"X-Scope-OrgID": "tamv", "X-Other": "a=b"}
    assert {"tamv", "a=b"} <= set(configured.secrets)
    await Prometheus(secured.url, headers=headers).query("up")
    assert secured.headers[-1]["x-scope-orgid"] == "tamv"
