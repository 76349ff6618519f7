"""Plots the training curves of a run: losses and scores over the steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ocrcore.files import replacing

_COLORS = ("#1f5ac8", "#dc6e14", "#28964e", "#963ca0", "#5a5a5a")


def write_curves(
    path: str | Path,
    metrics: str | Path,
    *,
    losses: Mapping[str, str],
    scores: Mapping[str, str],
) -> None:
    """Plot losses (logarithmic) above scores, titled with the name of the run directory.

    Missing and non-finite values and non-positive losses are left out; names without values are
    left out of the legend.

    Args:
        path: the PNG file to write.
        metrics: the run's `metrics.jsonl`.
        losses: legend names and the columns they plot.
        scores: legend names and the columns they plot.
    """
    # Imported here because matplotlib is slow to import and only needed at the end of a run.
    # pyplot is avoided because it would choose a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    metrics = Path(metrics)
    lines = metrics.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    figure = Figure(figsize=(9.6, 7.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(metrics.absolute().parent.name)
    above, below = figure.subplots(2, sharex=True)
    _plot(above, rows, losses, positive=True)
    above.set_ylabel("loss (logarithmic)")
    if above.lines:
        above.set_yscale("log")
        above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=15))
        above.yaxis.set_minor_locator(NullLocator())
        above.yaxis.set_major_formatter("{x:g}")
    _plot(below, rows, scores, positive=False)
    below.set_ylabel("score in evaluations (1 is best)")
    below.set_xlabel("step (updates of the weights)")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path) as part:
        figure.savefig(part, format="png")


def _plot(
    axes: Any, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], *, positive: bool
) -> None:
    """Plot columns of the metrics; points of short curves get markers."""
    for (name, column), color in zip(names.items(), _COLORS, strict=False):
        points = [(row["step"], row[column]) for row in rows if row.get(column) is not None]
        points = [(x, y) for x, y in points if isfinite(y) and (y > 0 or not positive)]
        if points:
            marker = "o" if len(points) <= 50 else ""
            axes.plot(*zip(*points, strict=True), label=name, color=color, marker=marker, ms=3)
    if axes.lines:
        axes.legend()
    axes.grid(color="0.9")
