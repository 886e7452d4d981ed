"""Dagster's daemon at the pace of this platform, which has one code server that says what changes.

Belongs here: Dagster's intervals that cost an idle machine the most and that no setting of its own
reaches. They are for many code locations that come and go; here is one, which is watched.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from anomaly_platform.runtime.brief_end import run_briefly

#: The daemon also fetches the graph anew whenever the code server's is another one.
_FETCHED_ANEW_EVERY_S: Final = 600
#: After how long without the graph the daemon gives up and is started again.
_PATIENCE_S: Final = 1200
_WATCHED_EVERY_S: Final = 5
#: What is overdue is so by hours.
_OVERDUE_EVERY_S: Final = "300"


def daemon_command() -> list[str]:
    """Return the command that runs the daemon; options of ``dagster-daemon run`` follow."""
    return [sys.executable, "-m", __name__, "run"]


def watch_code_less_often() -> None:
    """Ask the code server every few seconds, and not every second, whether it is still the same."""
    from dagster._grpc import server_watcher

    server_watcher.WATCH_INTERVAL = _WATCHED_EVERY_S


def main() -> None:
    """Run ``dagster-daemon`` with the arguments of the command line."""
    # Read when its module is imported.
    os.environ.setdefault("FRESHNESS_DAEMON_INTERVAL_SECONDS", _OVERDUE_EVERY_S)
    from dagster._daemon import cli, controller

    watch_code_less_often()
    controller.RELOAD_WORKSPACE_INTERVAL = _FETCHED_ANEW_EVERY_S
    controller.DEFAULT_WORKSPACE_FRESHNESS_TOLERANCE = _PATIENCE_S
    run_briefly(cli.main)


if __name__ == "__main__":
    main()
