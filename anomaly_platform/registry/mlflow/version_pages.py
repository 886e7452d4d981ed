"""Makes what MLflow shows of a version: parameters, metrics, tags, files and pictures.

Belongs here: turning the index's record and the bundle's manifest into a page worth opening.
Does not belong here: MLflow (see ``model_registry``).
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.bundles import Bundles
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.tables.partitions import Partitions
from anomaly_platform.streams import Stream

_LONGEST_VALUE: Final = 500
_LONGEST_NOTE: Final = 4_000
_LARGEST_TABLE: Final = 50 * 2**20
_SCORED_ROWS: Final = 50_000
_USUAL_REASONS: Final = {
    "challenger": "waits to be judged",
    "retired": "another version was promoted",
}
#: Kept in tags, which can be searched for.
_LINEAGE: Final = ("run_id", "cause", "reason", "code_version", "watermark")


@dataclass(frozen=True, slots=True)
class PageMetric:
    """A figure, or one of a series of figures."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunPage:
    """What one run shows.

    Attributes
    ----------
    parameters, tags
        Texts by name; `changing_tags` are those that follow the version's fate.
    metrics
        Figures; a loss curve has one per epoch.
    note
        Markdown for people.
    started_ms, ended_ms
        Milliseconds since 1970.
    """

    parameters: dict[str, str]
    tags: dict[str, str]
    changing_tags: dict[str, str]
    metrics: list[PageMetric]
    note: str
    started_ms: int
    ended_ms: int
    texts: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    copies: tuple[Path, ...] = ()

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Yield a folder with the run's files, for as long as the block lasts."""
        with tempfile.TemporaryDirectory(prefix="anomaly-page-") as made:
            folder = Path(made)
            for name, text in self.texts.items():
                (folder / name).write_text(text, encoding="utf-8")
            for name, png in self.pictures.items():
                (folder / name).write_bytes(png)
            for path in self.copies:
                shutil.copyfile(path, folder / path.name)
            yield folder


@dataclass(frozen=True, slots=True)
class VersionPages:
    """Makes the page of a version.

    Parameters
    ----------
    bundles, partitions, lake
        The index, the files of days, and where the files are.
    stream : callable
        Returns a stream by name, or raises `LookupError`.
    threshold_of : callable
        Returns the score from which a reading of a stream is an anomaly.
    """

    bundles: Bundles
    partitions: Partitions
    lake: Lake
    stream: Callable[[str], Stream]
    threshold_of: Callable[[Stream], float]

    def page_of(self, record: BundleRecord) -> RunPage:
        """Return the page of a version; a failed training has one too, a deleted one no files."""
        folder = None
        if record.path and record.status != "deleted" and self.lake.exists(record.path):
            folder = self.lake.fetch_folder(record.path)
        manifest: dict[str, Any] = {}
        if folder is not None:
            manifest = json.loads((folder / "manifest.json").read_bytes())
        trained = record.trained_at or record.created_at
        began = int(trained.timestamp() * 1000)
        seconds = float(manifest.get("training_seconds") or 0.0)
        history = [e for e in manifest.get("data", {}).get("history", []) if isinstance(e, Mapping)]
        schema = json.dumps(manifest.get("feature_schema", {}), indent=1)
        return RunPage(
            parameters=_texts(
                {k: v for k, v in record.parameters.items() if k not in _LINEAGE}
                | {"window_start": record.window_start, "window_end": record.window_end}
            ),
            tags=_tags(record),
            changing_tags=self._changing_tags(record),
            metrics=[*_metrics(record.metrics), *_metrics(_counts(manifest)), *_losses(history)],
            note=_note(record),
            started_ms=began,
            ended_ms=began + int(seconds * 1000),
            texts={"feature_schema.json": schema} if manifest else {},
            pictures={} if folder is None else self._pictures(record, folder, history),
            copies=() if folder is None else _copies(folder),
        )

    def _changing_tags(self, record: BundleRecord) -> dict[str, str]:
        """Return what is said of a version's fate: every tag, or an old one would stay."""
        champion = self.bundles.champion(record.stream, record.detector)
        serves = champion is not None and champion.version == record.version
        reason = champion.reason if champion is not None and serves else record.reason
        passed = "; ".join(
            f"{gate['gate']}: {'passed' if gate['passed'] else 'failed'} ({gate['value']})"
            for gate in record.gates
        )
        return _texts(
            {
                "anomaly.status": record.status,
                "anomaly.status_reason": reason or _USUAL_REASONS.get(record.status, "none given"),
                "anomaly.gates": passed or "not judged",
            }
        )

    def _pictures(
        self, record: BundleRecord, folder: Path, history: list[Mapping[str, Any]]
    ) -> dict[str, bytes]:
        from anomaly_platform.ml.evaluation.plots import loss_curves

        pictures: dict[str, bytes] = {}
        if history:
            pictures["loss.png"] = loss_curves(
                [float(epoch["loss"]) for epoch in history],
                [float(epoch["validation_loss"]) for epoch in history],
                title=f"{record.stream} {record.detector} {record.version}",
            )
        scores = self._score_histogram(record, folder)
        if scores is not None:
            pictures["scores.png"] = scores
        return pictures

    def _score_histogram(self, record: BundleRecord, folder: Path) -> bytes | None:
        """Return how a metric stream's version scores its newest readings, as a picture."""
        from anomaly_platform.ml.bundles.bundle import open_bundle
        from anomaly_platform.ml.evaluation.plots import score_histogram
        from anomaly_platform.ml.scoring.batch import FleetScorer

        try:
            stream = self.stream(record.stream)
        except LookupError:
            return None
        if not stream.has_series or record.detector != stream.scored_by:
            return None
        days = self.partitions.between(record.stream, "features", "0001", "9999")
        if not days:
            return None
        newest = days[-1]
        frame = next(iter(self.lake.chunks([newest.path], target_rows=_SCORED_ROWS)), None)
        with open_bundle(folder, verify="each") as bundle:
            schema = bundle.manifest["feature_schema"]
            if frame is None or schema["definition"] != stream.features.definition():
                return None
            scored = FleetScorer(bundle).score(frame)
        return score_histogram(
            scored["score"].drop_nulls().to_numpy(),
            threshold=self.threshold_of(stream),
            title=f"{record.stream}, version {record.version}: scores of {newest.partition}",
        )


def _texts(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _texts(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            flat[prefix + str(name)] = str(value)[:_LONGEST_VALUE]
    return flat


def _metrics(values: Mapping[str, Any], prefix: str = "") -> list[PageMetric]:
    found: list[PageMetric] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _metrics(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(PageMetric(prefix + str(name), float(value)))
    return found


def _counts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    counts = {f"data.{k}": v for k, v in manifest.get("data", {}).items() if k != "history"}
    return {**counts, "training_seconds": manifest.get("training_seconds")}


def _losses(history: list[Mapping[str, Any]]) -> list[PageMetric]:
    return [
        PageMetric(name, float(epoch[name]), int(epoch["epoch"]))
        for epoch in history
        for name in ("loss", "validation_loss")
    ]


def _tags(record: BundleRecord) -> dict[str, str]:
    lineage = {name: record.parameters.get(name) for name in _LINEAGE}
    return {
        "anomaly.stream": record.stream,
        "anomaly.detector": record.detector,
        **_texts(
            {
                **{f"anomaly.{name}": value for name, value in lineage.items()},
                "anomaly.parent": record.parent,
                "anomaly.digest": record.digest,
                "anomaly.lake_path": record.path,
            }
        ),
    }


def _note(record: BundleRecord) -> str:
    why = record.trained_because_of
    lines = [f"**{record.stream} {record.detector}, version {record.version}.**"]
    if why:
        lines.append(f"Trained because of: {why}.")
    if record.parent is not None:
        lines.append(
            f"Made from version {record.parent}: only some of its series were trained anew."
        )
    if record.trained_at is None and record.reason:
        lines.append(f"Training failed: {record.reason}")
    lines.append("Mirrored from the platform's tables, which alone decide what serves.")
    return "\n\n".join(lines)[:_LONGEST_NOTE]


def _copies(folder: Path) -> tuple[Path, ...]:
    """Return the bundle's small files; the arrays stay in the lake alone."""
    files = [folder / name for name in ("manifest.json", "series.parquet")]
    return tuple(f for f in files if f.is_file() and f.stat().st_size <= _LARGEST_TABLE)
