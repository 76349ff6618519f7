"""SynthText: images and one `gt.mat` with a box for every character.

`gt.mat` holds four arrays of N cells: `imnames` (paths relative to its folder), `txt` (text blocks
of an image), `charBB` (`2 x 4 x C`: x and y of the four corners of C characters) and `wordBB`
(`2 x 4 x W`). The texts split at white space are the words; the characters of all words, in order,
own the character boxes, one per code point. Corners run clockwise from the top left in reading
direction. There is no "don't care".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.data.readers.label_lines import MAX_COORDINATE
from ocrcore.data.readers.mat import read_cells
from ocrcore.files import stays_below
from ocrcore.images import image_size
from ocrcore.pages import Character, FloatArray, LabelError, Page, Word

FIELDS = ("imnames", "txt", "charBB", "wordBB")


def synthtext_words(
    name: str, texts: Sequence[str], character_boxes: Any, word_boxes: Any
) -> tuple[Word, ...]:
    """Convert the labels of one image.

    Args:
        name: name of the image, for messages.
        texts: its entries of `txt`; each may hold several lines, and padding.
        character_boxes: its `charBB`, `(2, 4, C)`, or `(2, 4)` for one.
        word_boxes: its `wordBB`, `(2, 4, W)`, or `(2, 4)` for one.

    Returns:
        The words in the order of the file. `line` numbers the lines of the texts. Consecutive code
        points of a word with identical boxes form one character; otherwise each code point is a
        character.

    Raises:
        LabelError: boxes with a wrong shape, coordinates that are not numbers or out of range, or
            more or fewer boxes than words or characters.
    """
    words = [
        (word, line)
        for line, text in enumerate(line for text in texts for line in _lines(text))
        for word in text.split()
    ]
    quads = _quads(name, "wordBB", word_boxes)
    boxes = _quads(name, "charBB", character_boxes)
    if len(quads) != len(words):
        shown = " ".join(word for word, _ in words)
        raise LabelError(
            name,
            0,
            f"{len(words)} words ({shown})",
            f"as many as wordBB has: {len(quads)}",
            reason="box count",
        )
    total = sum(len(word) for word, _ in words)
    if len(boxes) != total:
        raise LabelError(
            name,
            0,
            f"{total} characters",
            f"as many as charBB has: {len(boxes)}",
            reason="box count",
        )
    code_points = "".join(word for word, _ in words)
    ends = list(accumulate(len(word) for word, _ in words))
    # A character begins where the box is another one, or the word.
    begins = np.ones(total + 1, np.bool_)
    begins[1:-1] = (boxes[1:] != boxes[:-1]).any((1, 2))
    begins[ends] = True
    starts = np.flatnonzero(begins)
    texts = [code_points[a:b] for a, b in pairwise(starts.tolist())]
    characters = Character.many(texts, boxes[starts[:-1]])
    stops = np.searchsorted(starts, ends).tolist()
    return tuple(
        Word(quad=quad, text=word, characters=characters[a:b], line=line)
        for (word, line), quad, (a, b) in zip(words, quads, pairwise([0, *stops]), strict=True)
    )


class SynthText(Sequence[Page]):
    """The pages of a folder with a `gt.mat`, by index.

    The labels and the size of an image are read when its page is requested. It can be pickled.

    Args:
        folder: the folder with `gt.mat` and the images.

    Raises:
        LabelError: the file is not such a `gt.mat`, or its arrays differ in length.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "gt.mat"
        try:
            found = read_cells(path, FIELDS)
        except FileNotFoundError:
            raise LabelError(self.folder, 0, "no gt.mat in it", "a SynthText folder") from None
        if missing := [name for name in FIELDS if name not in found]:
            raise LabelError(path, 0, f"no {', '.join(missing)} in it", ", ".join(FIELDS))
        arrays = [found[name] for name in FIELDS]
        if len({len(array) for array in arrays}) != 1:
            sizes = ", ".join(f"{k}: {len(a)}" for k, a in zip(FIELDS, arrays, strict=True))
            raise LabelError(path, 0, sizes, "equal numbers of images")
        self._names, self._texts, self._characters, self._words = arrays

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[type[SynthText], tuple[Path]]:
        return SynthText, (self.folder,)

    def __getitem__(self, index: int) -> Page:  # type: ignore[override]
        """Return the page at an index, with the path of its image.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: invalid labels.
            ImageError: the image is missing or broken.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"page {index} of {len(self)}")
        names = self._names[index]
        name = names[0] if isinstance(names, list) and len(names) == 1 else ""
        path = picture_path(self.folder, name)
        texts = self._texts[index]
        if not isinstance(texts, list):  # an empty numeric array means no text
            texts = []
        words = synthtext_words(str(path), texts, self._characters[index], self._words[index])
        height, width = image_size(path)
        return Page(height=height, width=width, words=words, path=str(path))


def picture_path(folder: Path, name: str) -> Path:
    """Join an entry of `imnames` to the folder of its `gt.mat`.

    Raises:
        LabelError: the path would lead out of the folder, or is invalid.
    """
    if not name or "\0" in name or not stays_below(folder, name):
        raise LabelError(folder / "gt.mat", 0, name, "the path of an image below this folder")
    return folder / name


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _quads(name: str, what: str, value: Any) -> FloatArray:
    """Return boxes as `(N, 4, 2)`."""
    try:
        boxes = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise LabelError(name, 0, f"{what}: {error}", "an array of numbers") from error
    if boxes.ndim == 2:
        boxes = boxes[:, :, None]
    if boxes.size == 0:
        return np.zeros((0, 4, 2), np.float32)
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 4):
        raise LabelError(name, 0, f"{what} of shape {boxes.shape}", "(2, 4, N)")
    bad = ~(np.abs(boxes) <= MAX_COORDINATE).all((0, 1))
    if bad.any():
        first = int(bad.argmax())
        raise LabelError(
            name,
            0,
            f"{what} number {first}: {boxes[:, :, first].T.tolist()}",
            f"coordinates within +-{MAX_COORDINATE:.0f} pixels",
            reason="coordinates",
        )
    return np.ascontiguousarray(boxes.transpose(2, 1, 0))
