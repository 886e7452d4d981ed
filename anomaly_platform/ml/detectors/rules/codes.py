"""The rule `epcFake`: what an EPC code itself gives away.

What belongs here: the checks of codes, one vectorised pass over the distinct codes and one over
the scans for what depends on the time of the scan.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.detectors.rules.parameters import RuleParameters
from anomaly_platform.ml.features.scans.codes import has_part
from anomaly_platform.ml.features.scans.names import SIX_PARTS
from anomaly_platform.ml.features.scans.sequences import ScanSequences


def check_codes(
    sequences: ScanSequences,
    parts: pl.DataFrame,
    companies: Collection[str],
    parameters: RuleParameters,
) -> pl.DataFrame:
    """Check the code of every scan.

    Parameters
    ----------
    sequences
        The scans.
    parts
        Of the distinct codes (`ScanSequences.epc_parts`).
    companies
        Known companies; empty when none are known, and then any is fine.
    parameters
        Limits and scores.

    Returns
    -------
    polars.DataFrame
        (n,) `epcFake_score`, 0 where nothing is wrong or the code is of another known scheme, and
        `epcFake_reason`, null there.
    """
    age = _ages(sequences, parts)
    findings = _findings(sequences, parts, age, companies, parameters)
    scores = np.zeros(len(age))
    for finding in findings:
        scores = np.where(finding.found, np.maximum(scores, finding.score), scores)
    fired = np.flatnonzero(scores)
    reasons = pl.Series("epcFake_reason", [None], dtype=pl.String).new_from_index(0, len(scores))
    if len(fired):
        reasons = reasons.scatter(fired, _reasons(sequences, parts, age, findings, fired))
    return pl.DataFrame([pl.Series("epcFake_score", scores), reasons])


class _Finding(NamedTuple):
    """Scans (n,) at which something is wrong, how sure that is, and the words for it."""

    found: Bools
    score: float
    words: pl.Expr


def _ages(sequences: ScanSequences, parts: pl.DataFrame) -> Floats:
    """(n,) whole days from manufacture to the scan, NaN without a date."""
    made = parts["epc_manufacture_date"].cast(pl.Float64).to_numpy()
    scanned = sequences.frame["event_time"].dt.date().cast(pl.Float64).to_numpy()
    return np.asarray(scanned - made[sequences.epc])


def _findings(
    sequences: ScanSequences,
    parts: pl.DataFrame,
    age: Floats,
    companies: Collection[str],
    parameters: RuleParameters,
) -> tuple[_Finding, ...]:
    def of_scans(codes: Bools) -> Bools:
        return codes[sequences.epc]

    p = parameters
    malformed = parts["epc_malformed"].to_numpy()
    well_formed = ~malformed & parts["epc_scheme"].is_null().to_numpy()
    undated = parts["epc_manufacture_date"].is_null().to_numpy()
    undated &= has_part(p.code_pattern, "manufacture_date")
    stranger = well_formed & _none_of(parts["epc_header"], p.headers)
    stranger &= p.code_pattern == SIX_PARTS
    unknown = well_formed & _none_of(parts["epc_company"], companies) & bool(companies)
    unknown &= has_part(p.code_pattern, "company")
    formed = of_scans(well_formed)
    structure = _STRUCTURE if p.code_pattern == SIX_PARTS else _SCHEME
    return (
        _Finding(of_scans(malformed), p.score_structure, structure),
        _Finding(of_scans(stranger), p.score_header, _HEADER),
        _Finding(of_scans(unknown), p.score_company, _COMPANY),
        _Finding(of_scans(well_formed & undated), p.score_invalid_date, _INVALID_DATE),
        _Finding(formed & (age < -p.clock_tolerance_days), p.score_future_date, _FUTURE_DATE),
        _Finding(formed & (age > p.max_age_days), p.score_expired, _EXPIRED),
    )


_STRUCTURE: Final = pl.format("the code {} does not have the structure of an EPC", "entity")
_SCHEME: Final = pl.format("the code {} does not fit the scheme of its stream", "entity")
_HEADER: Final = pl.format("the header {} does not exist", "epc_header")
_COMPANY: Final = pl.format("the company {} is not known", "epc_company")
_INVALID_DATE: Final = pl.lit("the manufacture date is no date")
_MADE: Final = pl.col("epc_manufacture_date").cast(pl.String)
_FUTURE_DATE: Final = pl.format("the manufacture date {} lies after the scan", _MADE)
_EXPIRED: Final = pl.format("made on {}, {} days before the scan", _MADE, "age")


def _none_of(texts: pl.Series, known: Collection[str]) -> Bools:
    return np.fromiter((text not in known for text in texts.to_list()), np.bool_, len(texts))


def _reasons(
    sequences: ScanSequences,
    parts: pl.DataFrame,
    age: Floats,
    findings: tuple[_Finding, ...],
    fired: Ints,
) -> pl.Series:
    """Put into words what is wrong with the scans that fired."""
    scans = parts[sequences.epc[fired]].hstack(
        [
            sequences.frame["entity"][fired],
            pl.Series("age", age[fired], nan_to_null=True).cast(pl.Int64),
            *(pl.Series(f"found {i}", one.found[fired]) for i, one in enumerate(findings)),
        ]
    )
    words = [pl.when(pl.col(f"found {i}")).then(one.words) for i, one in enumerate(findings)]
    return scans.select(pl.concat_str(words, separator="; ", ignore_nulls=True)).to_series()
