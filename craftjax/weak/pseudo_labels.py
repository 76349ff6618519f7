"""Pseudo labels: character quads from a word's crop, its text and the teacher's scores.

`craftjax.weak.word_crops.crop_word` rectifies a word, a teacher scores the crop, and `label_word`
splits it into characters. There are two methods:

* "split" finds exactly as many characters as the text has: see `craftjax.weak.character_split`.
* "watershed" is that of the original (Baek et al. 2019, section 3.2, as in EasyOCR's trainer): the
  cores of characters are where the region score is high, a watershed grows them, and the confidence
  measures how close their number is to that of the text. Its faults are fixed: spaces do not count,
  a character is a grapheme instead of a code point, thresholds are options, boxes extend to the end
  of their last pixel, and crops are no longer off by up to a pixel. `original=True` restores the
  faults for comparison.

Coordinates refer to pixel edges: the center of the first pixel is `(0.5, 0.5)`, in crops and on
pages. Characters are not clipped to the page; the original clips them, which leaves flat boxes.

Host code: NumPy, OpenCV and, for the watershed, scikit-image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from craftjax.boxes import MAP_STRIDE
from craftjax.weak.character_split import split_word
from craftjax.weak.options import PseudoOptions
from craftjax.weak.word_crops import WordCrop
from ocrcore.pages import FloatArray
from ocrcore.text import graphemes, has_ink, visible_graphemes

Floats = NDArray[np.float64]


class PseudoWord(NamedTuple):
    """The characters of a word.

    Attributes:
        quads: `(n, 4, 2)` float32, in pixels of the page, from left to right in the crop, which is
            the reading order; each clockwise from its top left there.
        confidence: in [0, 1].
        equal: whether the scores were too weak and the word was split without them.
    """

    quads: FloatArray
    confidence: float
    equal: bool


def label_word(
    region: FloatArray,
    affinity: FloatArray,
    *,
    crop: WordCrop,
    text: str,
    options: PseudoOptions,
) -> PseudoWord:
    """Split a word into characters.

    Args:
        region: `(height // 2, W // 2)` region scores of the crop, without padding.
        affinity: `(height // 2, W // 2)` affinity scores of the crop.
        crop: the crop of `crop_word`.
        text: the text of the word.
        options: see `PseudoOptions`; the same as for the crop.

    Returns:
        The characters: with "split" as many as `visible_graphemes(text)`, with "watershed" as many
        as were found.

    Raises:
        ValueError: the text has no character, or maps are not finite or of another size.
    """
    height, width = crop.image.shape[:2]
    expected = height // MAP_STRIDE, width // MAP_STRIDE
    for name, scores in (("region", region), ("affinity", affinity)):
        if scores.shape != expected:
            raise ValueError(
                f"the {name} scores have shape {scores.shape}, expected {expected}: half of the "
                f"crop's {height} x {width} pixels"
            )
        if not np.isfinite(scores).all():
            raise ValueError(f"the {name} scores of {text!r} are not all finite")
    if not visible_graphemes(text):
        raise ValueError(f"the text is {text!r}, expected at least one character")
    if options.method == "split":
        cells = _cells(text)
        split = split_word(region, affinity, crop.image, cells, even=crop.vertical)
        confidence = split.confidence
        equal = confidence <= options.min_confidence
        boxes = _boxes(MAP_STRIDE * (split.blind if equal else split.edges), cells, height)
    else:
        boxes = find_characters(region, options=options)
        count = len(text) if options.original else len(visible_graphemes(text))
        confidence = count_confidence(count, len(boxes))
        equal = confidence <= options.min_confidence
        if equal:
            boxes = equal_split(text, height, width, original=options.original)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    quads = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    on_page = cv2.perspectiveTransform(quads, crop.to_page).reshape(-1, 4, 2)
    confidence = max(confidence, options.min_confidence)
    return PseudoWord(on_page.astype(np.float32), float(confidence), bool(equal))


def find_characters(region: FloatArray, *, options: PseudoOptions) -> Floats:
    """Find characters by the original's watershed; needs scikit-image.

    Args:
        region: `(H, W)` region scores.
        options: thresholds, and `original`, with which a box ends at the start of its last pixel.

    Returns:
        `(n, 4)` float64 boxes, left, top, right, bottom, in pixels of the crop, in the order of the
        first pixels of their cores, row by row.
    """
    try:
        from skimage.segmentation import watershed
    except ImportError as error:
        raise ImportError(
            'method="watershed" needs scikit-image: pip install "ocrjax[watershed]"'
        ) from error

    # The original converts scores to uint8.
    scores = (np.clip(region, 0, 1) * 255).astype(np.uint8).astype(np.float32) / np.float32(255)
    _, labels = cv2.connectedComponents((scores > options.core_threshold).astype(np.uint8))
    labels += 1
    labels[(labels == 1) & (scores >= options.background_threshold)] = 0
    labels = watershed(-scores, labels)
    found = ndimage.find_objects(labels)[1:]  # the first is the background
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for y, x in found], np.float64)
    boxes = boxes.reshape(-1, 4)
    if options.original:
        boxes[:, 2:] -= 1
    return boxes * MAP_STRIDE


def count_confidence(expected: int, found: int) -> float:
    """Return the confidence from the number of characters (Baek et al. 2019, eq. 3).

    Args:
        expected: number of characters in the text, at least 1.
        found: number of characters found; 0 gives 0.
    """
    return (expected - min(expected, abs(expected - found))) / expected if found else 0.0


def equal_split(text: str, height: int, width: int, *, original: bool = False) -> Floats:
    """Split a word into parts of equal width; spaces take up width but get no box.

    Returns:
        `(n, 4)` float64 boxes, left, top, right, bottom.
    """
    cells = list(text) if original else _cells(text)
    return _boxes(np.linspace(0, width, len(cells) + 1), cells, height)


def _boxes(edges: Floats, cells: Sequence[str], height: int) -> Floats:
    """Boxes of the full height for the cells that are not spaces."""
    inked = np.array([not cell.isspace() for cell in cells])
    boxes = np.zeros((len(cells), 4))
    boxes[:, 0], boxes[:, 2], boxes[:, 3] = edges[:-1], edges[1:], height
    return boxes[inked]


def _cells(text: str) -> list[str]:
    """The graphemes of a text, with the spaces between them."""
    return [c for c in graphemes(text.strip()) if c.isspace() or has_ink(c)]
