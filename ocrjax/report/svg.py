"""SVG drawings of the page: curves, threshold grids, intervals.

Colors are classes of the page's style sheet, for light and dark mode. There are no `style`
attributes, so that the page's policy can forbid them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ocrcore.evaluation.statistics import Interval
from ocrjax.report.data import Chart, Threshold, Thresholds

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 40
_HUGE = 1e100  # values of this size or more are not drawn, nor is NaN
_POINTS = 400  # most points of a line; more could not be distinguished
_COLORS = 6  # classes s0 to s5
_BINS = 9  # classes q0 to q8
_CELL = 46, 26
Points = Sequence[tuple[float, float]]


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Return round values that cover a range: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: lower end of the range.
        high: upper end, not below `low`.
        most: approximate number of values.

    Returns:
        Ascending; the first is at most `low`, the last at least `high`.
    """
    if not high > low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values that cover a positive range: 1, 2 and 5 times powers of ten.

    Args:
        low: lower end of the range, positive.
        high: upper end, not below `low`.

    Returns:
        Ascending, two or more; only powers of ten if the range spans more than three of them.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    powers = range(first, last + 1, math.ceil((last - first) / 8))
    if powers[-1] < last:
        powers = range(first, last + 1 + powers.step, powers.step)
    factors = (1,) if len(powers) > 4 else (1, 2, 5)
    values = [float(f"{f}e{power}") for power in powers for f in factors]
    begin = max((i for i, v in enumerate(values) if v <= low * (1 + 1e-9)), default=0)
    end = min((i for i, v in enumerate(values) if v >= high * (1 - 1e-9)), default=len(values) - 1)
    return values[begin : max(end, begin + 1) + 1]


def draw_chart(chart: Chart) -> str:
    """Draw curves over steps; return an empty text if there is no finite value."""
    lines = [(series.name, _kept(series.points, chart.logarithmic)) for series in chart.series]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return ""
    values = [y for _, points in lines for _, y in points]
    steps = [x for _, points in lines for x, _ in points]
    x_ticks = ticks(min(steps), max(steps), most=7)
    y_ticks = (log_ticks if chart.logarithmic else ticks)(min(values), max(values))
    begin, end = min(steps), max(steps)
    if begin == end:
        begin, end = x_ticks[0], x_ticks[-1]

    def across(x: float) -> float:
        return _LEFT + (x - begin) / (end - begin) * (_WIDTH - _LEFT - _RIGHT)

    def scaled(y: float) -> float:
        return math.log10(y) if chart.logarithmic else y

    low, high = scaled(y_ticks[0]), scaled(y_ticks[-1])

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - (scaled(y) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    out = [_open(_WIDTH, _HEIGHT, _said(chart, lines), "chart")]
    for value in y_ticks:
        at = f"{down(value):.1f}"
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        out.append(f'<text class="tick end" x="{_LEFT - 6}" y="{at}" dy=".32em">{value:g}</text>')
    for value in x_ticks:
        if begin <= value <= end:
            x, y = f"{across(value):.1f}", _HEIGHT - _BOTTOM + 16
            anchor = " end" if across(value) > _WIDTH - 40 else " middle"
            out.append(f'<text class="tick{anchor}" x="{x}" y="{y}">{value:,.10g}</text>')
    out.append(
        f'<text class="tick middle" x="{(_LEFT + _WIDTH - _RIGHT) / 2:g}" y="{_HEIGHT - 6}">'
        f"step{' (values: logarithmic)' if chart.logarithmic else ''}</text>"
    )
    if chart.best is not None and begin <= chart.best <= end:
        x = f"{across(chart.best):.1f}"
        top, bottom = _TOP, _HEIGHT - _BOTTOM
        out.append(f'<line class="best" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
    for place, (_, points) in enumerate(lines):
        kind = f"s{place % _COLORS}"
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in _thinned(points))
        out.append(f'<polyline class="line {kind}" points="{path}"/>')
        if len(points) <= 40:
            out += [
                f'<circle class="dot {kind}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.6">'
                f"<title>step {x:g}: {y:.5g}</title></circle>"
                for x, y in points
            ]
    out.append("</svg>")
    legend = [
        f'<li><svg class="key" viewBox="0 0 18 6" aria-hidden="true"><line class="line '
        f's{place % _COLORS}" x1="0" x2="18" y1="3" y2="3"/></svg><bdi>{escape(name)}</bdi> '
        f"<span class=dim>last {points[-1][1]:.4g}</span></li>"
        for place, (name, points) in enumerate(lines)
    ]
    if chart.best is not None and begin <= chart.best <= end:
        legend.append(
            f"<li class=dim>dashed: step {chart.best:,.10g}, whose weights were kept</li>"
        )
    return f"{''.join(out)}<ul class=legend>{''.join(legend)}</ul>"


def draw_thresholds(surface: Thresholds) -> str:
    """Draw hmean over link threshold and low text, one grid for each text threshold."""
    points = [one for one in surface.points if math.isfinite(one.hmean)]
    if not points:
        return ""
    low, high = (f(one.hmean for one in points) for f in (min, max))
    grids = [
        _grid(text, [one for one in points if one.text_threshold == text], surface, (low, high))
        for text in sorted({one.text_threshold for one in points})
    ]
    return f'<div class="grids">{"".join(grids)}</div>'


def _grid(
    text: float, points: Sequence[Threshold], surface: Thresholds, span: tuple[float, float]
) -> str:
    links = sorted({one.link_threshold for one in points}, reverse=True)
    lows = sorted({one.low_text for one in points})
    wide, high = _CELL
    left, top = 44, 8
    width, height = left + wide * len(lows) + 4, top + high * len(links) + 36
    best = max(points, key=lambda one: one.hmean)
    label = (
        f"text threshold {text:g}: best hmean {best.hmean:.4f} at link {best.link_threshold:g}, "
        f"low text {best.low_text:g}"
    )
    out = [_open(width, height, label, "surface")]
    for one in points:
        x = left + wide * lows.index(one.low_text)
        y = top + high * links.index(one.link_threshold)
        share = (one.hmean - span[0]) / ((span[1] - span[0]) or 1)
        kind = f"q{min(int(share * _BINS), _BINS - 1)}"
        said = (
            f"text {one.text_threshold:g}, link {one.link_threshold:g}, low {one.low_text:g}: "
            f"hmean {one.hmean:.4f}, precision {one.precision:.4f}, recall {one.recall:.4f}"
        )
        out.append(
            f'<g><rect class="cell {kind}" x="{x}" y="{y}" width="{wide}" height="{high}"/>'
            f'<text class="value {kind}" x="{x + wide / 2:g}" y="{y + high / 2:g}" dy=".35em">'
            f"{one.hmean:.3f}</text><title>{said}</title></g>"
        )
    for mark, point in (("used", surface.used), ("chosen", surface.chosen)):
        if point is not None and point.text_threshold == text and point.low_text in lows:
            x = left + wide * lows.index(point.low_text)
            y = top + high * links.index(point.link_threshold)
            out.append(
                f'<rect class="mark {mark}" x="{x + 1.5}" y="{y + 1.5}" width="{wide - 3}" '
                f'height="{high - 3}"><title>{mark}</title></rect>'
            )
    for row, value in enumerate(links):
        middle = top + high * (row + 0.5)
        out.append(
            f'<text class="tick end" x="{left - 6}" y="{middle:g}" dy=".32em">{value:g}</text>'
        )
    for column, value in enumerate(lows):
        middle, below = left + wide * (column + 0.5), top + high * len(links) + 14
        out.append(f'<text class="tick middle" x="{middle:g}" y="{below}">{value:g}</text>')
    out.append(
        f'<text class="tick middle" x="{(left + width) / 2:g}" y="{height - 4}">low text; '
        "upward: link</text></svg>"
    )
    return f"<figure><figcaption>text threshold {text:g}</figcaption>{''.join(out)}</figure>"


def draw_gain(gain: Interval, limit: float, *, higher: bool) -> str:
    """Draw a difference with its interval on an axis centered at 0.

    Args:
        gain: the difference.
        limit: half the width of the axis, in units of the gain.
        higher: whether higher is better.
    """
    width, middle = 132, 66

    def across(value: float) -> float:
        return middle + max(-1.0, min(1.0, value / limit)) * (middle - 6)

    kind = verdict(gain, higher=higher)
    low, high, at = (f"{across(value):.1f}" for value in (gain.low, gain.high, gain.value))
    return (
        f"{_open(width, 18, f'{gain.value:+.4f}, {gain.low:+.4f} to {gain.high:+.4f}', 'gain')}"
        f'<line class="grid" x1="{middle}" x2="{middle}" y1="1" y2="17"/>'
        f'<line class="whisker {kind}" x1="{low}" x2="{high}" y1="9" y2="9"/>'
        f'<circle class="spot {kind}" cx="{at}" cy="9" r="4"/></svg>'
    )


def verdict(gain: Interval, *, higher: bool) -> str:
    """Return `better` or `worse` if the interval excludes 0, else `even`."""
    if gain.low > 0:
        return "better" if higher else "worse"
    if gain.high < 0:
        return "worse" if higher else "better"
    return "even"


def _open(width: float, height: float, label: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(label)}">'
    )


def _said(chart: Chart, lines: Sequence[tuple[str, Points]]) -> str:
    """A description of a chart for screen readers."""
    parts = [f"{name} from {p[0][1]:.4g} to {p[-1][1]:.4g}" for name, p in lines]
    return f"{chart.title} over steps: {'; '.join(parts)}"


def _kept(points: Points, positive: bool) -> Points:
    return [
        (x, y)
        for x, y in points
        if abs(x) < _HUGE and abs(y) < _HUGE and (y > 1 / _HUGE or not positive)
    ]


def _thinned(points: Points) -> Points:
    """Reduce a long line to the lowest and highest point of every segment."""
    if len(points) <= _POINTS:
        return points
    length = math.ceil(len(points) / (_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), length):
        part = points[start : start + length]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept
