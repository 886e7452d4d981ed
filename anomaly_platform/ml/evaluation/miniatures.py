"""Small drawings as SVG, so small that Dagster's pages show them without a click.

What belongs here: histograms, curves and losses of at most ``LARGEST`` bytes. Its pages unfold
Markdown of less than a thousand characters and put a link in the place of what is longer.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

LARGEST: Final = 700
_BASE, _TOP = 84, 14
_HEIGHT = _BASE - _TOP
_POINTS = 18


class Drawing(str):
    """The text of an SVG file."""

    __slots__ = ()


def histogram(counts: npt.NDArray[np.int64], *, threshold: float, title: str) -> Drawing:
    """Draw counts over equal bins of [0, 1], on a logarithmic axis, and where the threshold lies.

    Examples
    --------
    >>> histogram(np.array([9, 0, 1]), threshold=0.7, title="Scores")[:4]
    '<svg'
    """
    tall = np.rint(_HEIGHT * np.log1p(counts) / np.log1p(max(1, counts.max()))).astype(int)
    width = 300 / counts.size
    bars = "".join(f"V{_BASE - height}h{width:g}" for height in tall)
    mark = 10 + round(300 * threshold)
    return _svg(
        f"<path d='M10 {_BASE}{bars}V{_BASE}z' fill='#47a'/>"
        f"<path d='M{mark} {_TOP}V{_BASE}' stroke='#c33'/>"
        f"{_text(10, 10, f'{title}: {int(counts.sum()):,}')}{_text(10, 97, '0')}"
        f"{_text(mark - 8, 97, f'{threshold:.2g}')}{_text(304, 97, '1')}"
    )


def curves(panels: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Drawing:
    """Draw up to two curves beside each other, from x in [0, 1] to y in [0, 1]."""
    drawn = []
    for number, (title, (x, y)) in enumerate(panels.items()):
        left = 10 + 155 * number
        across, up = _few(np.asarray(x, np.float64)), _few(np.asarray(y, np.float64))
        points = " ".join(
            f"{left + round(140 * a)} {_BASE - round(_HEIGHT * min(1.0, b))}"
            for a, b in zip(across, up, strict=True)
        )
        drawn.append(
            f"<path d='M{left} {_TOP}v{_HEIGHT}h140' stroke='#999' fill='none'/>"
            f"<polyline points='{points}' stroke='#47a' fill='none'/>{_text(left, 10, title)}"
        )
    return _svg("".join(drawn))


def losses(training: ArrayLike, validation: ArrayLike) -> Drawing:
    """Draw the losses of a training over its epochs, from zero on, and name its best epoch."""
    lines = [np.asarray(one, np.float64) for one in (training, validation)]
    highest = float(np.nanmax(np.concatenate(lines))) or 1.0
    best = int(np.nanargmin(lines[1])) + 1
    drawn = []
    for line, color in zip(lines, ("#999", "#47a"), strict=True):
        few = _few(line)
        across = np.rint(np.linspace(10, 310, few.size)).astype(int)
        up = np.rint(_BASE - _HEIGHT * few / highest)
        points = " ".join(f"{x} {y:.0f}" for x, y in zip(across, up, strict=True) if np.isfinite(y))
        drawn.append(f"<polyline points='{points}' stroke='{color}' fill='none'/>")
    title = f"loss, from {highest:.3g}: training grey, held out blue"
    return _svg(
        f"{''.join(drawn)}{_text(10, 10, title)}"
        f"{_text(10, 97, f'epochs 1 to {lines[0].size}, best: {best}')}"
    )


def _few(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return at most as many values as a small drawing has room for, the ends among them."""
    places = np.linspace(0, values.size - 1, min(values.size, _POINTS)).round().astype(int)
    few: npt.NDArray[np.float64] = values[places]
    return few


def _text(x: int, y: int, words: str) -> str:
    return f"<text x='{x}' y='{y}'>{words}</text>"


def _svg(inside: str) -> Drawing:
    return Drawing(
        "<svg xmlns='http://www.w3.org/2000/svg' width='320' height='100' font-size='9'>"
        f"<rect width='320' height='100' fill='#fff'/>{inside}</svg>"
    )
