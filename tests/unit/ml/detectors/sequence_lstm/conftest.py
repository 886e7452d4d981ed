"""Small token streams with a known grammar, for the sequence detector's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from anomaly_platform.ml.detectors.sequence_lstm.events import (
    RESERVED,
    EventSequences,
    SequenceSpec,
    Vocabulary,
)

SPEC = SequenceSpec(
    targets=("place", "event"),
    context=("product",),
    inputs=("step",),
    continuous=("load",),
    habits={"place": ("last place", "product")},
)
VOCABULARIES = {
    "place": Vocabulary(tuple("ABCDEF")),
    "event": Vocabulary(("in", "out")),
    "step": Vocabulary(("early", "late")),
    "product": Vocabulary(("p", "q")),
}


def journeys(count: int, seed: int, longest: int = 9) -> EventSequences:
    """Walk around six places in a circle, product q backwards; in and out, 2 h then 5 h."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, size=count)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    codes = np.empty((offsets[-1], 4), dtype=np.int32)
    hours = np.zeros(offsets[-1])
    load = rng.normal(10, 2, size=(offsets[-1], 1)).astype(np.float32)
    for start, length in zip(offsets[:-1], lengths, strict=True):
        product = int(rng.integers(2))
        place = int(rng.integers(6))
        for i in range(length):
            leaving = i % 2
            codes[start + i] = [place, leaving, int(i > 2), product]
            if i:
                hours[start + i] = (2.0 if leaving else 5.0) * rng.lognormal(0, 0.1)
            if leaving:
                place = (place + (1 if product == 0 else -1)) % 6
    return EventSequences(
        codes=codes + RESERVED,
        continuous=load,
        elapsed_hours=hours,
        offsets=offsets.astype(np.int64),
        weights=np.ones(count, dtype=np.float32),
    )


@dataclass(frozen=True)
class Toy:
    spec: SequenceSpec
    vocabularies: dict[str, Vocabulary]
    journeys: Callable[..., EventSequences]


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy(SPEC, VOCABULARIES, journeys)
