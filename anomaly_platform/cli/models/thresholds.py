"""``anomaly thresholds``: from which score a reading of a single series is an anomaly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import StreamName, refusing, stream_of
from anomaly_platform.cli.operator import operator
from anomaly_platform.cli.rows import print_rows
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream

thresholds_app = typer.Typer(
    help="From which score a reading of a device and metric is an anomaly.", no_args_is_help=True
)
console = Console()

Entity = Annotated[str, typer.Argument(help="Device or asset.")]
Metric = Annotated[str, typer.Argument(help="Its metric.")]


@thresholds_app.command("list")
def list_thresholds(stream: StreamName) -> None:
    """List the series whose threshold is not their stream's, and who moved it."""
    with _opened(stream) as (platform, chosen):
        found = platform.warehouse.labels.thresholds.all(chosen.name)
        default = platform.threshold_of(chosen)
    console.print(f"The threshold of {chosen.name} is {default:g}.", markup=False)
    if not found:
        console.print("No series has its own.")
        return
    print_rows(
        console,
        ("entity", "metric", "threshold", "from", "by", "set"),
        [
            (
                one.entity,
                one.metric,
                f"{one.threshold:.4f}",
                one.origin,
                one.set_by,
                f"{one.set_at:%Y-%m-%d %H:%M}",
            )
            for one in found.values()
        ],
        title="Thresholds of single series",
    )


@thresholds_app.command("set")
def set_threshold(
    stream: StreamName,
    entity: Entity,
    metric: Metric,
    threshold: Annotated[float, typer.Argument(help="0 to 1; higher flags less, 1 nothing.")],
) -> None:
    """Set the threshold of a series; it holds everywhere at once and outlives trainings."""
    with _opened(stream) as (platform, chosen):
        known = platform.warehouse.series.extents(chosen.name).select("entity", "metric").rows()
        if (entity, metric) not in known:
            raise typer.BadParameter(f"{chosen.name} has never seen {entity} {metric}")
        with refusing(ValueError), platform.warehouse.transactions.begin() as connection:
            platform.warehouse.labels.thresholds.set(
                connection,
                chosen.name,
                entity,
                metric,
                threshold,
                origin="person",
                set_by=operator(),
            )
    console.print(f"The threshold of {entity} {metric} is {threshold:g}.", markup=False)


@thresholds_app.command("unset")
def unset_threshold(stream: StreamName, entity: Entity, metric: Metric) -> None:
    """Take back what a person set: the stream's threshold or that of labels holds again."""
    with _opened(stream) as (platform, chosen):
        with platform.warehouse.transactions.begin() as connection:
            cleared = platform.warehouse.labels.thresholds.clear(
                connection, chosen.name, entity, metric, set_by=operator(), origin="person"
            )
        default = platform.threshold_of(chosen)
    if not cleared:
        raise typer.BadParameter(
            f"nobody set a threshold for {entity} {metric}; see anomaly thresholds list"
        )
    console.print(f"The threshold of {entity} {metric} is {default:g} again.", markup=False)


@contextmanager
def _opened(name: str) -> Iterator[tuple[Platform, Stream]]:
    with open_platform() as platform:
        stream = stream_of(platform, name)
        if not stream.has_series:
            raise typer.BadParameter(f"{name} has one threshold for all of its scans")
        yield platform, stream
