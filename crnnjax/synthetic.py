"""Synthetic words and lines for the recognizer, by length class.

The width of a word is not known before it is drawn. So the lengths of texts are divided into
classes in advance; a position of the sequence of crops draws a class, which determines the width of
the batch, and the text is drawn within the class. The distribution of texts does not change.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnnjax.charset import writable_characters
from crnnjax.crop_index import Rules, steps_of
from crnnjax.resize import as_gray
from crnnjax.time_steps import time_steps
from ocrcore.data.mixing import SourceError
from ocrcore.options import OptionsError, from_section
from ocrcore.pages import ByteArray
from ocrcore.synth.config import preset
from ocrcore.synth.crops import CropSource, PageText
from ocrcore.synth.fonts import Font
from ocrcore.synth.glyphs import text_length
from ocrcore.synth.text import TextConfig, TextError, pick_font, sample_text
from ocrcore.synth.words import WordConfig, WordRenderer

# Fine where most texts are, and with the longest texts in a separate class. Drawing within a class
# takes about as many tries as there are classes.
CLASSES = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 1.0])
"""Ends of the length classes, as quantiles of the texts."""
_SAMPLED = 600  # texts sampled to estimate lengths
_DRAWN = 64  # words drawn to estimate widths
_PAGES = 4  # pages drawn to estimate the widths of words on pages
_TRIES, _MOST_TRIES = 400, 20_000  # most texts to try for one of a class, and for any
_LENGTHS = 5  # index of a random stream of the seed


class Made(NamedTuple):
    """A synthetic crop.

    Attributes:
        image: `(height, w)` uint8.
        classes: classes of its text.
    """

    image: ByteArray
    classes: NDArray[np.int32]


class WordSet:
    """Synthetic words, by length class.

    Args:
        rules: charset, height, lengths.
        seed: seed of the sample that estimates lengths.
        text: fields of `TextConfig`; charset and greatest length default to those of the rules.
        words: fields of `WordConfig`.

    Raises:
        OptionsError: a field is unknown or invalid.
        SourceError: invalid settings.

    Attributes:
        text: config of the texts.
        planned: `(classes,)` int64, planned width of a class: about a quarter of its words exceed
            it and are squeezed a little.
    """

    def __init__(
        self, rules: Rules, *, seed: int, text: Mapping[str, Any], words: Mapping[str, Any]
    ) -> None:
        self.rules = rules
        self.renderer = word_renderer(rules, text=text, words=words)
        self.text = self.renderer.config.text
        rng = np.random.default_rng([seed, _LENGTHS])
        lengths: list[float] = []

        def note(text: str, font: Font) -> bool:
            fine = writable(text, rules, rules.width) is not None
            if fine:
                lengths.append(text_length(text, font))
            return fine

        drawn = []
        for _ in range(_DRAWN):
            crop = self.renderer.draw(rng, accept=bounded(note))
            drawn.append((lengths[-1], crop.image.shape[1]))
        while len(lengths) < _SAMPLED:  # only texts, no drawing
            self._pick(rng, note)
        self._edges = np.quantile(lengths, CLASSES)
        # Fit a line: because of margins, the width is not proportional to the length.
        points = np.array(drawn)
        slope, margins = np.polyfit(points[:, 0], points[:, 1], 1)
        widths = np.maximum(slope, 1.0) * self._edges[1:] + margins
        self.planned = np.maximum(np.ceil(widths), 1).astype(np.int64)
        # The ends are open: a text that is longer than the whole sample needs a class as well.
        self._edges[0], self._edges[-1] = 0.0, np.inf

    def draw(self, rng: np.random.Generator, kind: int | None, room: int) -> Made:
        """Draw a word.

        Args:
            rng: random generator.
            kind: its length class; None for any.
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
            classes = writable(text, self.rules, room)
            return classes is not None

        crop = self.renderer.draw(rng, accept=bounded(accept))
        assert classes is not None
        return Made(as_gray(crop.image), classes)

    def _pick(self, rng: np.random.Generator, note: Callable[[str, Font], bool]) -> None:
        text = sample_text(rng, self.renderer.config.text)
        config = self.renderer.config.text
        drawn = pick_font(rng, text, self.renderer.fonts, config=config)
        if drawn is not None:
            note(*drawn)


class PageSet:
    """Words or lines cut from synthetic pages; those of one page are in one batch.

    Args:
        rules: charset, height, lengths.
        seed: seed of the pages.
        text: as for `WordSet`.
        kind: "plain", "scene", "web" or "words", a preset of `ocrcore.synth.config.preset`.
        page: changed fields of `SynthConfig`.
        unit: "word" or "line".
        jitter: random shift of the corners, relative to the height.

    Raises:
        OptionsError: a field is unknown or invalid.
        SourceError: invalid settings.

    Attributes:
        text: config of the texts.
        planned: as for `WordSet`.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        seed: int,
        text: Mapping[str, Any],
        kind: str,
        page: Mapping[str, Any],
        unit: str,
        jitter: float,
    ) -> None:
        self.rules = rules
        self.seed = seed
        try:
            self.text = _text_config(text, rules)
            config = preset(kind, **{**page, "text": self.text})
            self.source = CropSource(
                config,
                self.seed,
                unit=unit,  # type: ignore[arg-type]
                height=rules.height,
                jitter=jitter,
                max_length=rules.max_length,
            )
        except OptionsError:
            raise
        except (TextError, ValueError, TypeError) as error:
            raise SourceError(str(error)) from error
        widths = [width for page in range(_PAGES) for width in self._choices(page, rules.width)[1]]
        if not widths:
            raise SourceError(f"the first {_PAGES} pages have no text that the charset can write")
        self._edges = np.quantile(widths, CLASSES)
        self.planned = np.ceil(self._edges[1:]).astype(np.int64)
        self._edges[0], self._edges[-1] = 0.0, np.inf

    def draw(
        self, page: int, wanted: Sequence[tuple[np.random.Generator, int | None]], room: int
    ) -> list[Made]:
        """Cut crops from one page.

        Args:
            page: number of the page.
            wanted: for each crop a random generator and its length class; None for any.
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
            # Use each text once before repeating any, the best fitting ones first.
            chosen = int(np.lexsort((rng.random(len(texts)), lack, uses))[0])
            uses[chosen] += 1
            text, classes = texts[chosen]
            out.append(Made(as_gray(text.cut(rng)), classes))
        return out

    def _choices(self, page: int, room: int) -> tuple[list[_Choice], list[float]]:
        """The texts of a page that fit, with their classes; and their widths."""
        choices, widths = [], []
        for one in self.source.texts(page):
            classes = writable(one.text, self.rules, room)
            if classes is not None:
                choices.append(_Choice(one, classes))
                widths.append(one.width)
        return choices, widths


class _Choice(NamedTuple):
    text: PageText
    classes: NDArray[np.int32]


def word_renderer(
    rules: Rules, *, text: Mapping[str, Any], words: Mapping[str, Any]
) -> WordRenderer:
    """Return a renderer of words with the network's height, up to its greatest width.

    Args:
        rules: charset, height, lengths.
        text: fields of `TextConfig`; charset and greatest length default to those of the rules.
        words: fields of `WordConfig`.

    Raises:
        OptionsError: a field is unknown or invalid.
        SourceError: invalid settings.
    """
    widest = 1024 if rules.fixed else max(rules.height, rules.width * 5 // 4)
    values = {"height": rules.height, "max_width": widest, **words}
    config = from_section(WordConfig, {**values, "text": _text_config(text, rules)}, "words")
    if config.height != rules.height:
        raise SourceError(
            f"words.height is {config.height}, expected {rules.height}, the network's height: "
            "leave it out"
        )
    return WordRenderer(config)


def _text_config(values: Mapping[str, Any], rules: Rules) -> TextConfig:
    """Fields of `TextConfig`; charset and greatest length default to those of the rules."""
    given: dict[str, Any] = {"max_length": rules.max_length, **values}
    if given.get("charset") is None:
        given["charset"] = writable_characters(rules.charset)
    return from_section(TextConfig, given, "text")


def writable(text: str, rules: Rules, room: int) -> NDArray[np.int32] | None:
    """Return the classes of a text if charset and width allow it, else None."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    classes = rules.charset.classes_of(points)
    if not 0 < len(classes) <= rules.max_length or not classes.all():
        return None
    return classes if steps_of(classes) <= time_steps(room, features=rules.features) else None


def bounded(accept: Callable[[str, Font], bool]) -> Callable[[str, Font], bool]:
    """Wrap `accept` to raise an error after too many rejected texts."""
    tries = 0

    def few(text: str, font: Font) -> bool:
        nonlocal tries
        tries += 1
        if tries > _MOST_TRIES:
            raise SourceError(
                f"none of {_MOST_TRIES} synthetic texts, the last {text!r}, can be written with "
                "the charset in max_length characters within the width of the batch"
            )
        return accept(text, font)

    return few
