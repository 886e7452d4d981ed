"""``anomaly check``: every asset check in this process, with an exit code for CI."""

from datetime import date

from rich.console import Console

from anomaly_platform.assets.partitions import range_tags
from anomaly_platform.checks.scope import LATEST_DAYS
from anomaly_platform.cli.progress import spinner
from anomaly_platform.cli.rows import word_table
from anomaly_platform.cli.runtime import QUIET, Runtime
from anomaly_platform.streams import Stream

ERROR = "[red]ERROR"


def run_checks(
    runtime: Runtime,
    stream: Stream | None,
    console: Console,
    days: tuple[date, date] | None = None,
) -> int:
    """Run the checks of one stream or of all; return 1 when one of severity ERROR fails.

    Parameters
    ----------
    runtime : Runtime
        An open platform.
    stream : Stream or None
        Whose checks; ``None`` is every stream.
    console : Console
        Where the table goes.
    days : (date, date) or None
        The days that are looked at, both included; ``None`` looks at the latest ones that have
        data.
    """
    from dagster import AssetCheckSeverity, AssetSelection

    from anomaly_platform.definitions import CHECKS_JOB

    selection: AssetSelection = AssetSelection.all_asset_checks()
    if stream is not None:
        specs = runtime.definitions.resolve_all_asset_specs()
        own = [spec.key for spec in specs if spec.group_name == stream.name]
        selection = AssetSelection.checks_for_assets(*own)
    graph = runtime.definitions.resolve_asset_graph()
    job = runtime.definitions.resolve_job_def(CHECKS_JOB)
    subset = job.get_subset(asset_check_selection=selection.resolve_checks(graph))
    with spinner(console) as progress:
        progress.add_task("asset checks", total=None)
        result = subset.execute_in_process(
            instance=runtime.instance,
            run_config=QUIET,
            raise_on_error=False,
            tags=range_tags(*days) if days else {},
        )
    looked_at = f"{days[0]} to {days[1]}" if days else f"the latest {LATEST_DAYS} days with data"
    rows = []
    for evaluation in sorted(
        result.get_asset_check_evaluations(), key=lambda e: (e.asset_key.path, e.check_name)
    ):
        fatal = not evaluation.passed and evaluation.severity == AssetCheckSeverity.ERROR
        mark = "[green]ok" if evaluation.passed else ERROR if fatal else "[yellow]WARN"
        asset, seen = evaluation.asset_key.to_user_string(), evaluation.description or ""
        rows.append((mark, asset, evaluation.check_name, seen))
    headings = ("", "asset", "check", "what was seen")
    console.print(word_table(headings, rows, f"Asset checks, {looked_at}"))
    broken = sorted({e.step_key for e in result.all_events if e.is_step_failure and e.step_key})
    for step in broken:
        # Blocking checks that fail also end their step; what they saw is in the table.
        console.print(f"[red]{step.replace('__', '/')} did not finish; the run in the UI says why.")
    return int(bool(broken) or any(mark == ERROR for mark, *_ in rows))
