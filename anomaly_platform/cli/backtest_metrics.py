"""``anomaly backtest metrics``: files in, scores and a report out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from anomaly_platform.cli.backtest_files import TIME, MetricFile, read_metric_file
from anomaly_platform.ingest.mapping import ColumnMapping
from anomaly_platform.ingest.sources import UnreadableFile
from anomaly_platform.settings import Settings

if TYPE_CHECKING:
    from anomaly_platform.ml.backtest import Backtest
    from anomaly_platform.ml.training.fit import FleetPolicy

PROBATION_ROWS = 750


@dataclass(frozen=True, slots=True)
class Task:
    """One file to score.

    Attributes
    ----------
    train : Path or None
        What to learn from; ``None`` learns from the beginning of `test`, in streaming order.
    test : Path
        What to score.
    out : Path
        Where the scores go.
    """

    train: Path | None
    test: Path
    out: Path


def plan_tasks(
    train: Sequence[Path], test: Sequence[Path], series: Sequence[Path], out: Path
) -> list[Task]:
    """Pair the files; with several of them `out` is a folder.

    Raises
    ------
    ValueError
        When the options do not fit together.
    """
    if series and (train or test):
        raise ValueError("give either --series or --train and --test")
    if not series and (not train or len(train) != len(test)):
        raise ValueError("--train and --test belong together, as many of one as of the other")
    pairs: list[tuple[Path | None, Path]] = [(None, path) for path in series]
    if not pairs:
        pairs = [*zip(train, test, strict=True)]
    if len(pairs) == 1:
        return [Task(pairs[0][0], pairs[0][1], out)]
    names = [f"{path.name.split('.')[0]}.csv" for _, path in pairs]
    if len(set(names)) < len(names):
        raise ValueError("two of the files have the same name; their scores would be one file")
    return [Task(*pair, out / name) for pair, name in zip(pairs, names, strict=True)]


def backtest_metrics(
    tasks: Sequence[Task],
    *,
    mapping: ColumnMapping,
    probation: float,
    seed: int,
    report: Path | None,
    plot: Path | None,
    settings: Settings,
    console: Console,
) -> None:
    """Score each file, write what was asked for, and print a summary.

    Raises
    ------
    UnreadableFile
        When a file cannot be understood, or train and test part do not fit together.
    """
    from anomaly_platform.ml.training.fit import FleetPolicy

    policy = FleetPolicy(
        alpha=settings.alpha,
        threshold=settings.threshold,
        seed=seed,
        min_samples=settings.min_training_samples,
        contamination=settings.contamination,
        evaluate=False,
    )
    reports: dict[str, dict[str, Any]] = {}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        bar = progress.add_task("backtest", total=len(tasks))
        for number, task in enumerate(tasks):
            progress.update(bar, description=task.test.name)
            rows, result = _score(task, mapping, probation, policy, progress)
            scores = _score_table(rows, result)
            task.out.parent.mkdir(parents=True, exist_ok=True)
            scores.write_csv(task.out)
            reports[task.test.name] = _report(task, rows, scores, result)
            if plot is not None and number == 0:
                plot.parent.mkdir(parents=True, exist_ok=True)
                plot.write_bytes(_draw(rows, scores, result))
            for line in (*rows.unread, *_unscored(task, rows, scores, probation)):
                progress.console.print(f"[yellow]{escape(f'{task.test.name}: {line}')}")
            progress.advance(bar)
    if report is not None:
        content = next(iter(reports.values())) if len(reports) == 1 else _together(reports)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(_summary(reports))
    for task in tasks:
        console.print(f"scores: {task.out}", soft_wrap=True)


def _score(
    task: Task, mapping: ColumnMapping, probation: float, policy: FleetPolicy, progress: Progress
) -> tuple[MetricFile, Backtest]:
    from anomaly_platform.ml.backtest import streaming, train_test

    rows = read_metric_file(task.test, mapping)
    try:
        if task.train is None:
            step = progress.add_task("  streaming", total=rows.frame.height)
            result = streaming(
                rows.frame,
                time_column=TIME,
                probation=probation,
                most_probation_rows=PROBATION_ROWS,
                policy=policy,
                progress=lambda done, total: progress.update(step, completed=done, total=total),
            )
            progress.remove_task(step)
            return rows, result
        known = read_metric_file(task.train, mapping)
        if set(known.metrics) != set(rows.metrics):
            differing = sorted(set(known.metrics) ^ set(rows.metrics))
            raise UnreadableFile(
                f"{task.train.name} and {task.test.name} do not have the same metrics: "
                f"{', '.join(differing[:10])}; leave columns out with --ignore"
            )
        return rows, train_test(known.frame, rows.frame, time_column=TIME, policy=policy)
    except ValueError as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"{task.test.name}: {error}") from None


def _unscored(task: Task, rows: MetricFile, scores: pl.DataFrame, probation: float) -> list[str]:
    """Say what of a file got no score although somebody may expect one."""
    if scores["score"].count() == 0:
        learned = "from --train" if task.train is not None else "at the beginning of the file"
        return [f"nothing was scored: there is too little to learn {learned}, not nothing unusual"]
    if task.train is None and rows.frame.height * probation > PROBATION_ROWS:
        return [f"the first {PROBATION_ROWS} rows are its probation: it is never longer"]
    return []


def _score_table(rows: MetricFile, result: Backtest) -> pl.DataFrame:
    """Return a row per row of the file: time, score, decision, ranked causes, metrics' scores.

    A row without a score, as in the probation, has an empty one and is not flagged.
    """
    by_time = pl.DataFrame(
        {
            TIME: result.times,
            "score": result.score,
            "is_anomaly": result.is_anomaly,
            "causes": pl.Series(
                [None if names is None else json.dumps(list(names)) for names in result.causes],
                dtype=pl.String,
            ),
            **{f"score_{name}": scores for name, scores in result.metric_scores.items()},
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    joined = rows.frame.select(TIME).join(by_time, on=TIME, how="left", maintain_order="left")
    return joined.select(
        rows.time_text.alias(rows.time_name),
        "score",
        pl.col("is_anomaly").fill_null(value=False).cast(pl.Int8),
        "causes",
        *(f"score_{name}" for name in result.metric_scores),
    )


def _report(task: Task, rows: MetricFile, scores: pl.DataFrame, result: Backtest) -> dict[str, Any]:
    from anomaly_platform.ml.evaluation import evaluate

    content: dict[str, Any] = {
        "train": None if task.train is None else task.train.name,
        "test": task.test.name,
        "metrics": len(result.metric_scores),
        "test_rows": scores.height,
        "flagged_rows": int(scores["is_anomaly"].sum()),
        "threshold": result.threshold,
        "rows_per_second": scores.height / max(result.seconds, 1e-9),
        "readings_per_second": result.rows_per_second,
    }
    if rows.labels is not None:
        judged = scores["score"].is_not_null() if task.train is None else rows.labels.is_not_null()
        judged &= rows.labels.is_not_null()
        measured = evaluate(
            rows.labels.filter(judged).to_numpy(),
            scores["score"].filter(judged).fill_null(float("nan")).to_numpy(),
            scores["is_anomaly"].filter(judged).to_numpy() == 1,
        )
        content |= measured.to_dict()
    return content


def _together(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the reports by file, and the mean of every measure over the files that have it."""
    means = {}
    for name in _MEASURES:
        values = [one[name] for one in reports.values() if one.get(name) is not None]
        means[name] = sum(values) / len(values) if values else None
    return {"files": reports, "mean": means}


_MEASURES = {
    "vus_pr": "VUS-PR",
    "auc_pr": "AUC-PR",
    "auc_roc": "AUC-ROC",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "event_recall": "event recall",
    "false_positive_rate": "false positives",
}


_SHOWN_TOGETHER = ("vus_pr", "auc_pr", "f1", "event_recall", "false_positive_rate")


def _summary(reports: dict[str, dict[str, Any]]) -> Table:
    """Return one file's measures below each other, those of several in a row each."""
    if len(reports) == 1:
        ((name, one),) = reports.items()
        table = Table(title=name, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("rows", f"{one['test_rows']:,}")
        table.add_row("flagged", f"{one['flagged_rows']:,}")
        for measure, label in _MEASURES.items():
            if measure in one:
                table.add_row(label, _figure(one[measure]))
        table.add_row("rows per second", f"{one['rows_per_second']:,.0f}")
        return table
    table = Table(title=f"{len(reports)} files")
    table.add_column("file", overflow="fold")
    for heading in ("flagged", *(_MEASURES[measure] for measure in _SHOWN_TOGETHER)):
        table.add_column(heading, justify="right")
    for name, one in reports.items():
        figures = (_figure(one.get(measure)) for measure in _SHOWN_TOGETHER)
        table.add_row(name, f"{one['flagged_rows']:,}", *figures)
    mean = _together(reports)["mean"]
    table.add_row("mean", "", *(_figure(mean[measure]) for measure in _SHOWN_TOGETHER))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _draw(rows: MetricFile, scores: pl.DataFrame, result: Backtest) -> bytes:
    """Draw the series itself where there is one metric, the scores of all where there are more."""
    from anomaly_platform.ml.plots import host_plot, series_plot

    clock = rows.frame[TIME].dt.replace_time_zone(None).to_numpy()
    total = scores["score"].fill_null(float("nan")).to_numpy()
    flags = scores["is_anomaly"].to_numpy() == 1
    labels = None if rows.labels is None else rows.labels.fill_null(value=False).to_numpy()
    names = list(result.metric_scores)
    if len(names) == 1:
        values = rows.frame[names[0]].fill_null(float("nan")).to_numpy()
        return series_plot(
            clock,
            values,
            total,
            flags=flags,
            labels=labels,
            threshold=result.threshold,
            title=rows.path.name,
            unit=names[0],
        )
    by_metric = {name: scores[f"score_{name}"].fill_null(float("nan")).to_numpy() for name in names}
    return host_plot(
        clock,
        by_metric,
        total,
        flags=flags,
        labels=labels,
        threshold=result.threshold,
        title=rows.path.name,
    )
