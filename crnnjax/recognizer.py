"""The recognizer: crops in, texts out."""

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
"""From images `(B, H, W, 1)` uint8 and widths `(B,)` int32, or None, to logits `(B, T, C)`."""

# Columns of an input of "bucket", as in training: a hair-thin crop would fill the memory.
_WIDEST = 8192


class Reading(NamedTuple):
    """What was read in a crop.

    Attributes:
        text: the characters; empty if none.
        confidence: in [0, 1]. Of greedy decoding by the name in the options; else the probability
            that CTC gives the text.
    """

    text: str
    confidence: float


class PlacedReading(NamedTuple):
    """What was read in a crop, and where its characters stand.

    Attributes:
        reading: text and confidence.
        spans: `(N, 2)` float32, where each character of the text begins and ends, in shares of the
            crop's width; None where that is not known: the network transforms its inputs, or may.
        confidences: `(N,)` float32, the probability of each in its time step; None as `spans`.
        degrees: by how much the crop was turned clockwise before (`turn_above`); the shares are of
            the width that it then had.
    """

    reading: Reading
    spans: FloatArray | None
    confidences: FloatArray | None
    degrees: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """A crop on its way to the network.

    Attributes:
        index: of the crop.
        width: of the input.
        true: how much of that the network is told to be the crop; None: it sees all of it.
        filled: how much the crop fills.
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
        height: of the network's input.
        options: defaults of every call.
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
            variables: of `crnnjax.models.CRNN`; which one is read off them.
            charset: the characters of its classes, in order.
            height: of the inputs that it was trained with, mostly 32, 48 or 64; 31 or more.
            options: see `RecognizerOptions`.
            dtype: of the computation, float32 or bfloat16.

        Raises:
            RecognizerError: a charset of another size than the network's.
            LexiconError: the file of a lexicon cannot be read.
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
                small recognizer, or the folder of a run or of one of its checkpoints.
            charset: one, or its name; None: by the name of the weights, or the `charset.json` that
                the run left. Where another charset is known for the weights, the classes of this
                one are taken from it, character by character.
            height: of the network's input; None: by the name of the weights, or what the run's
                `config.json` says.
            options: see `RecognizerOptions`; None: `resize="easyocr"` for weights by name, of a run
                those of its config.
            dtype: of the computation, float32 or bfloat16.

        Raises:
            WeightsNotFoundError: says where it looked and how to get them.
            TorchFileError: the file is damaged, or not weights at all.
            ConversionError: the file holds another network.
            RecognizerError: charset or height cannot be told from the weights, or do not fit them.
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
        """A recognizer whose network something else than JAX runs; it has no variables.

        Args:
            network: called from one thread.
            charset: the characters of its classes, in order.
            height: of the inputs.
            features: by which `crnnjax.time_steps` counts its time steps.
            transform: as of `crnnjax.models.CRNN`; but for "none" no characters are placed.
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
        """The same recognizer with other weights of the same network; shares compiled programs."""
        if options_of(variables) != self._kind:
            raise RecognizerError(
                f"variables of {options_of(variables)}, expected those of {self._kind}"
            )
        other = copy.copy(self)
        other._variables = _put(variables)
        return other

    @property
    def variables(self) -> Variables:
        """Those of the network, as NumPy arrays; none (None) of `from_network`."""
        return jax.device_get(self._variables)

    @property
    def programs(self) -> int:
        """Number of sizes of batches that were read so far; each takes a program."""
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
            images: a crop or several: paths, arrays `(H, W, 3)` RGB or `(H, W)` gray of uint8,
                Pillow images and whatever `ocrcore.images.as_rgb` takes. With `resize="easyocr"`
                files are read as gray by OpenCV, as EasyOCR does, which is not the gray of a PNG
                file's RGB values.
            report: called with the number of crops read so far.
            **options: fields of `RecognizerOptions` to change for this call.

        Returns:
            A reading, or for several crops a list of readings in order.

        Raises:
            ImageError: a crop cannot be read.
            RecognizerError: an option out of its range.
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
        """Read crops and say where their characters stand; otherwise as `recognize`."""
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
        """The network's output for each crop: `(T, num_classes)` float32, without the padding's.

        Arguments as for `recognize`, but always a list; how it decodes does not matter.
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
                # A narrow crop keeps some padding: its own time steps may not hold two letters.
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
        """Crops whose contrast can be raised; EasyOCR reads the others a second time in vain."""

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
                assert path is not None  # the text was found in these steps
                best = np.exp(own[np.arange(len(path)), path])
                readings[job.index] = self._placed(reading, job, path, best)
            report(len(readings))
        return readings

    def _placed(
        self, reading: Reading, job: _Job, path: ArrayLike, probabilities: ArrayLike
    ) -> PlacedReading:
        if self._kind["transform"] != "none":  # its columns may be others than the crop's
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
        """Yield batches with their true time steps and the program's answer, on the host."""

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
    """A recognizer's weights and all that it takes to read with them.

    Attributes:
        path: where the weights are.
        variables: of `crnnjax.models.CRNN`, NumPy arrays.
        charset: of its classes.
        height: of its inputs.
        options: how it is to read, as far as the weights tell.
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
    """Load a recognizer's weights; arguments and errors as of `Recognizer.from_weights`."""
    path, variables, known = read_weights(name_or_path)
    charset = named(charset) if isinstance(charset, str) else charset or known
    known_height, options = read_settings(path)
    height = height or known_height
    if charset is None or height is None:
        lacking = "charset" if charset is None else "height"
        raise RecognizerError(
            f"{path}: the {lacking} of these weights is not known, for no run left it beside "
            "them: pass charset=NAME_OR_FILE (a file with the characters in the order "
            "of the classes) and height=32, 48 or 64"
        )
    if known is not None and charset.digest != known.digest:
        mapped = map_classes(variables, old=known, new=charset)
        if mapped.new:
            shown = "".join(mapped.new[:40]) + ("..." if len(mapped.new) > 40 else "")
            raise RecognizerError(
                f"{path}: these weights cannot read {len(mapped.new)} characters of charset "
                f"{charset.name!r}: {shown!r}. Take them out of the charset, or train with it: "
                "config.init_weights takes over the rows of the others"
            )
        variables = mapped.variables
    return Loaded(path, variables, charset, height, options)


def read_weights(name_or_path: str | Path) -> tuple[Path, dict[str, Any], Charset | None]:
    """Read weights by name, from a file, or from a run.

    Returns:
        Where they are; the variables; and the charset that they were trained with, where the name
        of the weights or the `charset.json` that the run left tells it.

    Raises:
        WeightsNotFoundError: says where it looked and how to get them.
        TorchFileError, OnnxFileError: the file is damaged, or not weights at all.
        ConversionError: the file holds another network.
        CharsetError: the run's `charset.json` is damaged.
    """
    path = find_weights(name_or_path)
    if path.suffix == ".onnx":
        return path, *ppocr.load_ppocr(path)
    variables = load_variables(path) if path.is_dir() else from_state_dict(load_weights(path))[0]
    return path, variables, read_charset(path)


def read_charset(path: Path) -> Charset | None:
    """The charset that weights were trained with, where it is known.

    Args:
        path: of the weights, as `read_weights` returns it.

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
    """The height of the inputs and the options that weights were trained with, where it is known.

    Args:
        path: of the weights, as `read_weights` returns it.

    Raises:
        RunFolderError: the run's `config.json` is damaged.
        RecognizerError: it has other fields than a recognizer's.
    """
    if path.stem == "english_g2":
        return 64, RecognizerOptions(resize="easyocr")  # it was trained with padding that it reads
    if path.suffix == ".onnx":
        return ppocr.HEIGHT, RecognizerOptions(resize="easyocr")
    run = RunFolder.of(path)
    config = run.read_config()
    try:
        options = from_section(RecognizerOptions, config["recognizer"], "config.recognizer")
        return int(config["data"]["height"]), options
    except KeyError:
        return None, None  # of another program
    except (ValueError, TypeError) as error:
        raise RecognizerError(
            f"{run.config}: not the config of a recognizer's run: {error}"
        ) from error


def _put(variables: Variables) -> Any:
    return jax.device_put({name: variables.get(name, {}) for name in ("params", "batch_stats")})


def _load(image: ImageLike, options: RecognizerOptions) -> tuple[ByteArray, int]:
    """A crop, and by how many degrees it was turned clockwise."""
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
    """Crops of one width, and the number of rows that their program has."""

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

    Three programs a width, and few empty rows: a batch may lack a quarter of its rows, the last one
    any number.

    Yields:
        How many crops, and of how many rows.
    """
    sizes = sorted({size, -(-size // 4), -(-size // 16)}, reverse=True)
    for rows in sizes:
        while count and (4 * count >= 3 * rows or rows == sizes[-1]):
            taken = min(count, rows)
            yield taken, rows
            count -= taken
