"""Drawings that Dagster's pages show without a click."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from anomaly_platform.assets.metadata import metadata_of
from anomaly_platform.ml.evaluation.miniatures import LARGEST, Drawing, curves, histogram, losses

UNFOLDED = 1000
"""Characters of Markdown below which Dagster's webserver shows it by itself."""

EVERY = np.linspace(0.0, 1.0, 5000)
WIDEST = {
    "no rows": histogram(np.zeros(50, np.int64), threshold=0.7, title="Scores"),
    "many rows": histogram(
        np.arange(50) ** 8 % 10**9, threshold=0.123, title="Confidences, as shares of 100"
    ),
    "curves": curves({"precision over recall": (EVERY, EVERY), "ROC": (EVERY, EVERY**0.1)}),
    "many epochs": losses(10.0 / np.arange(1, 400), 11.0 / np.arange(1, 400)),
    "losses that are none": losses([np.nan, 0.0], [0.0, np.nan]),
    "two points": curves({"ROC": ([0.0, 1.0], [0.0, 1.0])}),
}


@pytest.mark.parametrize("name", WIDEST)
def test_a_drawing_is_an_image_that_the_pages_unfold(name: str) -> None:
    drawn = WIDEST[name]
    assert len(drawn) <= LARGEST
    ET.fromstring(drawn)
    text = str(metadata_of({"scores": drawn})["scores"].value)
    assert len(text) < UNFOLDED
    encoded = text.removeprefix("![](data:image/svg+xml;base64,").removesuffix(")")
    assert base64.b64decode(encoded).decode() == drawn


def test_bars_rise_with_the_rows() -> None:
    drawn = histogram(np.array([0, 10, 1000]), threshold=0.5, title="Scores")
    assert "M10 84V84h100V60h100V14h100V84z" in drawn
    assert "Scores: 1,010" in drawn
    assert isinstance(drawn, Drawing)


def test_losses_fall_and_name_their_best_epoch() -> None:
    drawn = losses([4.0, 2.0, 1.0], [4.0, 3.0, 3.5])
    assert "points='10 14 160 49 310 66'" in drawn
    assert "epochs 1 to 3, best: 2" in drawn
