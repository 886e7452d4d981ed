"""``anomaly backtest``: score files of one's own, without any service."""

from __future__ import annotations

import typer

backtest_app = typer.Typer(
    help="Score files of your own, without any service.", no_args_is_help=True
)
