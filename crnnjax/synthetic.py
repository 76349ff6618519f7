"""Synthetic words and lines for the recognizer, by class of length.

How wide a word will be is not known before it is drawn. So the lengths of texts are divided into
classes beforehand; a position of the sequence of crops draws a class, which says how wide a batch
must be, and the text is drawn within it: from the same texts, in the same shares.

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

# Fine where most texts are, and so that the longest are among themselves. Drawing within a class
# takes as many tries as there are classes.
CLASSES = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 1.0])
"""Ends of the classes of lengths, as shares of the texts."""
_SAMPLED = 600  # texts that tell how long texts are
_DRAWN = 64  # words that tell how wide a text gets
_PAGES = 4  # pages that tell how wide words on pages are
_TRIES, _MOST_TRIES = 400, 20_000  # texts tried for one of a class, and for one at all
_LENGTHS = 5  # a stream of random numbers of the seed


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
        rules: charset, height, lengths.
        seed: of what is drawn to learn how long texts are.
        text: fields of `TextConfig`; charset and greatest length are those of the rules where not
            given.
        words: fields of `WordConfig`.

    Raises:
        OptionsError: a field that is unknown or has a bad value.
        SourceError: settings that cannot be.

    Attributes:
        text: what is written.
        planned: `(classes,)` int64, the width of the longest texts of a class: what about a quarter
            of its words exceed, and give way by becoming a little narrower.
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
        while len(lengths) < _SAMPLED:  # these are not drawn
            self._pick(rng, note)
        self._edges = np.quantile(lengths, CLASSES)
        # Margins make the width more than a multiple of the length.
        points = np.array(drawn)
        slope, margins = np.polyfit(points[:, 0], points[:, 1], 1)
        widths = np.maximum(slope, 1.0) * self._edges[1:] + margins
        self.planned = np.maximum(np.ceil(widths), 1).astype(np.int64)
        # The ends are open: what is longer than all of the sample must have a class, too.
        self._edges[0], self._edges[-1] = 0.0, np.inf

    def draw(self, rng: np.random.Generator, kind: int | None, room: int) -> Made:
        """Draw a word.

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
    """Words or lines cut from synthetic pages; those of one page stand in one batch.

    Args:
        rules: charset, height, lengths.
        seed: of the pages.
        text: as for `WordSet`.
        kind: "plain", "scene", "web" or "words", of `ocrcore.synth.config.preset`.
        page: fields of `SynthConfig` with other values.
        unit: "word" or "line".
        jitter: error of the corners, in shares of the height.

    Raises:
        OptionsError: a field that is unknown or has a bad value.
        SourceError: settings that cannot be.

    Attributes:
        text: what is written.
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
            out.append(Made(as_gray(text.cut(rng)), classes))
        return out

    def _choices(self, page: int, room: int) -> tuple[list[_Choice], list[float]]:
        """The texts of a page that fit, with their classes, and their widths."""
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
    """Draw words of the network's height, no wider than it takes them.

    Args:
        rules: charset, height, lengths.
        text: fields of `TextConfig`; charset and greatest length are those of the rules where not
            given.
        words: fields of `WordConfig`.

    Raises:
        OptionsError: a field that is unknown or has a bad value.
        SourceError: settings that cannot be.
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
    """Fields of `TextConfig`; charset and greatest length are the rules' where not given."""
    given: dict[str, Any] = {"max_length": rules.max_length, **values}
    if given.get("charset") is None:
        given["charset"] = writable_characters(rules.charset)
    return from_section(TextConfig, given, "text")


def writable(text: str, rules: Rules, room: int) -> NDArray[np.int32] | None:
    """Classes of a text that charset and width allow, else None."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    classes = rules.charset.classes_of(points)
    if not 0 < len(classes) <= rules.max_length or not classes.all():
        return None
    return classes if steps_of(classes) <= time_steps(room, features=rules.features) else None


def bounded(accept: Callable[[str, Font], bool]) -> Callable[[str, Font], bool]:
    """End the search for a text where there is none."""
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
