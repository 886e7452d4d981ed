"""The rule `epcFake`: what an EPC code itself gives away.

What belongs here: the checks of codes, one vectorised pass over the distinct codes and one over
the scans for what depends on the time of the scan.
"""

from __future__ import annotations

import polars as pl

from anomaly_platform.ml.detectors.rules_parameters import RuleParameters
from anomaly_platform.ml.features.scans_sequences import ScanSequences


def check_codes(
    sequences: ScanSequences, companies: pl.Series, parameters: RuleParameters
) -> pl.DataFrame:
    """Check the code of every scan.

    Parameters
    ----------
    sequences
        The scans.
    companies
        Known companies; empty when none are known, and then any is fine.
    parameters
        Limits and scores.

    Returns
    -------
    polars.DataFrame
        (n,) `epcFake_score`, 0 where nothing is wrong, and `epcFake_reason`, null there.
    """
    parts = sequences.epc_parts().with_columns(
        unknown_header=~pl.col("epc_header").is_in(list(parameters.headers)),
        unknown_company=~pl.col("epc_company").is_in(companies.implode())
        if len(companies)
        else pl.lit(value=False),
    )
    scans = parts[sequences.epc].with_columns(
        event_date=sequences.frame["event_time"].dt.date(),
        entity=sequences.frame["entity"],
    )
    age = (pl.col("event_date") - pl.col("epc_manufacture_date")).dt.total_days()
    made = pl.col("epc_manufacture_date").cast(pl.String)
    well_formed = ~pl.col("epc_malformed")
    findings = (
        (
            pl.col("epc_malformed"),
            parameters.score_structure,
            pl.format("the code {} does not have the structure of an EPC", "entity"),
        ),
        (
            well_formed & pl.col("unknown_header"),
            parameters.score_header,
            pl.format("the header {} does not exist", "epc_header"),
        ),
        (
            well_formed & pl.col("unknown_company"),
            parameters.score_company,
            pl.format("the company {} is not known", "epc_company"),
        ),
        (
            well_formed & pl.col("epc_manufacture_date").is_null(),
            parameters.score_invalid_date,
            pl.lit("the manufacture date is no date"),
        ),
        (
            well_formed & (age < -parameters.clock_tolerance_days).fill_null(value=False),
            parameters.score_future_date,
            pl.format("the manufacture date {} lies after the scan", made),
        ),
        (
            well_formed & (age > parameters.max_age_days).fill_null(value=False),
            parameters.score_expired,
            pl.format("made on {}, {} days before the scan", made, age),
        ),
    )
    scores = scans.select(
        epcFake_score=pl.max_horizontal(
            pl.when(found).then(score).otherwise(0.0) for found, score, _ in findings
        )
    )
    fired = scores["epcFake_score"].arg_max() is not None and scores["epcFake_score"].max() != 0.0
    if not fired:
        return scores.with_columns(epcFake_reason=pl.lit(None, pl.String))
    rows = (scores["epcFake_score"] > 0).arg_true()
    reasons = (
        scans[rows]
        .select(
            pl.concat_str(
                [pl.when(found).then(text) for found, _, text in findings],
                separator="; ",
                ignore_nulls=True,
            )
        )
        .to_series()
    )
    column = pl.Series("epcFake_reason", [None], dtype=pl.String).new_from_index(0, len(scores))
    return scores.with_columns(column.scatter(rows, reasons))
