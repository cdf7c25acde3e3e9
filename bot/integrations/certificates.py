"""Certificates of the team's own authorities, trusted by every client besides the public ones."""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import cache
from pathlib import Path

# Where requests (PagerDuty, Prometheus, GitHub, Vault), boto3, and OpenSSL and Go (Helm) look for certificates.
VARIABLES = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")


def trust(bundle: Path) -> Path:
    """Trust the authorities of a PEM file in this process and those that it starts, besides the public ones.

    Returns the file with both, to which the environment now points.
    """
    public = [ssl.DER_cert_to_PEM_cert(one) for one in ssl.create_default_context().get_ca_certs(binary_form=True)]
    handle, name = tempfile.mkstemp(prefix="certificates-", suffix=".pem")
    with os.fdopen(handle, "w", encoding="utf-8") as both:
        both.write("\n".join([*public, bundle.read_text(encoding="utf-8"), ""]))
    for variable in VARIABLES:
        os.environ[variable] = name
    return Path(name)


def tls_context() -> ssl.SSLContext:
    """Return the context of all aiohttp clients; aiohttp's own is made before the settings are read."""
    return _context_of(os.environ.get("SSL_CERT_FILE"))


@cache
def _context_of(bundle: str | None) -> ssl.SSLContext:
    """Read the public authorities once: that takes 20 ms. OpenSSL looks for `bundle` by itself."""
    return ssl.create_default_context()
