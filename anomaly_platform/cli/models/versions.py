"""``anomaly models``: the versions there are, why one serves, and changing which one does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomaly_platform.cli.arguments import StreamName, stream_of
from anomaly_platform.cli.rows import print_rows, word_table
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.promotion import PromotionError
from anomaly_platform.streams import Stream

models_app = typer.Typer(help="Versions of models: list, inspect, promote.", no_args_is_help=True)
console = Console()
errors = Console(stderr=True)

Version = Annotated[int, typer.Argument(min=1, help="A version's number.")]
Detector = Annotated[
    str | None, typer.Option(help="A detector of the stream; by default the one that scores.")
]
Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]


@models_app.command("list")
def list_models(
    stream: Annotated[str | None, typer.Argument(help="Only this stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest versions per detector.")] = 10,
) -> None:
    """List the versions of every detector, the newest first."""
    with _opened() as platform:
        chosen = [stream_of(platform, stream)] if stream else list(platform.streams)
        rows = [
            _row(record)
            for one in chosen
            for detector in dict.fromkeys((*one.detectors, one.scored_by))
            for record in platform.warehouse.bundles.all(one.name, detector)[:limit]
        ]
        if not rows:
            console.print("Nothing has been trained yet; `anomaly run STREAM` does.")
            return
        names = ("stream", "detector", "version", "status", "trained", "quality", "note")
        print_rows(console, names, rows, title="Models")


@models_app.command()
def show(stream: StreamName, version: Version, detector: Detector = None) -> None:
    """Show what a version is, what it had to pass, and why it serves or does not."""
    with _opened() as platform:
        one = stream_of(platform, stream)
        record = platform.model_sets.find(one, _detector(one, detector), version)
        bundles = platform.warehouse.bundles
        history = [h for h in bundles.history(one.name, record.detector) if h.version == version]
        console.print(_facts(record, history))
        if record.gates:
            console.print(_gates(record))
        for title, values in (("Metrics", record.metrics), ("Parameters", record.parameters)):
            console.print(_pairs(title, values))
        if history:
            served = [(f"{h.promoted_at:%Y-%m-%d %H:%M} UTC", escape(h.reason)) for h in history]
            console.print(word_table(("since", "why"), served, "In service"))


@models_app.command()
def promote(
    stream: StreamName,
    version: Version,
    reason: Reason,
    despite_gates: Annotated[
        bool, typer.Option("--despite-gates", help="Also a version that its gates rejected.")
    ] = False,
) -> None:
    """Put a version into service; of scans the version of the fusion, which names a set."""
    with _opened() as platform:
        one = stream_of(platform, stream)
        record = platform.model_sets.find(one, one.scored_by, version)
        if record.status == "rejected" and not despite_gates:
            why = f" ({record.reason})" if record.reason else ""
            raise PromotionError(
                f"version {version} of {one.name} {one.scored_by} cannot serve: it is "
                f"rejected{why}; --despite-gates puts it into service nevertheless"
            )
        served = platform.warehouse.bundles.champions(one.name).items()
        members = platform.model_sets.members_of
        if record.status == "champion" and members(one, version).items() <= served:
            console.print(f"{one.name}: version {version} is in service already; nothing changes.")
            return
        serving = platform.model_sets.put_into_service(
            one, version, f"promoted by hand: {reason}", overrule=despite_gates
        )
        _say_serving(one, serving)


@models_app.command()
def rollback(
    stream: StreamName,
    reason: Reason,
    to: Annotated[int | None, typer.Option(min=1, help="A version that served before.")] = None,
) -> None:
    """Put the version into service again that served before; of scans the whole set."""
    with _opened() as platform:
        one = stream_of(platform, stream)
        _say_serving(one, platform.model_sets.roll_back(one, f"rolled back: {reason}", to=to))


@models_app.command()
def delete(stream: StreamName, version: Version, reason: Reason, detector: Detector = None) -> None:
    """Mark a version as deleted; `anomaly prune` removes its files. Never what serves."""
    with _opened() as platform:
        one = stream_of(platform, stream)
        chosen = _detector(one, detector)
        if platform.model_sets.find(one, chosen, version).status == "deleted":
            raise PromotionError(f"version {version} of {one.name} {chosen} is deleted already")
        bundles = platform.warehouse.bundles
        before = bundles.previous(one.name, one.scored_by)
        bundles.delete(one.name, chosen, version, f"deleted: {reason}")
        console.print(f"Version {version} of {one.name} {chosen} is deleted.")
        if (chosen, version) == (one.scored_by, before):
            now = bundles.previous(one.name, chosen)
            console.print(
                "There is no version to roll back to any more."
                if now is None
                else f"A roll-back now leads to version {now}."
            )


@contextmanager
def _opened() -> Iterator[Platform]:
    try:
        with open_platform() as platform:
            yield platform
    except PromotionError as error:
        errors.print(f"[red]{escape(str(error))}")
        raise typer.Exit(2) from None


def _detector(stream: Stream, asked: str | None) -> str:
    known = dict.fromkeys((*stream.detectors, stream.scored_by))
    if asked is not None and asked not in known:
        raise typer.BadParameter(
            f"{stream.name} has no detector {asked!r}; it has {', '.join(known)}"
        )
    return asked or stream.scored_by


def _row(record: BundleRecord) -> tuple[str, ...]:
    note = "" if record.parent is None else f"made from {record.parent}"
    return (
        record.stream,
        record.detector,
        str(record.version),
        record.status,
        f"{record.trained_at:%Y-%m-%d %H:%M}" if record.trained_at else "",
        _quality(record.metrics),
        record.reason or note,
    )


def _quality(metrics: Mapping[str, Any]) -> str:
    for name, label in (("balanced_accuracy_median", "accuracy"), ("auc_roc", "AUC-ROC")):
        value = metrics.get(name)
        if isinstance(value, (int, float)):
            return f"{label} {value:.3f}"
    return ""


def _facts(record: BundleRecord, history: list[Any]) -> Table:
    why = record.reason or (history[0].reason if history else "waits to be judged")
    parameters = record.parameters
    window = ""
    if record.window_start and record.window_end:
        window = f"{record.window_start:%Y-%m-%d %H:%M} … {record.window_end:%Y-%m-%d %H:%M} UTC"
    facts = {
        "status": record.status,
        "why": why,
        "trained": f"{record.trained_at:%Y-%m-%d %H:%M} UTC" if record.trained_at else "never",
        "window": window,
        "made from": "" if record.parent is None else f"version {record.parent}",
        "trained because of": record.trained_because_of,
        "Dagster run": str(parameters.get("run_id") or ""),
        "code": str(parameters.get("code_version") or ""),
        "files": record.path or "",
        "digest": record.digest or "",
    }
    return _pairs(
        f"{record.stream} {record.detector} {record.version}",
        {name: value for name, value in facts.items() if value},
    )


def _gates(record: BundleRecord) -> Table:
    rows = [
        ("[green]passed" if gate["passed"] else "[red]failed", *map(escape, map(str, shown)))
        for gate in record.gates
        for shown in [(gate["gate"], gate["value"], gate["bound"])]
    ]
    return word_table(("", "gate", "value", "needed"), rows, "Gates")


def _pairs(title: str, values: Mapping[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    table.columns[1].overflow = "fold"
    for name, value in values.items():
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        table.add_row(escape(str(name)), escape(shown))
    return table


def _say_serving(stream: Stream, serving: Mapping[str, int]) -> None:
    named = ", ".join(f"{detector} {version}" for detector, version in sorted(serving.items()))
    console.print(f"{stream.name}: {named} is in service.")
    console.print(
        f"Newest days are scored again by the daemon, or now by `anomaly run {stream.name}`."
    )
