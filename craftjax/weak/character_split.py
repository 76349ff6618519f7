"""Split a word into exactly as many characters as its text has.

The word's columns are divided into cells, one for each character, by dynamic programming. The cost
of a cell is

* the difference of the teacher's scores from those of a character of its width: the region score
  is a Gaussian in the middle of the cell, the affinity score one on the edge to each neighbor;
* the difference of its width from that of its letter: an "i" is narrower than an "m". The widths
  are measured on the bundled fonts (`ocrcore/character_widths.py`);

and the cost of a cut is the ink it goes through. The outer edges are those of the word, without
margins that have no ink.

Teachers are biased: `craft_mlt_25k` places most characters too far right, by about a tenth of their
width, at every size. So the word is first split without the scores, and the bias is measured
against that split.

The weights were chosen on the first 50 photos of ICDAR 2003 and 250 words of IIIT5K;
`docs/benchmarks.md` has the results on the others. Host code: NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from craftjax.boxes import MAP_STRIDE
from ocrcore.character_widths import UNKNOWN, character_width
from ocrcore.pages import ByteArray, FloatArray

Floats = NDArray[np.float64]

_LEAST_SPREAD = 0.16

# Columns of the scores are merged until a cell has this many on average.
_COLUMNS = 48
_WIDEST = 384  # most columns of a cell
_GROWTH = 2.5  # greatest width of a cell relative to the widest expected one

# Profile of `craft_mlt_25k`'s region scores across a character, medians over ICDAR 2003: height and
# steepness. The middle of a cell is 0, its edges are -1 and 1.
_REGION = (0.95, 1.2)
_AFFINITY = (0.85, 3.0)
_BIASES = tuple(round(0.04 * step, 2) for step in range(-5, 6))

# Weights relative to the squared differences of the scores, per column of a mean cell.
_WIDTH_WEIGHT = 0.24
_INK_WEIGHT = 0.9
_INK_ROWS = 0.08  # share of the height that is ignored at the top and the bottom
_INK_BLUR = 1 / 64  # relative to the height

# A margin of the word ends slightly before the ink begins; both as shares of the height.
_MARGIN_INK = 0.15
_MARGIN_KEPT = 0.08
_MARGIN_MOST = 0.25

_GAP = 4  # kind of a cell without a character


class Split(NamedTuple):
    """The split of a word.

    Attributes:
        edges: `(m + 1,)` float64, edges of the cells in columns of the scores.
        blind: edges found without the scores, from ink and widths only.
        confidence: in [0, 1], the actual region score as a share of the one that characters at
            `edges` would have.
    """

    edges: Floats
    blind: Floats
    confidence: float


def split_word(
    region: FloatArray,
    affinity: FloatArray,
    image: ByteArray,
    cells: Sequence[str],
    *,
    even: bool = False,
) -> Split:
    """Split a word along the reading axis.

    Args:
        region: `(H, W)` region scores.
        affinity: `(H, W)` affinity scores.
        image: the crop that was scored, uint8, about `(2 * H, 2 * W, 3)`.
        cells: at least one: graphemes, and white space between them.
        even: expect the same width for all characters.
    """
    count = len(cells)
    if count > region.shape[1]:  # less than a column for each
        edges = np.linspace(0, region.shape[1], count + 1)
        return Split(edges, edges, 0.0)
    left, right = _inked(image, region.shape[1] // (2 * count))
    split = _split(
        region[:, left:right],
        affinity[:, left:right],
        image[:, MAP_STRIDE * left : MAP_STRIDE * right],
        _kinds(cells),
        [UNKNOWN if even else character_width(cell) for cell in cells],
    )
    return Split(split.edges + left, split.blind + left, split.confidence)


def _split(
    region: FloatArray,
    affinity: FloatArray,
    image: ByteArray,
    kinds: Sequence[int],
    expected: Sequence[tuple[float, float]],
) -> Split:
    """Split a word whose margins were removed."""
    width, count = region.shape[1], len(kinds)
    step = max(1, round(width / count / _COLUMNS))
    columns = -(-width // step)
    rise = _profile(region, columns, step)
    link = _profile(affinity, columns, step)
    ink = _ink(image)
    # Edges of columns in pixels, relative to the center of the first pixel.
    places = np.arange(columns + 1) * (step * MAP_STRIDE) - 0.5
    cuts = (_INK_WEIGHT * columns / count) * np.interp(places, np.arange(len(ink)), ink)
    share = columns / sum(w for w, _ in expected)
    widths = [(w * share, max(spread, _LEAST_SPREAD)) for w, spread in expected]
    widest = min(columns, _WIDEST, int(np.ceil(_GROWTH * max(w for w, _ in widths))))
    widest = max(widest, -(-columns // count))

    blind = _cut(None, kinds, widths, cuts, columns, widest)
    bias = _bias(rise, blind, kinds)
    costs = _costs(rise, link, set(kinds), widest, bias)
    edges = _cut(costs, kinds, widths, cuts, columns, widest)
    confidence = 1 - min(*_misfit(rise, edges, kinds, [bias]), 1.0)
    return Split(
        np.minimum(edges * step, width).astype(np.float64),
        np.minimum(blind * step, width).astype(np.float64),
        confidence,
    )


def _kinds(cells: Sequence[str]) -> list[int]:
    """The kind of each cell: 1 if it has a left neighbor, plus 2 for a right one; or `_GAP`."""
    inked = [False, *(not cell.isspace() for cell in cells), False]
    return [inked[i - 1] + 2 * inked[i + 1] if inked[i] else _GAP for i in range(1, len(inked) - 1)]


def _profile(scores: FloatArray, columns: int, step: int) -> FloatArray:
    """The highest score of every `step` columns, as `(columns,)`."""
    high = np.clip(scores.max(axis=0), 0, 1)
    out = np.zeros(columns * step, np.float32)
    out[: len(high)] = high
    return out.reshape(columns, step).mean(axis=1)


def _ink(image: ByteArray) -> FloatArray:
    """Unevenness of the columns of an image, `(w,)`: about 1 in a stroke, 0 between strokes."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    skipped = int(_INK_ROWS * len(gray))
    rows = gray[skipped : len(gray) - skipped].astype(np.float32)
    uneven = cv2.GaussianBlur(rows.std(axis=0)[None], (0, 0), _INK_BLUR * len(gray))[0]
    return np.minimum(uneven / (np.percentile(uneven, 90) + 4), 1.2).astype(np.float32)


def _inked(image: ByteArray, most: int) -> tuple[int, int]:
    """First and last column of the scores after removing margins of at most `most` columns."""
    height, width = image.shape[0] // MAP_STRIDE, image.shape[1] // MAP_STRIDE
    ink = _ink(image)[: width * MAP_STRIDE].reshape(width, MAP_STRIDE).mean(axis=1)
    most = min(most, round(_MARGIN_MOST * height))
    kept = round(_MARGIN_KEPT * height)
    inked = np.flatnonzero(ink >= _MARGIN_INK)
    if not len(inked):
        return 0, width
    left = min(max(inked[0] - kept, 0), most)
    right = min(max(width - 1 - inked[-1] - kept, 0), most)
    return int(left), int(width - right)


@lru_cache(maxsize=len(_BIASES))
def _templates(bias: float) -> tuple[FloatArray, FloatArray]:
    """Expected scores across cells of 1, 2, ... columns.

    Returns:
        `(_WIDEST, _WIDEST)` region scores, `[:, w - 1]` those of a cell of `w` columns in the last
        `w` rows; and for the four kinds of cells with a character the affinity scores.
    """
    place = np.arange(_WIDEST)[:, None] - _WIDEST + 0.5
    across = np.arange(1, _WIDEST + 1)[None]
    there = 1 + 2 * place / across  # -1 to 1
    inside = there > -1
    there -= 2 * bias
    region = inside * _bump(there, *_REGION)
    left = inside * _bump(there + 1, *_AFFINITY)
    right = inside * _bump(there - 1, *_AFFINITY)
    return region, np.stack([0 * left, left, right, np.maximum(left, right)])


def _bump(place: NDArray[Any], height: float, steepness: float) -> FloatArray:
    return (height * np.exp(-steepness * place * place)).astype(np.float32)


def _windows(values: FloatArray, widest: int) -> FloatArray:
    """The `widest` values before each place, `(len + 1, widest)`, zeros before the first."""
    padded = np.concatenate([np.zeros(widest, np.float32), values])
    return sliding_window_view(padded, widest)


def _costs(
    rise: FloatArray, link: FloatArray, kinds: set[int], widest: int, bias: float
) -> dict[int, FloatArray]:
    """For each kind the cost of a cell by its end and width, as `(columns + 1, widest)`."""
    region, affinity = (t[..., -widest:, :widest] for t in _templates(bias))
    before = [_windows(scores, widest) for scores in (rise, link)]
    squares = rise**2 + link**2
    # Sums over the last 1, 2, ... columns.
    energy = np.cumsum(_windows(squares, widest)[:, ::-1], axis=1)
    characters = energy + (region**2).sum(axis=0) - 2 * (before[0] @ region)
    out = {}
    for kind in kinds:
        if kind == _GAP:
            out[kind] = energy
        else:
            model = affinity[kind]
            out[kind] = characters + (model**2).sum(axis=0) - 2 * (before[1] @ model)
    return out


def _cut(
    costs: dict[int, FloatArray] | None,
    kinds: Sequence[int],
    widths: Sequence[tuple[float, float]],
    cuts: FloatArray,
    columns: int,
    widest: int,
) -> NDArray[np.intp]:
    """The edges with the least cost; without `costs` only from widths and cuts."""
    across = np.log(np.arange(1, widest + 1))
    unit = _WIDTH_WEIGHT * columns / len(kinds)
    width, spread = np.array(widths).T[..., None]
    # Heavy-tailed like a t-distribution: a width may be far off if the scores demand it.
    odd = (unit * np.log1p(((across - np.log(width)) / spread) ** 2 / 2)).astype(np.float32)
    best = np.full(widest + columns + 1, np.inf, np.float32)  # padded before the first column
    best[widest] = 0
    before = sliding_window_view(best[:-1], widest)[:, ::-1]  # a view that follows `best`
    total = np.empty((columns + 1, widest), np.float32)
    rows, cuts = np.arange(columns + 1), cuts.astype(np.float32)
    chosen = []
    for cell, kind in enumerate(kinds):
        np.add(before, odd[cell], out=total)
        if costs is not None:
            total += costs[kind]
        taken = total.argmin(axis=1)
        chosen.append(taken + 1)
        best[widest:] = total[rows, taken] + cuts
    edges = [columns]
    for taken in reversed(chosen):
        edges.append(edges[-1] - int(taken[edges[-1]]))
    return np.array(edges[::-1])


def _misfit(
    rise: FloatArray, edges: NDArray[np.intp], kinds: Sequence[int], biases: Sequence[float]
) -> list[float]:
    """Squared difference from the expected region scores, relative to the expected scores."""
    sizes = np.diff(edges)
    middles = np.repeat((edges[1:] + edges[:-1]) / 2, sizes)
    there = (np.arange(len(rise)) + 0.5 - middles) / np.repeat(sizes / 2, sizes)
    inked = np.repeat(np.array(kinds) != _GAP, sizes)
    model = inked * _bump(there - 2 * np.array(biases)[:, None], *_REGION)
    found: list[float] = (((rise - model) ** 2).sum(axis=1) / (model**2).sum(axis=1)).tolist()
    return found


def _bias(rise: FloatArray, edges: NDArray[np.intp], kinds: Sequence[int]) -> float:
    """Shift of the scores to the right of the characters, relative to their widths."""
    misfits = zip(_misfit(rise, edges, kinds, _BIASES), map(abs, _BIASES), _BIASES, strict=True)
    return min(misfits)[-1]
