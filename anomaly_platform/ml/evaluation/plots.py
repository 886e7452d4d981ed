"""Draws series with their scores, hosts, histograms of scores, and quality curves.

What belongs here: drawing arrays as PNG. What does not: the parts that pictures share (drawing),
computing what is drawn (evaluation, drift), deciding where a picture goes. Every function returns
the bytes of a PNG.

One language of colour throughout: blue is what was measured, red what was flagged, amber what is
labelled, grey is what only helps reading.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.evaluation.drawing import (
    FLAGGED,
    GUIDE,
    INK,
    LABELLED,
    MEASURED,
    date_axis,
    decisions,
    flagged_points,
    heat_map,
    legend_above,
    line,
    panels,
    png,
    score_strip,
    shade,
    style,
    timestamps,
)
from anomaly_platform.ml.evaluation.measures import auc_pr, auc_roc, confusion, pr_curve, roc_curve

_FURTHEST_DRAWN = 1e300


def series_plot(
    times: ArrayLike,
    values: ArrayLike,
    scores: ArrayLike,
    *,
    flags: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    threshold: float = 0.7,
    title: str = "",
    unit: str = "value",
) -> bytes:
    """Draw a series with its score below it, flagged readings and labelled spans.

    Parameters
    ----------
    times : array_like of datetime64, shape (n,)
        Rising.
    values : array_like of float, shape (n,)
        Readings; NaN leaves a gap. Beyond ±1e300 they are drawn there: axes end below the largest
        float.
    scores : array_like of float, shape (n,)
        In [0, 1]; NaN leaves a gap.
    flags : array_like of bool, shape (n,), optional
        Decisions; by default where the score reaches the threshold.
    labels : array_like of bool, shape (n,), optional
        Known anomalies, shaded.
    threshold : float
        Drawn into the score.
    title, unit : str
        Texts.

    Returns
    -------
    bytes
        A PNG.
    """
    clock, score = timestamps(times), _floats(scores)
    reading = np.clip(_floats(values), -_FURTHEST_DRAWN, _FURTHEST_DRAWN)
    flagged = decisions(flags, score, threshold)
    with style():
        figure, (top, strip) = panels(2, heights=(3, 1), size=(11, 5), shared=True)
        spans = shade(labels, clock, top, strip)
        line(top, clock, reading, color=MEASURED, linewidth=0.9)
        flagged_points(top, clock, reading, flagged)
        top.set_ylabel(unit)
        top.set_title(title)
        score_strip(strip, clock, score, threshold)
        legend_above(top, spans)
        date_axis(strip)
        return png(figure)


def host_plot(
    times: ArrayLike,
    metric_scores: Mapping[str, ArrayLike],
    entity_scores: ArrayLike,
    *,
    flags: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    threshold: float = 0.7,
    title: str = "",
) -> bytes:
    """Draw every metric's score of a host as a heat map, the host's own score below it.

    Parameters
    ----------
    times : array_like of datetime64, shape (n,)
        Rising.
    metric_scores : mapping of str to array_like of float, shape (n,)
        In [0, 1] per metric; NaN is left white.
    entity_scores : array_like of float, shape (n,)
        In [0, 1].
    flags, labels : array_like of bool, shape (n,), optional
        Decisions on the host (by default where its score reaches the threshold) and known
        anomalies.
    threshold : float
        Drawn into the host's score.
    title : str
        Text.

    Returns
    -------
    bytes
        A PNG.
    """
    clock, score = timestamps(times), _floats(entity_scores)
    flagged = decisions(flags, score, threshold)
    names = list(metric_scores)
    matrix = np.array([_floats(metric_scores[name]) for name in names]).reshape(len(names), -1)
    with style():
        height = 2.4 + 0.2 * max(len(names), 4)
        figure, (heat, strip) = panels(
            2, heights=(0.2 * max(len(names), 4), 1.4), size=(11, height), shared=True
        )
        image = heat_map(heat, clock, matrix, names)
        heat.set_title(title)
        spans = shade(labels, clock, strip)
        score_strip(strip, clock, score, threshold)
        flagged_points(strip, clock, score, flagged)
        legend_above(strip, spans)
        date_axis(strip)
        bar = figure.colorbar(image, ax=[heat, strip], shrink=0.6, pad=0.015, aspect=30)
        bar.set_label("score of the metric")
        bar.outline.set_visible(False)
        return png(figure)


def score_histogram(
    scores: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    threshold: float = 0.7,
    title: str = "Scores",
) -> bytes:
    """Draw how scores are spread, normal and anomalous rows apart where labels are known.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        In [0, 1]; NaN is left out.
    labels : array_like of bool, shape (n,), optional
        Known anomalies.
    threshold : float
        Drawn as a line.
    title : str
        Text.

    Returns
    -------
    bytes
        A PNG. Counts are on a logarithmic axis: what matters is the thin upper end.
    """
    score = _floats(scores)
    known = np.isfinite(score)
    log = bool(known.any())
    bins = np.linspace(0, 1, 51)
    with style():
        figure, (axes,) = panels(1, size=(7.5, 4))
        if labels is None:
            axes.hist(score[known], bins=bins, color=MEASURED, log=log)
        else:
            truth = np.asarray(labels, dtype=np.bool_)[known]
            parts = [score[known][~truth], score[known][truth]]
            names = [f"normal ({parts[0].size:,})", f"anomalous ({parts[1].size:,})"]
            axes.hist(
                parts, bins=bins, stacked=True, color=[MEASURED, LABELLED], label=names, log=log
            )
        share = float(np.mean(score[known] >= threshold)) if known.any() else 0.0
        axes.axvline(threshold, color=FLAGGED, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"threshold {threshold:g}\n{share:.2%} at or above",
            (threshold, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(6, 0),
            textcoords="offset points",
            va="top",
            color=FLAGGED,
            fontsize=8.5,
        )
        axes.set(xlim=(0, 1), xlabel="score", ylabel="rows", title=title)
        axes.set_ylim(bottom=0.8)
        if labels is not None:
            axes.legend(loc="upper center")
        return png(figure)


def quality_curves(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    flags: ArrayLike | None = None,
    title: str = "",
    note: str = "",
) -> bytes:
    """Draw the precision-recall and the ROC curve side by side.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
        At least one of each class.
    scores : array_like of float, shape (n,)
        Higher = more anomalous; NaN counts as the lowest.
    flags : array_like of bool, shape (n,), optional
        Decisions; where given, they are marked on both curves.
    title : str
        Text above both.
    note : str
        Text below both: what has to be known to read them.

    Returns
    -------
    bytes
        A PNG.
    """
    truth = np.asarray(labels, dtype=np.bool_)
    score = _floats(scores)
    score = np.where(np.isnan(score), -np.inf, score)
    with style():
        figure, (left, right) = panels(1, columns=2, size=(10, 4.4))
        recall, precision = pr_curve(truth, score)
        left.step(recall, precision, where="pre", color=MEASURED, linewidth=1.6)
        left.axhline(truth.mean(), color=GUIDE, linestyle="--", linewidth=1, label="chance")
        left.set(xlabel="recall", ylabel="precision")
        left.set_title(f"Precision and recall, area {auc_pr(truth, score):.3f}")
        false_rate, hits = roc_curve(truth, score)
        right.plot(false_rate, hits, color=MEASURED, linewidth=1.6)
        right.plot([0, 1], [0, 1], color=GUIDE, linestyle="--", linewidth=1, label="chance")
        right.set(xlabel="false-positive rate", ylabel="recall")
        right.set_title(f"ROC, area {auc_roc(truth, score):.3f}")
        if flags is not None:
            counts = confusion(truth, flags)
            mark = {"s": 46, "color": FLAGGED, "zorder": 4, "label": "live threshold"}
            if counts.precision is not None:
                left.scatter([counts.recall], [counts.precision], **mark)
            right.scatter([counts.false_positive_rate], [counts.recall], **mark)
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
            axes.legend(loc="lower right" if axes is right else "upper right")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontweight="bold", color=INK)
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=INK)
        return png(figure)


def loss_curves(training: ArrayLike, validation: ArrayLike, *, title: str = "") -> bytes:
    """Draw the losses of a training, epoch by epoch, with the best epoch marked.

    Parameters
    ----------
    training, validation : array_like of float, shape (n,)
        Loss after each epoch in nats per event, n at least 1.
    title : str
        Text.

    Returns
    -------
    bytes
        A PNG.
    """
    losses = {"training": _floats(training), "validation": _floats(validation)}
    epochs = np.arange(1, losses["training"].size + 1)
    best = int(np.nanargmin(losses["validation"]))
    with style():
        figure, (axes,) = panels(1, size=(7.5, 4))
        for (name, loss), color in zip(losses.items(), (GUIDE, MEASURED), strict=True):
            axes.plot(epochs, loss, color=color, marker="o", markersize=3, label=name)
        axes.axvline(epochs[best], color=FLAGGED, linewidth=1, linestyle="--", label="kept")
        axes.set(xlabel="epoch", ylabel="loss (nats per event)", title=title)
        axes.legend()
        return png(figure)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)
