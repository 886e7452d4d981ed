"""``anomaly tune``: better settings of a stream, searched on injected and known anomalies."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from anomaly_platform.cli.arguments import Seed, StreamName, refusing, seed_of, stream_of
from anomaly_platform.cli.models.tuning_search import prepared, searched
from anomaly_platform.cli.operator import operator
from anomaly_platform.cli.rows import figure_table
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.platform import Platform
from anomaly_platform.registry.tuned_settings import Tuned
from anomaly_platform.registry.tunings import TuningRecord
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.base import NAME

if TYPE_CHECKING:
    from anomaly_platform.kinds.metric.tuning import TuningOrder

console = Console()
errors = Console(stderr=True)

#: Trials of which a terminal shows the best.
_SHOWN = 10
_SCANS = (
    "{0} has scans, and nothing of them is tuned here: at each training its one-class SVM searches "
    "its own settings and its sequence model stops by itself; alpha, weights and rules are set "
    "by hand (docs/reference/streams.md)"
)


def tune(
    stream: StreamName,
    trials: Annotated[int, typer.Option(min=2, max=1000, help="Candidates to try.")] = 24,
    minutes: Annotated[
        float | None, typer.Option(min=0.001, help="Time that all of it may take.")
    ] = None,
    seed: Seed = None,
    false_positives: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=0.3,
            help="Share of ordinary rows that may be flagged; own alpha if unset.",
        ),
    ] = None,
    windows: Annotated[
        bool, typer.Option("--windows/--no-windows", help="Search the features' windows, too.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be searched on.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Put what is gained into use; see --number.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Let the stream's own settings hold again.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show the newest tuning, or that of --number.")
    ] = False,
    number: Annotated[
        int | None, typer.Option(min=1, help="With --show or --apply: a tuning that has ended.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Search better settings of a stream of metrics, and say what is gained, beyond chance.

    Tries alpha, windows and the forest's settings on injected and known anomalies in the stream's
    own history, and compares the best with today's on rows that the search never saw. Nothing
    changes without --apply. Ctrl-C keeps what was tried.
    """
    if sum((dry_run, apply, undo, show)) > 1:
        raise typer.BadParameter("choose one of --dry-run, --apply, --undo and --show")
    if number is not None and not (show or apply):
        raise typer.BadParameter("--number goes with --show or --apply")
    with open_platform() as platform:
        if undo:
            _undo(platform, stream)
            return
        chosen = stream_of(platform, stream)
        if not isinstance(chosen, MetricStream):
            raise typer.BadParameter(_SCANS.format(stream))
        if show or number is not None:
            record = _recorded(platform, stream, number)
        else:
            from anomaly_platform.kinds.metric.tuning import TuningOrder

            # Of its own alpha: with that of an earlier tuning each one would allow fewer.
            most = false_positives or platform.alpha_of(platform.untuned(chosen))
            order = TuningOrder(trials, minutes, seed_of(seed), most, windows=windows)
            if dry_run:
                _say_plan(platform, chosen, order, as_json=as_json)
                return
            record = searched(platform, chosen, order, apply=apply)
        if as_json:
            _write_json(asdict(record))
        else:
            _tell(record, platform.warehouse.tunings.earlier_on_its_rows(record))
        if record.status == "interrupted" and not show:
            raise typer.Exit(130)
        if apply:
            _apply(platform, chosen, record)


def _recorded(platform: Platform, stream: str, number: int | None) -> TuningRecord:
    record = platform.warehouse.tunings.of(stream, number)
    if record is None:
        which = "been tuned yet" if number is None else f"a tuning {number}"
        raise typer.BadParameter(f"{stream} has not {which}; `anomaly tune {stream}` does")
    return record


def _apply(platform: Platform, stream: MetricStream, record: TuningRecord) -> None:
    from anomaly_platform.kinds.metric.tuning import settings_of

    if record.status != "gained" or record.proposed is None:
        errors.print("Nothing was gained, so nothing changes.")
        return
    settings = record.proposed
    now = json.loads(json.dumps(asdict(settings_of(platform.kind(stream).parts))))
    if now not in (record.present, settings):
        raise typer.BadParameter(
            f"the settings of {stream.name} are no longer those that tuning {record.id} compared "
            f"with ({_settings(record.present)}), but {_settings(now)}; tune it again"
        )
    tuned = Tuned(
        record.id,
        settings["alpha"],
        tuple(settings["windows"]),
        settings["contamination"],
        settings["trees"],
    )
    tunings = platform.warehouse.tunings
    with tunings.alone(stream.name):
        # A kill in between leaves settings as they were, and --apply can be given again.
        with platform.warehouse.transactions.begin() as connection:
            tunings.put_into_use(connection, record, operator())
        platform.tuned.write(stream.name, tuned)
    errors.print(f"{stream.name} has the settings of tuning {record.id} from its next training on.")
    _say_next(platform, stream, other_windows=tuned.windows != stream.features.windows)
    errors.print(f"Undone by: anomaly tune {stream.name} --undo", soft_wrap=True)


def _undo(platform: Platform, name: str) -> None:
    """Take back what was applied, also where its file cannot be read."""
    if not NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} can be no name of a stream")
    files, tunings = platform.tuned, platform.warehouse.tunings
    tuned = None
    with suppress(ValueError):
        tuned = files.read(name)
    with tunings.alone(name):
        # What a kill in between leaves of both is taken back when it is given again.
        with platform.warehouse.transactions.begin() as connection:
            was_in_use = tunings.take_back(connection, name, operator())
        was_there = files.remove(name)
    if not (was_there or was_in_use):
        has_metrics = isinstance(stream_of(platform, name), MetricStream)
        said = _nothing_to_undo(platform, name) if has_metrics else _SCANS.format(name)
        raise typer.BadParameter(said)
    errors.print(f"{name} has its own settings again, from its next training on.")
    with refusing(LookupError):
        stream = Platform(get_settings()).stream(name)
    if isinstance(stream, MetricStream):
        windows = stream.features.windows
        _say_next(platform, stream, other_windows=tuned is None or tuned.windows != windows)


def _nothing_to_undo(platform: Platform, name: str) -> str:
    """Say since when a stream has its own settings, and what can be done next."""
    said = f"nothing is left to undo: {name} has its own settings"
    last = platform.warehouse.tunings.last_in_use(name)
    if last is not None:
        return (
            f"{said} since {last.undone_at:%Y-%m-%d %H:%M} UTC, when tuning {last.id} was taken "
            f"back; to use it again: anomaly tune {name} --apply --number {last.id}"
        )
    if platform.warehouse.tunings.of(name) is not None:
        return f"{said}, and no tuning was ever applied; anomaly tune {name} --show has the newest"
    return f"{said}, and it was never tuned; anomaly tune {name} searches better ones"


def _say_next(platform: Platform, stream: MetricStream, *, other_windows: bool) -> None:
    days = platform.state_of(stream).days
    span = f" --days {days[0].day}:{days[-1].day}" if other_windows and days else ""
    why = "The windows are others, so features are computed anew" if span else "To train now"
    errors.print(f"{why}: anomaly run {stream.name}{span} --train", soft_wrap=True)
    if other_windows:
        errors.print(
            f"[yellow]No day of {stream.name} is scored after that restart until a version with "
            "these windows serves. If the gates refuse it, take the windows back.",
            soft_wrap=True,
        )
    errors.print("Restart `anomaly up` where it runs: it reads settings when it starts.")


def _say_plan(
    platform: Platform, stream: MetricStream, order: TuningOrder, *, as_json: bool
) -> None:
    with prepared(platform, stream, order) as (tuning, _):
        plan, today = tuning.described, asdict(tuning.present)
    if as_json:
        _write_json({"data": plan, "present": today})
    else:
        _tell_plan(plan, today)


def _write_json(found: dict[str, Any]) -> None:
    json.dump(found, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def _tell_plan(plan: dict[str, Any], present: dict[str, Any]) -> None:
    names = ("search", "comparison")
    rows = [
        (what.replace("_", " "), *(f"{plan[name][what]}" for name in names))
        for what in plan["search"]
    ]
    console.print(figure_table(("", "search", "comparison"), rows, "What would be searched on"))
    console.print(f"Today's settings: {_settings(present)}", markup=False, soft_wrap=True)
    console.print(
        f"{plan['candidates']} candidates; at most {plan['most_false_positives']:.3%} of ordinary "
        "rows may be flagged.",
        markup=False,
    )


def _tell(record: TuningRecord, earlier: int) -> None:
    last = max((one["round"] for one in record.trials), default=0)
    ranked = sorted(record.trials, key=lambda t: (-t["round"], -t["measured"]["objective"]))
    rows = [
        (
            _settings(one["settings"]) + (" (today's)" if one["is_present"] else ""),
            f"{one['round']} of {last}",
            *_figures(one["measured"]),
        )
        for one in ranked[:_SHOWN]
    ]
    tried = len({_settings(one["settings"]) for one in record.trials if not one["is_present"]})
    said = f"the best of {tried} {'candidate' if tried == 1 else 'candidates'} and today's settings"
    title = f"Tuning {record.id} of {record.stream}: {said}"
    headings = ("settings", "round", "objective", "F1 of events", "found", "right", "false")
    console.print(figure_table(headings, rows, title))
    comparison = record.comparison
    if comparison is not None and record.proposed is not None:
        rows = [
            (
                _settings(settings),
                *_figures(comparison[name]),
                "" if (vus := comparison[f"{name}_vus_pr"]) is None else f"{vus:.3f}",
            )
            for name, settings in (("present", record.present), ("proposed", record.proposed))
        ]
        headings = ("settings", "objective", "F1 of events", "found", "right", "false", "VUS-PR")
        console.print(figure_table(headings, rows, "On rows that the search never saw"))
        if earlier:
            console.print(
                f"Earlier tunings compared on some of these rows: {earlier}; the more there are, "
                "the likelier a gain is chance.",
                soft_wrap=True,
            )
    console.print(_verdict(record), markup=False, soft_wrap=True)


def _verdict(record: TuningRecord) -> str:
    found = record.comparison
    if record.status == "interrupted":
        return f"Interrupted after {len(record.trials)} trials; nothing is proposed."
    if found is None:
        return "No candidate was better than today's settings, so nothing is proposed."
    between = f"{found['gain']:+.3f}, between {found['low']:+.3f} and {found['high']:+.3f} (95 %)"
    if record.status == "nothing_gained":
        return f"The gain of {between} may be chance or is too small; nothing is proposed."
    if record.undone_at is not None:
        state = f"It was in use until {record.undone_at:%Y-%m-%d %H:%M} UTC."
    elif record.applied_at is not None:
        state = f"In use since {record.applied_at:%Y-%m-%d %H:%M} UTC."
    else:
        state = f"To use it: anomaly tune {record.stream} --apply --number {record.id}"
    return f"The gain is {between}. {state}"


def _settings(settings: dict[str, Any]) -> str:
    windows = "/".join(map(str, settings["windows"]))
    return (
        f"alpha {settings['alpha']:g}, windows {windows}, contamination "
        f"{settings['contamination']:g}, {settings['trees']} trees"
    )


def _figures(measured: dict[str, float]) -> tuple[str, ...]:
    return (
        f"{measured['objective']:.3f}",
        f"{measured['event_f1']:.3f}",
        f"{measured['event_recall']:.1%}",
        f"{measured['alarm_precision']:.1%}",
        f"{measured['false_positive_rate']:.2%}",
    )
