"""Runs a heavy training in a process of its own: Dagster Pipes around ``ml.training``.

Run by ``resources.trainer`` as ``python -m anomaly_platform.runtime.trainer_process CONFIG.json``
in a process group of its own. Every epoch is reported as a message the moment it is over. It ends
with the process that started it, even when that one is killed outright.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

PARENT_VARIABLE = "ANOMALY_TRAINER_PARENT"
_WATCH_SECONDS = 0.5


def main(arguments: list[str]) -> int:
    """Train as the configuration file says; 0 when it went well, 1 when not."""
    _end_with(int(os.environ.get(PARENT_VARIABLE, os.getppid())))

    from dagster_pipes import open_dagster_pipes

    from anomaly_platform.ml.training.sequence_trainer import TrainerConfig, run

    with open_dagster_pipes() as pipes:

        def report(figures: Mapping[str, object]) -> None:
            pipes.report_custom_message(dict(figures))

        try:
            run(TrainerConfig.read(Path(arguments[0])), report)
        except Exception as error:
            report({"event": "failed", "reason": f"{type(error).__name__}: {error}"})
            return 1
    return 0


def _end_with(parent: int) -> None:
    """Kill this process group as soon as `parent` is not our parent any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
