"""What ``anomaly backtest metrics`` says of its scores: measures per file, together, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from anomaly_platform.cli.backtest.files import MetricFile

if TYPE_CHECKING:
    from anomaly_platform.ml.backtest.series import Backtest

Report = dict[str, Any]

#: Measures by their label, and by a heading narrow enough for all of them beside each other.
_MEASURES = {
    "vus_pr": ("VUS-PR", "VUS\nPR"),
    "auc_pr": ("AUC-PR", "AUC\nPR"),
    "auc_roc": ("AUC-ROC", "AUC\nROC"),
    "precision": ("precision", "preci-\nsion"),
    "recall": ("recall", "recall"),
    "f1": ("F1", "F1"),
    "event_recall": ("event recall", "event\nrecall"),
    "false_positive_rate": ("false positives", "false\npos."),
}
#: Those of calls, which the table of several files has no room for.
_CALLS = {"call_event_recall": "event recall of calls", "call_false_positive_rate": "false calls"}


def report_of(
    rows: MetricFile, scores: pl.DataFrame, result: Backtest, train: str | None
) -> Report:
    """Return what there is to say of one file's scores; measures where it has labels.

    Parameters
    ----------
    rows : MetricFile
        The file that was scored.
    scores : polars.DataFrame
        A row per row of it.
    result : Backtest
    train : str or None
        The file that was learned from; ``None`` in streaming, where the beginning is not judged.
    """
    from anomaly_platform.ml.evaluation.measures import confusion, evaluate, event_recall

    content: Report = {
        "train": train,
        "test": rows.path.name,
        "metrics": len(result.metric_scores),
        "test_rows": scores.height,
        "flagged_rows": int(scores["is_anomaly"].sum()),
        "call_rows": int(scores["is_call"].sum()),
        "threshold": result.threshold,
        "rows_per_second": scores.height / max(result.seconds, 1e-9),
        "readings_per_second": result.rows_per_second,
    }
    if rows.labels is not None:
        judged = rows.labels.is_not_null() & ~rows.repeated
        if train is None:
            judged &= scores["score"].is_not_null()
        labels = rows.labels.filter(judged).to_numpy()
        calls = scores["is_call"].filter(judged).to_numpy() == 1
        measured = evaluate(
            labels,
            scores["score"].filter(judged).fill_null(float("nan")).to_numpy(),
            scores["is_anomaly"].filter(judged).to_numpy() == 1,
        )
        content |= asdict(measured)
        content["call_event_recall"] = event_recall(labels, calls)
        content["call_false_positive_rate"] = confusion(labels, calls).false_positive_rate
    return content


def together(reports: Mapping[str, Report], failed: Mapping[str, str]) -> Report:
    """Return the reports by file, the mean of every measure over the files that have it, failures.

    Rows per second are those of all files, over the time that all of them took.
    """
    means: Report = {}
    for name in (*_MEASURES, *_CALLS):
        values = [one[name] for one in reports.values() if one.get(name) is not None]
        means[name] = sum(values) / len(values) if values else None
    seconds = sum(one["test_rows"] / one["rows_per_second"] for one in reports.values())
    rows = sum(one["test_rows"] for one in reports.values())
    means["rows_per_second"] = rows / seconds if seconds else None
    return {"files": dict(reports), "mean": means, "failed": dict(failed)}


def table_of_one(name: str, report: Report) -> Table:
    """Return one file's measures below each other."""
    table = Table(title=escape(name), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows", f"{report['test_rows']:,}")
    table.add_row("flagged", f"{report['flagged_rows']:,}")
    labels = {name: label for name, (label, _) in _MEASURES.items()} | _CALLS
    for measure, label in labels.items():
        if measure in report:
            table.add_row(label, _figure(report[measure]))
    table.add_row("rows per second", f"{report['rows_per_second']:,.0f}")
    return table


def table_of_several(reports: Mapping[str, Report]) -> Table:
    """Return a row per file and one of means; 80 columns are enough for it."""
    table = Table(title=f"{len(reports)} files", box=SIMPLE_HEAD, padding=0)
    table.add_column("file", overflow="fold", min_width=8)
    for heading in ("flagged", *(short for _, short in _MEASURES.values()), "rows/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in reports.items():
        table.add_row(escape(name), f"{one['flagged_rows']:,}", *_figures(one))
    table.add_section()
    table.add_row("mean", "", *_figures(together(reports, {})["mean"]))
    return table


def _figures(report: Report) -> list[str]:
    speed = report.get("rows_per_second")
    measures = [_figure(report.get(measure)) for measure in _MEASURES]
    return [*measures, "–" if speed is None else f"{speed:,.0f}"]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
