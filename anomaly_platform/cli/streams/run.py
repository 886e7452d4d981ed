"""``anomaly run``: a stream brought up to date in this process, without a daemon."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomaly_platform.assets.partitions import contiguous_spans, range_tags
from anomaly_platform.cli.progress import spinner
from anomaly_platform.cli.rows import figure_table
from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.kinds.training import OF_ITS_OWN_ROWS
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.landing import DATA_STAGES, SCORE_STAGES
from anomaly_platform.sensors.work import work_tags
from anomaly_platform.storage.tables.progress import Account, Done
from anomaly_platform.streams import MetricStream, Stream
from anomaly_platform.streams.staleness import StreamState, stale_feature_days, stale_scored_days

#: Longest span of days in one run; a decade of history must not be one step.
SPAN_DAYS = 92


def run_stream(
    runtime: Runtime,
    stream: Stream,
    console: Console,
    *,
    days: tuple[date, date] | None = None,
    train: bool | None = None,
) -> Account:
    """Ingest what waits, compute what is out of date, train, score; return the account of rows.

    A training learns from the newest rows, too, and what is unusual in them is ordinary to it. So
    only a stream that no model serves is trained without being asked.

    Parameters
    ----------
    runtime : Runtime
        An open platform.
    stream : Stream
        The stream to run.
    console : Console
        Shows progress.
    days : (date, date) or None
        Materialize the daily stages of these days, both included, whether due or not; ``None``
        works through whatever is out of date.
    train : bool or None
        Whether to train and promote a model between features and scores; ``None`` does so when no
        model serves yet, and says it.

    Raises
    ------
    RunFailedError
        When a stage failed, or there are no data in `days`.
    """
    began = runtime.platform.warehouse.transactions.value("SELECT clock_timestamp()")
    with spinner(console) as progress:

        def step(label: str, stages: Sequence[str], tags: dict[str, str]) -> None:
            task = progress.add_task(f"{stream.name}: {label}", total=1)
            runtime.materialize(
                [stream.key(stage) for stage in stages],
                {**work_tags(stream.name, "command", "anomaly run"), **tags},
            )
            progress.update(task, completed=1)

        step("ingesting files", ["raw_events"], {})
        if days is not None and not _within(runtime, stream, days):
            raise RunFailedError(_no_data_between(runtime, stream, days))
        for first, last in _spans(_days(runtime, stream, days, stale_feature_days)):
            step(f"validating, features {first} … {last}", DATA_STAGES, range_tags(first, last))
        state = runtime.platform.state_of(stream)
        trains = training_due(state, train=train)
        if trains:
            step("training", stream.model_stages, {})
        due, done = _days(runtime, stream, days, stale_scored_days), None
        while due and due != done:
            for first, last in _spans(due):
                step(f"scoring {first} … {last}", SCORE_STAGES, range_tags(first, last))
            # Late rows may have changed what their days leave to those after them.
            done, due = due, _days(runtime, stream, days, stale_scored_days)
    if train is None:
        for line in _about_models(runtime.platform, stream, first_training=trains):
            console.print(f"[yellow]{stream.name}: {line}")
    did = runtime.platform.warehouse.progress.done_since(stream.name, began)
    if isinstance(stream, MetricStream) and did.scored and not did.anomalies:
        console.print(
            f"{stream.name}: no reading of what was scored reaches its threshold. "
            "The most unusual ones:"
        )
        query = query_of_most_unusual(stream, did.first_day, did.last_day)
        console.print(f'anomaly sql "{query}"', markup=False, highlight=False, soft_wrap=True)
    return runtime.platform.account_of(stream)


def query_of_most_unusual(stream: MetricStream, first: date | None, last: date | None) -> str:
    """Return the query, for a person, of the readings of some days with the highest scores."""
    return (  # a stream's names are checked where it is defined
        f"SELECT {stream.entity_field}, metric_name, timestamp, value, anomaly_score "  # noqa: S608
        f"FROM bi_{stream.name}_scores WHERE day BETWEEN '{first}' AND '{last}' "
        "ORDER BY anomaly_score DESC NULLS LAST LIMIT 10"
    )


def training_due(state: StreamState, *, train: bool | None) -> bool:
    """Return whether to train: when asked, or unasked when no model serves; never on nothing."""
    wanted = state.champion is None if train is None else train
    return wanted and state.trainable_series > 0


def _about_models(platform: Platform, stream: Stream, *, first_training: bool) -> Iterator[str]:
    """Say what the scores of this run may not be taken for."""
    served = platform.state_of(stream).champion is not None
    if first_training and served:
        yield f"no model served yet, so {OF_ITS_OWN_ROWS}"
    elif first_training:
        yield "the first training put no model into service; `anomaly models list` says why"
    elif not served and platform.state_of(stream).days:
        yield "there is too little history for a model yet"
    elif stream.has_series:
        evidence = platform.warehouse.training_evidence.of(
            stream, min_training_samples=platform.settings.min_training_samples
        )
        new = sum(one.trained_rows is None for one in evidence.series)
        if new:
            yield (
                f"{new:,} series with enough readings have no model yet; "
                f"`anomaly run {stream.name} --train` trains all series anew, "
                "`anomaly up` these alone"
            )


def _days(
    runtime: Runtime,
    stream: Stream,
    days: tuple[date, date] | None,
    stale: Callable[[StreamState, int], Iterable[date]],
) -> Iterable[date]:
    """Return the days of the span that have data, or without a span those that are stale."""
    if days is not None:
        return _within(runtime, stream, days)
    return stale(runtime.platform.state_of(stream), stream.lookback_days)


def _within(runtime: Runtime, stream: Stream, days: tuple[date, date]) -> list[date]:
    state = runtime.platform.state_of(stream)
    return [d.day for d in state.days if days[0] <= d.day <= days[1]]


def _no_data_between(runtime: Runtime, stream: Stream, days: tuple[date, date]) -> str:
    there = [state.day for state in runtime.platform.state_of(stream).days]
    have = f"its data lie between {there[0]} and {there[-1]}" if there else "it has no data yet"
    return f"{stream.name} has no data between {days[0]} and {days[1]}; {have}"


def _spans(days: Iterable[date]) -> list[tuple[date, date]]:
    pieces = []
    for first, last in contiguous_spans(days):
        start = first
        while start <= last:
            end = min(last, start + timedelta(days=SPAN_DAYS - 1))
            pieces.append((start, end))
            start = end + timedelta(days=1)
    return pieces


def tell_files(platform: Platform, stream: Stream, since: datetime, console: Console) -> int:
    """Say of each file that came since a time what was refused of it, and why most of all.

    Returns
    -------
    int
        How many files were rejected as a whole.
    """
    files = platform.warehouse.ledger.seen_since(stream.name, since)
    digests = [file.digest for file in files]
    refusals = platform.warehouse.quarantine.of_files(stream.name, digests)
    rejected = [file for file in files if file.status == "rejected"]
    for file in rejected:
        console.print(f"[red]{escape(file.source)} was rejected: {escape(file.reason or '')}")
    for file in files:
        refused = refusals.get(file.digest)
        if file.status == "rejected" or refused is None:
            continue
        most = "" if refused.of_reason == refused.rows else f", most ({refused.of_reason:,})"
        console.print(
            f"[yellow]{escape(file.source)}: {refused.rows:,} of {file.rows_in:,} readings were "
            f"refused{most}: {escape(refused.reason)}"
        )
    return len(rejected)


def account_table(accounts: Mapping[str, Account | Done]) -> Table:
    """Return rows, from files to tables: per stream in all, or by what was done.

    All that ever came in is somewhere. What a run does has no such balance: it scores days as a
    whole, with what earlier runs have taken in.
    """
    headings = ("", "in", "scored", "quarantined", "duplicates", "anomalies", "balance")
    rows = [
        (
            name,
            *(f"{count:,}" for count in (of.rows_in, of.scored, of.quarantined)),
            *(f"{count:,}" for count in (of.duplicates, of.anomalies)),
            _balance(of),
        )
        for name, of in accounts.items()
    ]
    return figure_table(headings, rows, "Rows, from files to tables")


def _balance(of: Account | Done) -> str:
    if isinstance(of, Done):
        return ""
    return "exact" if of.missing == 0 else f"[red]{of.missing:,} missing"
