"""``anomaly labels``: what people know about readings, and the thresholds that follow."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import StreamName, refusing, stream_of
from anomaly_platform.cli.operator import person
from anomaly_platform.cli.rows import print_rows
from anomaly_platform.labelling.labels import SCAN_METRIC, NewLabel
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import Stream

labels_app = typer.Typer(help="What people know about readings.", no_args_is_help=True)

console = Console()

_COLUMNS = ("entity", "metric", "event_time", "is_anomaly")
#: Wrong lines of a file that are named at once.
_MOST_SHOWN = 20
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@labels_app.command("add")
def add_label(
    stream: StreamName,
    entity: Annotated[str, typer.Argument(help="Device or asset; the EPC code of a scan.")],
    event_time: Annotated[str, typer.Argument(help="When the reading was taken, ISO 8601.")],
    anomaly: Annotated[
        bool, typer.Option("--anomaly/--normal", help="What is true, whatever was said.")
    ],
    metric: Annotated[str | None, typer.Option(help="Its metric; scans have none.")] = None,
    comment: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Say of one reading whether it was an anomaly."""
    platform, chosen = _open(stream)
    label = NewLabel(entity, _metric(chosen, metric), _time(event_time), anomaly, comment)
    _refuse_unknown(chosen, label, _known_series(platform, chosen))
    _store(platform, chosen, [label])


@labels_app.command("import")
def import_labels(
    stream: StreamName,
    file: Annotated[
        Path,
        typer.Argument(help="CSV with entity, metric, event_time, is_anomaly and maybe comment."),
    ],
) -> None:
    """Take labels from a file, all of them or, when one is wrong, none."""
    platform, chosen = _open(stream)
    _store(platform, chosen, _labels_of(chosen, file, _known_series(platform, chosen)))


@labels_app.command("list")
def list_labels(
    stream: StreamName,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows.")] = 50,
) -> None:
    """Show the labels that were given last, and the thresholds of single series."""
    platform, chosen = _open(stream)
    print_rows(
        console,
        ("entity", "metric", "reading of", "is anomaly", "by", "given", "comment"),
        [
            (
                one.entity,
                one.metric,
                f"{one.event_time:%Y-%m-%d %H:%M:%S}",
                "yes" if one.is_anomaly else "no",
                one.labelled_by,
                f"{one.created_at:%Y-%m-%d %H:%M}",
                one.comment or "",
            )
            for one in platform.warehouse.labels.newest(chosen.name, limit=limit)
        ],
        title=f"Labels of {chosen.name}, the newest first",
    )
    thresholds = platform.warehouse.labels.thresholds.all(chosen.name)
    if thresholds:
        print_rows(
            console,
            ("entity", "metric", "threshold", "from", "set"),
            [
                (
                    own.entity,
                    own.metric,
                    f"{own.threshold:.4f}",
                    own.set_by,
                    f"{own.set_at:%Y-%m-%d %H:%M}",
                )
                for own in thresholds.values()
            ],
            title="Thresholds of single series",
        )


def _store(platform: Platform, stream: Stream, labels: list[NewLabel]) -> None:
    from anomaly_platform.labelling.labelled_readings import labels_without_reading
    from anomaly_platform.labelling.moved_thresholds import move_thresholds

    with refusing(ValueError):
        stored = platform.warehouse.labels.add_all(stream.name, labels, labelled_by=person())
    lacking = labels_without_reading(platform.warehouse.transactions, platform.lake, stream, labels)
    console.print(_stored(stored, lacking), markup=False, soft_wrap=True)
    if not stream.has_series:
        return
    for one in move_thresholds(
        platform.warehouse.transactions,
        platform.warehouse.labels,
        stream.name,
        default=platform.threshold_of(stream),
        alpha=platform.alpha_of(stream),
    ):
        now = "the stream's again" if one.threshold is None else f"{one.threshold:.4f}"
        console.print(f"Threshold of {one.entity} {one.metric}: {now}", markup=False)


def _stored(stored: int, lacking: list[NewLabel]) -> str:
    """Say how many labels were stored, and which of them is the first without a reading."""
    said = "1 label stored" if stored == 1 else f"{stored} labels stored"
    if not lacking:
        return f"{said}."
    first = lacking[0]
    time = first.event_time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    named = f"{first.entity} {first.metric} {time}"
    if len(lacking) == 1:
        which = "it has" if stored == 1 else "1 of them has"
        return f"{said}; {which} no reading yet: {named}"
    return f"{said}; {len(lacking)} of them have no reading yet, the first: {named}"


def _known_series(platform: Platform, stream: Stream) -> set[tuple[str, str]] | None:
    """Return the stream's series; None of scans, whose codes come and go."""
    if not stream.has_series:
        return None
    extents = platform.warehouse.series.extents(stream.name)
    return set(extents[["entity", "metric"]].rows())


def _refuse_unknown(stream: Stream, label: NewLabel, known: set[tuple[str, str]] | None) -> None:
    if known is not None and (label.entity, label.metric) not in known:
        raise typer.BadParameter(
            f"{stream.name} has no readings of {label.entity!r} {label.metric!r}; "
            "nothing was stored"
        )


def _labels_of(stream: Stream, file: Path, known: set[tuple[str, str]] | None) -> list[NewLabel]:
    import polars as pl

    try:
        frame = pl.read_csv(file, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise typer.BadParameter(f"{file}: cannot be read as CSV: {error}") from None
    needed = [name for name in _COLUMNS if name != "metric" or stream.has_series]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise typer.BadParameter(f"{file}: lacks the columns {', '.join(missing)}")
    labels: list[NewLabel] = []
    wrong: list[str] = []
    for number, row in enumerate(frame.iter_rows(named=True), start=2):
        try:
            label = _label(stream, row)
            _refuse_unknown(stream, label, known)
        except typer.BadParameter as error:
            wrong.append(f"line {number}: {str(error).removesuffix('; nothing was stored')}")
        else:
            labels.append(label)
    if wrong:
        shown = wrong[:_MOST_SHOWN]
        if len(wrong) > len(shown):
            shown.append(f"and {len(wrong) - len(shown)} more")
        raise typer.BadParameter("\n".join((f"{file}: nothing was stored", *shown)))
    return labels


def _label(stream: Stream, row: dict[str, Any]) -> NewLabel:
    truth = _TRUTHS.get((row["is_anomaly"] or "").strip().lower())
    if truth is None:
        raise typer.BadParameter(f"is_anomaly {row['is_anomaly']!r}: write true or false")
    if not row["entity"]:
        raise typer.BadParameter("entity is empty")
    metric = _metric(stream, row.get("metric"))
    time = _time(row["event_time"] or "")
    return NewLabel(row["entity"], metric, time, truth, row.get("comment"))


def _open(name: str) -> tuple[Platform, Stream]:
    platform = Platform(get_settings())
    return platform, stream_of(platform, name)


def _metric(stream: Stream, metric: str | None) -> str:
    if not stream.has_series:
        return SCAN_METRIC
    if not metric:
        raise typer.BadParameter(f"{stream.name} has several metrics; name one with --metric")
    return metric


def _time(text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"event_time {text!r}: write ISO 8601, such as 2026-01-31T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
