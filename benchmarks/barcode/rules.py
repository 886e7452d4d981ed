"""The rules' part of the barcode report: precision and recall per kind, events per second."""

from __future__ import annotations

import time

import polars as pl

from anomaly_platform.ml.detectors.rules.detector import FIRES_AT, RULE_KINDS, RulesModel
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet


def quality_table(verdicts: pl.DataFrame) -> list[str]:
    """Precision and recall of every rule, event by event, against the simulator's labels.

    Strict: a rule that fires on a scan labelled as another kind is a false alarm too.
    """
    lines = [
        "| rule | labelled | found | false alarms | precision | recall |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for kind in RULE_KINDS:
        fired = verdicts[f"{kind}_score"] >= FIRES_AT
        true = (verdicts["anomaly_kind"] == kind).fill_null(value=False)
        found, said, labelled = (fired & true).sum(), fired.sum(), true.sum()
        lines.append(
            f"| `{kind}` | {labelled} | {found} | {said - found} "
            f"| {found / max(said, 1):.4f} | {found / max(labelled, 1):.4f} |"
        )
    return lines


def quiet_share(verdicts: pl.DataFrame, rows: pl.Expr) -> tuple[int, int]:
    """How many of the chosen scans any rule fires on, and how many there are."""
    any_rule = pl.max_horizontal(*(f"{kind}_score" for kind in RULE_KINDS)) >= FIRES_AT
    chosen = verdicts.filter(rows)
    return chosen.filter(any_rule).height, chosen.height


def reasons_table(verdicts: pl.DataFrame) -> list[str]:
    """One example of what each rule says."""
    lines = ["| rule | for example |", "|---|---|"]
    for kind in RULE_KINDS:
        said = verdicts.filter(pl.col("anomaly_kind") == kind)[f"{kind}_reason"].drop_nulls()
        if len(said):
            lines.append(f"| `{kind}` | {said[len(said) // 2]} |")
    return lines


def speed_table(model: RulesModel, scans: pl.DataFrame) -> list[str]:
    """Milliseconds for one EPC, for a request of 1,000 scans, and for the whole month."""
    features = ScanFeatureSet()
    epc = scans["entity"].head(1000).unique(maintain_order=True).head(250)
    request = scans.filter(pl.col("entity").is_in(epc.implode())).head(1000)
    one = request.filter(pl.col("entity") == request["entity"][0])
    lines = ["| scans | features, ms | rules with reasons, ms |", "|--:|--:|--:|"]
    for frame in (one, request, scans):
        row = [f"{len(frame):,}"]
        for work in (features.compute, model.score):
            repeats = 1 if len(frame) > 10_000 else 20
            work(frame)
            begin = time.perf_counter()
            for _ in range(repeats):
                work(frame)
            row.append(f"{(time.perf_counter() - begin) / repeats * 1000:,.1f}")
        lines.append(f"| {' | '.join(row)} |")
    return lines


def section(model: RulesModel, months: dict[int, pl.DataFrame]) -> str:
    """Write the report's section on the rules.

    Parameters
    ----------
    model
        Fitted on another time and seed.
    months
        Scans of test months with labels, by the seed that they were simulated with.
    """
    out = [
        "## Rules",
        "",
        f"{len(model.routes.table)} routes learned. Event by event, strictly:",
        "a rule that fires on a scan that carries another label counts as a false alarm.",
        "",
    ]
    first: pl.DataFrame | None = None
    for seed, scans in months.items():
        verdicts = model.score(scans)
        first = verdicts if first is None else first
        subtle, all_subtle = quiet_share(
            verdicts, pl.col("label") & ~pl.col("anomaly_kind").is_in(RULE_KINDS)
        )
        normal, all_normal = quiet_share(verdicts, ~pl.col("label"))
        out += [
            *(f"Month of seed {seed}, {len(scans):,} scans:", "", *quality_table(verdicts), ""),
            f"Any rule fires on {subtle} of the {all_subtle:,} scans with a subtle anomaly,",
            f"and on {normal} of the {all_normal:,} ordinary ones.",
            "",
        ]
    if first is not None:
        speed = speed_table(model, next(iter(months.values())))
        out += ["What they say:", "", *reasons_table(first), ""]
        out += ["Time taken, one process:", "", *speed, ""]
    return "\n".join(out)
