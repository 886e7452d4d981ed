"""``anomaly backtest metrics``: files in, scores and a report out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from anomaly_platform.cli.backtest.files import TIME, MetricFile, read_metric_file
from anomaly_platform.cli.backtest.reports import (
    Report,
    report_of,
    table_of_one,
    table_of_several,
    together,
)
from anomaly_platform.cli.progress import bar
from anomaly_platform.ingest.files.readers import file_stem
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping, listed
from anomaly_platform.settings import Settings

if TYPE_CHECKING:
    from anomaly_platform.ml.backtest.series import Backtest
    from anomaly_platform.ml.training.fit import FleetPolicy

PROBATION_ROWS = 750
OUT_SUFFIXES = (".csv", ".parquet")


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
    named = out.suffix.lower() in OUT_SUFFIXES
    if len(pairs) == 1:
        if not named and not out.is_dir():
            raise ValueError(f"--out: {out} has to end in .csv or .parquet")
        return [Task(pairs[0][0], pairs[0][1], out)]
    if named:
        raise ValueError(f"--out: the scores of several files need a folder, and {out} is a file")
    names = [f"{file_stem(path.name)}.csv" for _, path in pairs]
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
) -> bool:
    """Score each file, write what was asked for, and print a summary.

    Of several files a bad one is told of, and the others are scored.

    Returns
    -------
    bool
        Whether all files were scored.

    Raises
    ------
    UnreadableFile
        When the only file cannot be understood, train and test part do not fit together, or no
        file has a column that is to be ignored.
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
    done = _Done(len(tasks) == 1)
    with bar(console) as progress:
        step = progress.add_task("backtest", total=len(tasks))
        for task in tasks:
            progress.update(step, description=task.test.name)
            try:
                files = done.seen(_read(task, mapping), mapping)
                _compile_once()
                result = _score(task, files, probation, policy, progress)
            except UnreadableFile as error:
                if done.alone:
                    raise
                done.failed[task.test.name] = str(error)
                progress.console.print(f"[red]{escape(str(error))}")
            else:
                picture = plot if not done.reports else None
                scores = _keep(task, files.test, result, picture)
                train = None if task.train is None else task.train.name
                said = _changed(files, result, policy.alpha)
                done.reports[task.test.name] = {
                    **report_of(files.test, scores, result, train),
                    "changed": said,
                }
                done.written.append(task.out)
                notes = [f"{task.test.name}: {name}: {one}" for name in said for one in said[name]]
                for line in (
                    *files.notes,
                    *_unscored(task, files, scores, probation, policy),
                    *notes,
                ):
                    progress.console.print(f"[yellow]{escape(line)}")
            progress.advance(step)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(done.content, indent=2) + "\n", encoding="utf-8")
    done.show(console)
    if not done.failed:
        done.require_columns(mapping.ignore)
    return not done.failed


@cache
def _compile_once() -> None:
    """Have compiled what scores: it would count as the first file's time otherwise."""
    from anomaly_platform.ml.rehearsal import rehearse

    rehearse()


@dataclass(frozen=True, slots=True)
class _Files:
    """What a task reads: the file to score, and the one to learn from where there is one."""

    test: MetricFile
    train: MetricFile | None

    @property
    def notes(self) -> list[str]:
        """What of them is left out, in words."""
        read = [self.test] if self.train is None else [self.train, self.test]
        return list(dict.fromkeys(f"{one.path.name}: {note}" for one in read for note in one.notes))


@dataclass(slots=True)
class _Done:
    """What has come of the tasks so far.

    Attributes
    ----------
    alone : bool
        Whether there is one task only.
    reports : dict of str to Report
        By file.
    failed : dict of str to str
        Why a file was not scored.
    written : list of Path
        Where scores are.
    columns : dict of str to None
        Every column that a file had.
    """

    alone: bool
    reports: dict[str, Report] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)

    @property
    def content(self) -> Report:
        """The report: that of the only file, or those of all."""
        if self.alone:
            return next(iter(self.reports.values()))
        return together(self.reports, self.failed)

    def seen(self, files: _Files, mapping: ColumnMapping) -> _Files:
        """Return the files of a task, after looking at their columns."""
        for read in (files.test, files.train):
            self.columns |= dict.fromkeys(() if read is None else read.columns)
        if self.alone:
            self.require_columns(mapping.ignore)
        return files

    def require_columns(self, names: Sequence[str]) -> None:
        """Check that each column is in some file: a slip of the pen would ignore nothing."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise UnreadableFile(
                f"--ignore: no file has a column {missing[0]!r}; "
                f"their columns are {listed(self.columns)}"
            )

    def show(self, console: Console) -> None:
        """Print the measures, where the scores are, and what was not scored."""
        if self.alone:
            console.print(table_of_one(*next(iter(self.reports.items()))))
        elif self.reports:
            console.print(table_of_several(self.reports))
        for path in self.written:
            console.print(f"scores: {path}", soft_wrap=True)
        if self.failed:
            of = len(self.failed) + len(self.reports)
            names = escape(", ".join(self.failed))
            console.print(f"[red]{len(self.failed)} of {of} files not scored: {names}")


def _read(task: Task, mapping: ColumnMapping) -> _Files:
    """Read a task's files.

    Raises
    ------
    UnreadableFile
        When one cannot be read, or they do not have the same metrics.
    """
    rows = read_metric_file(task.test, mapping)
    if task.train is None:
        return _Files(rows, None)
    known = read_metric_file(task.train, mapping)
    if set(known.metrics) != set(rows.metrics):
        differing = sorted(set(known.metrics) ^ set(rows.metrics))
        raise UnreadableFile(
            f"{task.train.name} and {task.test.name} do not have the same metrics: "
            f"{', '.join(differing[:10])}; leave columns out with --ignore"
        )
    return _Files(rows, known)


def _score(
    task: Task, files: _Files, probation: float, policy: FleetPolicy, progress: Progress
) -> Backtest:
    from anomaly_platform.ml.backtest.series import train_test
    from anomaly_platform.ml.backtest.streaming import streaming

    rows = files.test.readings
    try:
        if files.train is not None:
            return train_test(files.train.readings, rows, time_column=TIME, policy=policy)
        step = progress.add_task("  streaming", total=rows.height)
        try:
            return streaming(
                rows,
                time_column=TIME,
                probation=probation,
                most_probation_rows=PROBATION_ROWS,
                policy=policy,
                progress=lambda done, total: progress.update(step, completed=done, total=total),
            )
        finally:
            progress.remove_task(step)
    except ValueError as error:
        raise UnreadableFile(f"{task.test.name}: {error}") from None


def _changed(files: _Files, result: Backtest, alpha: float) -> dict[str, list[str]]:
    """Return what no longer is as it was learned; a stream learns again as it goes."""
    from anomaly_platform.ml.backtest.changed import changed

    if files.train is None:
        return {}
    train, test = files.train.readings, files.test.readings
    return changed(train, test, result, time_column=TIME, alpha=alpha)


def _unscored(
    task: Task, files: _Files, scores: pl.DataFrame, probation: float, policy: FleetPolicy
) -> list[str]:
    """Say what of a file got no score, or none of a model, although somebody may expect one."""
    rows, least = files.test, policy.min_samples
    if scores["score"].count() == 0:
        learned = "from --train" if task.train is not None else "at the beginning of the file"
        said = f"nothing was scored: there is too little to learn {learned}, not nothing unusual"
    elif files.train is not None and files.train.readings.height < least:
        said = (
            f"no model was learned from {files.train.readings.height} rows, which takes {least}: "
            "a statistical fallback alone judges, from the 31st row on, and what it does not flag "
            "may be unusual"
        )
    elif task.train is None and rows.readings.height * probation > PROBATION_ROWS:
        said = f"the first {PROBATION_ROWS} rows are its probation: it is never longer"
    else:
        return []
    return [f"{task.test.name}: {said}"]


def _score_table(rows: MetricFile, result: Backtest) -> pl.DataFrame:
    """Return a row per row of the file: time, score, decision, causes, scores, reason, explanation.

    A row without a score, as in the probation or of a repeated time, has an empty one and is not
    flagged.
    """
    is_told = pl.Series(result.is_anomaly | result.is_call)
    said_of = {"reason": result.reasons, **result.explanations.to_dict()}
    by_time = pl.DataFrame(
        {
            TIME: result.times,
            "score": result.score,
            "is_anomaly": result.is_anomaly,
            "is_call": result.is_call,
            "causes": pl.Series(
                [None if names is None else json.dumps(list(names)) for names in result.causes],
                dtype=pl.String,
            ),
            **{
                name: pl.select(pl.when(is_told).then(column)).to_series()
                for name, column in said_of.items()
            },
            **{f"score_{name}": scores for name, scores in result.metric_scores.items()},
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    moments = rows.frame.select(TIME, __repeated=rows.repeated)
    joined = moments.join(by_time, on=TIME, how="left", maintain_order="left")
    said = [name for name in joined.columns if name not in {TIME, "__repeated"}]
    joined = joined.with_columns(pl.when(~pl.col("__repeated")).then(pl.col(said)))
    return joined.select(
        rows.time_text.alias(rows.time_name),
        "score",
        pl.col("is_anomaly", "is_call").fill_null(value=False).cast(pl.Int8),
        "causes",
        *(f"score_{name}" for name in result.metric_scores),
        "reason",
        *result.explanations.columns,
    )


def _keep(task: Task, rows: MetricFile, result: Backtest, plot: Path | None) -> pl.DataFrame:
    """Write the scores, and the picture where there is to be one; return the scores.

    In CSV times are as the file has them, in Parquet they are times in UTC.
    """
    scores = _score_table(rows, result)
    task.out.parent.mkdir(parents=True, exist_ok=True)
    if task.out.suffix.lower() == ".csv":
        scores.write_csv(task.out)
    else:
        scores.with_columns(rows.frame[TIME].alias(rows.time_name)).write_parquet(task.out)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_bytes(_draw(rows, scores, result))
    return scores


def _draw(rows: MetricFile, scores: pl.DataFrame, result: Backtest) -> bytes:
    """Draw the series itself where there is one metric, the scores of all where there are more."""
    from anomaly_platform.ml.evaluation.plots import host_plot, series_plot

    clock = rows.frame[TIME].dt.replace_time_zone(None).to_numpy()
    total = scores["score"].fill_null(float("nan")).to_numpy()
    drawn: dict[str, Any] = {
        "flags": scores["is_anomaly"].to_numpy() == 1,
        "labels": None if rows.labels is None else rows.labels.fill_null(value=False).to_numpy(),
        "threshold": result.threshold,
        "title": rows.path.name,
    }
    names = list(result.metric_scores)
    if len(names) == 1:
        values = rows.frame[names[0]].fill_null(float("nan")).to_numpy()
        return series_plot(clock, values, total, unit=names[0], **drawn)
    by_metric = {name: scores[f"score_{name}"].fill_null(float("nan")).to_numpy() for name in names}
    return host_plot(clock, by_metric, total, **drawn)
