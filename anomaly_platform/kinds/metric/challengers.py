"""Challengers of a metric stream: judged one by one, the oldest first, beside the champion.

What belongs here: which of them are judged, and what they are compared with. What is measured is in
``evaluation``, what follows from the verdict in ``kinds.verdicts``.
"""

from collections.abc import Iterator
from functools import partial

from anomaly_platform.kinds.base import Verdict
from anomaly_platform.kinds.metric.bundles import DETECTOR
from anomaly_platform.kinds.metric.evaluation import judge
from anomaly_platform.kinds.metric.training import rebase
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.training import StageError
from anomaly_platform.kinds.verdicts import act, tell_of_outcome
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.promotion import ChampionMovedError
from anomaly_platform.streams import MetricStream

_MOST_TRIES = 5


def judge_challengers(parts: Parts[MetricStream]) -> Iterator[Verdict]:
    """Judge every challenger that waits, the oldest first; promote or reject it.

    A challenger that is older than one in which every series was trained anew gives way unjudged.
    One in which only a few series were is set on the version that serves by then.
    """
    bundles = parts.bundles
    waiting = [b for b in bundles.all(parts.stream.name, DETECTOR) if b.status == "challenger"]
    newest_whole = max((b.version for b in waiting if b.parent is None), default=0)
    for record in reversed(waiting):
        if record.version < newest_whole:
            reason = f"version {newest_whole} was trained later, on every series"
            bundles.reject(
                parts.stream.name,
                DETECTOR,
                record.version,
                reason,
                also=partial(tell_of_outcome, parts, record=record, serves=False, why=reason),
            )
            continue
        yield _settle(parts, record)


def _settle(parts: Parts[MetricStream], record: BundleRecord) -> Verdict:
    """Judge a challenger until nobody has promoted another version meanwhile."""
    for _ in range(_MOST_TRIES):
        serving = parts.bundles.champions(parts.stream.name).get(DETECTOR)
        if record.parent is not None and serving is not None and record.parent != serving:
            version, _bundle = rebase(parts, record.version, serving)
            rebased = parts.bundles.get(parts.stream.name, DETECTOR, version)
            if rebased is None:
                raise AssertionError("a bundle vanished that was registered a moment ago")
            record = rebased
        decision = judge(parts, record, serving)
        try:
            act(
                parts,
                record,
                {DETECTOR: record.version},
                decision,
                trained=[record],
                compared_with=serving,
            )
        except ChampionMovedError:
            continue
        return Verdict(record.version, decision)
    raise StageError(
        f"the champion of {parts.stream.name} changes faster than a challenger can be judged"
    )
