"""Scores of inputs too large for one pass: overlapping tiles, each of which gives its middle.

Host code: NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

import numpy as np

from craftjax.resize import MULTIPLE, Shape, round_up
from ocrcore.pages import ByteArray, FloatArray


@dataclass(frozen=True, slots=True)
class Tiling:
    """A grid of equal tiles over an input.

    Attributes:
        shape: height and width of a tile, multiples of 32.
        tops: first rows of the tiles, multiples of 32.
        lefts: first columns of the tiles, multiples of 32.
    """

    shape: Shape
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)


@lru_cache(maxsize=256)
def plan_tiles(shape: Shape, *, max_area: int, margin: int) -> Tiling:
    """Find the grid that computes the fewest pixels with tiles of at most `max_area`.

    Args:
        shape: height and width of the input, multiples of 32.
        max_area: most pixels of a tile.
        margin: pixels around the part that a tile gives, on sides that are not the border.

    Returns:
        The grid; a single tile if the input is small enough.

    Raises:
        ValueError: `max_area` leaves nothing of a tile between its margins.
    """
    height, width = shape
    if height * width <= max_area:
        return Tiling(shape, (0,), (0,))
    costs = [
        (rows * columns * tile_height * tile_width, (tile_height, tile_width), rows, columns)
        for tile_height, rows in _sides(height, margin)
        for tile_width, columns in _sides(width, margin)
        if tile_height * tile_width <= max_area
    ]
    if not costs:
        raise ValueError(
            f"max_area={max_area} is too small for tiles with a margin of {margin} pixels: it "
            f"needs at least {round_up(2 * margin + MULTIPLE) ** 2}"
        )
    _, tile, rows, columns = min(costs)
    return Tiling(tile, _origins(height, tile[0], rows), _origins(width, tile[1], columns))


def score_tiles(
    image: ByteArray, tiling: Tiling, score: Callable[[ByteArray], FloatArray]
) -> FloatArray:
    """Score an input tile by tile.

    Args:
        image: `(H, W, 3)` uint8, of the size that the tiling was planned for.
        tiling: the grid.
        score: maps a tile `(h, w, 3)` to scores `(h // 2, w // 2, C)`.

    Returns:
        `(H // 2, W // 2, C)` float32.
    """
    height, width = tiling.shape
    out: FloatArray | None = None
    rows = _seams(tiling.tops, height, image.shape[0])
    columns = _seams(tiling.lefts, width, image.shape[1])
    for (top, y0, y1), (left, x0, x1) in product(rows, columns):
        maps = score(np.ascontiguousarray(image[top : top + height, left : left + width]))
        if out is None:
            size = (image.shape[0] // 2, image.shape[1] // 2, maps.shape[2])
            out = np.empty(size, np.float32)
        inside = maps[(y0 - top) // 2 : (y1 - top) // 2, (x0 - left) // 2 : (x1 - left) // 2]
        out[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = inside
    assert out is not None
    return out


def _sides(size: int, margin: int) -> list[tuple[int, int]]:
    """Possible sides of tiles along an axis, with the number of tiles for each."""
    out = [(size, 1)]
    for side in range(round_up(2 * margin + MULTIPLE), size, MULTIPLE):
        step = (side - 2 * margin) // MULTIPLE * MULTIPLE
        out.append((side, -(-(size - side) // step) + 1))
    return out


def _origins(size: int, tile: int, count: int) -> tuple[int, ...]:
    if count == 1:
        return (0,)
    step = (size - tile) / (count - 1)
    return tuple(
        size - tile if i == count - 1 else int(i * step) // MULTIPLE * MULTIPLE
        for i in range(count)
    )


def _seams(origins: tuple[int, ...], tile: int, size: int) -> list[tuple[int, int, int]]:
    """Origin, first and end pixel of the part that each tile gives; seams halve the overlaps."""
    middles = [(second + first + tile) // 4 * 2 for first, second in pairwise(origins)]
    edges = [0, *middles, size]
    return [(origin, *edge) for origin, edge in zip(origins, pairwise(edges), strict=True)]
