"""``anomaly ui``: Dagster's web pages behind a guard, as `anomaly up` serves them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anomaly_platform.cli.services.dagster_daemon import watch_code_less_often
from anomaly_platform.cli.services.own_pages import OwnPages
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_list

if TYPE_CHECKING:
    from dagster._core.workspace.load_target import WorkspaceFileTarget

#: As `dagster-webserver` has them.
_STATEMENT_TIMEOUT_MS: Final = 15_000
_POOL_RECYCLE_S: Final = 3_600
_POOL_OVERFLOW: Final = 20
#: Code that does not answer by then is shown as broken.
_PATIENCE_S: Final = 60.0
_ANSWER_S: Final = 2
_PAUSE_S: Final = 0.2


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
    code = WorkspaceFileTarget([str(workspace)])
    with DagsterInstance.get() as instance:
        _await_code(code)
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            workspace_load_target=code,
            version=__version__,
        ) as context:
            app = create_app_from_workspace_process_context(context, lifespan=_lifespan)
            guarded = OwnPages(app, (host, *split_list(settings.ui_trusted_hosts)))
            uvicorn.run(guarded, host=host, port=port, log_level="warning", server_header=False)


def _await_code(code: WorkspaceFileTarget) -> None:
    """Wait until code servers answer that start beside this one; pages would call them broken."""
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

    deadline = time.monotonic() + _PATIENCE_S
    for origin in code.create_origins():
        if not isinstance(origin, GrpcServerCodeLocationOrigin):
            continue
        client = origin.create_client()
        while time.monotonic() < deadline:
            try:
                client.get_server_id(timeout=_ANSWER_S)
                break
            except DagsterUserCodeUnreachableError:
                time.sleep(_PAUSE_S)


@contextlib.asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[None]:
    # Being cancelled is how the server's own task ends on a signal.
    with contextlib.suppress(asyncio.CancelledError):
        yield
