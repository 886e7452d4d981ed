"""``anomaly ui``: Dagster's web pages behind a guard, as `anomaly up` serves them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from anomaly_platform.cli.services.dagster_daemon import watch_code_less_often
from anomaly_platform.cli.services.own_pages import OwnPages
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_list

#: As `dagster-webserver` has them.
_STATEMENT_TIMEOUT_MS: Final = 15_000
_POOL_RECYCLE_S: Final = 3_600
_POOL_OVERFLOW: Final = 20


def serve_ui(settings: Settings, workspace: Path, host: str, port: int) -> None:
    """Serve Dagster's pages until SIGINT or SIGTERM.

    Parameters
    ----------
    workspace : Path
        Of the code that is shown.
    host, port
        To listen on. Pages open in a browser of another machine only under this address, or a name
        in ``ANOMALY_UI_TRUSTED_HOSTS``.
    """
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    # The parts of Dagster that are loaded by name find the home there.
    os.environ.setdefault("ANOMALY_HOME", str(settings.home))
    watch_code_less_often()
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
            version=__version__,
        ) as context:
            app = create_app_from_workspace_process_context(context, lifespan=_lifespan)
            guarded = OwnPages(app, (host, *split_list(settings.ui_trusted_hosts)))
            uvicorn.run(guarded, host=host, port=port, log_level="warning", server_header=False)


@contextlib.asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[None]:
    # Being cancelled is how the server's own task ends on a signal.
    with contextlib.suppress(asyncio.CancelledError):
        yield
