"""Print what an image is made of, as CycloneDX 1.6: Python packages, Debian packages, Helm. The Dockerfile keeps it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote

PRODUCT = "tamv-bot"
NOT_KEPT = {"pip", "setuptools", "wheel"}  # uninstalled when all is built
DEBIAN = "${binary:Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"


def main() -> None:
    """Write the bill of materials of this system and of this Python's environment to standard output."""
    ours = next(one for one in distributions() if one.name == PRODUCT)
    components = sorted([*_python(), *_debian(), *_helm()], key=lambda one: str(one["purl"]))
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", **_distribution(ours)}},
        "components": components,
    }
    sys.stdout.write(json.dumps(bill, indent=1) + "\n")


def _python() -> Iterator[dict[str, Any]]:
    for one in distributions():
        if one.name not in {PRODUCT, *NOT_KEPT}:
            yield {"type": "library", **_distribution(one)}


def _distribution(one: Distribution) -> dict[str, Any]:
    metadata: Message = one.metadata  # type: ignore[assignment]
    purl = f"pkg:pypi/{re.sub('[-_.]+', '-', one.name).lower()}@{one.version}"
    known = {"name": one.name, "version": one.version, "purl": purl, "bom-ref": purl}
    license = metadata["License-Expression"]
    return known | ({"licenses": [{"expression": license}]} if license else {})


def _debian() -> Iterator[dict[str, Any]]:
    """Yield the packages of the base, if it is a Debian."""
    try:
        listed = subprocess.run(["dpkg-query", "-W", "-f", DEBIAN], capture_output=True, text=True, check=True)  # noqa: S603, S607
    except FileNotFoundError:
        return
    for line in listed.stdout.splitlines():
        name, version, architecture, status = line.split("\t")
        if status == "installed":
            purl = f"pkg:deb/debian/{name.partition(':')[0]}@{quote(version, safe='')}?arch={architecture}"
            yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def _helm() -> Iterator[dict[str, Any]]:
    asked = ["helm", "version", "--template", "{{.Version}}"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    purl = f"pkg:golang/helm.sh/helm/v{version[1:].partition('.')[0]}@{version}"
    yield {"type": "application", "name": "helm", "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    main()
