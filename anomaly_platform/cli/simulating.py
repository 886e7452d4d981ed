"""``anomaly simulate``: labelled data of a stream, written as the files a user would drop."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer
from rich.console import Console

from anomaly_platform.streams import EMS, IIOT, Stream

if TYPE_CHECKING:
    from anomaly_platform.simulator.metrics import Simulation

_FORMATS = ("csv", "parquet")


def simulate_stream(
    stream: Stream, *, days: int, entities: int, seed: int, start: date
) -> Simulation:
    """Return a simulation of a built-in stream.

    Raises
    ------
    typer.BadParameter
        When there is no simulator of this stream.
    """
    from anomaly_platform.simulator.metrics import simulate_ems, simulate_iiot

    simulators = {IIOT.name: simulate_iiot, EMS.name: simulate_ems}
    if stream.name not in simulators:
        raise typer.BadParameter(f"{stream.name} has no simulator; {', '.join(simulators)} have")
    begin = datetime.combine(start, time(), UTC)
    return simulators[stream.name](days, entities, seed, start=begin)


def write_simulation(
    stream: Stream,
    out: Path,
    *,
    days: int,
    entities: int,
    seed: int,
    start: date,
    file_format: str,
    console: Console,
) -> None:
    """Write one file a day and the table of anomalies beside them."""
    from anomaly_platform.simulator.metrics import write

    if file_format not in _FORMATS:
        raise typer.BadParameter(f"--format {file_format!r}: use csv or parquet")
    with console.status(f"simulating {days} days of {stream.name}"):
        simulation = simulate_stream(stream, days=days, entities=entities, seed=seed, start=start)
        paths = write(simulation, out, cast("Literal['csv', 'parquet']", file_format))
        events = out / "anomalies.csv"
        simulation.events.write_csv(events)
    console.print(
        f"{simulation.frame.height:,} readings in {len(paths)} files in {out}; "
        f"{simulation.events.height} anomalies are listed in {events.name}",
        soft_wrap=True,
    )
