"""Weak supervision: from a word's quad, its text and the teacher's scores to quads of characters.

`crop_word` rectifies a word, a teacher scores the crop, `label_word` cuts the scores into
characters. Two methods:

* "split" finds exactly as many characters as the text has: see `craftjax.weak.character_split`.
* "watershed" is the original's (Baek et al. 2019, section 3.2, as EasyOCR's trainer does it): the
  cores of characters are where the region score is high, a watershed grows them, and the confidence
  says how near their number is to that of the text. Its faults are mended: spaces do not count,
  a character is a grapheme and not a code point, thresholds are options, boxes reach to the end of
  their last pixel, and crops are not up to a pixel beside their word. `original=True` brings the
  faults back, for comparison.

Coordinates are of pixels' edges: the center of the first pixel is `(0.5, 0.5)`, in crops as on
pages. Characters are not clipped to the page: the original does so, which leaves flat boxes.

Host code: NumPy, OpenCV and, for the watershed, scikit-image.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from craftjax.boxes import MAP_STRIDE
from craftjax.weak.character_split import split_word
from ocrcore.geometry import convex_quads
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.text import graphemes

Floats = NDArray[np.float64]

METHODS = ("split", "watershed")

# The original's rule for words that run downwards: more than this many times as high as wide, ...
VERTICAL_RATIO = 2.0
# ... or more than this, if a character would be more than `VERTICAL_CHARACTER` times as long across
# the word as along it.
VERTICAL_RATIO_LONG = 1.6
VERTICAL_CHARACTER = 2.4

# A longer word is not one; its crop would be more than 8000 pixels wide.
MAX_ASPECT = 64
# Words larger than this many times the crop's height are rectified at that size.
_MAX_OVERSIZE = 8
# Labels further away than this many pixels are mistakes.
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class PseudoOptions:
    """How words are cropped and cut into characters.

    Attributes:
        method: "split" or "watershed".
        height: of the crops that the teacher sees, in pixels.
        core_threshold: watershed: a region score above this is the core of a character.
        background_threshold: watershed: a region score below this is no character.
        min_confidence: a word whose confidence is not above this is split without the scores, and
            has this confidence.
        original: watershed with the original's faults, for comparison.

    Raises:
        ValueError: names the field.
    """

    method: str = "split"
    height: int = 128
    core_threshold: float = 0.75
    background_threshold: float = 0.05
    min_confidence: float = 0.5
    original: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {METHODS}")
        if isinstance(self.height, bool) or not isinstance(self.height, int):
            raise ValueError(f"height={self.height!r}: expected an integer")
        if not 32 <= self.height <= 1024:
            raise ValueError(f"height={self.height}: expected 32 to 1024 pixels")
        if not 0 <= self.background_threshold <= self.core_threshold <= 1:
            raise ValueError(
                f"background_threshold={self.background_threshold!r}, core_threshold="
                f"{self.core_threshold!r}: expected 0 <= background_threshold <= core_threshold "
                "<= 1"
            )
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence={self.min_confidence!r}: expected 0 to 1")
        if self.original and self.method != "watershed":
            raise ValueError(
                f"original=True, method={self.method!r}: only the watershed has faults of the "
                "original"
            )


class WordCrop(NamedTuple):
    """A rectified word.

    Attributes:
        image: `(height, W, 3)` uint8, RGB; the word reads from left to right.
        to_page: `(3, 3)` float64, the homography from pixels of the crop to those of the page.
        vertical: whether the quad is high and narrow, and the crop turned by a quarter, clockwise.
            Then a word reads from left to right if it runs upwards on the page; whether it does is
            not known.
    """

    image: ByteArray
    to_page: Floats
    vertical: bool


class PseudoWord(NamedTuple):
    """The characters of a word.

    Attributes:
        quads: `(n, 4, 2)` float32, in pixels of the page, from left to right in the crop, which is
            the reading order; each clockwise from its top left there.
        confidence: in [0, 1].
        equal: whether the scores said too little, and the word was split without them.
    """

    quads: FloatArray
    confidence: float
    equal: bool


def visible_graphemes(text: str) -> list[str]:
    """Splits text into characters as a reader counts them, without what leaves no ink.

    White space and characters without a width (control and format characters) are left out.
    """
    return [cluster for cluster in graphemes(text) if _has_ink(cluster)]


def crop_word(
    image: ByteArray, quad: ArrayLike, *, text: str | None, options: PseudoOptions
) -> WordCrop | None:
    """Rectifies a word.

    As in the original, the word is rectified at its own size, then scaled to the crop's height.

    Args:
        image: `(H, W, 3)` uint8, RGB, the page.
        quad: `(4, 2)`, clockwise from the top left in reading direction, in pixels of the page.
        text: of the word; without it, only words more than twice as high as wide are vertical.
        options: see `PseudoOptions`.

    Returns:
        The crop; None for a quad that `word_size` refuses.

    Raises:
        ValueError: an array of another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the page is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    corners = np.asarray(quad, np.float64)
    if corners.shape != (4, 2):
        raise ValueError(f"a word's quad has shape {corners.shape}, expected (4, 2)")
    size = word_size(corners, image.shape[:2])
    if size is None:
        return None
    width, height = size
    count = 0 if text is None else len(text if options.original else visible_graphemes(text))
    vertical = is_vertical(width, height, count)
    if vertical:
        width, height = height, width
    shrink = min(1.0, _MAX_OVERSIZE * options.height / height)
    if not options.original and shrink < 1:
        width, height = max(1, round(width * shrink)), round(height * shrink)
    to_crop = _to_rectangle(corners, width, height, vertical=vertical)
    # OpenCV counts from the center of the first pixel. The original leaves it at that.
    shifted = to_crop if options.original else _shift(-0.5) @ to_crop @ _shift(0.5)
    word = cv2.warpPerspective(image, shifted, (width, height))
    scale = options.height / height
    how = cv2.INTER_AREA if scale < 1 and not options.original else cv2.INTER_LINEAR
    word = cv2.resize(word, None, fx=scale, fy=scale, interpolation=how)
    to_page = np.linalg.inv(to_crop) @ np.diag([1 / scale, 1 / scale, 1])
    return WordCrop(word, to_page / to_page[2, 2], vertical)


def word_size(quad: ArrayLike, page: Sequence[int]) -> tuple[int, int] | None:
    """Width and height of a word in whole pixels: the longer one of each two opposite edges.

    Args:
        quad: as for `crop_word`.
        page: its height and width.

    Returns:
        None for a quad that is degenerate: not finite, no area, not convex, less than a pixel high
        or wide, more than 64 times as long as high, or wholly beside the page.
    """
    corners = np.asarray(quad, np.float64)
    if not (np.abs(corners) <= _FAR).all() or not convex_quads(corners[None])[0]:
        return None
    if is_outside(corners, page):
        return None
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1).astype(int).tolist()
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        return None
    return width, height


def is_outside(quad: ArrayLike, page: Sequence[int]) -> bool:
    """Whether a quad lies wholly beside its page, whose height and width are given."""
    corners = np.asarray(quad)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((high <= 0).any() or (low >= page[::-1]).any())


def is_vertical(width: float, height: float, count: int) -> bool:
    """The original's rule for words that run downwards.

    Args:
        width: of the word, in pixels.
        height: likewise.
        count: of its characters; 0 where it is not known.
    """
    ratio = height / width
    character = count * min(height, width) / max(height, width)
    return ratio > VERTICAL_RATIO or (
        ratio > VERTICAL_RATIO_LONG and character > VERTICAL_CHARACTER
    )


def label_word(
    region: FloatArray,
    affinity: FloatArray,
    *,
    crop: WordCrop,
    text: str,
    options: PseudoOptions,
) -> PseudoWord:
    """Cuts a word into characters.

    Args:
        region: `(height // 2, W // 2)` region scores of the crop, without padding.
        affinity: affinity scores, likewise.
        crop: as `crop_word` returned it.
        text: of the word.
        options: see `PseudoOptions`; those of the crop.

    Returns:
        The characters: with "split" as many as `visible_graphemes(text)`, with "watershed" as many
        as were found.

    Raises:
        ValueError: a text without a character, or maps that are not finite or of another size.
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
    """Finds characters by the original's watershed; needs scikit-image.

    Args:
        region: `(H, W)` region scores.
        options: thresholds, and `original`: there a box ends at the start of its last pixel.

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

    # The original's scores go through bytes.
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
    """How near the number of found characters is to the expected one (Baek et al. 2019, eq. 3).

    Args:
        expected: at least 1.
        found: at least 0; none gives 0.
    """
    return (expected - min(expected, abs(expected - found))) / expected if found else 0.0


def equal_split(text: str, height: int, width: int, *, original: bool = False) -> Floats:
    """Splits a word into parts of equal width; spaces take room but get no box.

    Returns:
        `(n, 4)` float64 boxes, left, top, right, bottom.
    """
    cells = list(text) if original else _cells(text)
    return _boxes(np.linspace(0, width, len(cells) + 1), cells, height)


def _boxes(edges: Floats, cells: Sequence[str], height: int) -> Floats:
    """Boxes of the full height between the edges of cells that are not spaces."""
    inked = np.array([not cell.isspace() for cell in cells])
    boxes = np.zeros((len(cells), 4))
    boxes[:, 0], boxes[:, 2], boxes[:, 3] = edges[:-1], edges[1:], height
    return boxes[inked]


def _has_ink(cluster: str) -> bool:
    return not all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in cluster)


def _cells(text: str) -> list[str]:
    """Graphemes, and spaces between them."""
    return [c for c in graphemes(text.strip()) if c.isspace() or _has_ink(c)]


def _to_rectangle(corners: Floats, width: int, height: int, *, vertical: bool) -> Floats:
    """The homography that brings a quad to a rectangle; a vertical word is turned clockwise."""
    if vertical:
        target = [[width, 0], [width, height], [0, height], [0, 0]]
    else:
        target = [[0, 0], [width, 0], [width, height], [0, height]]
    source = corners.astype(np.float32)
    return cv2.getPerspectiveTransform(source, np.array(target, np.float32))


def _shift(by: float) -> Floats:
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1]], np.float64)
