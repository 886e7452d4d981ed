"""The folder in which the workers share their counts (see ``metrics.requests``).

Apart, because Prometheus' client decides when it is imported whether it writes to files.
"""

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def prepare_directory(home: Path) -> Path:
    """Return an empty folder for the workers' numbers, to be set before they start.

    Parameters
    ----------
    home : Path
        ``ANOMALY_HOME``.
    """
    folder = home / "run" / f"metrics-{os.getpid()}"
    for old in folder.parent.glob("metrics-*"):
        owner = old.name.removeprefix("metrics-")
        if not owner.isdigit() or not psutil.pid_exists(int(owner)) or old == folder:
            shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder
