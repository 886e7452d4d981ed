"""The search of ``anomaly tune``: it is shown while it goes on, and kept however it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from anomaly_platform.cli.operator import operator
from anomaly_platform.cli.progress import spinner
from anomaly_platform.cli.runtime import RunFailedError
from anomaly_platform.kinds.training import StageError
from anomaly_platform.platform import Platform
from anomaly_platform.registry.tunings import TuningRecord
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.kinds.metric.tuning import Tuning, TuningOrder
    from anomaly_platform.ml.tuning.comparison import Comparison
    from anomaly_platform.ml.tuning.search import Trial
    from anomaly_platform.ml.tuning.space import DetectorSettings

errors = Console(stderr=True)

_SAME = "Nothing has changed since tuning {0}, so it is not searched anew."
_ANEW = "Searching anew, since tuning {0} {1}."
#: What is said where a part of what candidates are judged by is another one.
_JUDGED_BY = {
    "version": "was by another version of the software",
    "features": "had other features",
    "policy": "trained with other settings of the platform",
}


@contextmanager
def prepared(
    platform: Platform, stream: MetricStream, order: TuningOrder
) -> Iterator[tuple[Tuning, Callable[[str], None]]]:
    """Read what is searched on; yield that, and what shows how far a search is."""
    from anomaly_platform.kinds.metric.tuning import prepare

    with spinner(errors) as progress:
        task = progress.add_task(f"{stream.name}: reading its history")

        def say(text: str) -> None:
            progress.update(task, description=text)

        try:
            yield prepare(platform.kind(stream).parts, order), say
        except StageError as error:
            raise RunFailedError(str(error)) from None


def searched(
    platform: Platform, stream: MetricStream, order: TuningOrder, *, apply: bool
) -> TuningRecord:
    """Search, compare and enter the record.

    What is to be applied is not searched anew where nothing has changed since the newest tuning.
    """
    began = datetime.now(UTC)
    with prepared(platform, stream, order) as (tuning, say):
        newest = platform.warehouse.tunings.of(stream.name) if apply else None
        if newest is not None:
            changed = _changed_since(newest, order.seed, tuning.described, asdict(tuning.present))
            said = (_ANEW if changed else _SAME).format(newest.id, changed)
            errors.print(said, soft_wrap=True)
            if not changed:
                return newest
        search = _Search(tuning, began)
        try:
            with suppress(KeyboardInterrupt):
                search.run(say)
        finally:
            # What was tried took long: it is kept whatever ended the search.
            record = search.enter(platform, stream.name, order.seed)
    return record


@dataclass
class _Search:
    """A search, and what it has found when something ends it."""

    tuning: Tuning
    began: datetime
    tried: list[Trial] = field(default_factory=list)
    proposed: DetectorSettings | None = None
    comparison: Comparison | None = None
    status: str = "interrupted"

    def run(self, say: Callable[[str], None]) -> None:
        def tell(trial: Trial) -> None:
            self.tried.append(trial)
            best = max(one.measured.objective for one in self.tried if one.round == trial.round)
            say(f"round {trial.round}, {len(self.tried)} trials, the best one {best:.3f}")

        self.proposed = self.tuning.search(tell)
        if self.proposed is not None:
            say("comparing with today's settings on rows that were kept back")
            self.comparison = self.tuning.compare(self.proposed)
        is_gain = self.comparison is not None and self.comparison.is_gain
        self.status = "gained" if is_gain else "nothing_gained"

    def enter(self, platform: Platform, stream: str, seed: int) -> TuningRecord:
        return platform.warehouse.tunings.enter(
            stream,
            self.status,
            self.began,
            operator(),
            seed,
            data=self.tuning.described,
            present=asdict(self.tuning.present),
            proposed=None if self.proposed is None else asdict(self.proposed),
            trials=[asdict(one) for one in self.tried],
            comparison=None if self.comparison is None else asdict(self.comparison),
        )


def _changed_since(
    newest: TuningRecord, seed: int, data: dict[str, Any], present: dict[str, Any]
) -> str:
    """Return how the newest tuning differs from the one asked for, "" where it does not."""
    if newest.status == "interrupted":
        return "was interrupted"
    if json.loads(json.dumps(present)) not in (newest.present, newest.proposed):
        return "began from other settings of the stream"
    options = ("windows", "most_false_positives", "budget")
    if newest.seed != seed or any(newest.data.get(one) != data[one] for one in options):
        return "was asked for with other options"
    judged, known = data["judged_by"], newest.data.get("judged_by") or {}
    for what, said in _JUDGED_BY.items():
        if known.get(what) != judged[what]:
            return said
    return "" if newest.data == data else "had other rows"
