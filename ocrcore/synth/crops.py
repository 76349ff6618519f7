"""Crops of words and lines from synthetic pages, for the recognizer; also in keras-ocr's form."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

from ocrcore.pages import ByteArray, Character, FloatArray, Sample, Word
from ocrcore.synth.config import ConfigError, SynthConfig
from ocrcore.synth.pages import PageSource
from ocrcore.synth.shapes import box
from ocrcore.synth.textures import Rng
from ocrcore.synth.warps import warp
from ocrcore.text import needs_shaping

KerasLine = list[tuple[FloatArray, str]]
_EMPTY_PAGES = 20  # consecutive pages without a usable word that raise an error


class Crop(NamedTuple):
    """An image of a word or a line, and its text.

    Attributes:
        image: `(h, w, 3)` uint8, RGB.
        text: without spaces at its ends or double spaces.
    """

    image: ByteArray
    text: str


def page_lines(words: Sequence[Word]) -> list[list[Word]]:
    """Group words by line, in order; a word without a line forms a line of its own."""
    lines: list[list[Word]] = []
    for word in words:
        if lines and word.line is not None and word.line == lines[-1][-1].line:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def spaced(words: Sequence[Word]) -> list[Character]:
    """Return the characters of a line's words, with a space character over each gap.

    A word that was drawn in one piece, without characters, counts as one character.
    """
    out: list[Character] = []
    for word in words:
        characters = word.characters
        if not characters and word.text:
            characters = (Character(text=word.text, quad=word.quad),)
        if out and characters:
            before, after = out[-1].quad, characters[0].quad
            gap = np.stack([before[1], after[0], after[3], before[2]])
            out.append(Character(text=" ", quad=gap))
        out += characters
    return out


def line_quad(characters: Sequence[Character]) -> FloatArray:
    """Return the minimum-area rectangle of characters, `(4, 2)`, starting where the line begins.

    The order is that of keras-ocr's `combine_line`: the corner nearest to the first character's top
    left comes first.
    """
    points = np.concatenate([c.quad for c in characters])
    corners = cv2.boxPoints(cv2.minAreaRect(points)).astype(np.float32)
    x, y = corners.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        corners = corners[::-1]
    if any(needs_shaping(point) for c in characters for point in c.text):
        # The line may begin at its right end: its top edge points like that of its first piece.
        edge, edges = characters[0].quad, np.roll(corners, -1, axis=0) - corners
        first = int(np.argmax(edges @ (edge[1] - edge[0]) / np.hypot(*edges.T)))
        return np.roll(corners, -first, axis=0)
    first = int(np.argmin(np.square(corners - characters[0].quad[0]).sum(1)))
    return np.roll(corners, -first, axis=0)


def jittered(rng: Rng, quad: FloatArray, amount: float) -> FloatArray:
    """Shift each corner by normal noise with sigma `amount * height`, clipped at 3 sigma."""
    height = float(np.hypot(*(quad[3] - quad[0])))
    error = np.clip(rng.standard_normal((4, 2)), -3, 3) * amount * height
    return (quad + error).astype(np.float32)


def cut(
    image: ByteArray,
    quad: FloatArray,
    *,
    height: int,
    width: int | None = None,
    margin: float = 0.0,
) -> ByteArray:
    """Rectify a quad to a given height, keeping its aspect ratio.

    Args:
        image: `(H, W, 3)` uint8.
        quad: `(4, 2)`, clockwise from the top left in reading direction, edge coordinates.
        height: height of the crop.
        width: width of the crop: narrower text is padded with black on the right, wider text is
            shrunk, as in keras-ocr's `warpBox`. None: as wide as the text.
        margin: pixels around the quad, included in the size.

    Returns:
        `(height, width, 3)` uint8; outside the image its border is repeated.

    Raises:
        ConfigError: the size leaves no room within the margin.
    """
    if height - 2 * margin < 1 or (width is not None and width - 2 * margin < 1):
        raise ConfigError(f"a crop of {height}x{width} has no room within a margin of {margin}")
    sides = np.hypot(*(np.roll(quad, -1, 0) - quad).T)
    wide, tall = max(1.0, (sides[0] + sides[2]) / 2), max(1.0, (sides[1] + sides[3]) / 2)
    scale = (height - 2 * margin) / tall
    if width is not None:
        scale = min(scale, (width - 2 * margin) / wide)
    inner = (max(1.0, scale * wide), max(1.0, scale * tall))
    columns = max(1, round(inner[0] + 2 * margin))
    rows = max(1, round(inner[1] + 2 * margin))
    target = box(margin, margin, columns - margin, rows - margin)
    if scale < 0.5:  # bilinear warps skip pixels when they shrink by more than a factor of two
        shrink = 2 * scale
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        quad = quad * np.float32(shrink)
    matrix = cv2.getPerspectiveTransform(np.ascontiguousarray(quad, np.float32), target)
    crop = warp(image, matrix, (0, 0, columns, rows), border=cv2.BORDER_REPLICATE)
    columns = columns if width is None else width
    if crop.shape[:2] == (height, columns):
        return crop
    out = np.zeros((height, columns, 3), np.uint8)
    part = crop[:height, :columns]
    out[: part.shape[0], : part.shape[1]] = part
    return out


class CropSource:
    """Crops of synthetic pages: a random-access data source.

    A crop is a pure function of `(config, seed, index)`. Neighboring indices come from one page,
    which is cached until another one is needed: read in order, or in blocks of `per_page`.

    Args:
        config: config of the pages; `preset("words")` is made for this.
        seed: seed of the pages.
        unit: cut "word"s, or "line"s with the spaces between their words.
        height: height of the crops.
        width: width of the crops; None: as wide as each text.
        margin: pixels around the text, included in the size.
        jitter: noise on the quads' corners as a fraction of their height, to imitate a detector.
        max_length: texts are truncated to this many characters.
        per_page: number of crops from one page.
        length: number of crops, the result of `len`.

    Raises:
        ConfigError: invalid size, margin, jitter or length.
    """

    def __init__(
        self,
        config: SynthConfig,
        seed: int = 0,
        *,
        unit: Literal["word", "line"] = "word",
        height: int = 32,
        width: int | None = None,
        margin: float = 0.0,
        jitter: float = 0.04,
        max_length: int = 25,
        per_page: int = 8,
        length: int = 1_000_000,
    ) -> None:
        if unit not in ("word", "line"):
            raise ConfigError(f"unit is {unit!r}, expected 'word' or 'line'")
        if height < 4 or (width is not None and width < 4) or margin < 0:
            raise ConfigError(
                f"crops of height {height}, width {width}, margin {margin}: expected sides of at "
                "least 4 pixels and a margin of 0 or more"
            )
        if height - 2 * margin < 1 or (width is not None and width - 2 * margin < 1):
            raise ConfigError(f"a crop of {height}x{width} has no room within a margin of {margin}")
        if not 0 <= jitter <= 0.5 or max_length < 1 or per_page < 1 or length < 1:
            raise ConfigError(
                f"jitter {jitter}, max_length {max_length}, per_page {per_page}, length {length}: "
                "expected a jitter of 0 to 0.5, the others 1 or more"
            )
        self.pages = PageSource(config, seed)
        self.unit, self.height, self.width, self.margin = unit, height, width, margin
        self.jitter, self.max_length, self.per_page = jitter, max_length, per_page
        self.length = operator.index(length)
        self._kept: tuple[int, Sample, list[list[Character]]] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Crop:
        """Cut a crop.

        Raises:
            IndexError: the index is not in `[0, len)`.
            ConfigError: many pages in a row have no legible word.
        """
        index = operator.index(index)
        if not 0 <= index < self.length:
            raise IndexError(f"crop {index} of {self.length}")
        page, at = divmod(index, self.per_page)
        sample, texts = self._texts(page)
        rng = np.random.Generator(np.random.PCG64([self.pages.seed, index, 1]))
        # The order is fixed per page, so that its crops differ until all were used.
        order = np.random.Generator(np.random.PCG64([self.pages.seed, page, 2]))
        characters = texts[int(order.permutation(len(texts))[at % len(texts)])]
        quad = jittered(rng, line_quad(characters), self.jitter)
        image = cut(sample.image, quad, height=self.height, width=self.width, margin=self.margin)
        return Crop(image=image, text="".join(c.text for c in characters))

    def forget(self) -> None:
        """Keep no page: the next crop has its page drawn."""
        self._kept = None

    def texts(self, page: int) -> list[PageText]:
        """Return the texts of one page, for callers that choose among them; may be empty."""
        sample = self.pages[page]
        return [PageText(sample.image, characters, self) for characters in self._usable(sample)]

    def _texts(self, page: int) -> tuple[Sample, list[list[Character]]]:
        kept = self._kept
        if kept is None or kept[0] != page:
            for again in range(_EMPTY_PAGES):
                # A page without text is replaced by a distant one.
                number = (page + again * (self.pages.length // _EMPTY_PAGES)) % self.pages.length
                sample = self.pages[number]
                texts = self._usable(sample)
                if texts:
                    break
            else:
                raise ConfigError(
                    f"{_EMPTY_PAGES} pages have no legible text: see empty, legible_height and "
                    "legible_contrast"
                )
            self._kept = kept = (page, sample, texts)
        return kept[1], kept[2]

    def _usable(self, sample: Sample) -> list[list[Character]]:
        """Return the legible, not vertical texts of a page, truncated to the maximum length."""
        out = []
        for line in page_lines(sample.page.words):
            units = [line] if self.unit == "line" else [[word] for word in line]
            for words in units:
                characters = spaced(words)[: self.max_length]
                if characters and characters[-1].text == " ":
                    characters.pop()
                if characters and all(w.care for w in words) and not _stacked(characters):
                    out.append(characters)
        return out


class PageText:
    """A text on a page that can be cut out.

    Attributes:
        text: the text.
        width: width of the crop, without margin and jitter.
    """

    def __init__(self, image: ByteArray, characters: list[Character], source: CropSource) -> None:
        self.text = "".join(character.text for character in characters)
        self._image, self._quad, self._source = image, line_quad(characters), source
        across, down = self._quad[1] - self._quad[0], self._quad[3] - self._quad[0]
        self.width = source.height * float(np.hypot(*across) / max(float(np.hypot(*down)), 1.0))

    def cut(self, rng: Rng) -> ByteArray:
        """Cut the text out with random jitter of its corners, as `CropSource` does."""
        source = self._source
        quad = jittered(rng, self._quad, source.jitter)
        return cut(
            self._image, quad, height=source.height, width=source.width, margin=source.margin
        )


def _stacked(characters: Sequence[Character]) -> bool:
    """Return whether the second character is below the first one, in the first one's frame."""
    if len(characters) < 2:
        return False
    quad = characters[0].quad.astype(np.float64)
    ahead, down = quad[1] - quad[0], quad[3] - quad[0]
    step = characters[1].quad.mean(0) - quad.mean(0)
    return bool(abs(step @ down) / (down @ down) > abs(step @ ahead) / (ahead @ ahead))


def keras_ocr_form(samples: Iterable[Sample]) -> Iterator[tuple[ByteArray, str, list[KerasLine]]]:
    """Yield `(image, text, lines)` in the form of keras-ocr's image generator.

    Args:
        samples: pages whose words have characters.

    Yields:
        image: `(H, W, 3)` uint8, RGB.
        text: the lines joined by newlines, words separated by single spaces.
        lines: a list of lines, each a list of `(box, character)`: `(4, 2)` float32 clockwise from
            the top left, spaces between words included.
    """
    for sample in samples:
        lines = [
            [(c.quad, c.text) for c in spaced(words)] for words in page_lines(sample.page.words)
        ]
        text = "\n".join("".join(character for _, character in line) for line in lines)
        yield sample.image, text, lines


def keras_ocr_crops(
    samples: Iterable[tuple[ByteArray, str, list[KerasLine]]],
    *,
    max_string_length: int,
    target_width: int,
    target_height: int,
    margin: int = 0,
) -> Iterator[tuple[ByteArray, str]]:
    """Yield `(crop, sentence)`: keras-ocr's single-line input of the recognizer.

    It does the work of its `convert_image_generator_to_recognizer_input`: takes the first
    `max_string_length` characters of each line, strips them, collapses double spaces, rectifies to
    the target size keeping the aspect ratio, left-aligned on black.

    Args:
        samples: as yielded by `keras_ocr_form`.
        max_string_length: maximum length of a sentence.
        target_width: width of the crops.
        target_height: height of the crops.
        margin: pixels around the text, included in the size.
    """
    for image, _, lines in samples:
        for line in lines:
            characters = [Character(text=c, quad=q) for q, c in line[:max_string_length]]
            while characters and characters[-1].text.isspace():
                characters.pop()
            while characters and characters[0].text.isspace():
                characters.pop(0)
            if not characters:
                continue
            crop = cut(
                image,
                line_quad(characters),
                height=target_height,
                width=target_width,
                margin=margin,
            )
            yield crop, " ".join("".join(c.text for c in characters).split())
