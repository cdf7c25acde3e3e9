# Everything that the product can do: the bot, its sandbox and example team, and Helm. What builds stays behind. The image
# needs no write access but to /tmp (and to its SQLite file, when DATABASE_URL points to one: mount a volume there).
# The base must have SQLite 3.42 or newer, without which the engine does not start on SQLite: Debian 13 has 3.46.
# What it is made of: /opt/venv/sbom.cdx.json. Built and run by tests/end_to_end/test_image.py.
ARG BASE=python:3.13-slim-trixie
ARG HELM_IMAGE=alpine/helm:4.0.0

FROM ${HELM_IMAGE} AS helm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python3 -m venv /opt/venv
COPY requirements/run.txt requirements/run.txt
RUN /opt/venv/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml setup.py README.md LICENSE app.yaml ./
COPY templates templates
COPY teams teams
COPY deploy deploy
COPY bot bot
COPY demo demo
COPY handlers handlers
COPY sandbox sandbox
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
    && /opt/venv/bin/python deploy/sbom.py > /opt/venv/sbom.cdx.json \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib \
    && /opt/venv/bin/pip uninstall --yes setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="tamv-bot" \
      org.opencontainers.image.description="From the alert to the report, in Slack" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HELM_CACHE_HOME=/tmp/helm/cache \
    HELM_CONFIG_HOME=/tmp/helm/config \
    HELM_DATA_HOME=/tmp/helm/data \
    HOST=0.0.0.0 \
    PORT=3000
RUN groupadd --gid 10001 tamv && useradd --uid 10001 --gid tamv --no-create-home --shell /usr/sbin/nologin tamv
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
COPY --from=build /opt/venv /opt/venv
WORKDIR /tmp
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
CMD ["tamv-bot", "serve"]
