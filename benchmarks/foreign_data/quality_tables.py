"""Results of the quality benchmark as Markdown: one table per corpus, one row per file below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from foreign_data.nab import NabScore
from speed_table import table

from anomaly_platform.ml.evaluation.measures import Confusion, Report

OURS = "anomaly_platform"


@dataclass(frozen=True)
class Calls:
    """What a method called on one file: share of ordinary rows, and events with a call."""

    false_positive_rate: float
    events_found: int


@dataclass(frozen=True)
class Result:
    """What one method reached on one file."""

    case: str
    report: Report
    vus_pr_2022: float | None
    counts: Confusion
    events_found: int
    random_event_recall: float | None
    seconds: float
    rows: int
    calls: Calls | None = None


@dataclass(frozen=True)
class NabResult:
    """What one method reached on the whole of NAB, per profile."""

    optimised: Mapping[str, NabScore]
    live: Mapping[str, NabScore]


Results = Mapping[str, Sequence[Result]]


def server_summary(results: Results) -> str:
    """Return one row per method over all servers."""
    measures = ("vus_pr", "auc_pr", "auc_roc", "precision", "recall", "f1")
    rows = []
    for method, found in results.items():
        reports = [result.report for result in found]
        vus, *others = (_mean([getattr(one, name) for one in reports]) for name in measures)
        vus_2022 = _mean([result.vus_pr_2022 for result in found])
        rates = [r.false_positive_rate for r in reports if r.false_positive_rate is not None]
        median = float(np.median(rates)) if rates else None
        events_found, _ = event_recall_of(found)
        shares = (median, max(rates, default=None), events_found, _pooled_random(found))
        rows.append(
            [
                _bold(method),
                *map(_number, (vus, vus_2022, *others)),
                *map(_percent, shares),
                f"{sum(r.rows for r in found) / sum(r.seconds for r in found):,.0f}",
            ]
        )
    header = ["method", "VUS-PR", "VUS-PR (2022)", "AUC-PR", "AUC-ROC", "precision", "recall", "F1"]
    header += ["false positives, median", "worst server", "events found", "at random", "rows/s"]
    return table(header, rows)


def per_file(results: Results) -> str:
    """Return one row per file: every method's VUS-PR, then the platform's decisions."""
    methods = list(results)
    header = ["file", "rows", "events", *(f"VUS-PR {method}" for method in methods)]
    header += ["precision", "recall", "false positives", "events found", "at random"]
    rows = []
    for index, ours in enumerate(results[methods[0]]):
        report = ours.report
        rows.append(
            [
                *(ours.case, f"{report.rows:,}", str(report.events)),
                *(_number(results[method][index].report.vus_pr) for method in methods),
                *(_number(report.precision), _number(report.recall)),
                _percent(report.false_positive_rate),
                f"{ours.events_found}/{report.events}",
                _percent(ours.random_event_recall),
            ]
        )
    return table(header, rows)


def calls_of(found: Sequence[Result]) -> list[Calls]:
    """Return the calls of all files that have any said of them."""
    return [result.calls for result in found if result.calls is not None]


def calls(found: Sequence[Result]) -> str:
    """Return one row per file: false calls, and events with a call."""
    rows = [
        [
            result.case,
            f"{called.false_positive_rate:.2%}",
            f"{called.events_found}/{result.report.events}",
        ]
        for result, called in zip(found, calls_of(found), strict=True)
    ]
    return table(["file", "false calls", "events called"], rows)


def pooled(results: Results) -> str:
    """Return one row per method over the rows of all files together."""
    rows = []
    for method, found in results.items():
        counts = total(found)
        events = sum(result.report.events for result in found)
        rows.append(
            [
                _bold(method),
                _number(counts.f1),
                _percent(counts.false_positive_rate),
                _percent(None if counts.recall is None else 1 - counts.recall),
                _number(counts.precision),
                _number(_mean([result.report.vus_pr for result in found])),
                f"{sum(result.events_found for result in found)}/{events}",
                _percent(_pooled_random(found)),
            ]
        )
    header = ["method", "F1", "false alarms", "missed", "precision", "VUS-PR", "events found"]
    return table([*header, "at random"], rows)


def nab_summary(results: Mapping[str, NabResult]) -> str:
    """Return one row per method: the optimised scores, and the one at the live threshold."""
    rows = []
    for method, found in results.items():
        best, live = found.optimised["standard"], found.live["standard"]
        rows.append(
            [
                _bold(method),
                *(f"{score.score:.1f}" for score in found.optimised.values()),
                f"{best.windows_found}/{best.windows}, {best.false_positives:,}",
                f"{live.score:.1f}",
                f"{live.windows_found}/{live.windows}, {live.false_positives:,}",
            ]
        )
    names = [name.replace("_", " ") for name in next(iter(results.values())).optimised]
    header = ["method", *(f"{name}, optimised" for name in names)]
    header += ["windows found, false rows", "standard, live", "windows found, false rows"]
    return table(header, rows)


def total(found: Sequence[Result]) -> Confusion:
    """Return the rows of all files together."""
    return sum((result.counts for result in found), Confusion(0, 0, 0, 0))


def goals(lines: Sequence[tuple[str, str, str, bool]]) -> str:
    """Return what was aimed at beside what was reached: (measure, goal, reached, met)."""
    rows = [[what, goal, found, "yes" if met else "**no**"] for what, goal, found, met in lines]
    return table(["measure", "goal", "reached", "met"], rows)


def mean_of(found: Sequence[Result], edition: str = "tsb-ad") -> float:
    """Return the mean VUS-PR over files that have one."""
    values = [r.report.vus_pr if edition == "tsb-ad" else r.vus_pr_2022 for r in found]
    return _mean(values) or 0.0


def event_recall_of(found: Sequence[Result]) -> tuple[float, float]:
    """Return the share of events found over all files, and what chance would find."""
    events = sum(result.report.events for result in found)
    return sum(r.events_found for r in found) / max(events, 1), _pooled_random(found) or 0.0


def _pooled_random(found: Sequence[Result]) -> float | None:
    known = [(r.random_event_recall, r.report.events) for r in found if r.report.events]
    if not known:
        return None
    return sum((share or 0.0) * events for share, events in known) / sum(e for _, e in known)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _bold(method: str) -> str:
    return f"**{method}**" if method == OURS else method
