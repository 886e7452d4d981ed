import struct

import numpy as np
import pytest

from anomaly_platform.ml.evaluation import drawing, plots


def size(picture: bytes) -> tuple[int, int]:
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", picture[16:24])


def colours(picture: bytes) -> set[tuple[int, int, int]]:
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    return {colour for _, colour in image.getcolors(1 << 24)}


def rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code[1:]))


@pytest.fixture
def series():
    rng = np.random.default_rng(0)
    times = np.datetime64("2025-01-06T00:00") + np.arange(600) * np.timedelta64(5, "m")
    values = 20 + np.sin(np.arange(600) / 45) + rng.normal(0, 0.1, 600)
    labels = np.zeros(600, dtype=bool)
    labels[200:230] = True
    values[200:230] += 4
    scores = np.clip(np.abs(values - 20) / 5, 0, 1)
    return times, values, scores, labels


def test_series_plot_shows_measured_and_flagged(series):
    times, values, scores, labels = series
    picture = plots.series_plot(times, values, scores, labels=labels, title="press-001")
    assert size(picture)[0] > 1200
    assert {rgb(drawing.MEASURED), rgb(drawing.FLAGGED)} <= colours(picture)


def test_same_input_same_bytes(series):
    times, values, scores, labels = series
    drawn = [plots.series_plot(times, values, scores, labels=labels) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_without_labels_with_gaps_and_undecided_rows(series):
    times, values, scores, _ = series
    values[50:60] = np.nan
    scores[50:60] = np.nan
    flags = [None if np.isnan(score) else bool(score > 0.6) for score in scores]
    size(plots.series_plot(times, values, scores, flags=flags, unit="°C"))


def test_empty_and_single_row():
    for rows in (0, 1):
        times = np.datetime64("2025-01-06") + np.arange(rows) * np.timedelta64(1, "D")
        ones = np.ones(rows)
        size(plots.series_plot(times, ones, ones, labels=ones))


def test_a_long_series_keeps_its_spike():
    rows = 200_000
    times = np.datetime64("2025-01-06T00:00") + np.arange(rows) * np.timedelta64(1, "m")
    values = np.zeros(rows)
    values[123_457] = 50.0
    figure, (axes,) = drawing.panels(1, size=(4, 3))
    drawing.line(axes, times, values)
    drawn = axes.lines[0].get_ydata()
    assert drawn.size < 5000
    assert drawn.max() == 50.0
    assert figure.axes == [axes]


def test_host_plot_draws_every_metric(series):
    times, _, scores, labels = series
    metrics = {f"metric_{i}": np.roll(scores, 30 * i) for i in range(12)}
    metrics["metric_3"][:100] = np.nan
    few = plots.host_plot(times, dict(list(metrics.items())[:3]), scores, labels=labels)
    many = plots.host_plot(times, metrics, scores, labels=labels, title="host-001")
    assert size(many)[1] > size(few)[1]


def test_score_histogram_with_and_without_labels(series):
    _, _, scores, labels = series
    scores[3] = np.nan
    size(plots.score_histogram(scores))
    assert rgb(drawing.LABELLED) in colours(plots.score_histogram(scores, labels=labels))
    size(plots.score_histogram(np.full(4, np.nan)))


def test_quality_curves_mark_the_live_threshold(series):
    _, _, scores, labels = series
    scores[5] = np.nan
    marked = plots.quality_curves(labels, scores, flags=scores > 0.7, title="press-001")
    assert rgb(drawing.FLAGGED) in colours(marked)
    assert rgb(drawing.FLAGGED) not in colours(plots.quality_curves(labels, scores))
    size(plots.quality_curves(labels, scores, flags=np.zeros(600, dtype=bool)))
    assert plots.quality_curves(labels, scores, note="of few") != plots.quality_curves(
        labels, scores
    )
