"""Put into the wheel what a checkout has beside the packages: templates, the example team, the app manifest, …"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
DATA = {
    "bot": ("templates", "teams", "app.yaml"),
    "sandbox": ("deploy/prometheus/tamv.rules.yaml", "deploy/alertmanager/alertmanager.yaml", "app.yaml"),
}


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for package, paths in DATA.items():
            for path in paths:
                target = Path(self.build_lib) / package / "data" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / path).is_dir():
                    shutil.copytree(ROOT / path, target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / path, target)


setup(cmdclass={"build_py": BuildWithData})
