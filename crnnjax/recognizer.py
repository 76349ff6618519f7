"""The recognizer: reads crops of words and lines."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import ArrayLike

from crnnjax import ppocr
from crnnjax.alignment import best_path, character_spans, character_steps
from crnnjax.charset import Charset, named
from crnnjax.charset_transfer import map_classes
from crnnjax.convert import from_state_dict
from crnnjax.decoding import Greedy, confidence, greedy, ignored_classes, log_probabilities, search
from crnnjax.lexicon import as_lexicon
from crnnjax.models import CRNN, Variables, options_of
from crnnjax.options import RecognizerError, RecognizerOptions
from crnnjax.resize import (
    as_gray,
    bucket_width,
    easyocr_width,
    fixed_crop,
    level_crop,
    level_width,
    pad_crop,
    raise_contrast,
    read_gray,
    scale_crop,
    turn_tall,
)
from crnnjax.time_steps import step_columns, time_steps
from ocrcore.images import ImageLike, load_image, one_or_many
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.runtime.inference import reading_threads, run_batches, stacked
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights

Network = Callable[[ByteArray, "np.ndarray | None"], FloatArray]
"""A function of images `(B, H, W, 1)` uint8 and widths `(B,)` int32 (or None) to `(B, T, C)`."""

# Most columns of a "bucket" input, as in training: an extremely long crop would fill the memory.
_WIDEST = 8192


class Reading(NamedTuple):
    """The reading of a crop.

    Attributes:
        text: the text; empty if nothing was read.
        confidence: in [0, 1]. For greedy decoding as chosen in the options; else the probability
            of the text by CTC.
    """

    text: str
    confidence: float


class PlacedReading(NamedTuple):
    """The reading of a crop with the positions of its characters.

    Attributes:
        reading: text and confidence.
        spans: `(N, 2)` float32, start and end of each character as fractions of the crop's width;
            None if they are not known, because the network transforms its inputs, or may.
        confidences: `(N,)` float32, probability of each character in its time step; None as
            `spans`.
        degrees: clockwise rotation of the crop before reading (`turn_above`); the fractions refer
            to the width after it.
    """

    reading: Reading
    spans: FloatArray | None
    confidences: FloatArray | None
    degrees: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """A crop to be read.

    Attributes:
        index: index of the crop.
        width: width of the input.
        true: width that the network is told to read; None: all of it.
        filled: width that the crop fills.
        make: makes the input, `(height, width)` uint8.
    """

    index: int
    width: int
    true: int | None
    filled: int
    make: Callable[[], ByteArray]


class Recognizer:
    """A CRNN with its weights and charset, ready to read.

    Attributes:
        charset: the characters of its classes.
        height: height of the network's input.
        options: the options of each call that does not change them.
    """

    def __init__(
        self,
        variables: Variables,
        *,
        charset: Charset,
        height: int,
        options: RecognizerOptions | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Put the weights onto the device.

        Args:
            variables: variables of `crnnjax.models.CRNN`; the architecture is inferred from them.
            charset: the characters of its classes, in order.
            height: input height of the training, usually 32, 48 or 64; 31 or more.
            options: see `RecognizerOptions`.
            dtype: dtype of the computation, float32 or bfloat16.

        Raises:
            RecognizerError: the charset does not match the number of classes.
            LexiconError: the lexicon file cannot be read.
        """
        self._kind = options_of(variables)
        if self._kind["num_classes"] != charset.num_classes:
            raise RecognizerError(
                f"the network has {self._kind['num_classes']} classes, but charset "
                f"{charset.name!r} makes {charset.num_classes} ({len(charset.characters)} "
                "characters and the blank): name the charset that it was trained with"
            )
        self.charset = charset
        self.height = height
        options = options or RecognizerOptions()
        self.options = replace(options, lexicon=as_lexicon(options.lexicon, charset))
        self._variables: Any = _put(variables)
        model = CRNN(**self._kind, dtype=dtype)
        self._apply: Callable[..., Any] = jax.jit(model.apply)

        def read(variables: Any, images: Any, widths: Any, steps: Any, ignored: Any) -> Greedy:
            return greedy(model.apply(variables, images, widths), steps, ignored)

        def score(variables: Any, images: Any, widths: Any, ignored: Any) -> jax.Array:
            return log_probabilities(model.apply(variables, images, widths), ignored)

        self._greedy: Callable[..., Any] = jax.jit(read)
        self._scores: Callable[..., Any] = jax.jit(score)
        self._programs: set[tuple[int, ...]] = set()

    @classmethod
    def from_weights(
        cls,
        name_or_path: str | Path = "english_g2",
        *,
        charset: Charset | str | None = None,
        height: int | None = None,
        options: RecognizerOptions | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Recognizer:
        """Load weights by name (`english_g2`, `ppocrv6_small`), from a file, or from a run.

        Args:
            name_or_path: a name, a `.pth` or `.safetensors` file, the `.onnx` file of PP-OCRv6's
                small recognizer, a run directory, or one of its checkpoints.
            charset: a charset or its name; None: that of the named weights, or the `charset.json`
                of the run. If the weights are known to have another charset, the classes of the
                given one are selected from it, character by character.
            height: height of the network's input; None: that of the named weights, or of the run's
                `config.json`.
            options: see `RecognizerOptions`; None: `resize="easyocr"` for named weights, and those
                of the config for a run.
            dtype: dtype of the computation, float32 or bfloat16.

        Raises:
            WeightsNotFoundError: there are no such weights; the message says where it looked and
                how to get them.
            TorchFileError: the file is damaged, or has no weights.
            ConversionError: the file holds another network.
            RecognizerError: charset or height are not known for the weights, or do not fit them.
        """
        loaded = load_recognizer(name_or_path, charset=charset, height=height)
        return cls(
            loaded.variables,
            charset=loaded.charset,
            height=loaded.height,
            options=options or loaded.options,
            dtype=dtype,
        )

    @classmethod
    def from_network(
        cls,
        network: Network,
        *,
        charset: Charset,
        height: int,
        features: str,
        transform: str = "unknown",
        options: RecognizerOptions | None = None,
    ) -> Recognizer:
        """Make a recognizer whose network does not run in JAX; it has no variables.

        Args:
            network: the network function; called from one thread only.
            charset: the characters of its classes, in order.
            height: height of the inputs.
            features: kind of features, from which `crnnjax.time_steps` computes the time steps.
            transform: as for `crnnjax.models.CRNN`; characters are only located with "none".
            options: see `RecognizerOptions`.
        """
        self = cls.__new__(cls)
        classes = charset.num_classes
        self._kind = {"num_classes": classes, "features": features, "transform": transform}
        self.charset, self.height = charset, height
        options = options or RecognizerOptions()
        self.options = replace(options, lexicon=as_lexicon(options.lexicon, charset))
        self._variables, self._programs = None, set()
        decode, score = jax.jit(greedy), jax.jit(log_probabilities)
        self._apply = lambda _, images, widths: network(images, widths)
        self._greedy = lambda _, images, widths, *rest: decode(network(images, widths), *rest)
        self._scores = lambda _, images, widths, ignored: score(network(images, widths), ignored)
        return self

    def with_variables(self, variables: Variables) -> Recognizer:
        """Return the recognizer with other weights of the same network; shares its programs."""
        if options_of(variables) != self._kind:
            raise RecognizerError(
                f"variables of {options_of(variables)}, expected those of {self._kind}"
            )
        other = copy.copy(self)
        other._variables = _put(variables)
        return other

    @property
    def variables(self) -> Variables:
        """The network's variables as NumPy arrays; None for a recognizer of `from_network`."""
        return jax.device_get(self._variables)

    @property
    def programs(self) -> int:
        """The number of batch shapes read so far, each with one compiled program."""
        return len(self._programs)

    @overload
    def recognize(  # type: ignore[overload-overlap]
        self, images: ImageLike, report: Callable[[int], None] | None = None, **options: object
    ) -> Reading: ...

    @overload
    def recognize(
        self,
        images: Iterable[ImageLike],
        report: Callable[[int], None] | None = None,
        **options: object,
    ) -> list[Reading]: ...

    def recognize(
        self,
        images: ImageLike | Iterable[ImageLike],
        report: Callable[[int], None] | None = None,
        **options: object,
    ) -> Reading | list[Reading]:
        """Read crops, each a word or a line.

        Args:
            images: one crop or several: paths, arrays `(H, W, 3)` RGB or `(H, W)` gray of uint8,
                Pillow images, and other types of `ocrcore.images.as_rgb`. With `resize="easyocr"`
                files are read as gray by OpenCV, as in EasyOCR, which differs from the gray of a
                PNG file's RGB values.
            report: called with the number of crops read so far.
            **options: fields of `RecognizerOptions` to change for this call.

        Returns:
            A reading, or for several crops a list of readings in the same order.

        Raises:
            ImageError: a crop cannot be read.
            RecognizerError: an option is out of range.
        """
        listed, single = one_or_many(images)
        readings = [placed.reading for placed in self.recognize_placed(listed, report, **options)]
        return readings[0] if single else readings

    def recognize_placed(
        self,
        images: Iterable[ImageLike],
        report: Callable[[int], None] | None = None,
        **options: object,
    ) -> list[PlacedReading]:
        """Read crops and locate their characters; otherwise like `recognize`."""
        listed, _ = one_or_many(images)
        chosen = replace(self.options, **dict[str, Any](options))
        with reading_threads() as pool:
            loaded = _load_all(pool, listed, chosen)
            crops = [crop for crop, _ in loaded]
            found = self._read(pool, self._jobs(crops, chosen), chosen, report)
            if chosen.resize == "easyocr" and chosen.decoder == "greedy":
                dull = [
                    index
                    for index, item in found.items()
                    if item.reading.confidence < chosen.contrast_threshold
                ]
                again = self._read(pool, self._contrast_jobs(pool, crops, dull, chosen), chosen)
                for index, second in again.items():
                    if second.reading.confidence >= found[index].reading.confidence:
                        found[index] = second
        return [found[index]._replace(degrees=turn) for index, (_, turn) in enumerate(loaded)]

    def logits(
        self, images: ImageLike | Iterable[ImageLike], **options: object
    ) -> list[FloatArray]:
        """Return the logits of each crop: `(T, num_classes)` float32, without padded steps.

        The arguments are those of `recognize`, but the result is always a list; decoding options
        are ignored.
        """
        chosen = replace(self.options, **dict[str, Any](options))
        out: dict[int, FloatArray] = {}
        with reading_threads() as pool:
            loaded = _load_all(pool, one_or_many(images)[0], chosen)
            jobs = self._jobs([crop for crop, _ in loaded], chosen)

            def score(inputs: Any, widths: Any, steps: Any) -> Any:
                return self._apply(self._variables, inputs, widths)

            for batch, steps, logits in self._run(pool, jobs, chosen, score):
                for row, job in enumerate(batch):
                    out[job.index] = logits[row, : steps[row]]
        return [out[index] for index in range(len(out))]

    def _jobs(self, crops: Sequence[ByteArray], options: RecognizerOptions) -> list[_Job]:
        high = self.height
        jobs = []
        for index, crop in enumerate(crops):
            size = crop.shape[0], crop.shape[1]
            own = level_width(*size, high)
            if options.resize == "fixed":
                own, width, true = options.width, options.width, None
                make = _later(lambda crop: fixed_crop(as_gray(crop), high, options.width), crop)
            elif options.resize == "easyocr":
                width, true = easyocr_width(*size, high), None
                make = _later(self._scaled, crop, width)
            else:
                # A narrow crop keeps some padding: its own time steps may not fit two letters.
                true = min(max(own, high), _WIDEST)
                width = bucket_width(true, high)
                make = _later(self._scaled, crop, width)
            jobs.append(_Job(index, width, true, min(own, width), make))
        return jobs

    def _scaled(self, crop: ByteArray, width: int) -> ByteArray:
        if level_width(crop.shape[0], crop.shape[1], self.height) > width:
            return fixed_crop(as_gray(crop), self.height, width)
        scaled = scale_crop(as_gray(crop), self.height)
        return pad_crop(level_crop(scaled, self.height), width)

    def _contrast_jobs(
        self,
        pool: ThreadPoolExecutor,
        crops: Sequence[ByteArray],
        indices: Sequence[int],
        options: RecognizerOptions,
    ) -> list[_Job]:
        """Crops whose contrast can be raised; EasyOCR also rereads the others, with no effect."""

        def stretch(index: int) -> _Job | None:
            crop = crops[index]
            scaled = scale_crop(as_gray(crop), self.height)
            stretched = raise_contrast(scaled, options.contrast)
            if stretched is scaled:
                return None
            width = easyocr_width(crop.shape[0], crop.shape[1], self.height)
            level = level_crop(stretched, self.height)
            done = pad_crop(level, width)
            return _Job(index, width, None, level.shape[1], lambda: done)

        return [job for job in pool.map(stretch, indices) if job is not None]

    def _read(
        self,
        pool: ThreadPoolExecutor,
        jobs: list[_Job],
        options: RecognizerOptions,
        report: Callable[[int], None] | None = None,
    ) -> dict[int, PlacedReading]:
        report = report or (lambda done: None)
        closed = ignored_classes(
            self.charset.characters, allowlist=options.allowlist, blocklist=options.blocklist
        )
        if closed is None:
            closed = np.zeros(self.charset.num_classes, np.bool_)
        readings: dict[int, PlacedReading] = {}
        if options.decoder == "greedy":

            def read(inputs: Any, widths: Any, steps: Any) -> Any:
                return self._greedy(self._variables, inputs, widths, steps, closed)

            for batch, _, found in self._run(pool, jobs, options, read):
                sure = confidence(found, options.confidence)
                for row, job in enumerate(batch):
                    text = self.charset.decode(found.indices[row, : found.counts[row]])
                    reading = Reading(text, float(sure[row]))
                    path, best = found.path[row], found.probabilities[row]
                    readings[job.index] = self._placed(reading, job, path, best)
                report(len(readings))
            return readings

        def score(inputs: Any, widths: Any, steps: Any) -> Any:
            return self._scores(self._variables, inputs, widths, closed)

        lexicon = as_lexicon(options.lexicon, self.charset)
        for batch, steps, logs in self._run(pool, jobs, options, score):
            for row, job in enumerate(batch):
                own = logs[row, : steps[row]]
                reading = Reading(*search(own, self.charset, lexicon, width=options.beam_width))
                points = np.frombuffer(reading.text.encode("utf-32-le"), np.uint32)
                path = best_path(own, self.charset.classes_of(points))
                assert path is not None  # the text fits: it was decoded from these steps
                best = np.exp(own[np.arange(len(path)), path])
                readings[job.index] = self._placed(reading, job, path, best)
            report(len(readings))
        return readings

    def _placed(
        self, reading: Reading, job: _Job, path: ArrayLike, probabilities: ArrayLike
    ) -> PlacedReading:
        if self._kind["transform"] != "none":  # its columns may differ from the crop's
            return PlacedReading(reading, None, None)
        steps, confidences = character_steps(path, probabilities)
        columns = step_columns(steps, features=self._kind["features"])
        spans = character_spans(columns, reading.text, job.filled) / job.filled
        return PlacedReading(reading, spans.astype(np.float32), confidences.astype(np.float32))

    def _run(
        self,
        pool: ThreadPoolExecutor,
        jobs: list[_Job],
        options: RecognizerOptions,
        program: Callable[[Any, Any, Any], Any],
    ) -> Iterator[tuple[Sequence[_Job], np.ndarray, Any]]:
        """Yield batches with their valid time steps and the program's output, on the host."""

        def make(batch: _Batch, job: _Job) -> ByteArray:
            return job.make()

        def run(batch: _Batch, inputs: list[ByteArray]) -> tuple[np.ndarray, Any]:
            images = stacked(inputs, batch.rows)[..., None]
            true = [job.true for job in batch.jobs if job.true is not None]
            widths = np.full(batch.rows, images.shape[2], np.int32)
            widths[: len(true)] = true
            steps = time_steps(widths, features=self._kind["features"])
            self._programs.add((*images.shape[:3], bool(true)))
            return steps, program(images, widths if true else None, steps)

        batches = ((batch, batch.jobs) for batch in _batches(jobs, _batch_size(options.batch_size)))
        for batch, _, (steps, answer) in run_batches(pool, batches, make, run):
            yield batch.jobs, steps, answer


class Loaded(NamedTuple):
    """A recognizer's weights and everything needed to read with them.

    Attributes:
        path: path of the weights.
        variables: variables of `crnnjax.models.CRNN`, NumPy arrays.
        charset: charset of its classes.
        height: height of its inputs.
        options: reading options, as far as known for the weights.
    """

    path: Path
    variables: dict[str, Any]
    charset: Charset
    height: int
    options: RecognizerOptions | None


def load_recognizer(
    name_or_path: str | Path,
    *,
    charset: Charset | str | None = None,
    height: int | None = None,
) -> Loaded:
    """Load a recognizer's weights; arguments and errors as for `Recognizer.from_weights`."""
    path, variables, known = read_weights(name_or_path)
    charset = named(charset) if isinstance(charset, str) else charset or known
    known_height, options = read_settings(path)
    height = height or known_height
    if charset is None or height is None:
        lacking = "charset" if charset is None else "height"
        raise RecognizerError(
            f"{path}: the {lacking} of these weights is not known, because there is no run "
            "directory: pass charset=NAME_OR_FILE (a file with the characters in the order of the "
            "classes) and height=32, 48 or 64"
        )
    if known is not None and charset.digest != known.digest:
        mapped = map_classes(variables, old=known, new=charset)
        if mapped.new:
            shown = "".join(mapped.new[:40]) + ("..." if len(mapped.new) > 40 else "")
            raise RecognizerError(
                f"{path}: these weights cannot read {len(mapped.new)} characters of charset "
                f"{charset.name!r}: {shown!r}. Remove them from the charset, or train with it: "
                "config.init_weights copies the rows of the others"
            )
        variables = mapped.variables
    return Loaded(path, variables, charset, height, options)


def read_weights(name_or_path: str | Path) -> tuple[Path, dict[str, Any], Charset | None]:
    """Read weights by name, from a file, or from a run.

    Returns:
        Their path; the variables; and the charset that they were trained with, if it is known for
        named weights or from the run's `charset.json`.

    Raises:
        WeightsNotFoundError: there are no such weights; the message says where it looked and how to
            get them.
        TorchFileError, OnnxFileError: the file is damaged, or has no weights.
        ConversionError: the file holds another network.
        CharsetError: the run's `charset.json` is damaged.
    """
    path = find_weights(name_or_path)
    if path.suffix == ".onnx":
        return path, *ppocr.load_ppocr(path)
    variables = load_variables(path) if path.is_dir() else from_state_dict(load_weights(path))[0]
    return path, variables, read_charset(path)


def read_charset(path: Path) -> Charset | None:
    """Return the charset that weights were trained with, if known.

    Args:
        path: path of the weights, as `read_weights` returns it.

    Raises:
        CharsetError: the run's `charset.json` is damaged.
    """
    if path.stem == "english_g2":
        return named("english_g2")
    if path.suffix == ".onnx":
        return ppocr.load_ppocr(path)[1]
    file = RunFolder.of(path).charset
    return Charset.load(file) if file.is_file() else None


def read_settings(path: Path) -> tuple[int | None, RecognizerOptions | None]:
    """Return the input height and the options that weights were trained with, if known.

    Args:
        path: path of the weights, as `read_weights` returns it.

    Raises:
        RunFolderError: the run's `config.json` is damaged.
        RecognizerError: it is not the config of a recognizer.
    """
    if path.stem == "english_g2":
        return 64, RecognizerOptions(resize="easyocr")  # it was trained to read EasyOCR's padding
    if path.suffix == ".onnx":
        return ppocr.HEIGHT, RecognizerOptions(resize="easyocr")
    run = RunFolder.of(path)
    config = run.read_config()
    try:
        options = from_section(RecognizerOptions, config["recognizer"], "config.recognizer")
        return int(config["data"]["height"]), options
    except KeyError:
        return None, None  # from another program
    except (ValueError, TypeError) as error:
        raise RecognizerError(
            f"{run.config}: not the config of a recognizer's run: {error}"
        ) from error


def _put(variables: Variables) -> Any:
    return jax.device_put({name: variables.get(name, {}) for name in ("params", "batch_stats")})


def _load(image: ImageLike, options: RecognizerOptions) -> tuple[ByteArray, int]:
    """A crop and its clockwise rotation in degrees."""
    like_easyocr = options.resize == "easyocr"
    if isinstance(image, str | os.PathLike) and like_easyocr:
        return read_gray(image), 0
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 2 and image.size:
        crop = np.asarray(image, np.uint8)  # gray stays gray
    else:
        crop = load_image(image)
    turned = crop if like_easyocr else turn_tall(crop, options.turn_above)
    return turned, 0 if turned is crop else 270


def _load_all(
    pool: ThreadPoolExecutor, images: Sequence[ImageLike], options: RecognizerOptions
) -> list[tuple[ByteArray, int]]:
    return list(pool.map(lambda image: _load(image, options), images))


def _later(function: Callable[..., ByteArray], *arguments: Any) -> Callable[[], ByteArray]:
    return lambda: function(*arguments)


def _batch_size(batch_size: int | None) -> int:
    return batch_size or (16 if jax.default_backend() == "cpu" else 256)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Crops of one width, and the number of rows of their program."""

    jobs: Sequence[_Job]
    rows: int


def _batches(jobs: Sequence[_Job], size: int) -> Iterator[_Batch]:
    groups: dict[int, list[_Job]] = defaultdict(list)
    for job in jobs:
        groups[job.width].append(job)
    for _, group in sorted(groups.items()):
        start = 0
        for count, rows in _split(len(group), size):
            yield _Batch(group[start : start + count], rows)
            start += count


def _split(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Split crops into batches of a size, a quarter and a sixteenth of it.

    This needs three programs per width and leaves few rows empty: at most a quarter of a batch,
    except for the last one.

    Yields:
        The number of crops, and the number of rows of the program.
    """
    sizes = sorted({size, -(-size // 4), -(-size // 16)}, reverse=True)
    for rows in sizes:
        while count and (4 * count >= 3 * rows or rows == sizes[-1]):
            taken = min(count, rows)
            yield taken, rows
            count -= taken
