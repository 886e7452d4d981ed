"""A score does not depend on its company: alone, in any batch and order, the same bits.

OpenBLAS reads its environment when it is loaded, so the scores of each kind of kernel and number of
threads are computed by a process of its own: this file, run as a script.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly_platform.ml.detectors.isolation_forest import IsolationForest
from anomaly_platform.ml.detectors.one_class_svm import OneClassSVM, SvmSearch
from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceLSTM
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    RESERVED,
    EventSequences,
    Vocabulary,
)
from anomaly_platform.ml.detectors.sequence_lstm.scans import SCAN_SPEC

SEQUENCES = 3000
COUNTS = (1, 2, 7, 60, SEQUENCES)
FEATURES = tuple("abcdefgh")
SIZES = dict(zip(SCAN_SPEC.categorical, (61, 16, 28, 11, 10, 16), strict=True))


def sequences() -> EventSequences:
    rng = np.random.default_rng(1)
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, 6, SEQUENCES))))
    codes = [rng.integers(RESERVED, SIZES[name], offsets[-1]) for name in SCAN_SPEC.categorical]
    return EventSequences(
        codes=np.stack(codes, axis=1).astype(np.int32),
        continuous=np.zeros((offsets[-1], 0), dtype=np.float32),
        elapsed_hours=rng.lognormal(1.0, 1.0, offsets[-1]),
        offsets=offsets,
        weights=np.ones(SEQUENCES, dtype=np.float32),
    )


def rows() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(SEQUENCES, len(FEATURES)))


def judges(folder: Path) -> dict[str, Callable[[np.ndarray], list[bytes]]]:
    """Per detector, what gives the bits of the scores of some sequences or rows."""
    arrays = {name: dict(np.load(folder / f"{name}.npz")) for name in ("lstm", "svm", "forest")}
    lstm = SequenceLSTM.from_arrays(arrays["lstm"])
    svm = OneClassSVM.from_arrays(arrays["svm"], FEATURES)
    forest = IsolationForest.from_arrays(arrays["forest"], FEATURES)
    everything, X = sequences(), rows()

    def sequence_bits(chosen: np.ndarray) -> list[bytes]:
        some = everything.take(chosen)
        found = lstm.surprise(some)
        parts = (found.surprise, found.entropy, found.expected_p, found.expected_hours)
        cuts = some.offsets[1:-1]
        split = zip(*(np.split(part, cuts) for part in parts), strict=True)
        return [b"".join(part.tobytes() for part in sequence) for sequence in split]

    def row_bits(detector: Any) -> Callable[[np.ndarray], list[bytes]]:
        return lambda chosen: [score.tobytes() for score in detector.score(X[chosen])]

    return {"lstm": sequence_bits, "svm": row_bits(svm), "forest": row_bits(forest)}


def digests(folder: Path) -> dict[str, str]:
    """Score in many companies, refuse any difference, and return a digest per detector."""
    rng = np.random.default_rng(3)
    found = {}
    for name, bits in judges(folder).items():
        known = bits(np.arange(SEQUENCES))
        for count in COUNTS:
            shuffled = [rng.permutation(SEQUENCES) for _ in range(2)]
            for order in (*shuffled, np.arange(SEQUENCES)[::-1]):
                if bits(order[:count]) != [known[i] for i in order[:count]]:
                    raise AssertionError(f"{name} gives {count} other scores in other company")
        found[name] = hashlib.sha256(b"".join(known)).hexdigest()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as arrays in files; the sequence model's weights are drawn, not trained."""
    pytest.importorskip("torch", reason="the sequence model's weights come from torch")
    from anomaly_platform.ml.detectors.sequence_lstm.habits import Habits
    from anomaly_platform.ml.detectors.sequence_lstm.model import build
    from anomaly_platform.ml.detectors.sequence_lstm.parameters import (
        TrainingParameters,
        architecture_for,
    )

    habits, _ = Habits.learn(SCAN_SPEC, SIZES, sequences())
    architecture = architecture_for(SCAN_SPEC, SIZES, sequences(), TrainingParameters())
    weights = build(architecture, habits, 0.0, seed=4).to_arrays() | habits.to_arrays()
    values = {n: tuple(str(i) for i in range(size - RESERVED)) for n, size in SIZES.items()}
    lstm = SequenceLSTM(architecture, {n: Vocabulary(v) for n, v in values.items()}, weights)
    search = SvmSearch(nu=(0.1,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)
    svm = OneClassSVM(FEATURES, search=search).fit(rows()[:500], seed=0)
    forest = IsolationForest(FEATURES).fit(rows()[:500], seed=0)
    kept = tmp_path_factory.mktemp("models")
    for name, model in (("lstm", lstm), ("svm", svm), ("forest", forest)):
        np.savez(kept / f"{name}.npz", **model.to_arrays())
    return kept


@pytest.fixture(scope="module")
def known(folder: Path) -> dict[str, str]:
    return digests(folder)


@pytest.mark.parametrize("kernel", ["", "Haswell"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_score_does_not_depend_on_its_company(
    folder: Path, known: dict[str, str], kernel: str, threads: str
) -> None:
    machine = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    machine["OMP_NUM_THREADS"] = threads
    if kernel:
        machine["OPENBLAS_CORETYPE"] = kernel
    command = [sys.executable, __file__, str(folder)]
    child = subprocess.run(command, env=machine, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == known


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(Path(sys.argv[1]))))
