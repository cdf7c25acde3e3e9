# ruff: noqa: E501 - a shape is read as one line
"""More than a thousand lines as operations print them, without a secret: what must be left as it is."""

from __future__ import annotations

from collections.abc import Iterator

from tests.redaction.made import alnum, base64_text, hexadecimal, uuid

SERVICES = ("xr-engine", "isabella-ai", "tamv-core", "render", "auth-api", "token-service", "secret-santa", "keycloak")
WORDS = (
    "token: caducado, hay que renovarlo",
    "El secreto de la cocina es el chile",
    "secret rotation is due",
    "/incident impact users=1240 revenue=\"$4,200\" summary='Render lento'",
    "https://grafana.tamv.world/d/apps?orgId=1&from=now-1h",
    "postgresql://db.tamv-prod/tamv",
    "INC-2026-0001 · <@U0ANA00001> · <!date^1767751800^{time}|02:10 UTC>",
    'rate(http_requests_total{service="xr-engine",status=~"5.."}[5m])',
    "ana@tamv.world",
    "unexpected token: } at line 3 column 12",
    "SyntaxError: Unexpected token < in JSON at position 0",
    "max_tokens=4096 prompt_tokens=812 completion_tokens: 93",
    "Mounts:  /var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-x7k2p (ro)",
    "    SecretName:  tamv-core-tls",
    "    Optional:    false",
    "      DB_PASSWORD:  <set to the key 'password' in secret 'tamv-core-db'>  Optional: false",
    "password:  24 bytes",
    "ca.crt:     1107 bytes",
    "token:      <redacted>",
    'secret "tamv-core-db" not found',
    'Error: couldn\'t find key password in Secret tamv-prod/tamv-core-db',
    "password authentication failed for user \"tamv\"",
    "FATAL:  password authentication failed for user \"tamv\" (SQLSTATE 28P01)",
    "Password: must be at least 12 characters, with a digit",
    "auth: ok user=ana method=oidc took=12ms",
    "authorization: user ana may not delete pods",
    "Authorization header missing",
    "no credentials were provided",
    "credentials expired, refreshing",
    "kubectl create secret generic --help",
    "PWD=/app",
    "--password-file /run/secrets/db",
    "DB_PASSWORD_FILE=/run/secrets/db",
    "password: ${DB_PASSWORD}",
    "token = self.session.refresh()",
    "if token == expected:",
    "    raise AuthError('token expired')",
    "secretKeyRef: {name: tamv-core-db, key: password}",
    "key: value",
    "primary key: id",
    "duplicate key value violates unique constraint \"users_pkey\"",
    "Detail: Key (id)=(4711) already exists.",
    "cache key=render:frame:42 hit=true",
    "session: started",
    "pass: 812 fail: 0 skip: 3",
    "PASS: TestScale (0.02s)",
    "http://localhost:8080/users/ana@tamv.world",
    "git@github.com:tamv/app.git",
    "ssh://git@github.com/tamv/app.git",
    "Set-Cookie header too large",
    "La contraseña caducó ayer",
    "the token is expired",
    "the secret is that there is none",
    "secret/tamv-core-db configured",
    "externalsecret.external-secrets.io/tamv-core-secrets condition met",
    "imagePullSecrets: [{name: ghcr}]",
    "automountServiceAccountToken: false",
    "tokenExpirationSeconds: 3607",
    "Token usage: 812 of 4096",
    "El token de Slack no sirve",
    "API key missing",
    "waiting for the private key to be mounted",
)  # fmt: skip


def lines() -> Iterator[str]:
    yield from WORDS
    for number in range(40):
        service = SERVICES[number % len(SERVICES)]
        yield from _kubectl(number, service)
        yield from _logs(number, service)
        yield from _programs(number, service)


def _kubectl(n: int, service: str) -> Iterator[str]:
    pod = f"{service}-{hexadecimal(n, 10)}-{alnum(n, 5).lower()}"
    yield f"{pod}   1/1     Running   {n % 4}   {n}h   10.2.{n}.7   node-{n % 3}   <none>   <none>"
    yield f"deployment.apps/{service} scaled"
    yield f'Normal   Pulled   {n}s   kubelet   Successfully pulled image "ghcr.io/tamv/{service}@sha256:{hexadecimal(n, 64)}" in 1.2s'
    yield f"Warning  BackOff  {n}s (x{n} over 5m)  kubelet  Back-off restarting failed container app in pod {pod}_tamv-prod({uuid(n)})"
    yield f"  uid: {uuid(n)}"
    yield f'  resourceVersion: "{n * 7919}"'
    yield f"  Image ID:       ghcr.io/tamv/{service}@sha256:{hexadecimal(n + 1, 64)}"
    yield f"  Container ID:   containerd://{hexadecimal(n + 2, 64)}"
    yield f"    checksum/config: {hexadecimal(n + 3, 64)}"
    yield f"{service}  kubernetes.io/dockerconfigjson  1  {n}d"


def _logs(n: int, service: str) -> Iterator[str]:
    second = f"2026-01-07T02:{n % 60:02d}:33.{n:03d}Z"
    yield f'10.2.0.{n} - ana [07/Jan/2026:02:10:{n:02d} +0000] "GET /render/{uuid(n)}?size=512&page={n} HTTP/1.1" 200 {n * 91} "https://tamv.world/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" rt=0.0{n}'
    yield f"{second} INFO {service} request_id={hexadecimal(n, 32)} trace_id={hexadecimal(n + 1, 32)} span_id={hexadecimal(n, 16)} took={n}ms"
    yield f'{{"level":"info","ts":"{second}","msg":"frame rendered","service":"{service}","id":"{uuid(n)}","ms":{n}}}'
    yield f'{{"level":"warn","requestId":"{alnum(n, 36)}","etag":"{hexadecimal(n, 32)}","status":{500 + n % 4}}}'
    yield f"x-amz-request-id: {alnum(n, 16).upper()} x-amz-id-2: {base64_text(n, 76)}"
    yield f'level=error ts={second} caller=dedupe.go:112 component=remote msg="Failed to send batch, retrying" err="server returned HTTP status 503"'
    yield f"{second} DEBUG cache miss key=frame:{hexadecimal(n, 40)} size={n}KiB"
    yield f"I0107 02:10:33.{n:06d}       1 controller.go:{n}] Finished syncing service {service}-{n}"


def _programs(n: int, service: str) -> Iterator[str]:
    yield f'  File "/app/{service.replace("-", "_")}/worker.py", line {n}, in handle_request'
    yield f"\tat world.tamv.{service.split('-')[0]}.RenderFrameController$$EnhancerBySpringCGLIB$${hexadecimal(n, 8)}.render(RenderFrameController.java:{n})"
    yield f"goroutine {n} [running]: main.(*Server).Handle(0xc000{hexadecimal(n, 6)}, 0x{n:x})"
    yield f"TypeError: Cannot read properties of undefined (reading 'frame{n}') at Object.<anonymous> (/app/dist/index.js:{n}:1{n})"
    yield f"commit {hexadecimal(n, 40)} (tag: v2.{n}.0, origin/main)"
    yield f"Digest: sha256:{hexadecimal(n, 64)}"
    yield f'"integrity": "sha512-{base64_text(n, 86)}=="'
    yield f'psycopg.OperationalError: connection to server at "10.2.0.{n}", port 5432 failed: timeout expired'
    yield f"arn:aws:rds:eu-west-1:12345678901{n % 10}:snapshot:tamv-prod-2026-01-{n % 28 + 1:02d}-{hexadecimal(n, 8)}"
    yield f"redis-cli -h cache-{n} -p 6379 -n {n % 4} ping; mysql -h db -P 3306 -u tamv tamv"
    yield f'level=info msg="secret rotated" name=jwt-secret version={n} took={n}ms'
    yield f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{base64_text(n, 43)} ana@tamv"
    yield f"Revision {n} deployed: chart {service}-1.{n}.0, app version 2.{n}.1, description upgrade complete"
