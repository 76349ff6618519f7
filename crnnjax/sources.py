"""What the recogniser is trained on: data sets, mixed and shuffled, in batches of like widths.

Every position of the endless sequence of crops is known beforehand (`ocrjax.mixing`): which data
set, which of its crops, and how wide that will be. Positions are taken in windows of some batches.
Within a window they are sorted by the bucket that their width falls into and cut into batches, and
the batches are shuffled. So the rows of a batch share one of a few widths, every crop has its turn,
and the whole is still a function of the configuration, the seed and the step alone.

How wide a synthetic word will be is not known before it is drawn. Its position draws a class of
lengths instead, and the text is drawn within that class: from the same texts, in the same shares.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crnnjax import labels
from crnnjax.augment import AugmentOptions
from crnnjax.charset import Charset
from crnnjax.labels import (
    Index,
    Rules,
    own_widths,
    reader_widths,
    steps_needed,
    steps_of,
    width_needed,
)
from crnnjax.resize import as_grey, fixed_crop
from crnnjax.steps import time_steps
from ocrjax.images import ImageError, decode_grey
from ocrjax.mixing import BLOCK, SourceError, arranged, shares, shuffled
from ocrjax.pages import ByteArray
from ocrjax.synth.config import preset
from ocrjax.synth.crops import CropSource, PageText
from ocrjax.synth.fonts import Font
from ocrjax.synth.glyphs import text_length
from ocrjax.synth.text import TextConfig, TextError, pick_font, sample_text
from ocrjax.synth.words import WordConfig, WordRenderer

KINDS = (*labels.KINDS, "words", "pages")
RESIZES = ("reader", "bicubic", "area", "any")
# Classes of lengths of synthetic texts, as shares of the texts: fine where most are, and so that
# the widest are among themselves. Drawing within a class takes as many tries as there are classes.
_CLASSES = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 1.0])
_SAMPLED = 600  # texts that tell how long texts are
_DRAWN = 64  # words that tell how wide a text gets
_PAGES = 4  # pages that tell how wide words on pages are
_TRIES, _MOST_TRIES = 400, 20_000  # texts tried for one of a class, and for one at all
_PER_PAGE = 8
# Streams of random numbers of one seed; 1 and 2 are those of `ocrjax.mixing`.
WINDOWS, ROWS, _LENGTHS = 3, 4, 5


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """One data set of the mix.

    Attributes:
        kind: "lmdb", "csv" or "tsv" (`crnnjax.labels.open_crops`); "words": synthetic words, made
            when they are asked for; "pages": the same, cut from synthetic pages.
        path: folder or file; not of "words" and "pages".
        ratio: how many crops of this data set there are to those of others.
        start: the first crop that is used.
        stop: the crop before which to stop; None uses all.
        augment: what becomes of its crops.
        resize: how crops are scaled: "reader": bilinear, as EasyOCR's Reader does; "bicubic": by
            Pillow, as deep-text-recognition-benchmark and EasyOCR's trainer do; "area": by the mean
            of what becomes a pixel; "any": one of bilinear, bicubic and area at random.
        root: of "tsv": folder that its paths start from; None is that of the file.
        text: of "words" and "pages": fields of `ocrjax.synth.text.TextConfig`. Charset and greatest
            length are those of the training where not given.
        words: of "words": fields of `ocrjax.synth.words.WordConfig`.
        preset: of "pages": "plain", "scene" or "words".
        page: of "pages": fields of `ocrjax.synth.config.SynthConfig` with other values.
        unit: of "pages": "word" or "line".
        jitter: of "pages": error of the corners, in shares of the height.

    Raises:
        SourceError: an unknown kind, or a value out of range.
    """

    kind: str
    path: str = ""
    ratio: float = 1.0
    start: int = 0
    stop: int | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    resize: str = "reader"
    root: str | None = None
    text: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "words"
    page: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "word"
    jitter: float = 0.04

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SourceError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.made == bool(self.path):
            needs = "no path, its crops are made" if self.path else "a folder or a file"
            raise SourceError(f"path is {self.path!r} for {self.kind}, expected {needs}")
        if self.resize not in RESIZES:
            raise SourceError(f"resize is {self.resize!r}, expected one of {', '.join(RESIZES)}")
        if not 0 < self.ratio < float("inf"):
            raise SourceError(f"ratio is {self.ratio!r}, expected a positive number")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise SourceError(f"start is {self.start}, stop is {self.stop}: expected start < stop")
        if self.made and (self.start or self.stop is not None):
            raise SourceError(f"start and stop mean nothing for {self.kind}: its crops never end")

    @property
    def made(self) -> bool:
        """Whether the crops are made, not read."""
        return self.kind in ("words", "pages")


class RealSet:
    """Crops of files that pass the filters.

    Args:
        options: of the data set.
        rules: which crops are used.
        name: of the data set.
        most: the greatest share of its crops that the filters may leave out.
        cache: for the index.

    Raises:
        SourceError: too few crops are left; the message counts the others by reason.
        LabelError: a data set that cannot be read.

    Attributes:
        filtered: which crops are used, and why others are not.
    """

    def __init__(
        self,
        options: SourceOptions,
        rules: Rules,
        *,
        name: str,
        most: float,
        cache: str | Path | None,
    ) -> None:
        self.options, self.rules, self.name = options, rules, name
        self.crops = labels.open_crops(options.kind, options.path, root=options.root)
        self.index: Index = labels.read_index(self.crops, options.path, cache=cache)
        stop = min(options.stop or len(self.crops), len(self.crops))
        if stop <= options.start:
            raise SourceError(
                f"config.data.train.{name}: no crop from start={options.start} to "
                f"stop={options.stop}: there are {len(self.crops)}"
            )
        self.filtered = labels.apply(
            self.index, rules, self.crops, name=name, start=options.start, stop=stop
        )
        left_out = self.filtered.counts.total() / (stop - options.start)
        if not len(self.filtered.kept) or left_out > most:
            why = (
                "not one can be used"
                if not len(self.filtered.kept)
                else f"a share of {left_out:.3g} is left out, more than config.data.max_filtered, "
                f"{most:g}"
            )
            first = {drop.reason: drop.error for drop in reversed(self.filtered.drops)}
            examples = "".join(f"\n  {error}" for error in first.values())
            raise SourceError(
                f"config.data.train.{name}: {why}: {self.filtered.summary()}; the first of "
                f"each reason:{examples}"
            )

    def __len__(self) -> int:
        return len(self.filtered.kept)

    def crop_name(self, number: int) -> str:
        """Names a crop."""
        return labels.crop_name(self.crops, number)

    def classes(self, number: int) -> NDArray[np.int32]:
        """Classes of the label of a crop."""
        return self.rules.charset.classes_of(self.index.label(number))

    def picture(self, number: int) -> ByteArray:
        """Reads a crop, `(H, W)` uint8.

        Raises:
            ImageError: it is missing or no picture.
            LabelError: a damaged LMDB.
        """
        crop = self.crops[number]
        if crop.data is not None:
            return decode_grey(crop.data, name=crop.name)
        try:
            return decode_grey(np.fromfile(crop.name, np.uint8), name=crop.name)
        except OSError as error:
            raise ImageError(f"{crop.name}: {error.strerror or error}") from error

    def widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Widths of crops at the network's height, as wide as it takes them at most."""
        own = own_widths(self.index.sizes[numbers], self.rules.height)
        return np.minimum(own, self.rules.width)

    def least_widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Widths that the labels of crops need."""
        ends = self.index.ends[numbers]
        starts = np.where(numbers > 0, self.index.ends[np.maximum(numbers - 1, 0)], 0)
        lengths = ends - starts
        stops = np.cumsum(lengths)
        flat = np.arange(stops[-1] if len(stops) else 0) + np.repeat(
            starts - (stops - lengths), lengths
        )
        classes = self.rules.charset.classes_of(self.index.points[flat])
        return width_needed(steps_needed(classes, stops), features=self.rules.features)

    def reader_widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Widths to which EasyOCR pads crops, as wide as the network takes them at most."""
        wide = reader_widths(self.index.sizes[numbers], self.rules.height)
        return np.minimum(wide, self.rules.width)


class Made(NamedTuple):
    """A synthetic crop.

    Attributes:
        image: `(height, w)` uint8.
        classes: of its text.
    """

    image: ByteArray
    classes: NDArray[np.int32]


class WordSet:
    """Synthetic words, by class of length.

    Args:
        options: of the data set.
        rules: charset, height, lengths.
        seed: of what is drawn to learn lengths, and of the pages.

    Raises:
        SourceError: settings that cannot be.

    Attributes:
        planned: `(classes,)` int64, the width of the longest texts of a class: what about a quarter
            of its words exceed, and give way by becoming a little narrower.
    """

    def __init__(self, options: SourceOptions, rules: Rules, *, seed: int) -> None:
        self.rules = rules
        widest = 1024 if rules.fixed else max(rules.height, rules.width * 5 // 4)
        try:
            text = _text_config(options.text, rules)
            values = {"height": rules.height, "max_width": widest, **options.words, "text": text}
            self.renderer = WordRenderer(WordConfig(**values))
        except (TextError, ValueError, TypeError) as error:
            raise SourceError(str(error)) from error
        if self.renderer.config.height != rules.height:
            raise SourceError(
                f"words.height is {self.renderer.config.height}, expected {rules.height}, the "
                "network's height: leave it out"
            )
        rng = np.random.default_rng([seed, _LENGTHS])
        lengths: list[float] = []

        def note(text: str, font: Font) -> bool:
            fine = _writable(text, rules, rules.width) is not None
            if fine:
                lengths.append(text_length(text, font))
            return fine

        drawn = []
        for _ in range(_DRAWN):
            crop = self.renderer.draw(rng, accept=_bounded(note))
            drawn.append((lengths[-1], crop.image.shape[1]))
        while len(lengths) < _SAMPLED:  # these are not drawn
            self._pick(rng, note)
        self._edges = np.quantile(lengths, _CLASSES)
        # Margins make the width more than a multiple of the length.
        points = np.array(drawn)
        slope, margins = np.polyfit(points[:, 0], points[:, 1], 1)
        widths = np.maximum(slope, 1.0) * self._edges[1:] + margins
        self.planned = np.maximum(np.ceil(widths), 1).astype(np.int64)
        # The ends are open: what is longer than all of the sample must have a class, too.
        self._edges[0], self._edges[-1] = 0.0, np.inf

    def draw(self, rng: np.random.Generator, kind: int | None, room: int) -> Made:
        """Draws a word.

        Args:
            rng: source of chance.
            kind: class of its length; None is any.
            room: width of the batch, which its label must fit.
        """
        low, high = (0.0, np.inf) if kind is None else self._edges[kind : kind + 2].tolist()
        tries = 0
        classes: NDArray[np.int32] | None = None

        def accept(text: str, font: Font) -> bool:
            nonlocal tries, classes
            tries += 1
            if tries <= _TRIES and not low <= text_length(text, font) < high:
                return False
            classes = _writable(text, self.rules, room)
            return classes is not None

        crop = self.renderer.draw(rng, accept=_bounded(accept))
        assert classes is not None
        return Made(as_grey(crop.image), classes)

    def _pick(self, rng: np.random.Generator, note: Callable[[str, Font], bool]) -> None:
        text = sample_text(rng, self.renderer.config.text)
        font = pick_font(rng, text, self.renderer.fonts)
        if font is not None:
            note(text, font)


class PageSet:
    """Words or lines cut from synthetic pages; those of one page stand in one batch.

    Args:
        options: of the data set.
        rules: charset, height, lengths.
        seed: of what is drawn to learn lengths, and of the pages.

    Raises:
        SourceError: settings that cannot be.

    Attributes:
        planned: as for `WordSet`.
    """

    def __init__(self, options: SourceOptions, rules: Rules, *, seed: int) -> None:
        self.rules = rules
        self.seed = seed
        try:
            text = _text_config(options.text, rules)
            config = preset(options.preset, **{**options.page, "text": text})
            self.source = CropSource(
                config,
                self.seed,
                unit=options.unit,  # type: ignore[arg-type]
                height=rules.height,
                jitter=options.jitter,
                max_length=rules.max_length,
            )
        except (TextError, ValueError, TypeError) as error:
            raise SourceError(str(error)) from error
        widths = [width for page in range(_PAGES) for width in self._choices(page, rules.width)[1]]
        if not widths:
            raise SourceError(f"the first {_PAGES} pages have no text that the charset can write")
        self._edges = np.quantile(widths, _CLASSES)
        self.planned = np.ceil(self._edges[1:]).astype(np.int64)
        self._edges[0], self._edges[-1] = 0.0, np.inf

    def draw(
        self, page: int, wanted: Sequence[tuple[np.random.Generator, int | None]], room: int
    ) -> list[Made]:
        """Cuts crops from one page.

        Args:
            page: its number.
            wanted: of each crop a source of chance and the class of its length; None is any.
            room: width of the batch, which the labels must fit.
        """
        for again in range(_TRIES):
            number = page + again * (self.source.pages.length // _TRIES)
            texts, widths = self._choices(number % self.source.pages.length, room)
            if texts:
                break
        else:
            raise SourceError(f"{_TRIES} pages have no text that fits {room} pixels")
        out = []
        uses = np.zeros(len(texts))
        for rng, kind in wanted:
            low, high = (0.0, np.inf) if kind is None else self._edges[kind : kind + 2].tolist()
            lack = np.maximum(np.maximum(low - np.array(widths), np.array(widths) - high), 0)
            # Each text has its turn before one comes again, the best fitting ones first.
            chosen = int(np.lexsort((rng.random(len(texts)), lack, uses))[0])
            uses[chosen] += 1
            text, classes = texts[chosen]
            out.append(Made(as_grey(text.cut(rng)), classes))
        return out

    def _choices(self, page: int, room: int) -> tuple[list[_Choice], list[float]]:
        """The texts of a page that fit, with their classes, and their widths."""
        choices, widths = [], []
        for one in self.source.texts(page):
            classes = _writable(one.text, self.rules, room)
            if classes is not None:
                choices.append(_Choice(one, classes))
                widths.append(one.width)
        return choices, widths


class _Choice(NamedTuple):
    text: PageText
    classes: NDArray[np.int32]


Set = RealSet | WordSet | PageSet


@dataclass(frozen=True, eq=False)
class Window:
    """Some batches that were arranged together.

    Attributes:
        which: `(N,)` which data set each position is of.
        number: `(N,)` which crop of that; of synthetic ones the class of length.
        inner: `(N,)` width of the crop at the network's height; of synthetic ones what is planned.
        width: `(N,)` width that the network is to read, padding included.
        order: `(batches, rows)` the positions of each batch, counted from the window's first.
        buckets: `(batches,)` width of each batch.
    """

    which: NDArray[np.intp]
    number: NDArray[np.int64]
    inner: NDArray[np.int64]
    width: NDArray[np.int64]
    order: NDArray[np.intp]
    buckets: NDArray[np.int64]


class Mix:
    """The endless sequence of batches, as plans.

    Args:
        sets: the data sets.
        ratios: of each, how many crops there are to those of others.
        seed: of the run.
        rows: of a batch, over all hosts.
        batches: of a window.
        widths: that a batch may have, rising.
        rules: as for the data sets.
        p_reader_pad: share of crops that are padded as EasyOCR pads them.

    Attributes:
        shares: how many of each thousand positions each data set has.
    """

    def __init__(
        self,
        sets: Sequence[Set],
        ratios: Sequence[float],
        *,
        seed: int,
        rows: int,
        batches: int,
        widths: Sequence[int],
        rules: Rules,
        p_reader_pad: float,
    ) -> None:
        self.sets, self.seed, self.rows, self.batches = list(sets), seed, rows, batches
        self.widths = np.array(widths)
        self.rules, self.p_reader_pad = rules, p_reader_pad
        self.shares = shares(ratios)
        self.window = lru_cache(maxsize=4)(self._window)

    def _window(self, number: int) -> Window:
        """Arranges the batches of a window."""
        count = self.rows * self.batches
        start = number * count
        rng = np.random.default_rng([self.seed, WINDOWS, number])
        chance = rng.random((2, count))
        which, place = self._picks(start, start + count)
        numbers = np.zeros(count, np.int64)
        inner = np.full(count, self.rules.width, np.int64)
        width = inner.copy()
        for one, crops in enumerate(self.sets):
            mine = np.flatnonzero(which == one)
            if not len(mine):
                continue
            if not isinstance(crops, RealSet):
                kinds = np.searchsorted(_CLASSES, chance[1, mine], side="right") - 1
                numbers[mine] = kinds
                if not self.rules.fixed:
                    inner[mine] = np.minimum(crops.planned[kinds], self.rules.width)
                    width[mine] = inner[mine]
                continue
            turns, offsets = np.divmod(place[mine], len(crops))
            for turn in np.unique(turns).tolist():
                those = turns == turn
                turned = shuffled(self.seed, one, turn, len(crops))
                numbers[mine[those]] = crops.filtered.kept[turned[offsets[those]]]
            if not self.rules.fixed:
                inner[mine] = crops.widths(numbers[mine])
                width[mine] = np.maximum(inner[mine], crops.least_widths(numbers[mine]))
                padded = mine[chance[0, mine] < self.p_reader_pad]
                if len(padded):
                    reader = crops.reader_widths(numbers[padded])
                    width[padded] = np.maximum(width[padded], reader)
        buckets = np.searchsorted(self.widths, width)
        if self.rules.fixed:
            order = np.arange(count).reshape(self.batches, self.rows)
        else:
            # Of one bucket in their own order, so that a crop comes again in another batch only.
            order = np.argsort(buckets, kind="stable").reshape(self.batches, self.rows)
            # Where a batch stands in the window and a row in its batch tells nothing of the width.
            order = rng.permuted(rng.permutation(order), axis=1)
        widest = self.widths[buckets[order].max(axis=1)]
        return Window(which, numbers, inner, width, order, widest)

    def _picks(self, start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Data set of each position, and the place in that one's own endless sequence."""
        if len(self.shares) == 1:
            return np.zeros(stop - start, np.intp), np.arange(start, stop)
        which, place = [], []
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            order, rank = arranged(self.seed, block, self.shares)
            which.append(order)
            place.append(block * np.array(self.shares)[order] + rank)
        cut = slice(start - start // BLOCK * BLOCK, stop - start // BLOCK * BLOCK)
        return np.concatenate(which)[cut], np.concatenate(place)[cut]


def open_set(
    options: SourceOptions,
    rules: Rules,
    *,
    name: str,
    seed: int,
    most: float,
    cache: str | Path | None,
) -> Set:
    """Opens a data set; the arguments are those of `RealSet`, `WordSet` and `PageSet`."""
    if not options.made:
        return RealSet(options, rules, name=name, most=most, cache=cache)
    try:
        return (WordSet if options.kind == "words" else PageSet)(options, rules, seed=seed)
    except SourceError as error:
        raise SourceError(f"config.data.train.{name}: {error}") from error


def scale(image: ByteArray, height: int, width: int, how: str, chance: float) -> ByteArray:
    """Scales a grey crop.

    Args:
        image: `(h, w)` uint8.
        height: of the result.
        width: of the result.
        how: one of `RESIZES`.
        chance: in [0, 1), what "any" becomes.
    """
    if image.shape == (height, width):
        return image
    if how == "any":
        how = ("reader", "bicubic", "area")[int(chance * 3)]
    if how == "bicubic":
        return fixed_crop(image, height, width)
    kind = cv2.INTER_AREA if how == "area" else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)


def _text_config(values: Mapping[str, Any], rules: Rules) -> TextConfig:
    given = {"max_length": rules.max_length, **values}
    if given.get("charset") is None:
        given["charset"] = writable_characters(rules.charset)
    return TextConfig(**given)


def writable_characters(charset: Charset) -> str:
    """All characters that texts of a charset may hold: letters in both cases where that is one."""
    characters = dict.fromkeys(charset.characters)
    if charset.case_insensitive:
        for character in charset.characters:
            for other in (character.lower(), character.upper()):
                if len(other) == 1 and not charset.missing(other):
                    characters.setdefault(other)
    return "".join(characters)


def _writable(text: str, rules: Rules, room: int) -> NDArray[np.int32] | None:
    """Classes of a text that charset and width allow, else None."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    classes = rules.charset.classes_of(points)
    if not 0 < len(classes) <= rules.max_length or not classes.all():
        return None
    return classes if steps_of(classes) <= time_steps(room, features=rules.features) else None


def _bounded(accept: Callable[[str, Font], bool]) -> Callable[[str, Font], bool]:
    """Ends the search for a text where there is none."""
    tries = 0

    def bounded(text: str, font: Font) -> bool:
        nonlocal tries
        tries += 1
        if tries > _MOST_TRIES:
            raise SourceError(
                f"none of {_MOST_TRIES} synthetic texts, the last {text!r}, can be written with "
                "the charset in max_length characters within the width of the batch"
            )
        return accept(text, font)

    return bounded
