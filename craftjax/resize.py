"""Page to network input: the resize rule, padding, and the choice of few input shapes.

Host code: NumPy and OpenCV only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ocrcore.pages import ByteArray

Shape = tuple[int, int]
MULTIPLE = 32  # the original pads to it; the network itself takes any size from 16 on
MAX_PROGRAMS = 12


@dataclass(frozen=True, slots=True)
class Fit:
    """How a page is scaled to the network's input.

    Attributes:
        ratio: pixels of the input per pixel of the page.
        height: height of the scaled page in pixels; the rest of the input is black.
        width: width of the scaled page in pixels.
    """

    ratio: float
    height: int
    width: int

    @property
    def padded(self) -> Shape:
        """Height and width rounded up to multiples of 32."""
        return round_up(self.height), round_up(self.width)


def round_up(size: int, multiple: int = MULTIPLE) -> int:
    """Return the least multiple that is not below `size`, and at least one."""
    return max(1, -(-size // multiple)) * multiple


def fit_page(height: int, width: int, *, canvas_size: int | None, mag_ratio: float) -> Fit:
    """Apply EasyOCR's resize rule: magnify up to the canvas (`imgproc.resize_aspect_ratio`).

    Args:
        height: height of the page in pixels.
        width: width of the page in pixels.
        canvas_size: longest side of the network's input; None for no limit.
        mag_ratio: magnification of the page, limited by the canvas.
    """
    longest = max(height, width)
    target = mag_ratio * longest
    if canvas_size is not None:
        target = min(target, canvas_size)
    ratio = target / longest
    return Fit(ratio, max(1, int(height * ratio)), max(1, int(width * ratio)))


def resize_page(image: ByteArray, fit: Fit, shape: Shape | None = None) -> ByteArray:
    """Scale a page and put it at the top left of a black input.

    Args:
        image: `(H, W, 3)` uint8.
        fit: scale of this page.
        shape: height and width of the input; None: `fit.padded`.

    Returns:
        `(*shape, 3)` uint8.
    """
    height, width = shape or fit.padded
    out = np.zeros((height, width, 3), np.uint8)
    inside = out[: fit.height, : fit.width]
    if image.shape[:2] == (fit.height, fit.width):
        inside[:] = image
    else:
        cv2.resize(image, (fit.width, fit.height), dst=inside, interpolation=cv2.INTER_LINEAR)
    return out


def plan_shapes(
    wanted: Sequence[Shape],
    *,
    known: Sequence[Shape] = (),
    most: int = MAX_PROGRAMS,
    slack: float = 0.25,
) -> list[Shape]:
    """Choose input shapes for pages so that few programs serve all of them.

    A page takes a known shape that is at most `slack` larger than needed. The other shapes are
    merged, the pair that adds the least area first, until there are at most `most` including the
    known ones. Once there are `most`, a page takes any known shape that fits it; pages that fit
    none share one last shape.

    Args:
        wanted: the smallest input of each page.
        known: shapes that already have a program.
        most: number of shapes, known ones included.
        slack: share of its own area by which a page's input may grow to reuse a known shape.

    Returns:
        A shape for each page, at least as large as wanted in both dimensions.
    """
    counts = Counter(shape for shape in wanted if _smallest(shape, known, slack) is None)
    if len(known) >= most:
        counts = Counter(shape for shape in counts if _smallest(shape, known, np.inf) is None)
        if counts:
            everything = [*counts, *known]
            counts = Counter([(max(h for h, _ in everything), max(w for _, w in everything))])
    counts = _merge(counts, max(most - len(known), 1))
    shapes = [*counts, *known]
    return [_smallest(shape, shapes, np.inf) or shape for shape in wanted]


def _smallest(shape: Shape, options: Sequence[Shape], slack: float) -> Shape | None:
    """The smallest option that `shape` fits into and that is at most `slack` larger."""
    limit = shape[0] * shape[1] * (1 + slack)
    fitting = [o for o in options if o[0] >= shape[0] and o[1] >= shape[1] and o[0] * o[1] <= limit]
    return min(fitting, key=lambda o: (o[0] * o[1], o), default=None)


def _merge(counts: Counter[Shape], most: int) -> Counter[Shape]:
    """Merge shapes until `most` are left, always the pair that adds the fewest pixels."""
    multiple = MULTIPLE
    while len(counts) > max(most, 256):  # beyond 256 shapes, a coarser grid costs nothing
        multiple *= 2
        coarse: Counter[Shape] = Counter()
        for (height, width), count in counts.items():
            coarse[round_up(height, multiple), round_up(width, multiple)] += count
        counts = coarse
    sizes = np.array(sorted(counts), np.int64).reshape(-1, 2)
    pages = np.array([counts[int(h), int(w)] for h, w in sizes], np.int64)
    while len(sizes) > most:
        area = sizes.prod(1)
        union = np.maximum(sizes[:, None], sizes[None]).prod(2)
        added = pages[:, None] * (union - area[:, None]) + pages[None] * (union - area[None])
        added[np.tril_indices(len(sizes))] = np.iinfo(np.int64).max
        i, j = np.unravel_index(added.argmin(), added.shape)
        sizes[i] = np.maximum(sizes[i], sizes[j])
        pages[i] += pages[j]
        sizes, pages = np.delete(sizes, j, 0), np.delete(pages, j)
    return Counter({(int(h), int(w)): int(n) for (h, w), n in zip(sizes, pages, strict=True)})
