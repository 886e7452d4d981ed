"""Answers about scans that are kept for who asks the same again (requirement B12).

Belongs here: how many are kept, and what makes two questions the same: input, models, and all else
that an answer follows from. An answer that would be another later (a detector was late, a time lay
ahead of the clock) is not kept.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from anomaly_platform.platform import Platform
from anomaly_platform.queries.scans import scored_state
from anomaly_platform.serving.champions.served import ServedScans
from anomaly_platform.serving.predict.scans import Detection

MOST_ANSWERS: Final = 1_000
MOST_BYTES: Final = 64 * 2**20
_LARGEST: Final = MOST_BYTES // 16


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is sent, and what became of the request besides."""

    text: str
    detection: Detection
    kept: bool = False


class ScanAnswers:
    """The answers that one worker keeps, the least recently used out first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: bytes) -> Answer | None:
        """Return what was answered to this question, None where it is not known."""
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
            return found

    def keep(self, key: bytes, text: str, detection: Detection) -> None:
        """Keep an answer, unless it may be another one later, or is large."""
        if detection.refused or detection.silence.left_out or len(text) > _LARGEST:
            return
        with self._lock:
            if key in self._answers:
                return
            self._answers[key] = Answer(text, detection, kept=True)
            self._bytes += len(text)
            while len(self._answers) > MOST_ANSWERS or self._bytes > MOST_BYTES:
                _, oldest = self._answers.popitem(last=False)
                self._bytes -= len(oldest.text)


def key_of(platform: Platform, served: ServedScans, asked: str) -> bytes:
    """Return what an answer follows from, as a digest.

    Parameters
    ----------
    platform : Platform
        Its settings, reference data and scored days.
    served : ServedScans
        The set of models.
    asked : str
        The request.
    """
    stream = served.stream
    said: list[object] = [
        asked,
        stream.name,
        served.version,
        served.digest,
        platform.threshold_of(stream),
    ]
    with platform.warehouse.transactions.begin() as connection:
        said.append(scored_state(connection, stream.name))
    if served.models is None:
        folder = platform.reference_folder(stream)
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        said += [(file.name, file.stat().st_mtime_ns) for file in files]
        said.append(platform.warehouse.series.extents(stream.name)["rows"].sum())
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).digest()
