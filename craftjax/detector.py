"""The detector: finds words in images."""

from __future__ import annotations

import copy
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jax.typing import DTypeLike

from craftjax.boxes import find_boxes, scale_boxes
from craftjax.convert import ConversionError, from_state_dict
from craftjax.models import Variables, make_network, options_of
from craftjax.options import DetectorOptions, load_operating_point, operating_point_path
from craftjax.resize import Fit, Shape, fit_page, plan_shapes, resize_page
from craftjax.tiles import plan_tiles, score_tiles
from ocrcore.images import (
    ImageError,
    ImageLike,
    PageOfFile,
    as_rgb,
    image_size,
    load_image,
    one_or_many,
)
from ocrcore.pages import ByteArray, FloatArray, Page, Word
from ocrcore.runtime.inference import reading_threads, run_batches, stacked
from ocrcore.training.checkpoints import load_variables
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights

Network = Callable[[ByteArray], FloatArray]
"""A function from images `(B, H, W, 3)` uint8 to scores `(B, H // 2, W // 2, 2)`."""

# Most compiled programs to keep, about 10 MB each. A function of `jax.jit` keeps all programs that
# it has ever compiled; so each shape has a separate function, which can be dropped.
_MAX_KEPT = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw score maps of one page.

    Attributes:
        maps: `(H, W, 2)` float32, region and affinity scores at half the input's size, with the
            padding.
        fit: how the page was scaled to the input.
        height: height of the page in pixels.
        width: width of the page in pixels.
    """

    maps: FloatArray
    fit: Fit
    height: int
    width: int

    def valid(self, border: str) -> FloatArray:
        """Return the maps, with `border="crop"` without the padding."""
        if border == "keep":
            return self.maps
        return self.maps[: self.fit.height // 2, : self.fit.width // 2]


@dataclass(frozen=True, slots=True)
class Detection:
    """The result for one image: a page with its scores, or an error.

    Attributes:
        index: index of the image among the inputs.
        page: the page with the words that were found; None with an error.
        scores: the score maps; None with an error.
        error: why the image could not be read; None with a page.
    """

    index: int
    page: Page | None
    scores: Scores | None
    error: ImageError | None = None


def find_words(scores: Scores, options: DetectorOptions) -> tuple[Word, ...]:
    """Extract words from a page's scores, in pixels of the page."""
    maps = scores.valid(options.border)
    found = find_boxes(
        maps[:, :, 0],
        maps[:, :, 1],
        text_threshold=options.text_threshold,
        link_threshold=options.link_threshold,
        low_text=options.low_text,
        polygons=options.polygons,
        min_polygon_side=options.min_polygon_side,
    )
    found = scale_boxes(found, scores.fit.ratio)
    return tuple(
        Word(quad=quad, polygon=polygon, score=float(score))
        for quad, polygon, score in zip(found.quads, found.polygons, found.scores, strict=True)
    )


class Detector:
    """CRAFT with its weights, ready to find words.

    Attributes:
        options: the options of each call that does not change them.
    """

    def __init__(
        self,
        variables: Variables,
        *,
        options: DetectorOptions | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Put the weights onto the device.

        Args:
            variables: variables of a network of `craftjax.models.make_network`, which is inferred
                from them.
            options: see `DetectorOptions`.
            dtype: dtype of the computation, float32 or bfloat16.
        """
        self.options = options or DetectorOptions()
        self._kind = options_of(variables)
        self._model = make_network(**self._kind, dtype=dtype)
        self._variables: Any = _put(variables)
        model = self._model

        def program(shape: tuple[int, ...]) -> Callable[..., Any]:
            return jax.jit(lambda variables, images: model.apply(variables, images)[0])

        # The program for images of a shape.
        self._program: Callable[[tuple[int, ...]], Callable[..., Any]]
        self._program = lru_cache(_MAX_KEPT)(program)
        self._planned: set[Shape] = set()  # input shapes, which later calls may reuse
        self._programs: set[Shape] = set()  # compiled shapes: inputs or their tiles

    @classmethod
    def from_weights(
        cls,
        name_or_path: str | Path = "craft_mlt_25k",
        *,
        options: DetectorOptions | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Detector:
        """Load weights by name (`craft_mlt_25k`), from a file, or from an Orbax checkpoint.

        Args:
            name_or_path: a name, a `.pth` or `.safetensors` file, or a checkpoint's folder.
            options: None: the operating point that a sweep wrote next to the file, if there is
                one, else EasyOCR's defaults.
            dtype: dtype of the computation, float32 or bfloat16.

        Raises:
            WeightsNotFoundError: there are no such weights; the message says where it looked and
                how to get them.
            TorchFileError: the file is damaged, or has no weights.
            ConversionError: the file holds another network.
        """
        path = find_weights(name_or_path)
        if options is None and operating_point_path(path).is_file():
            options = load_operating_point(operating_point_path(path))
        return cls(read_variables(path), options=options, dtype=dtype)

    @classmethod
    def from_network(cls, network: Network, *, options: DetectorOptions | None = None) -> Detector:
        """Make a detector whose network does not run in JAX; it has no variables.

        Args:
            network: the network function; called from one thread only.
            options: see `DetectorOptions`.
        """
        self = cls.__new__(cls)
        self.options = options or DetectorOptions()
        self._variables = None
        self._program = lambda shape: lambda variables, images: network(images)
        self._planned, self._programs = set(), set()
        return self

    @property
    def variables(self) -> Variables:
        """The network's variables as NumPy arrays; None for a detector of `from_network`."""
        return jax.device_get(self._variables)

    def with_variables(self, variables: Variables) -> Detector:
        """Return the detector with other weights of the same network; shares compiled programs.

        Args:
            variables: variables of the same network.
        """
        if (kind := options_of(variables)) != self._kind:
            raise ValueError(f"variables of {kind}, expected {self._kind}")
        other = copy.copy(self)
        other._variables = _put(variables)
        other.__dict__.pop("fingerprint", None)
        return other

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights and the dtype of the computation."""
        return fingerprint_of(self._variables, self._model.dtype)

    @property
    def programs(self) -> int:
        """The number of input sizes compiled so far."""
        return len(self._programs)

    def expect(self, shapes: Iterable[Shape]) -> None:
        """Use these sizes of inputs, of `plan_inputs`, for pictures that come in any order."""
        self._planned |= set(shapes)

    @overload
    def detect(self, images: ImageLike, **options: object) -> Page: ...  # type: ignore[overload-overlap]

    @overload
    def detect(self, images: Iterable[ImageLike], **options: object) -> list[Page]: ...

    def detect(
        self, images: ImageLike | Iterable[ImageLike], **options: object
    ) -> Page | list[Page]:
        """Find words in images.

        Args:
            images: one image or several: paths, arrays (gray, RGB, RGBA; uint8, uint16 or floats in
                [0, 1]) or Pillow images.
            **options: fields of `DetectorOptions` to change for this call.

        Returns:
            A page, or for several images a list of pages in the same order, with words in pixels of
            the image.

        Raises:
            ImageError: an image cannot be read; `stream` continues with the next one instead.
            ValueError: an option is out of range.
        """
        listed, single = one_or_many(images)
        pages: dict[int, Page] = {}
        for detection in self.stream(listed, **options):
            if detection.page is None:
                assert detection.error is not None
                raise detection.error
            pages[detection.index] = detection.page
        return pages[0] if single else [pages[index] for index in range(len(listed))]

    def stream(
        self, images: ImageLike | Iterable[ImageLike], **options: object
    ) -> Iterator[Detection]:
        """Find words in images and yield each as soon as it is done (not in order).

        An image that cannot be read gives a `Detection` with an error. The arguments are those of
        `detect`.
        """
        listed, _ = one_or_many(images)
        chosen = replace(self.options, **dict[str, Any](options))
        for index, scores in self.score(listed, options=chosen):
            if isinstance(scores, ImageError):
                yield Detection(index, None, None, scores)
                continue
            words = find_words(scores, chosen)
            image = listed[index]
            number = image.number if isinstance(image, PageOfFile) else None
            page = Page(scores.height, scores.width, words, _path(image), number)
            yield Detection(index, page, scores)

    def score(
        self, images: Sequence[ImageLike], *, options: DetectorOptions | None = None
    ) -> Iterator[tuple[int, Scores | ImageError]]:
        """Run the network on images; yield their indices with scores or an error.

        Images are decoded in threads and scaled while the device works on earlier ones.
        """
        options = options or self.options
        fits: dict[int, tuple[Shape, Fit]] = {}
        for index, image in enumerate(images):
            try:
                size = _size(image)
            except ImageError as error:
                yield index, error
                continue
            fits[index] = size, fit_of(size, options)
        shapes = self._plan([fit.padded for _, fit in fits.values()], options)
        batches = _batches(dict(zip(fits, shapes, strict=True)), options.batch_size)

        def load(batch: _Batch, index: int) -> ByteArray | ImageError:
            try:
                size, fit = fits[index]
                image = load_image(images[index])
                if image.shape[:2] != size:
                    return ImageError(
                        f"{_path(images[index]) or 'image'}: its header says {size[1]}x{size[0]} "
                        f"pixels, but it has {image.shape[1]}x{image.shape[0]}"
                    )
                return resize_page(image, fit, batch.shape)
            except ImageError as error:
                return error

        def program(batch: _Batch, inputs: list[ByteArray | ImageError]) -> Any:
            good = [value for value in inputs if not isinstance(value, ImageError)]
            return self._score_batch(good, batch.shape, options) if good else None

        with reading_threads() as pool:
            pairs = ((batch, batch.indices) for batch in batches)
            for batch, inputs, maps in run_batches(pool, pairs, load, program):
                rows = iter(() if maps is None else maps)
                for index, value in zip(batch.indices, inputs, strict=True):
                    if isinstance(value, ImageError):
                        yield index, value
                    else:
                        (height, width), fit = fits[index]
                        yield index, Scores(next(rows), fit, height, width)

    def _plan(self, wanted: list[Shape], options: DetectorOptions) -> list[Shape]:
        if options.pad == "exact":
            return wanted
        # Inputs that will be tiled are planned as well: each of their sizes has its own tile size.
        planned = plan_shapes(wanted, known=sorted(self._planned))
        self._planned |= set(planned)
        return planned

    def _score_batch(
        self, inputs: list[ByteArray], shape: Shape, options: DetectorOptions
    ) -> jax.Array | FloatArray:
        tiling = plan_tiles(shape, max_area=options.max_area, margin=options.tile_margin)
        self._programs.add(tiling.shape)
        if len(tiling) > 1:
            one = [
                score_tiles(
                    image,
                    tiling,
                    lambda tile: np.asarray(self._apply(tile[None]))[0],
                )
                for image in inputs
            ]
            return np.stack(one)
        return self._apply(stacked(inputs, _batch_size(options.batch_size)))

    def _apply(self, images: ByteArray) -> Any:
        return self._program(images.shape)(self._variables, images)


def plan_inputs(images: Iterable[ImageLike], options: DetectorOptions) -> list[Shape]:
    """Choose the sizes of inputs for pictures of which a detector is given some at a time.

    A detector that expects them finds the same in a picture whichever others it was given before.

    Args:
        images: all of them; of files only the headers are read. What cannot be read is passed over.
        options: of the detector.

    Returns:
        Heights and widths; none where no picture gets a larger input than it needs.
    """
    wanted = []
    for image in images if options.pad != "exact" else ():
        with suppress(ImageError):
            wanted.append(fit_of(_size(image), options).padded)
    return sorted(set(plan_shapes(wanted)))


def read_variables(name_or_path: str | Path) -> Variables:
    """Read a network's variables; arguments and errors are those of `Detector.from_weights`."""
    path = find_weights(name_or_path)
    if path.suffix == ".onnx":
        raise ConversionError(
            f"{path}: an ONNX file has no weights of a detector: PP-OCRv6's is where a training "
            "starts (config.model.features=lcnetv4, config.init_weights=ppocrv6_det_small); give "
            "the run that was trained, or its weights"
        )
    return load_variables(path) if path.is_dir() else from_state_dict(load_weights(path))


def fingerprint_of(variables: Variables, dtype: DTypeLike) -> str:
    """Return a digest of weights and the dtype of the computation, as hexadecimal digits.

    Files and checkpoints with the same weights have the same.
    """
    digest = hashlib.md5(str(np.dtype(dtype)).encode())
    for leaf in jax.tree_util.tree_leaves(_known(variables)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _known(variables: Variables) -> dict[str, Any]:
    return {name: variables[name] for name in ("params", "batch_stats")}


def _put(variables: Variables) -> Any:
    return jax.device_put(_known(variables))


def _batch_size(batch_size: int | None) -> int:
    return batch_size or (1 if jax.default_backend() == "cpu" else 8)


def fit_of(size: Shape, options: DetectorOptions) -> Fit:
    """Return how a page of this height and width is scaled to the network's input."""
    canvas = None if options.tile else options.canvas_size
    return fit_page(*size, canvas_size=canvas, mag_ratio=options.mag_ratio)


def _path(image: ImageLike) -> str | None:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def _size(image: ImageLike) -> Shape:
    if isinstance(image, str | os.PathLike):
        return image_size(image)
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return image.shape[:2]  # dtype and channels are checked on loading
    return as_rgb(image).shape[:2]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Indices of images, with the height and width of the input that they share."""

    shape: Shape
    indices: list[int]


def _batches(shapes: Mapping[int, Shape], batch_size: int | None) -> Iterator[_Batch]:
    size = _batch_size(batch_size)
    groups: dict[Shape, list[int]] = defaultdict(list)
    for index, shape in shapes.items():
        groups[shape].append(index)
    for shape, indices in groups.items():
        for start in range(0, len(indices), size):
            yield _Batch(shape, indices[start : start + size])
