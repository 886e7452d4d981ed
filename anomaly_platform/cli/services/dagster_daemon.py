"""Dagster's daemon at the pace of this platform, which has one code server that says what changes.

Belongs here: Dagster's intervals that no setting of its own reaches. Those that cost an idle
machine the most are longer: they are for many code locations that come and go; here is one, which
is watched. Data sensors tick before their time when there is something to do (`awakening`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from anomaly_platform.cli.services.awakening import Awakening, Watchful
from anomaly_platform.runtime.brief_end import run_briefly
from anomaly_platform.storage.lake.landing import local_root

if TYPE_CHECKING:
    from anomaly_platform.settings import Settings

#: The daemon also fetches the graph anew whenever the code server's is another one.
_FETCHED_ANEW_EVERY_S: Final = 600
#: After how long without the graph the daemon gives up and is started again.
_PATIENCE_S: Final = 1200
_WATCHED_EVERY_S: Final = 5
#: Name of the code server's socket, beside the file of the workspace.
CODE_SOCKET: Final = "code"
_CODE_PATIENCE_S: Final = 60.0
_LOOKED_EVERY_S: Final = 0.05
#: What is overdue is so by hours.
_OVERDUE_EVERY_S: Final = "300"


def daemon_command() -> list[str]:
    """Return the command that runs the daemon; options of ``dagster-daemon run`` follow."""
    return [sys.executable, "-m", __name__, "run"]


def await_code(arguments: Sequence[str], patience_s: float = _CODE_PATIENCE_S) -> None:
    """Wait until the code server of a platform's workspace listens, `patience_s` at most.

    A daemon that looks before has no graph until it looks again, and fails what is launched.
    """
    if "--workspace" not in arguments:
        return
    socket = Path(arguments[arguments.index("--workspace") + 1]).parent / CODE_SOCKET
    until = time.monotonic() + patience_s
    while not socket.exists() and time.monotonic() < until:
        time.sleep(_LOOKED_EVERY_S)


def watch_code_less_often() -> None:
    """Ask the code server every few seconds, and not every second, whether it is still the same."""
    from dagster._grpc import server_watcher

    server_watcher.WATCH_INTERVAL = _WATCHED_EVERY_S


def wake_data_sensors(awakening: Awakening) -> None:
    """Let the sensor daemon tick at once where there is something to do."""
    from dagster._daemon import sensor
    from dagster._daemon.daemon import SensorDaemon

    rests, core_loop = sensor.is_under_min_interval, SensorDaemon.core_loop

    def rests_still(state: Any, remote: Any, least: int | None = None) -> bool:
        if not rests(state, remote, least):
            return False
        ago = sensor.get_elapsed(state) or 0.0
        return not awakening.due(remote.name, time.time() - ago)

    def watchful_loop(self: Any, context: Any, ending: Any) -> Any:
        return core_loop(self, context, Watchful(ending, awakening))  # type: ignore[arg-type]

    sensor.is_under_min_interval = cast("Any", rests_still)
    SensorDaemon.core_loop = cast("Any", watchful_loop)  # type: ignore[method-assign]


def awakening_of(settings: Settings) -> Awakening:
    """Return what watches a platform's landing folder, where it is a folder."""
    return Awakening(settings.home, local_root(settings.landing_url))


def main() -> None:
    """Run ``dagster-daemon`` with the arguments of the command line."""
    # Read when its module is imported.
    os.environ.setdefault("FRESHNESS_DAEMON_INTERVAL_SECONDS", _OVERDUE_EVERY_S)
    from dagster._daemon import cli, controller

    from anomaly_platform.settings import get_settings

    await_code(sys.argv)
    watch_code_less_often()
    wake_data_sensors(awakening_of(get_settings()))
    controller.RELOAD_WORKSPACE_INTERVAL = _FETCHED_ANEW_EVERY_S
    controller.DEFAULT_WORKSPACE_FRESHNESS_TOLERANCE = _PATIENCE_S
    run_briefly(cli.main)


if __name__ == "__main__":
    main()
