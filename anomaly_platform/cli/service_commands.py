"""``anomaly up`` and the commands of single services: their options."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from anomaly_platform.settings import get_settings

console = Console()

UI_PORT: Final = 3000


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of Dagster's UI.")] = UI_PORT,
    mlflow: Annotated[
        bool | None,
        typer.Option(
            "--mlflow/--no-mlflow",
            help="Serve MLflow's pages or not; ANOMALY_MLFLOW_PAGES where unset.",
        ),
    ] = None,
) -> None:
    """Run PostgreSQL, Dagster's webserver and its daemon, the API and MLflow, until Ctrl-C."""
    from anomaly_platform.cli.services.up import run_platform

    raise typer.Exit(run_platform(get_settings(), console, host, port, mlflow=mlflow))


def ui(
    workspace: Annotated[Path, typer.Option(help="Dagster's file of the code that is shown.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = UI_PORT,
) -> None:
    """Serve Dagster's pages, to which other pages may link and nothing else, until Ctrl-C.

    `anomaly up` does so by itself.
    """
    from anomaly_platform.cli.services.ui import serve_ui

    serve_ui(get_settings(), workspace, host, port)


def down() -> None:
    """End what runs in this home: `anomaly up`, what else uses it, and its PostgreSQL."""
    from anomaly_platform.cli.services.running import end_everything

    end_everything(get_settings(), console)


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes.")] = None,
) -> None:
    """Serve the API until Ctrl-C; where nothing is said, as the settings say."""
    from anomaly_platform.cli.services.api import serve

    settings = get_settings()
    raise typer.Exit(
        serve(
            settings,
            console,
            host=host or settings.api_host,
            port=port or settings.api_port,
            workers=workers or settings.api_workers,
        )
    )


def dispatch(
    once: Annotated[bool, typer.Option("--once", help="Deliver what is due, and end.")] = False,
) -> None:
    """Deliver alerts and other messages through the channels of the settings, until Ctrl-C.

    `anomaly up` does so by itself.
    """
    from anomaly_platform.cli.services.dispatch import run_dispatcher

    run_dispatcher(get_settings(), console, once=once)


def mqtt() -> None:
    """Take telemetry from the broker of ANOMALY_MQTT_URL, until Ctrl-C.

    `anomaly up` does so by itself.
    """
    from anomaly_platform.cli.services.mqtt import run_subscriber

    raise typer.Exit(run_subscriber(get_settings(), console))
