"""What scans are known to be, and how what was found compares with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from rich.table import Table

from anomaly_platform.cli.backtest.files import labels_of
from anomaly_platform.cli.rows import figure_table
from anomaly_platform.ingest.cells import read_labels
from anomaly_platform.ingest.files.sources import UnreadableFile

#: Kind of an anomaly of which only that is known.
_UNNAMED: Final = "anomaly"
_FLAGGED_FROM: Final = 50


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the scans of a file.

    Attributes
    ----------
    source : str
        Where it is said.
    anomalies : polars.DataFrame
        `row_number` and `kind`; one scan may be of several kinds.
    labelled : polars.Series
        Numbers of the rows of which something is known.
    """

    source: str
    anomalies: pl.DataFrame
    labelled: pl.Series


def known_from_file(labels: Path, scans: pl.DataFrame) -> Known:
    """Return what a CSV says of the scans whose `event_id` it has; other scans are ordinary.

    A row is an anomaly, of its `kind` if it has one, unless a column `is_anomaly` or `anomaly` says
    that it is none.

    Raises
    ------
    UnreadableFile
        When it cannot be read, has no ids, a label that is none, or no id of these scans.
    """
    try:
        known = pl.read_csv(labels, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UnreadableFile(f"{labels.name}: {error}") from None
    if "event_id" not in known.columns:
        raise UnreadableFile(f"{labels.name} has no column event_id")
    kind = next((name for name in ("kind", "anomaly_kind") if name in known.columns), None)
    kinds = pl.lit(_UNNAMED) if kind is None else pl.col(kind).fill_null(_UNNAMED)
    marked = known.filter(_are_anomalies(known, labels))
    numbered = scans.select("event_id").with_row_index("row_number")
    if known.height and numbered.join(known, on="event_id", how="semi").is_empty():
        raise UnreadableFile(
            f"{labels.name}: no scan has one of its {known.height:,} ids; the first is "
            f"{known['event_id'][0]!r}, and that of the scans {scans['event_id'].first()!r}"
        )
    named = numbered.join(marked.select("event_id", kind=kinds).unique(), on="event_id")
    return Known(labels.name, named.drop("event_id"), numbered["row_number"])


def _are_anomalies(known: pl.DataFrame, path: Path) -> pl.Series:
    column = next((one for one in ("is_anomaly", "anomaly") if one in known.columns), None)
    if column is None:
        return pl.repeat(True, known.height, eager=True)
    return labels_of(path, known[column]).fill_null(value=False)


def without_unread_labels(rows: pl.DataFrame, column: str) -> tuple[pl.DataFrame, list[str]]:
    """Return raw scans without labels that are none, and how many those are, in words.

    Parameters
    ----------
    rows
        As the file has them.
    column
        What the file calls its labels.
    """
    reasons = read_labels(rows["label_text"]).reasons
    unread = rows.filter(reasons.is_not_null())
    if unread.is_empty():
        return rows, []
    number, text = unread.select("row_number", "label_text").row(0)
    labels = rows["label_text"].count()
    said = (
        f"column {column}: {unread.height:,} of {labels:,} labels are left out, "
        f"such as {text[:40]!r} in row {number}: {reasons.drop_nulls()[0]}"
    )
    known = pl.when(reasons.is_null()).then("label_text").alias("label_text")
    return rows.with_columns(known), [said]


def known_from_column(columns: Mapping[str, str], scans: pl.DataFrame) -> Known | None:
    """Return what the file's own column of labels says, if it has one with a label in it."""
    labelled = scans.with_row_index("row_number").filter(pl.col("label").is_not_null())
    if "label" not in columns or labelled.is_empty():
        return None
    kind = pl.col("anomaly_kind").replace("", None).fill_null(_UNNAMED)
    anomalies = labelled.filter("label").select("row_number", kind=kind)
    return Known(f"the column {columns['label']}", anomalies, labelled["row_number"])


def findings(scored: pl.DataFrame) -> pl.DataFrame:
    """Return what the comparison needs of scored scans."""
    from anomaly_platform.ml.detectors.rules.detector import RULE_KINDS

    wanted = ("row_number", *(f"{kind}_score" for kind in RULE_KINDS), "final_confidence")
    return scored.select(
        pl.col(name) if name in scored.columns else pl.lit(None).alias(name) for name in wanted
    )


def count_found(found: pl.DataFrame) -> tuple[int, int]:
    """Return how many scans are found by all that judges together, and how many by no rule."""
    confident = _reach(found["final_confidence"])
    ruled = pl.any_horizontal(_reach(found[one]) for one in found.columns if one.endswith("_score"))
    return int(confident.sum()), int((confident & ~pl.select(ruled).to_series()).sum())


def _reach(scores: pl.Series) -> pl.Series:
    return (scores.cast(pl.Float64) >= _FLAGGED_FROM).fill_null(value=False)


def comparison(scans: pl.DataFrame, found: pl.DataFrame, known: Known) -> Table:
    """Compare per rule, scan by scan, and the confidence over all kinds.

    Parameters
    ----------
    scans
        The file's scans, those of a code together and in order of time.
    found
        `findings` of them.
    known
        What they are.
    """
    from anomaly_platform.ml.evaluation.measures import auc_pr

    rows = (
        scans.select("epc_code")
        .with_row_index("row_number")
        .join(found, on="row_number", how="left", maintain_order="left")
        .filter(pl.col("row_number").is_in(known.labelled.implode()))
    )
    anomalous = rows["row_number"].is_in(known.anomalies["row_number"].implode())
    kinds = known.anomalies["kind"].unique().sort().to_list()
    told = []
    for kind in [*(kinds if kinds != [_UNNAMED] else []), None]:
        of_kind = known.anomalies if kind is None else known.anomalies.filter(kind=kind)
        truth = rows["row_number"].is_in(of_kind["row_number"].implode())
        own = f"{kind}_score"
        score = rows[own] if own in rows.columns else rows["final_confidence"]
        # A subtle anomaly is told from ordinary scans; another anomaly's alarm is not a false one.
        counted = truth | ~anomalous
        flags = _reach(score) & counted
        hits, alarms = int((flags & truth).sum()), int((flags & ~truth).sum())
        confidence = rows["final_confidence"].filter(counted).to_numpy()
        positives = truth.filter(counted).to_numpy()
        area = auc_pr(positives, confidence) if positives.any() and not positives.all() else None
        events = _events(rows["epc_code"], truth, flags)
        told.append(
            (
                kind or "all",
                *(f"{count:,}" for count in (truth.sum(), hits, alarms)),
                _share(hits, hits + alarms),
                _share(hits, int(truth.sum())),
                _share(int(events.sum()), len(events)),
                "–" if area is None else f"{area:.3f}",
            )
        )
    headings = (
        *("kind", "labelled", "found", "false alarms", "precision", "recall"),
        *("event recall", "AUC-PR"),
    )
    return figure_table(headings, told, f"Against {known.source}")


def _events(codes: pl.Series, truth: pl.Series, flags: pl.Series) -> pl.Series:
    """Return of each run of a code's anomalous scans whether one of them was found."""
    frame = pl.DataFrame({"code": codes, "truth": truth, "found": flags & truth})
    runs = frame.with_columns(run=pl.struct("code", "truth").rle_id()).filter("truth")
    return runs.group_by("run", maintain_order=True).agg(pl.col("found").any())["found"]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"
