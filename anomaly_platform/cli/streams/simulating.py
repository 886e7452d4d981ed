"""``anomaly simulate``: labelled data of a stream, written as the files a user would drop."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer
from rich.console import Console

from anomaly_platform.streams import EMS, IIOT, Stream

if TYPE_CHECKING:
    from anomaly_platform.simulator.metrics import Simulation
    from anomaly_platform.simulator.supply_network import SupplyNetworkData

_FORMATS = ("csv", "parquet")
#: Scans a day for each of the `--entities`, about.
_SCANS_PER_ENTITY = 60


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
    """Write one file a day and the table of anomalies beside them.

    Raises
    ------
    typer.BadParameter
        When the folder has days of another simulation, or there would be nothing to write.
    """
    from anomaly_platform.simulator.metrics import write

    if file_format not in _FORMATS:
        raise typer.BadParameter(f"--format {file_format!r}: use csv or parquet")
    _refuse_other_days(stream, out, start, days)
    with console.status(f"simulating {days} days of {stream.name}"):
        if stream.has_series:
            simulation = simulate_stream(
                stream, days=days, entities=entities, seed=seed, start=start
            )
            paths = write(simulation, out, cast("Literal['csv', 'parquet']", file_format))
            simulation.events.write_csv(out / "anomalies.csv")
            said = (
                f"{simulation.frame.height:,} readings in {_files(len(paths))}, one a day; "
                f"{simulation.events.height} anomalies among them are listed in anomalies.csv, "
                "which is not to be imported"
            )
        else:
            network = simulate_network(
                scans=days * entities * _SCANS_PER_ENTITY, days=days, seed=seed, start=start
            )
            if network.scans.is_empty():
                raise typer.BadParameter(
                    "so few goods are not scanned once in this time; ask for more --entities"
                )
            paths = write_scans(network, out, stream.name, file_format)
            network.world.write_reference(out / "reference")
            network.incidents.write_csv(out / "labels.csv")
            idle = days - len(paths)
            without = f" ({idle} of the {days} days have no scan)" if idle else ""
            said = (
                f"{network.scans.height:,} scans in {_files(len(paths))} of the folder scans, one "
                f"a day{without}; {network.incidents.height} of them are anomalies and listed in "
                "labels.csv; what is known of the network is in reference"
            )
    console.print(f"{out}:", soft_wrap=True, markup=False)
    console.print(said)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _refuse_other_days(stream: Stream, out: Path, start: date, days: int) -> None:
    """Refuse a folder with files of days that this simulation has not."""
    written = {f"{stream.name}-{start + timedelta(days=day)}" for day in range(days)}
    others = sorted(
        file.name
        for folder in (out, out / "scans")
        for file in folder.glob(f"{stream.name}-????-??-??.*")
        if file.stem not in written
    )
    if others:
        raise typer.BadParameter(
            f"{out} has {_files(len(others))} of another simulation, such as {others[0]}, which "
            "would be taken for days of this one; choose another folder with --out"
        )


def simulate_network(
    *, scans: int, days: int, seed: int, start: date, anomaly_rate: float = 0.05
) -> SupplyNetworkData:
    """Return about `scans` scans of goods in a supply network of 58 places.

    `anomaly_rate` is the share of the codes to which something happens, in [0, 0.5].
    """
    from anomaly_platform.simulator.supply_network import simulate_supply_network

    begin = datetime.combine(start, time(), UTC)
    return simulate_supply_network(
        events=scans, days=days, seed=seed, start=begin, anomaly_rate=anomaly_rate
    )


def write_scans(
    network: SupplyNetworkData, out: Path, name: str, file_format: str = "csv"
) -> list[Path]:
    """Write the scans into ``out/scans``, one file a day, labels included; return the paths."""
    folder = out / "scans"
    folder.mkdir(parents=True, exist_ok=True)
    rows = network.scans.drop("entity").rename({"label": "is_anomaly"})
    paths = []
    for (day,), frame in rows.group_by(rows["event_time"].dt.date(), maintain_order=True):
        path = folder / f"{name}-{day}.{file_format}"
        if file_format == "csv":
            frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
        else:
            frame.write_parquet(path)
        paths.append(path)
    return paths
