# Two stages: what builds stays behind. The image needs no write access but to /tmp (and to its SQLite file, when
# DATABASE_URL points to one: mount a volume there).
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements/run.txt requirements/run.txt
RUN /opt/venv/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY bot bot
COPY handlers handlers
# Templates and the team's file are read from beside the code, so the project is installed in its place.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --editable . \
    && /opt/venv/bin/python -m compileall -q bot handlers \
    && /opt/venv/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="tamv-bot" \
      org.opencontainers.image.description="From the alert to the report, in Slack"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HOST=0.0.0.0 \
    PORT=3000
RUN groupadd --system --gid 10001 tamv && useradd --system --uid 10001 --gid tamv --no-create-home tamv
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY templates templates
COPY config config
COPY runbooks runbooks
COPY manifests manifests
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
CMD ["tamv-bot", "serve"]
