# mypy: disallow-untyped-calls=False
"""The parts that pictures share: panels, colours, the score strip, shading, encoding.

What belongs here: everything that knows matplotlib and is used by more than one picture. What does
not: whole pictures (plots). Figures are made without pyplot, so that nothing is kept behind one's
back; matplotlib is imported on first use, because importing it costs a third of a second.
"""

import io
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.evaluation.measures import bools
from anomaly_platform.ml.evaluation.vus import segments

# matplotlib's own types know neither its dates nor dictionaries of keywords.
Axes: TypeAlias = Any
Figure: TypeAlias = Any
TimeArray = NDArray[np.datetime64]

MEASURED = "#2f6690"
FLAGGED = "#c8313e"
LABELLED = "#f4b942"
GUIDE = "#8a939c"
INK = "#22303c"
_DPI = 140
# More points than this are drawn as the lowest and highest of each stretch: nothing is hidden.
_MOST_POINTS = 4000
_STYLE: Any = {
    "font.size": 9.5,
    "axes.edgecolor": "#b9c0c7",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e7eaed",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#56616c",
    "ytick.color": "#56616c",
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def panels(
    rows: int,
    *,
    size: tuple[float, float],
    heights: Sequence[float] = (1,),
    columns: int = 1,
    shared: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `size` inches with `rows` x `columns` panels, in reading order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    grid = figure.subplots(
        rows, columns, sharex=shared, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    return figure, list(grid.ravel())


def score_strip(axes: Axes, clock: TimeArray, score: Floats, threshold: float) -> None:
    """Draw a score in [0, 1] over time with its threshold."""
    line(axes, clock, score, color=INK, linewidth=0.8)
    axes.axhline(threshold, color=FLAGGED, linewidth=1, linestyle="--")
    axes.set(ylim=(0, 1.04), ylabel="score")
    axes.set_yticks([0, threshold, 1])


def line(axes: Axes, clock: TimeArray, values: Floats, **style: Any) -> None:
    """Draw a line; of a long one the extremes of each stretch, so that no spike is lost."""
    rows = values.size
    if rows > _MOST_POINTS:
        stretch = -(-2 * rows // _MOST_POINTS)
        whole = rows - rows % stretch
        parts = values[:whole].reshape(-1, stretch)
        offset = np.arange(parts.shape[0]) * stretch
        low = np.where(np.isnan(parts), np.inf, parts).argmin(axis=1) + offset
        high = np.where(np.isnan(parts), -np.inf, parts).argmax(axis=1) + offset
        kept = np.unique(np.concatenate((low, high, np.arange(whole, rows))))
        clock, values = clock[kept], values[kept]
    axes.plot(clock, values, **style)


def flagged_points(axes: Axes, clock: TimeArray, values: Floats, flagged: Bools) -> None:
    """Mark what was flagged, as far as there is a value to mark; the legend counts all of it."""
    shown = flagged & np.isfinite(values)
    label = f"flagged ({int(flagged.sum()):,})"
    axes.scatter(clock[shown], values[shown], s=12, color=FLAGGED, zorder=3, label=label)


def heat_map(axes: Axes, clock: TimeArray, matrix: Floats, names: Sequence[str]) -> Any:
    """Draw a row of colour per name over time, shape (names, n); return it for a colour bar."""
    from matplotlib.dates import date2num

    stretch = max(1, -(-matrix.shape[1] // _MOST_POINTS))
    starts = np.arange(0, matrix.shape[1], stretch)
    # The highest of each stretch: a short anomaly must not vanish on a wide picture.
    highest = np.fmax.reduceat(matrix, starts, axis=1) if matrix.size else matrix
    edges = date2num(np.append(clock[starts], clock[-1:]))
    image = axes.pcolormesh(
        edges, np.arange(len(names) + 1), highest, cmap="YlOrRd", vmin=0, vmax=1, rasterized=True
    )
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7.5)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    return image


def shade(labels: ArrayLike | None, clock: TimeArray, *strips: Axes) -> int:
    """Shade every labelled span, wide enough to be seen; return their number."""
    if labels is None or not clock.size:
        return 0
    runs = segments(labels)
    least = (clock[-1] - clock[0]) / 400
    for number, (start, stop) in enumerate(runs.tolist()):
        pad = max((least - (clock[stop] - clock[start])) / 2, np.timedelta64(0, "us"))
        label = "_" if number else f"labelled ({len(runs)})"
        span = (clock[start] - pad, clock[stop] + pad)
        for axes in strips:
            axes.axvspan(*span, color=LABELLED, alpha=0.35, linewidth=0, zorder=0, label=label)
    return len(runs)


def legend_above(axes: Axes, spans: int) -> None:
    """Put the legend above the right end of the axes, out of the way of the data."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3 if spans else 2, borderaxespad=0.2
    )


def date_axis(axes: Axes) -> None:
    """Label the time axis with as few words as tell the time."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.margins(x=0.01)


def style() -> Any:
    """Return the context within which a picture is drawn and encoded."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def png(figure: Figure) -> bytes:
    """Return the figure as PNG; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def timestamps(times: ArrayLike) -> TimeArray:
    """Return times as NumPy's, in microseconds."""
    return np.asarray(times, dtype="datetime64[us]")


def decisions(flags: ArrayLike | None, scores: Floats, threshold: float) -> Bools:
    """Return what was flagged: as given, or where the score reaches the threshold."""
    if flags is None:
        return np.asarray(scores >= threshold)
    return bools(flags, "flags")
