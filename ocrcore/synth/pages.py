"""Whole pages: `PageSource(config, seed)[index]` is always the same `Sample`.

A page is a pure function of `(config, seed, index)`: its random generator is seeded with the last
two, and caches (fonts, glyphs, noise, decoded images) only hold what is read. So any number of
workers, in any order, make the same bytes.

Every item (a word, a line, a sign) is drawn flat, with premultiplied alpha, and warped once, into
its own window of the page; its quads go through the same homography.
"""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ocrcore.images import ImageError
from ocrcore.pages import ByteArray, Character, Page, Sample, Word
from ocrcore.synth import backgrounds, layout
from ocrcore.synth.config import Chance, Style, SynthConfig
from ocrcore.synth.effects import draw, photograph
from ocrcore.synth.fonts import Font, bundled_fonts, find_fonts, select
from ocrcore.synth.glyphs import MAX_SIZE, MIN_SIZE, Run, render_run
from ocrcore.synth.ink import Item, Look, blend, loose_item, sign_item
from ocrcore.synth.shapes import box, distractor, paint, window
from ocrcore.synth.text import drawable_charset, font_remedy, pick_font, sample_text
from ocrcore.synth.textures import Color, Rng, random_color
from ocrcore.synth.warps import mapped, warp
from ocrcore.text import graphemes

_TEXT_TRIES = 20  # texts to draw in search of one that a font covers
_BAD_PICTURES = 8  # consecutive unreadable images that raise an error


class SynthError(RuntimeError):
    """A page cannot be made with this configuration; the message says why."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An item on a page.

    Attributes:
        item: what is drawn.
        matrix: homography from the item's edge coordinates to the page's.
        window: `(x0, y0, x1, y1)`, the page's pixels that it may touch.
        ink: `(y1 - y0, x1 - x0)` uint8, coverage of the page by its letters.
    """

    item: Item
    matrix: np.ndarray
    window: tuple[int, int, int, int]
    ink: ByteArray


class PageSource:
    """Synthetic pages by index: a random-access data source for Grain and PyTorch.

    Args:
        config: settings of the pages.
        seed: an integer; another seed gives other pages.
        length: number of pages, the result of `len`.

    Attributes:
        fonts: the fonts in use.
        pictures: the user's background images in use.
        problems: path to reason, for fonts and images that cannot be used; includes images that
            turn out to be broken when they are decoded.
        undrawable: how often, in this process, a text was discarded because no font has this
            character.

    Raises:
        FontError: no usable font is left for the split and the weights.
        TextError: no font draws any character of the charset.
        ImageError: a background folder has no usable image.
    """

    def __init__(self, config: SynthConfig, seed: int = 0, *, length: int = 1_000_000) -> None:
        self.config = config
        self.seed = operator.index(seed)
        self.length = operator.index(length)
        if self.seed < 0 or self.length < 1:
            raise ValueError(f"seed {seed} and length {length}: expected seed >= 0, length >= 1")
        found: tuple[Font, ...] = bundled_fonts() if config.bundled_fonts else ()
        self.problems: dict[str, str] = {}
        if config.fonts:
            own, self.problems = find_fonts(config.fonts)
            found += own
        if not found:
            raise SynthError(
                f"no usable font in {config.fonts} and bundled_fonts is False: {self.problems}"
            )
        self.fonts = select(found, split=config.split, without_weights=config.without_weights)
        if config.text.charset is not None:
            drawable_charset(config.text.charset, self.fonts)
        self.pictures, problems = backgrounds.find_backgrounds(
            config.backgrounds, split=config.split
        )
        self.problems |= problems
        self.undrawable: Counter[str] = Counter()

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"PageSource(seed={self.seed}, length={self.length}, config={self.config!r})"

    def __getitem__(self, index: int) -> Sample:
        """Make a page.

        Raises:
            IndexError: the index is not in `[0, len)`.
            SynthError: no text could be drawn or placed.
            ImageError: several images in a row cannot be read.
        """
        image, placed, blur, hidden = self.compose(index)
        groups = [self._label(one, image, blur, hidden) for one in placed]
        words = in_reading_order(groups)
        page = Page(height=self.config.height, width=self.config.width, words=words)
        return Sample(image=image, page=page)

    def compose(self, index: int) -> tuple[ByteArray, list[Placed], float, ByteArray | None]:
        """Draw a page; return everything that its labels are computed from.

        Returns:
            image: the finished image, RGB.
            placed: its items.
            blur: standard deviation of the total blur in pixels.
            hidden: `(H, W)` uint8, 255 where an object is in front; or None.
        """
        index = operator.index(index)
        if not 0 <= index < self.length:
            raise IndexError(f"page {index} of {self.length}")
        config = self.config
        rng = np.random.Generator(np.random.PCG64([self.seed, index]))
        image, surfaces = self._ground(rng)
        image = np.ascontiguousarray(image)
        empty = rng.random() < config.empty
        count = draw(rng, config.distractors)
        placer = layout.Placer(image, surfaces, margin=config.margin)
        if count is not None or (empty and config.distractors.high > 0):
            for _ in range(max(1, round(count or 0)) + (6 if empty else 0)):
                self._distract(rng, image, placer)
        placed = [] if empty else self._write(rng, image, placer)
        image, blur, hidden = photograph(rng, image, config.effects)
        return image, placed, blur, hidden

    def _ground(self, rng: Rng) -> tuple[ByteArray, list[backgrounds.Surface]]:
        config = self.config
        height, width = config.height, config.width
        if self.pictures and rng.random() < config.background_share:
            start = int(rng.integers(0, len(self.pictures)))
            tries = min(_BAD_PICTURES, len(self.pictures))
            state = rng.bit_generator.state
            for k in range(tries):
                path = str(self.pictures[(start + k) % len(self.pictures)])
                try:
                    return backgrounds.picture_ground(rng, path, height, width), []
                except ImageError as error:
                    self.problems[path] = str(error)
                    rng.bit_generator.state = state
            raise ImageError(
                f"{tries} backgrounds in a row cannot be read, the last one: {self.problems[path]}"
            )
        if config.ground == "plain":
            return backgrounds.plain_ground(rng, height, width), []
        return backgrounds.scene_ground(rng, height, width)

    def _distract(self, rng: Rng, image: ByteArray, placer: layout.Placer) -> None:
        """Draw an object that resembles text, and mark its place as occupied."""
        config = self.config
        flat, alpha = distractor(rng, config.height, config.width)
        height, width = alpha.shape
        angles = (0.0, rng.normal(0, 15), rng.normal(0, 4))
        matrix = placer.place(rng, width=width, height=height, angles=angles, on_plane=True, gap=2)
        if matrix is None:
            return
        over3 = cv2.multiply(flat, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
        item = Item(rgba=cv2.merge((over3, alpha)), ink=alpha, words=())
        _lay(image, item, matrix)

    def _write(self, rng: Rng, image: ByteArray, placer: layout.Placer) -> list[Placed]:
        """Place items until there are enough words, or there is no more room."""
        config = self.config
        wanted = int(rng.integers(config.words[0], config.words[1] + 1))
        view = self._angles(rng)
        placed: list[Placed] = []
        done = 0
        for _ in range(3 * wanted + 10):
            if done >= wanted:
                break
            one = self._item(rng, image, placer, wanted - done, view)
            if one is not None:
                placed.append(one)
                done += len(one.item.words)
        if not placed:
            placer.taken[:] = 0  # distractors may have filled a small page
        for _ in range(_TEXT_TRIES):
            if placed:
                break
            placed += self._small_word(rng, image, placer)
        if not placed:
            raise SynthError(
                f"no text found room on a page of {config.height}x{config.width}: font_size is "
                f"{config.font_size}, margin {config.margin}, texts have up to "
                f"{config.text.max_length} characters: make the page larger or the text smaller"
            )
        return placed

    def _small_word(self, rng: Rng, image: ByteArray, placer: layout.Placer) -> list[Placed]:
        """Place a word at the minimum size, upright and plain, if there was no room before."""
        text, font = self._text(rng, words=1)
        size = self.config.font_size[0]
        run = render_run(text, font, size)
        look = Look.of(rng, Style())
        height, width = (side + 2 * look.pad(size) for side in run.mask.shape)
        matrix = placer.place(
            rng, width=width, height=height, angles=(0.0, 0.0, 0.0), on_plane=False, gap=0
        )
        if matrix is None:
            return []
        ground = _ground_color(image, matrix, width, height)
        plain = replace(self.config.style, hard_contrast=Chance(0.0))
        return [_lay(image, loose_item(rng, plain, look, run, size, ground), matrix)]

    def _run(self, text: str, font: Font, size: float, **options: float) -> Run:
        if "arc" in options:
            try:
                return render_run(text, font, size, **options)  # type: ignore[arg-type]
            except ValueError:  # too strong for such a short text: draw it straight
                del options["arc"]
        return render_run(text, font, size, **options)  # type: ignore[arg-type]

    def _text(self, rng: Rng, *, words: int) -> tuple[str, Font]:
        """Return a text of at most `words` words, and a font that draws it."""
        for _ in range(_TEXT_TRIES):
            text = " ".join(sample_text(rng, self.config.text).split()[:words])
            drawn = pick_font(rng, text, self.fonts, self.undrawable, config=self.config.text)
            if drawn is not None:
                return drawn
        raise SynthError(
            f"no font draws any of {_TEXT_TRIES} texts, the last one {text!r}: "
            f"{font_remedy(self.undrawable)}; characters that no font has: {dict(self.undrawable)}"
        )

    def _size(self, rng: Rng, letters: int) -> float:
        """Draw an em size: mostly small, never too large for the letters to fit in a line."""
        low, high = self.config.font_size
        fits = 0.9 * (self.config.width - 2 * self.config.margin) / (0.6 * max(1, letters))
        high = max(low, min(high, fits, 0.5 * self.config.height))
        size = low * (high / low) ** rng.random()
        return float(np.clip(size, MIN_SIZE, MAX_SIZE))

    def _item(
        self, rng: Rng, image: ByteArray, placer: layout.Placer, room: int, view: list[float]
    ) -> Placed | None:
        config = self.config
        style = config.style
        # Items on one page are rotated similarly: half of a rotation is the page's.
        angles = [(a + b) / 2 for a, b in zip(self._angles(rng), view, strict=True)]
        on_plane = rng.random() < config.on_planes
        if rng.random() < config.signs:
            item = self._sign(rng, room)
            if item is None:
                return None
            height, width = item.ink.shape
            matrix = placer.place(
                rng,
                width=width,
                height=height,
                angles=(angles[0], angles[1], angles[2]),
                on_plane=on_plane,
                gap=3,
            )
            if matrix is None:
                return None
            self._fasten(rng, image, placer, item, matrix)
            return _lay(image, item, matrix)
        line = room > 1 and rng.random() < config.lines
        text, font = self._text(rng, words=min(room, 5) if line else 1)
        size = self._size(rng, len(text))
        look = Look.of(rng, style)
        options: dict[str, float] = {}
        if (spacing := draw(rng, style.spacing)) is not None:
            options["spacing"] = spacing
        if look.outline is not None:
            options["stroke"] = max(1.0, look.outline * size)
        single = " " not in text
        if single and 1 < len(text) < 12 and rng.random() < config.vertical:
            options["vertical"] = True
        elif (sweep := draw(rng, config.arcs)) is not None and len(text) > 3:
            options["arc"] = sweep if rng.random() < 0.7 else -sweep
        elif single and rng.random() < config.turned:
            angles[2] += rng.choice((-90, 90)) if rng.random() < 0.7 else rng.uniform(-60, 60)
            on_plane = False
        run = self._run(text, font, size, **options)
        pad = look.pad(size)
        height, width = run.mask.shape
        height, width = height + 2 * pad, width + 2 * pad
        if max(height, width) > 1.2 * max(config.height, config.width):
            return None
        matrix = placer.place(
            rng,
            width=width,
            height=height,
            angles=(angles[0], angles[1], angles[2]),
            on_plane=on_plane,
            gap=max(2.0, 0.1 * size),
        )
        if matrix is None:
            return None
        ground = _ground_color(image, matrix, width, height)
        return _lay(image, loose_item(rng, style, look, run, size, ground), matrix)

    def _angles(self, rng: Rng) -> list[float]:
        config = self.config
        ranges = (config.rotationX, config.rotationY, config.rotationZ)
        return [float(rng.uniform(*one)) for one in ranges]

    def _fasten(
        self, rng: Rng, image: ByteArray, placer: layout.Placer, item: Item, matrix: np.ndarray
    ) -> None:
        """Add a post below, cords above, or a shadow behind some signs."""
        height, width = item.ink.shape
        kind = rng.random()
        offset = rng.uniform(-0.06, 0.1, 2) * min(height, width)
        thick = max(1.0, 0.03 * min(height, width))
        if kind < 0.4:
            corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
            paint(image, mapped(corners, matrix) + offset, (5.0, 5.0, 8.0), alpha=0.4)
            return
        if kind > 0.75:
            return
        below = kind < 0.6
        shares = (0.5,) if below else (0.15, 0.85)
        color = random_color(rng, saturation=0.08, value=(20, 190))
        for share in shares:
            x, y = mapped(np.array([share * width, height if below else 0]), matrix)
            end = placer.height - placer.margin if below else placer.margin
            # It starts a little outside the sign's own place, which is occupied.
            start = y + 8 if below else y - 8
            bar = box(x - thick, min(start, end), x + thick, max(start, end))
            if abs(end - start) > 4 and (end > start) == below and placer.is_free(bar.tolist()):
                placer.take(bar.tolist())
                paint(image, box(x - thick, min(y, end), x + thick, max(y, end)), color)

    def _sign(self, rng: Rng, room: int) -> Item | None:
        config = self.config
        texts: list[tuple[str, Font]] = []
        words = 0
        lines = 1 + int(rng.random() ** 1.5 * 5)
        shared = rng.random() < 0.7
        for _ in range(lines):
            if words >= room:
                break
            text, font = self._text(rng, words=min(4, room - words))
            if shared and texts and texts[0][1].covers(text):
                font = texts[0][1]
            texts.append((text, font))
            words += text.count(" ") + 1
        longest = max(len(text) for text, _ in texts)
        size = min(self._size(rng, longest), 0.45 * config.height / len(texts))
        size = max(size, config.font_size[0])
        stroke = draw(rng, config.style.outline)
        runs = []
        for number, (text, font) in enumerate(texts):
            smaller = rng.uniform(0.55, 1) if number else 1.0
            em = max(MIN_SIZE, size * smaller)
            options: dict[str, float] = {}
            if (spacing := draw(rng, config.style.spacing)) is not None:
                options["spacing"] = spacing * 0.6
            if stroke is not None:
                options["stroke"] = max(1.0, stroke * em)
            runs.append((self._run(text, font, em, **options), em))
        side = 0.8 * min(config.height, config.width) - 2 * config.margin
        return sign_item(rng, config.style, runs, longest=side)

    def _label(
        self, placed: Placed, image: ByteArray, blur: float, hidden: ByteArray | None
    ) -> list[Word]:
        """Return the words of an item as they appear on the finished page."""
        x0, y0, x1, y1 = placed.window
        part = image[y0:y1, x0:x1]
        words = []
        for flat in placed.item.words:
            quad = mapped(flat.quad, placed.matrix).astype(np.float32)
            quads = mapped(flat.quads, placed.matrix).astype(np.float32)
            polygon = flat.polygon
            if polygon is not None:
                polygon = mapped(polygon, placed.matrix).astype(np.float32)
            care = self._is_legible(quads, blur)
            if care:
                box = window(quad - (x0, y0), y1 - y0, x1 - x0)
                if box is None:
                    care = False
                else:
                    a, b, c, d = box
                    inside = layout.word_mask(quad, x0 + a, y0 + b, d - b, c - a)
                    ink = cv2.bitwise_and(placed.ink[b:d, a:c], inside)
                    care = _contrast(part[b:d, a:c], ink, inside) >= self.config.legible_contrast
                    if care and hidden is not None:
                        care = _hidden(hidden[y0 + b : y0 + d, x0 + a : x0 + c], ink) < 0.12
            characters = Character.many(flat.characters, quads)
            if len(flat.characters) == 1 and len(graphemes(flat.text)) > 1:
                characters = ()  # letters that join or run right to left have no quads
            words.append(
                Word(
                    quad=quad,
                    text=flat.text,
                    polygon=polygon,
                    care=care,
                    characters=characters,
                    line=flat.line,
                )
            )
        return words

    def _is_legible(self, quads: np.ndarray, blur: float) -> bool:
        """Return whether a word is large enough to be legible despite the blur."""
        edges = quads - quads[:, [1, 2, 3, 0]]
        sides = np.hypot(edges[..., 0], edges[..., 1])
        tall = float((sides[:, 1] + sides[:, 3]).mean() / 2)
        wide = float((sides[:, 0] + sides[:, 2]).mean() / 2)
        # A stroke is about a seventh of a letter's height: blurred over twice that, it is gone.
        seen = min(tall, 2.5 * wide)
        return seen >= self.config.legible_height and blur <= 0.085 * seen


def _lay(image: ByteArray, item: Item, matrix: np.ndarray) -> Placed:
    """Warp an item into its window of the page."""
    height, width = item.ink.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    where = window(mapped(corners, matrix), *image.shape[:2])
    assert where is not None  # the placer stays on the page
    x0, y0, x1, y1 = where
    blend(image[y0:y1, x0:x1], warp(item.rgba, matrix, where))
    return Placed(item=item, matrix=matrix, window=where, ink=warp(item.ink, matrix, where))


def _ground_color(image: ByteArray, matrix: np.ndarray, width: float, height: float) -> Color:
    """Return the mean background color below a flat item."""
    corners = mapped(np.array([[0, 0], [width, 0], [width, height], [0, height]]), matrix)
    where = window(corners, *image.shape[:2])
    assert where is not None
    x0, y0, x1, y1 = where
    mask = layout.word_mask(corners.astype(np.float32), x0, y0, y1 - y0, x1 - x0)
    r, g, b, _ = cv2.mean(image[y0:y1, x0:x1], mask)
    return (r, g, b)


def _contrast(part: ByteArray, ink: ByteArray, inside: ByteArray) -> float:
    """Return the contrast of letters in levels, minus a fraction of the background's deviation.

    The channel with the largest difference counts; hue alone counts half.
    """
    top = float(ink.max()) if ink.size else 0.0
    if top < 40:
        return 0.0
    letters = cv2.compare(ink, 0.6 * top, cv2.CMP_GT)
    ground = cv2.bitwise_and(cv2.compare(ink, 0.1 * top, cv2.CMP_LT), inside)
    inner, _ = cv2.meanStdDev(part, mask=letters)
    outer, spread = cv2.meanStdDev(part, mask=ground)
    difference = (inner - outer).ravel()
    luma = abs(0.299 * difference[0] + 0.587 * difference[1] + 0.114 * difference[2])
    return float(max(luma, 0.5 * np.abs(difference).max()) - 0.6 * spread.mean())


def _hidden(hidden: ByteArray, ink: ByteArray) -> float:
    """Return the fraction of a word's ink that is covered by something else."""
    covered = cv2.mean(hidden, cv2.compare(ink, 60, cv2.CMP_GT))[0] / 255
    return float(covered)


def in_reading_order(groups: list[list[Word]]) -> tuple[Word, ...]:
    """Sort items from top to bottom, and items side by side from left to right.

    Args:
        groups: the words of each item, in reading order, with their line within the item.

    Returns:
        All words; `line` numbers the lines of the page in this order.
    """
    spans = []
    for words in groups:
        quad = words[0].quad
        spans.append((float(quad[:, 1].mean()), float(np.ptp(quad[:, 1])), float(quad[:, 0].min())))
    row_of: dict[int, int] = {}
    row, middle, tall = -1, 0.0, 0.0
    for k in sorted(range(len(groups)), key=lambda k: spans[k][0]):
        if row < 0 or spans[k][0] - middle > 0.5 * min(tall, spans[k][1]):
            row, middle, tall = row + 1, spans[k][0], spans[k][1]
        row_of[k] = row
    ordered: list[Word] = []
    lines = 0
    for k in sorted(range(len(groups)), key=lambda k: (row_of[k], spans[k][2])):
        ordered += [replace(word, line=lines + (word.line or 0)) for word in groups[k]]
        lines += 1 + max(word.line or 0 for word in groups[k])
    return tuple(ordered)
