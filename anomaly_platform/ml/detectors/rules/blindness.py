"""Which rules could not judge a scan, and why.

What belongs here: silence that means "not known" rather than "in order", told apart scan by scan.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Bools, Ints
from anomaly_platform.ml.detectors.rules import kernel as k
from anomaly_platform.ml.features.scans.sequences import ScanSequences
from anomaly_platform.ml.features.scans.words import UNKNOWN

#: The column that names the rules that could not judge a scan; null where each could.
BLIND_RULES: Final = "blind_rules"
_BETWEEN, _WHY = "; ", ": "

_NO_PLACE: Final = "the scan has no place"
_WHYS: Final = (
    ("epcDup", _NO_PLACE),
    ("locErr", "neither its place nor its words name a tier"),
    ("evtOrderErr", "the event type names no direction"),
    ("jump", _NO_PLACE),
    ("jump", "neither the distance nor the usual time of this route is known"),
)


def blind_rules(
    sequences: ScanSequences,
    schemes: pl.Series | None,
    codes: Ints | None,
    *,
    unlisted: Bools,
    strange: str | None,
) -> pl.Series:
    """Say of each scan which rules could not judge it.

    Parameters
    ----------
    sequences
        The scans.
    schemes
        Of each distinct code, the known scheme that it is genuine in; None where codes were not
        checked.
    codes
        Verdicts of `kernel.walk`; None where nothing walked.
    unlisted
        (n,) scans whose place is not in the reference.
    strange
        Why unknown places are not charged; None where they are.

    Returns
    -------
    polars.Series
        (n,) `BLIND_RULES`: rules, each with the reason; null where every rule could judge.
    """
    n = len(sequences.times)
    names = [name for name in schemes.unique().to_list() if name] if schemes is not None else []
    whys = [*(("epcFake", f"unknown scheme ({name})") for name in names), *_WHYS]
    found = np.zeros((len(whys) + 1, n), dtype=bool)
    for row, name in enumerate(names):
        assert schemes is not None
        found[row] = (schemes == name).fill_null(value=False).to_numpy()[sequences.epc]
    silent = np.ones(n, dtype=bool)
    if codes is not None:
        placeless, silent = sequences.place < 0, codes[:, k.LOCATION] == 0
        found[len(names) : len(whys)] = (
            placeless,
            # A rule that fires saw enough.
            (codes[:, k.KIND] < 0) & silent,
            (sequences.direction == UNKNOWN) & (codes[:, k.ORDER] == 0),
            placeless,
            codes[:, k.UNMEASURED] == 1,
        )
    if strange is not None:
        whys.append(("locErr", strange))
        found[-1] = unlisted & silent
        # The network is why nothing is known of the place; once is enough.
        found[len(names) + 1] &= ~unlisted
    if not found.any():
        return pl.Series(BLIND_RULES, [None], dtype=pl.String).new_from_index(0, n)
    bits = found.T @ (1 << np.arange(len(found), dtype=np.int64))
    patterns, which = np.unique(bits, return_inverse=True)
    texts = [
        _BETWEEN.join(f"{rule}{_WHY}{why}" for i, (rule, why) in enumerate(whys) if bit >> i & 1)
        for bit in patterns.tolist()
    ]
    said = np.array([text or None for text in texts], dtype=object)
    return pl.Series(BLIND_RULES, said[which].tolist(), dtype=pl.String)


def read_blind_rules(text: str | None) -> Iterator[tuple[str, str]]:
    """Yield each rule that a text of `blind_rules` names, with the reason."""
    for one in (text or "").split(_BETWEEN):
        rule, why, reason = one.partition(_WHY)
        if why:
            yield rule, reason
