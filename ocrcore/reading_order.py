"""Sorts the words of a page into reading order: lines, paragraphs, columns.

Everything is relative to the direction of the text, so a page may be rotated. Words that run in
another direction (up, down, upside down) form lines of their own, after those of the main one.

1. Lines: a word continues with the next one to its right if both have about the same height, their
   middles are at about the same height, and the gap is at most about a letter and a half wide.
2. Paragraphs: a line continues with the one below it if both have about the same height, the gap is
   less than their height, and they overlap horizontally.
3. Order of paragraphs, as T. Breuel orders lines ("High performance document layout analysis",
   2003): a paragraph above another one in the same column comes first; so does one to the left,
   unless something between them spans both columns.

Host code: NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ocrcore.geometry import Bools, Floats
from ocrcore.pages import Page, Word

_GAP = 1.5  # maximum gap between words of a line, in heights of the lower one
_OVERLAP = 0.5  # maximum overlap of words of a line, in these heights
_SHIFT = 0.5  # maximum vertical shift between words of a line, in these heights
_WORD_HEIGHTS = 0.5  # minimum ratio of the heights of words of a line
_LINE_HEIGHTS = 0.65  # the same for lines of a paragraph
_LEADING = 1.0  # maximum gap between lines of a paragraph, in heights of the lower one
_COVERED = 0.3  # minimum horizontal overlap of lines of a paragraph, in widths of the shorter one
_ROWS = 256  # rows of pairs to process at once; bounds the memory for crowded pages
_MOST = 2000  # maximum number of paragraphs to order exactly
_LEVEL = 1.5  # minimum width over height of a word that shows its direction


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Words, lines or paragraphs in the frame of the text, in which lines are nearly horizontal."""

    left: Floats
    right: Floats
    middle: Floats
    height: Floats
    slope: Floats

    def __len__(self) -> int:
        return len(self.left)

    def part(self, rows: slice) -> _Boxes:
        """Return some boxes as columns, for pairs with all."""
        return _Boxes(*(values[rows, None] for values in self._values()))

    def joined(self, groups: Sequence[Sequence[int]]) -> _Boxes:
        """Return the bounding boxes of groups of boxes."""
        top, bottom = self.middle - self.height / 2, self.middle + self.height / 2
        first = np.array([top[group].min() for group in map(list, groups)])
        last = np.array([bottom[group].max() for group in map(list, groups)])
        return _Boxes(
            np.array([self.left[group].min() for group in map(list, groups)]),
            np.array([self.right[group].max() for group in map(list, groups)]),
            (first + last) / 2,
            last - first,
            np.zeros(len(groups)),
        )

    def _values(self) -> tuple[Floats, ...]:
        return self.left, self.right, self.middle, self.height, self.slope


def arrange(page: Page) -> Page:
    """Sort words into reading order, and set the line and paragraph of each.

    Args:
        page: words in any order; their quads begin at the top left in reading direction.

    Returns:
        The same words, sorted, with `line` and `paragraph`, and the page's `orientation`.
    """
    if not page.words:
        return page
    quads = page.quads.astype(np.float64)
    along = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    down = (quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]) / 2
    lengths, heights = np.hypot(*along.T), np.hypot(*down.T)
    angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    # A short word says little about its direction.
    level = lengths >= _LEVEL * heights
    weights = np.where(level, lengths, 1e-3 * lengths + 1e-6)
    main = _main_angle(angles, weights)
    off = angles - main
    quarters = np.round(off / 90).astype(int) % 4
    slopes = np.where(level, np.tan(np.radians((off + 45) % 90 - 45)), 0.0)
    shares = np.bincount(quarters, weights=weights, minlength=4)
    words: list[Word] = []
    line = paragraph = 0
    for quarter in np.argsort(-shares, kind="stable"):
        members = np.flatnonzero(quarters == quarter)
        if not len(members):
            continue
        boxes = _in_frame(quads[members], heights[members], slopes[members], main + 90 * quarter)
        lines = _chains(boxes, _line_costs)
        line_boxes = boxes.joined(lines)
        paragraphs = _chains(line_boxes, _paragraph_costs)
        for one in _order(line_boxes.joined(paragraphs)):
            for number in paragraphs[one]:
                words += [
                    replace(page.words[members[index]], line=line, paragraph=paragraph)
                    for index in lines[number]
                ]
                line += 1
            paragraph += 1
    return replace(page, words=tuple(words), orientation=float(np.round(main, 2)) % 360)


def _main_angle(angles: Floats, weights: Floats) -> float:
    """Return the main text direction in degrees: the median around the densest 90 degrees."""
    counts, _ = np.histogram(angles % 360, bins=360, range=(0, 360), weights=weights)
    quarter = np.convolve(np.r_[counts, counts[:89]], np.ones(90), "valid")
    center = int(quarter.argmax()) + 45
    off = (angles - center + 180) % 360 - 180
    near = np.flatnonzero(np.abs(off) <= 45)
    order = near[np.argsort(off[near])]
    sums = np.cumsum(weights[order])
    return center + float(off[order[np.searchsorted(sums, sums[-1] / 2)]])


def _in_frame(quads: Floats, heights: Floats, slopes: Floats, degrees: float) -> _Boxes:
    """Rotate quads so that text of this direction runs to the right."""
    turn = np.radians(degrees)
    x = quads @ np.array([np.cos(turn), np.sin(turn)])
    y = quads @ np.array([-np.sin(turn), np.cos(turn)])
    left, right = (x[:, 0] + x[:, 3]) / 2, (x[:, 1] + x[:, 2]) / 2
    return _Boxes(left, right, y.mean(axis=1), np.maximum(heights, 1e-6), slopes)


def _line_costs(one: _Boxes, two: _Boxes) -> Floats:
    """Return costs `(M, N)` of words as the next in a line; inf if impossible."""
    low, alike = _heights(one, two, _WORD_HEIGHTS)
    gap = two.left - one.right
    step = (two.left + two.right) / 2 - (one.left + one.right) / 2
    width = one.right - one.left
    share = width / np.maximum(width + two.right - two.left, 1e-6)
    slope = share * one.slope + (1 - share) * two.slope
    shift = np.abs(two.middle - one.middle - slope * step)
    fits = alike & (step > 0) & (shift <= _SHIFT * low)
    fits &= (gap <= _GAP * low) & (gap >= -_OVERLAP * low)
    return np.where(fits, gap + _OVERLAP * low + 2 * shift, np.inf)


def _paragraph_costs(one: _Boxes, two: _Boxes) -> Floats:
    """Return costs `(M, N)` of lines as the next in a paragraph; inf if impossible."""
    low, alike = _heights(one, two, _LINE_HEIGHTS)
    step = two.middle - one.middle
    gap = step - (one.height + two.height) / 2
    shorter = np.minimum(one.right - one.left, two.right - two.left)
    fits = alike & (step > 0) & (gap <= _LEADING * low) & (gap >= -_OVERLAP * low)
    fits &= _covered(one, two) >= _COVERED * shorter
    return np.where(fits, step, np.inf)


def _heights(one: _Boxes, two: _Boxes, least: float) -> tuple[Floats, Bools]:
    """Return the lower of two heights, and whether it is at least this fraction of the other."""
    low = np.minimum(one.height, two.height)
    return low, low >= least * np.maximum(one.height, two.height)


def _covered(one: _Boxes, two: _Boxes) -> Floats:
    """Return the horizontal overlap of two boxes; negative if there is a gap."""
    return np.minimum(one.right, two.right) - np.maximum(one.left, two.left)


def _chains(boxes: _Boxes, costs: Callable[[_Boxes, _Boxes], Floats]) -> list[list[int]]:
    """Links each box to its cheapest follower, if that one's cheapest predecessor is the box."""
    count = len(boxes)
    after, before = np.zeros(count, np.intp), np.zeros(count, np.intp)
    least, best = np.full(count, np.inf), np.full(count, np.inf)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        block = costs(boxes.part(rows), boxes)
        after[rows], least[rows] = block.argmin(axis=1), block.min(axis=1)
        better = block.min(axis=0) < best
        before[better] = start + block.argmin(axis=0)[better]
        best = np.minimum(best, block.min(axis=0))
    linked = (before[after] == np.arange(count)) & np.isfinite(least)
    follows = {int(index): int(after[index]) for index in np.flatnonzero(linked)}
    chains = []
    for start in sorted(set(range(count)).difference(follows.values())):
        chain = [start]
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        chains.append(chain)
    return chains


def _order(boxes: _Boxes) -> list[int]:
    """Return the reading order of paragraphs; very many are simply sorted from the top."""
    count = len(boxes)
    if count > _MOST:
        return [int(index) for index in np.lexsort((boxes.left, boxes.middle))]
    columns = boxes.part(slice(None))
    above = (_covered(columns, boxes) > 0) & (columns.middle < boxes.middle)
    # Paths of length two in `above`: there is something between the two paragraphs.
    steps = above.astype(np.float32)
    between = (steps @ steps) > 0
    first = above | ((columns.right <= boxes.left) & ~between & ~between.T)
    waiting = first.sum(axis=0)
    order: list[int] = []
    for _ in range(count):
        # In a cycle, choose the one that waits for the fewest, then the topmost.
        chosen = int(np.lexsort((boxes.middle, waiting))[0])
        order.append(chosen)
        waiting -= first[chosen]
        waiting[chosen] = 2 * count * count
    return order
