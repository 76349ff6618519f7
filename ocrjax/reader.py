"""The reader: detector and recognizer in one, from photos to words with texts."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import jax
import numpy as np
from numpy.typing import ArrayLike

from craftjax.detector import Detector
from craftjax.options import describe_options, options_of
from crnnjax.charset import Charset
from crnnjax.recognizer import PlacedReading, Reading, Recognizer
from ocrcore.images import ImageError, ImageLike, load_image, one_or_many
from ocrcore.pages import ByteArray, Character, FloatArray, Page, Word
from ocrcore.reading_order import arrange
from ocrcore.runtime.inference import drawn_ahead
from ocrcore.text import graphemes
from ocrcore.weights.named import find_weights
from ocrjax.crops import place_characters, rectify, turned
from ocrjax.reader_options import DETECTION, ReaderOptions

DETECTOR = "craft_mlt_25k"
"""The default weights of the detector."""
RECOGNIZER, CHARSET = "ppocrv6_small", "en95"
"""The default weights of the recognizer, and which of their 18,709 characters it reads: English."""

BACKENDS = ("jax", "onnx", "auto")
"""What runs the networks. "jax": JAX. "onnx": ONNX Runtime on the CPU, with the same weights.
"auto": ONNX Runtime if it is installed and there is no GPU, otherwise JAX."""

_AHEAD = 2  # detected pages that may wait for the recognizer
_END = object()
_T = TypeVar("_T")
_Network = TypeVar("_Network", Detector, Recognizer)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageReading:
    """The result for one image: a page, or an error.

    Attributes:
        index: index of the image among the inputs.
        page: the page that was read; None with an error.
        error: why the image could not be read; None with a page.
    """

    index: int
    page: Page | None
    error: ImageError | None = None


class Reader:
    """A detector and a recognizer, ready to read photos.

    Attributes:
        detector: the detector, which finds words.
        recognizer: the recognizer, which reads them.
        options: the options of each call that does not change them.
    """

    def __init__(
        self,
        detector: Detector | str | Path | None = None,
        recognizer: Recognizer | str | Path | None = None,
        *,
        charset: Charset | str | None = None,
        options: ReaderOptions | None = None,
        backend: str = "jax",
        log: Callable[[str], None] = _log.info,
    ) -> None:
        """Load the networks that are not given as loaded ones.

        Args:
            detector: a `Detector`, or weights: a name, a file, a run directory or a checkpoint.
                None means `craft_mlt_25k`. Without an operating point next to the weights, the
                options are `ocrjax.reader_options.DETECTION`.
            recognizer: a `Recognizer`, or weights in the same forms. None means `ppocrv6_small`.
            charset: the characters to read, for weights that are loaded here. None means the
                charset they were trained with, and English (`en95`) for `ppocrv6_small`.
            options: see `ReaderOptions`.
            backend: what runs the networks that are loaded here, one of `BACKENDS`.
            log: called with one line for each network, which says which weights are used.

        Raises:
            WeightsNotFoundError: named weights are not on this machine; the message says how to
                get them.
            ImportError: `ppocrv6_small` needs the extra `onnx`; the backend "onnx" needs the extras
                `onnx` and `onnxruntime`.
            ValueError: a charset for a loaded recognizer, which has its own; an unknown backend.
        """
        self.options = options or ReaderOptions()
        chosen = choose_backend(backend)
        if not isinstance(detector, Detector):
            detector = _with_backend(_load_detector(detector or DETECTOR, log), chosen)
        self.detector = detector
        if not isinstance(recognizer, Recognizer):
            loaded = _load_recognizer(recognizer or RECOGNIZER, charset, log)
            recognizer = _with_backend(loaded, chosen)
        elif charset is not None:
            raise ValueError(
                "charset is given for a recognizer that is already loaded: pass weights instead"
            )
        self.recognizer = recognizer

    @overload
    def read(self, images: ImageLike, **options: object) -> Page: ...  # type: ignore[overload-overlap]

    @overload
    def read(self, images: Iterable[ImageLike], **options: object) -> list[Page]: ...

    def read(self, images: ImageLike | Iterable[ImageLike], **options: object) -> Page | list[Page]:
        """Find words in images and read them.

        Args:
            images: one image or several: paths, arrays (gray, RGB, RGBA; uint8, uint16 or floats
                in [0, 1]) or Pillow images.
            **options: fields of `ReaderOptions` to change for this call.

        Returns:
            A page, or for several images a list of pages in the same order. Words are in reading
            order, with line and paragraph numbers. Each word has `text`, `confidence` (of the
            text), `score` (of the detection) and `quad`, `(4, 2)` float32, clockwise from the top
            left of the text, in pixels of the image. If the recognizer can locate them,
            `characters` make up the text, spaces included: each has `text`, `confidence` and
            `quad`, which is as high as the word.

        Raises:
            ImageError: an image cannot be read; `stream` continues with the next one instead.
            ValueError: an option is out of range.
        """
        listed, single = one_or_many(images)
        pages: dict[int, Page] = {}
        for reading in self.stream(listed, **options):
            if reading.page is None:
                assert reading.error is not None
                raise reading.error
            pages[reading.index] = reading.page
        return pages[0] if single else [pages[index] for index in range(len(listed))]

    def stream(
        self, images: ImageLike | Iterable[ImageLike], **options: object
    ) -> Iterator[PageReading]:
        """Read images and yield each as soon as it is done (not in order).

        While the recognizer reads, a thread runs the detector on the next images. Only a few pages
        and their crops are in memory. An image that cannot be read gives a `PageReading` with an
        error. The arguments are those of `read`.
        """
        listed, _ = one_or_many(images)
        chosen = replace(self.options, **dict[str, Any](options))
        enough = chosen.crops or (64 if jax.default_backend() == "cpu" else 1024)
        waiting: list[tuple[int, Page, list[ByteArray | None]]] = []
        count = 0
        for found in _in_thread(self._find(listed)):
            if found.page is None:
                yield found
                continue
            try:
                crops = self._cut(load_image(listed[found.index]), found.page.quads, chosen)
            except ImageError as error:  # the file has changed since the detector read it
                yield PageReading(found.index, None, error)
                continue
            waiting.append((found.index, found.page, crops))
            count += len(crops)
            if count >= enough:
                yield from self._read(waiting, chosen)
                waiting, count = [], 0
        yield from self._read(waiting, chosen)

    def recognize(self, image: ImageLike, quads: ArrayLike, **options: object) -> list[Word]:
        """Read words whose boxes are known, as EasyOCR's and keras-ocr's recognizers do.

        Args:
            image: the image.
            quads: `(N, 4, 2)`, each clockwise from the top left in reading direction.
            **options: fields of `ReaderOptions` to change for this call.

        Returns:
            A word for each quad, in order, whatever its confidence; the text is empty if nothing
            was read.

        Raises:
            ImageError: the image cannot be read.
            ValueError: quads of another shape, or an option out of range.
        """
        chosen = replace(self.options, **dict[str, Any](options))
        places = np.asarray(quads, np.float32)
        if places.size == 0:
            return []
        if places.ndim != 3 or places.shape[1:] != (4, 2):
            raise ValueError(f"quads of shape {places.shape}: expected (N, 4, 2)")
        picture = load_image(image)
        crops = self._cut(picture, places, chosen)
        words = [Word(quad) for quad in places]
        return [
            self._with_text(word, placed, picture.shape, chosen)
            for word, placed in zip(words, self._recognize(crops, chosen), strict=True)
        ]

    def _find(self, images: Sequence[ImageLike]) -> Iterator[PageReading]:
        """Detect words; drop the score maps, which are large."""
        for found in self.detector.stream(images):
            yield PageReading(found.index, found.page, found.error)

    def _cut(
        self, image: ByteArray, quads: FloatArray, options: ReaderOptions
    ) -> list[ByteArray | None]:
        height, margin = self.recognizer.height, options.margin
        return [rectify(image, quad, height=height, margin=margin) for quad in quads]

    def _read(
        self, waiting: list[tuple[int, Page, list[ByteArray | None]]], options: ReaderOptions
    ) -> Iterator[PageReading]:
        crops = [crop for _, _, crops in waiting for crop in crops]
        answers = iter(self._recognize(crops, options))
        for index, page, _ in waiting:
            shape = page.height, page.width
            read = [(word, next(answers)) for word in page.words]
            kept = [
                self._with_text(word, placed, shape, options)
                for word, placed in read
                if placed.reading.text and placed.reading.confidence >= options.min_confidence
            ]
            yield PageReading(index, arrange(page.with_words(kept)))

    def _with_text(
        self, word: Word, placed: PlacedReading, shape: tuple[int, ...], options: ReaderOptions
    ) -> Word:
        (text, confidence), spans, sure, degrees = placed
        quad = turned(word.quad, degrees)
        characters: tuple[Character, ...] = ()
        if options.characters and spans is not None and sure is not None:
            parts, spans, sure = _by_grapheme(text, spans, sure)
            height, margin = self.recognizer.height, options.margin
            quads = place_characters(quad, spans, shape, height=height, margin=margin)
            characters = tuple(map(Character, parts, quads, sure.tolist()))
        return replace(word, text=text, confidence=confidence, quad=quad, characters=characters)

    def _recognize(
        self, crops: Sequence[ByteArray | None], options: ReaderOptions
    ) -> list[PlacedReading]:
        """The most confident reading of each crop, with the rotation at which it was read."""
        best = [PlacedReading(Reading("", 0.0), None, None)] * len(crops)
        jobs = [
            (index, degrees, np.ascontiguousarray(np.rot90(crop, -degrees // 90)))
            for index, crop in enumerate(crops)
            if crop is not None
            for degrees in _degrees(crop, options)
        ]
        if not jobs:
            return best
        images = [crop for *_, crop in jobs]
        answers = self.recognizer.recognize_placed(images, **options.of_recognizer())
        for (index, degrees, _), placed in zip(jobs, answers, strict=True):
            before, now = best[index].reading, placed.reading
            if now.text and (not before.text or now.confidence > before.confidence):
                best[index] = placed._replace(degrees=(degrees + placed.degrees) % 360)
        return best


def choose_backend(name: str) -> str:
    """Resolve a name of `BACKENDS` to "jax" or "onnx" on this machine.

    Raises:
        ValueError: an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}, expected one of {', '.join(BACKENDS)}")
    if name != "auto":
        return name
    there = all(importlib.util.find_spec(package) for package in ("onnx", "onnxruntime"))
    return "onnx" if there and jax.default_backend() == "cpu" else "jax"


def _with_backend(network: _Network, name: str) -> _Network:
    if name == "jax":
        return network
    from ocrjax.onnx.runtime import with_onnxruntime

    return with_onnxruntime(network)


def _load_detector(weights: str | Path, log: Callable[[str], None]) -> Detector:
    path = find_weights(weights)
    options, origin = options_of(path, DETECTION, "the reader's")
    log(f"detector: {_named(weights, path)}; {describe_options(options, origin)}")
    return Detector.from_weights(path, options=options)


def _load_recognizer(
    weights: str | Path, charset: Charset | str | None, log: Callable[[str], None]
) -> Recognizer:
    path = find_weights(weights)
    if charset is None and str(weights) == RECOGNIZER:
        charset = CHARSET
    recognizer = Recognizer.from_weights(path, charset=charset)
    log(f"recognizer: {_named(weights, path)}; {recognizer.charset.describe()}")
    return recognizer


def _named(weights: str | Path, path: Path) -> str:
    return str(path) if str(weights) == str(path) else f"{weights} ({path})"


def _degrees(crop: ByteArray, options: ReaderOptions) -> tuple[int, ...]:
    """The rotations at which a crop is read."""
    tall = bool(options.vertical) and crop.shape[0] >= options.vertical * crop.shape[1]
    return tuple(sorted({0, *options.rotations, *((90, 270) if tall else ())}))


def _by_grapheme(
    text: str, spans: FloatArray, confidences: FloatArray
) -> tuple[Sequence[str], FloatArray, FloatArray]:
    """Merge code points into graphemes, such as a letter and its combining mark."""
    parts = graphemes(text)
    if len(parts) == len(text) or "".join(parts) != text:  # the second: text is not in NFC
        return tuple(text), spans, confidences
    ends = np.cumsum([len(part) for part in parts])
    starts = ends - [len(part) for part in parts]
    joined = np.stack([spans[starts, 0], spans[ends - 1, 1]], axis=1)
    return parts, joined, np.minimum.reduceat(confidences, starts)


def _in_thread(items: Iterator[_T]) -> Iterator[_T]:
    """Iterate in a separate thread, a few items ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="ocrjax finding words") as pool:

        def draws() -> Iterator[Any]:
            while True:
                yield pool.submit(next, items, _END)

        for future in drawn_ahead(draws(), _AHEAD):
            if (item := future.result()) is _END:
                return
            yield item
