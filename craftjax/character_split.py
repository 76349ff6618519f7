"""Cuts a word's scores into exactly as many characters as its text has.

Host code: NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ocrjax.pages import FloatArray

Floats = NDArray[np.float64]


def split_word(
    region: FloatArray, affinity: FloatArray, cells: Sequence[str]
) -> tuple[Floats, float]:
    """Splits a word along the reading axis.

    Args:
        region: `(H, W)` region scores.
        affinity: `(H, W)` affinity scores.
        cells: graphemes, and spaces between them.

    Returns:
        `(n, 4)` float64 boxes of the cells that are not spaces, left, top, right, bottom, in pixels
        of the maps, and the confidence in [0, 1].
    """
    height, width = region.shape
    edges = np.linspace(0, width, len(cells) + 1)
    boxes = np.array(
        [[edges[i], 0, edges[i + 1], height] for i, cell in enumerate(cells) if not cell.isspace()]
    )
    return boxes, float(np.clip(region.max(initial=0.0), 0, 1))
