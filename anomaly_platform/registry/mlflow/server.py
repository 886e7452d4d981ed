"""``mlflow server`` in one process: its launcher becomes the server instead of waiting beside it.

What belongs here: how MLflow's pages are started. The launcher has imported all of MLflow to start
one child, and would hold 200 MB for as long as that runs.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final, NoReturn

COMMAND: Final = [sys.executable, "-m", __name__, "server"]


def _become(command: list[str], *, extra_env: dict[str, str], **_options: Any) -> NoReturn:
    os.execvpe(command[0], command, {**os.environ, **extra_env})  # noqa: S606 - MLflow's command


def main() -> None:
    """Run ``mlflow`` with the arguments of the command line."""
    from mlflow import server
    from mlflow.cli import cli

    setattr(server, "_exec_cmd", _become)  # noqa: B010 - of no type that is said
    cli()


if __name__ == "__main__":
    main()
