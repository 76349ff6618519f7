"""Near-duplicate images: testing on a twin of a training image measures nothing.

Host code: no jax.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ocrcore.images import read_image
from ocrcore.pages import ByteArray

_SIDE, _ALIKE = 24, 0.9
_STRETCH = 0.2  # greatest difference of log aspect ratios
_CHUNK = 512  # images compared at a time


def fingerprint(path: str) -> NDArray[np.float32]:
    """Return the fingerprint of an image file; see `fingerprint_of`."""
    return fingerprint_of(np.asarray(cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY), np.uint8))


def fingerprint_of(gray: ByteArray) -> NDArray[np.float32]:
    """Return the image at 24x24 pixels as a vector of mean 0 and length 1; 0 for a uniform image.

    Args:
        gray: `(H, W)` uint8.
    """
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    flat = small.ravel() - small.mean()
    length = float(np.linalg.norm(flat))
    return flat / length if length else flat


def group_twins(prints: NDArray[np.float32], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Group near-duplicates: fingerprints with a correlation above .9 and similar aspect ratio.

    Args:
        prints: `(N, D)`, fingerprints.
        sizes: `(N, 2)`, heights and widths.

    Returns:
        `(N,)`, group numbers in order of first occurrence.
    """
    shape = np.log(np.maximum(sizes, 1)) @ np.array([-1.0, 1.0])
    rows, columns = [], []
    for start in range(0, len(prints), _CHUNK):
        part = slice(start, start + _CHUNK)
        alike = prints[part] @ prints.T > _ALIKE
        alike &= np.abs(shape[part, None] - shape[None]) <= _STRETCH
        first, second = np.nonzero(alike)
        rows.append(first + start)
        columns.append(second)
    pairs = np.concatenate([*rows, []]).astype(int), np.concatenate([*columns, []]).astype(int)
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(len(prints), len(prints)))
    _, found = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in found.tolist()], np.int32)
