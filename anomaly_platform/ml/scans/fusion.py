"""Fuses rules, sequence model, one-class SVM and habits into one confidence per scan (B7).

What belongs here: how they are weighed, calibrated again, and run side by side. What each of
them says is in `detectors`, the words about it in `explanation`, the answer's form in
`response`.

The evidence of a detector is −ln p of its p-value; the rules' certainty (0–100) counts as the
p-value at which a calibrated detector would show the same number. The fused evidence is the
weighted power mean over the detectors at hand, and it is calibrated again on held-out scans, once
for each set of detectors that may be at hand, since a mean of p-values is none. Evidence rather
than scores, and a power of four rather than a plain mean: what one detector is very sure of must
not be averaged away by the silence or the noise of the others, and two that agree count more than
one.

Scans come by lots: a p-value is that of a new lot. Where lots are few, what habits say of a whole
lot is bounded, and codes that left their company are held against those like them
(`lot_calibration`).

After a proven violation an EPC's history is not what the learned detectors take it for (goods that
went a wrong way come late, and at odd hours). Their evidence counts half from there on: the
violation is charged once, and a new one is still found.
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import astuple, dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.calibration.conformal import (
    P_FLOOR,
    THRESHOLD,
    barcode_view,
    p_of_score,
    score_of_p,
)
from anomaly_platform.ml.detectors.base import under
from anomaly_platform.ml.detectors.scan_habits.detector import ScanHabits
from anomaly_platform.ml.scans.lot_calibration import LotCalibration, calibrations_of, p_of_new_lot

T = TypeVar("T")

RULES, LSTM, SVM, HABITS = "rules", "lstm", "svm", "habits"
LEARNED: Final = (LSTM, SVM)
"""The learned detectors that have bundles of their own; habits are a part of the fusion's."""
_ORDER: Final = (RULES, *LEARNED, HABITS)
HABITS_WEIGHT: Final = 0.65
"""How much habits count, as a share of the others' weights together."""
#: Numbers of a scan whose distribution is remembered, to see drift by.
WATCHED: Final = (
    *("hour", "day_of_week", "time_since_last_scan"),
    *("sequence_length", "manufacture_age_days"),
)
CERTAIN_FROM: Final = 50.0
"""A rule that fires (B4: from 50 on) is certain: no silence of the others lowers its score."""
POWER: Final = 4.0
AFTER_VIOLATION: Final = 0.5
"""Share of the learned detectors' evidence that counts after a proven violation of the EPC."""
_HEAD_START_S: Final = 0.01
"""Seconds at most that a detector computes before the next one begins."""


@dataclass(frozen=True)
class FusionWeights:
    """How much each detector counts; renormalised over those at hand."""

    rules: float = 0.40
    lstm: float = 0.35
    svm: float = 0.25

    def __post_init__(self) -> None:
        weights = (self.rules, self.lstm, self.svm)
        if min(weights) < 0 or not all(math.isfinite(w) for w in weights) or sum(weights) <= 0:
            raise ValueError(f"weights must be finite, not negative and not all 0, got {weights}")

    def of(self, names: tuple[str, ...], habits: float = HABITS_WEIGHT) -> Floats:
        """(len(names),) weights that sum to 1; `habits` is a share of the others together."""
        weight = habits * (self.rules + self.lstm + self.svm)
        chosen = np.array([getattr(self, name, weight) for name in names])
        total = chosen.sum()
        return chosen / total if total > 0 else np.full(len(names), 1.0 / len(names))


@dataclass(frozen=True)
class Fused:
    """Confidences of scans, 0–100 with 50 at the threshold; NaN where there is none.

    lstm, svm (n,): each learned detector alone; ml (n,): both; final (n,): with the rules.
    used: the detectors that took part; `left_out`: the others, each with the reason.
    """

    lstm: Floats
    svm: Floats
    ml: Floats
    final: Floats
    used: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


class BarcodeFusion:
    """Weights and calibrations of every set of detectors. Fitted: use `fit` or `from_arrays`."""

    columns: ClassVar[tuple[str, ...]] = WATCHED
    feature_schema: ClassVar[tuple[str, ...]] = (RULES, *LEARNED)

    def __init__(
        self,
        calibrations: Mapping[tuple[str, ...], LotCalibration],
        *,
        weights: FusionWeights | None = None,
        alpha: float = 0.01,
        lots: int | None = None,
        habits: ScanHabits | None = None,
        habits_weight: float = HABITS_WEIGHT,
        bounds_habits: bool = True,
    ) -> None:
        self.calibrations = dict(calibrations)
        self.habits_weight = habits_weight
        self.lots = lots
        self.habits = habits
        self.weights = weights or FusionWeights()
        self.alpha = alpha
        self._bounds_habits = bounds_habits and self.has_few_lots

    @classmethod
    def fit(
        cls,
        rules: Floats,
        p_values: Mapping[str, Floats],
        *,
        after_violation: Bools | None = None,
        lots: int | None = None,
        parted: Bools | None = None,
        weights: FusionWeights | None = None,
        alpha: float = 0.01,
        habits: ScanHabits | None = None,
    ) -> Self:
        """Calibrate every combination on held-out scans.

        Parameters
        ----------
        rules
            (n,) the highest rule score of each scan, 0–100. Scans at which a rule fires are left
            out: they are proven, and no part of what is normal.
        p_values
            `lstm`, `svm` and `habits`, (n,) each, of those that there are; may be empty.
        after_violation
            (n,) scans of an EPC that broke a rule before.
        lots
            Of how many lots the scans are; None when each scan is independent of the others.
        parted
            (n,) scans of codes that left their company; looked at where lots are few.
        weights, alpha
            Requirement B7's weights; the share of normal scans that may reach the threshold.
        habits
            What is ordinary for goods, which the p-values named so are of; kept with the fusion.
        """
        if lots is not None and lots < 1:
            raise ValueError(f"lots is {lots}, at least 1 is needed")
        fusion = cls({}, weights=weights, alpha=alpha, lots=lots, habits=habits)
        normal = rules < CERTAIN_FROM
        if p_values and not normal.any():
            raise ValueError("no scan to calibrate on: a rule fires at each of them")
        parts = {name: p[normal] for name, p in p_values.items()}
        after = None if after_violation is None else after_violation[normal]
        apart = parted[normal] if fusion.has_few_lots and parted is not None else None
        for names in _combinations(tuple(name for name in _ORDER[1:] if name in parts)):
            raw = fusion._evidence(names, rules[normal], parts, after, apart)
            # Company is known where habits are, and nowhere else.
            fusion.calibrations[names] = LotCalibration.fit(raw, apart if HABITS in names else None)
        return fusion

    def fuse(
        self,
        rules: Floats,
        p_values: Mapping[str, Floats],
        *,
        after_violation: Bools | None = None,
        parted: Bools | None = None,
        threshold: float = THRESHOLD,
        left_out: Mapping[str, str] | None = None,
    ) -> Fused:
        """Combine what there is; with nothing learned the rules speak alone.

        Habits count in the final confidence, not in that of the learned detectors together.

        Parameters
        ----------
        rules
            (n,) the highest rule score, 0–100; NaN for all when the rules were left out.
        p_values
            Of the learned detectors at hand.
        after_violation
            (n,) scans of an EPC that broke a rule before; none by default.
        parted
            (n,) scans of codes that left their company; none by default.
        threshold
            Score at which the confidence is 50.
        left_out
            Detectors that should have been there, and why they are not.
        """
        count = len(rules)
        learned = tuple(name for name in LEARNED if name in p_values)
        ruled = not bool(np.isnan(rules).any())
        nothing = np.full(count, np.nan)
        alone = {
            name: self._shown(p_values[name], threshold) if name in p_values else nothing
            for name in LEARNED
        }
        confidence = partial(
            self._confidence, rules=rules, p_values=p_values, after=after_violation, parted=parted
        )
        ml = confidence(learned, threshold=threshold) if learned else nothing
        names = tuple(name for name in _ORDER if name in p_values or (name == RULES and ruled))
        final = ml if names == learned else rules
        if set(names) - {RULES, *learned} or (ruled and learned):
            final = confidence(names, threshold=threshold)
        if ruled:
            final = np.where(rules >= CERTAIN_FROM, np.maximum(final, rules), final)
        return Fused(
            lstm=alone[LSTM],
            svm=alone[SVM],
            ml=ml,
            final=np.asarray(final, dtype=np.float64),
            used=names,
            left_out=dict(left_out or {}),
        )

    def _confidence(
        self,
        names: tuple[str, ...],
        *,
        rules: Floats,
        p_values: Mapping[str, Floats],
        after: Bools | None,
        parted: Bools | None,
        threshold: float,
    ) -> Floats:
        if len(names) == 1:
            return self._shown(p_values[names[0]], threshold)
        if names not in self.calibrations:
            raise ValueError(f"{' and '.join(names)} were never calibrated together")
        known = self.calibrations[names]
        raw = self._evidence(names, rules, p_values, after, parted)
        p = known.p_value(raw, self.lots, parted)
        return barcode_view(score_of_p(p, self.alpha), threshold)

    def _shown(self, p: Floats, threshold: float) -> Floats:
        if self.lots is not None:
            rows = max((known.rows for known in self.calibrations.values()), default=self.lots)
            p = p_of_new_lot(p, rows, self.lots)
        return barcode_view(score_of_p(p, self.alpha), threshold)

    def _evidence(
        self,
        names: tuple[str, ...],
        rules: Floats,
        p_values: Mapping[str, Floats],
        after: Bools | None,
        parted: Bools | None,
    ) -> Floats:
        total = np.zeros(len(rules))
        alone = np.zeros(len(rules), dtype=bool) if parted is None else parted
        for name, weight in zip(names, self.weights.of(names, self.habits_weight), strict=True):
            p = p_of_certainty(rules, self.alpha) if name == RULES else p_values[name]
            if name == HABITS and self.lots is not None and self._bounds_habits:
                p = np.where(alone, p, np.maximum(p, 1.0 / (self.lots + 1)))
            evidence = -np.log(p)
            if name != RULES and after is not None:
                evidence = np.where(after, AFTER_VIOLATION * evidence, evidence)
            total += (weight * evidence) ** POWER
        return np.asarray(total ** (1.0 / POWER), dtype=np.float64)

    @property
    def has_few_lots(self) -> bool:
        """Whether no whole lot can reach the threshold within what was seen."""
        return self.lots is not None and self.lots < self.fewest_lots

    @property
    def fewest_lots(self) -> int:
        """Lots to calibrate on for a scan within what was seen to reach the threshold."""
        return math.ceil(1.0 / self.alpha) - 1

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that a confidence depends on."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "fusion/weights": np.array([*astuple(self.weights), self.alpha]),
            "fusion/lots": np.array([-1 if self.lots is None else self.lots], dtype=np.int64),
        }
        for names, calibration in self.calibrations.items():
            arrays |= under(f"fusion/{'+'.join(names)}/", calibration.to_arrays())
        if self._bounds_habits:
            arrays["fusion/bounds_habits"] = np.ones(1, dtype=np.int64)
        if self.habits is not None:
            arrays["fusion/habits_weight"] = np.array([self.habits_weight])
            arrays |= self.habits.to_arrays()
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what `to_arrays` returned."""
        weights = checked(arrays, "fusion/weights", (4,), low=0.0, high=1e6)
        rules, lstm, svm, alpha = (float(value) for value in weights)
        if not 0 < alpha < 1 or rules + lstm + svm <= 0:
            raise BadModelError(f"the fusion has the weights {weights.tolist()}")
        checked(arrays, "fusion/lots", (1,), kinds="i", low=-1)
        habits, weight = None, HABITS_WEIGHT
        # Sets that were fused before there were habits have none, and score as they did.
        if "habits/legs/sizes" in arrays:
            habits = ScanHabits.from_arrays(arrays)
            weight = float(checked(arrays, "fusion/habits_weight", (1,), low=0.0, high=1e6)[0])
        return cls(
            calibrations_of(arrays, "fusion"),
            weights=FusionWeights(rules, lstm, svm),
            alpha=alpha,
            lots=lots if (lots := int(arrays["fusion/lots"][0])) > 0 else None,
            habits=habits,
            habits_weight=weight,
            # Sets that were fused before score as they did.
            bounds_habits="fusion/bounds_habits" in arrays,
        )


def p_of_certainty(rules: Floats, alpha: float) -> Floats:
    """P-values at which a calibrated detector would show the rules' 0–100; 0 is p = 1."""
    below = rules * (THRESHOLD / 50.0)
    above = THRESHOLD + (rules - 50.0) * ((1.0 - THRESHOLD) / 50.0)
    score = np.where(rules < 50.0, below, above)
    return np.maximum(p_of_score(np.minimum(score, np.nextafter(1.0, 0.0)), alpha), P_FLOOR)


@dataclass(frozen=True)
class SideBySide(Generic[T]):
    """What came of the tasks: results by name, and the reason for each that is missing."""

    results: Mapping[str, T]
    left_out: Mapping[str, str]


def run_side_by_side(
    tasks: Mapping[str, Callable[[], T]], limits: Mapping[str, float] | None = None
) -> SideBySide[T]:
    """Run detectors in threads; one that fails or is late is left out, and said to be.

    Parameters
    ----------
    tasks
        What to run, by name. A task that is late goes on in its thread, and its result is dropped:
        it should be free of side effects.
    limits
        Seconds from the common start, by name; one without a limit is waited for. None waits for
        all, as a batch does.
    """
    began = time.monotonic()
    results: dict[str, T] = {}
    left_out: dict[str, str] = {}
    pool = ThreadPoolExecutor(max_workers=max(1, len(tasks)), thread_name_prefix="detector")
    try:
        futures: dict[str, Future[T]] = {}
        for name, task in tasks.items():
            # Of a few scans each is ready before the next begins: two at once would wait for each
            # other's interpreter longer than they compute.
            wait(futures.values(), timeout=_HEAD_START_S)
            futures[name] = pool.submit(task)
        allowed = {name: (limits or {}).get(name, math.inf) for name in futures}
        for name in sorted(futures, key=allowed.__getitem__):
            remaining = max(0.0, began + allowed[name] - time.monotonic())
            try:
                results[name] = futures[name].result(None if remaining == math.inf else remaining)
            except Exception as error:
                if not futures[name].done():
                    left_out[name] = f"not ready within {allowed[name]:g} s"
                else:
                    left_out[name] = f"failed: {str(error) or type(error).__name__}"
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return SideBySide(results, left_out)


def _combinations(learned: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the sets of two or more of rules and learned parts that can be at hand."""
    names = (RULES, *learned)
    sizes = range(2, len(names) + 1)
    return [one for size in sizes for one in combinations(names, size)]
