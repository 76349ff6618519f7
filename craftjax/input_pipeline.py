"""Training batches for the detector: images and target maps.

`make_batches` returns a source with random access by step (`ocrcore.data.batches`), and
`ocrcore.data.prefetch.iterate` makes its batches ahead. A batch has `image` uint8 `(b, H, W, 3)`,
RGB, and `region`, `affinity` and `confidence` float32 `(b, H / 2, W / 2)`: this host's rows.

Don't-care words have confidence 0, and so do words without characters on a page where others have
some: they are text, but the places of their characters are unknown. Neither is drawn. Words with
pseudo labels have the confidence of these labels. Where words overlap, the least confidence counts,
so that no word unmasks another. Pixels of a crop outside the image also have confidence 0, as in
the original.

Host code: no jax.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from craftjax.augment import (
    AugmentOptions,
    compress,
    draw_colors,
    draw_quality,
    draw_transform,
    mean_color,
    move,
    recolor,
    warp,
)
from craftjax.sources import FORMATS, Mix, SourceOptions
from craftjax.targets import FloatArray, confidence_map, draw_targets
from craftjax.taught_crops import TaughtSample
from craftjax.weak.label_set import LabelSet
from ocrcore.data.batches import (
    Batch,
    Built,
    batch_at,
    check_share,
    check_step,
    input_section,
    open_log,
)
from ocrcore.data.mixing import SourceError
from ocrcore.options import expect, plain
from ocrcore.pages import ByteArray, PageError, Sample, Word

_AUGMENTING = 3  # streams 1 and 2 of the seed are those of `ocrcore.data.mixing`
# Reasons for undrawn characters that cropping and small text cause; others are label faults.
_EXPECTED = ("outside", "no pixel")
# EasyOCR's post-processing takes the index of a map pixel, times 2, as its position, and dilates
# odd amounts further down and right. With unshifted targets, boxes were half an input pixel too far
# up and left on average.
BOX_SHIFT = 0.25  # pixels of the map
_LARGEST = 4096  # greatest side of a crop
_TO_BOXES = np.array([[1, 0, BOX_SHIFT], [0, 1, BOX_SHIFT], [0, 0, 1]])


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Settings of the input pipeline: `config.batch_size`, and fields of `config.data`.

    Attributes:
        batch_size: rows of the global batch, over all hosts.
        train: the data sets by name.
        size: height and width of the crops, multiples of 32.
        enlarge_region: as for `craftjax.targets.draw_targets`.
        enlarge_affinity: as for `craftjax.targets.draw_targets`.
        max_dropped: greatest share of samples that may be dropped.
        cache: folder for indices of data sets; None is the user's cache folder.
        format: "raw": read the data sets as they are; "packed": read the same samples from the
            files that `--mode=pack` wrote.

    Raises:
        SourceError: a value is out of range.
    """

    batch_size: int
    train: Mapping[str, SourceOptions]
    size: tuple[int, int] = (768, 768)
    enlarge_region: float = 0.5
    enlarge_affinity: float = 0.5
    max_dropped: float = 0.05
    cache: str | None = None
    format: str = "raw"

    def __post_init__(self) -> None:
        good = all(32 <= side <= _LARGEST and side % 32 == 0 for side in self.size)
        sides = f"a height and a width in multiples of 32, {_LARGEST} pixels at most"
        expect(
            self,
            (len(self.size) == 2 and good, "size", sides),
            (0 <= self.enlarge_region < inf, "enlarge_region", "0 or more"),
            (0 <= self.enlarge_affinity < inf, "enlarge_affinity", "0 or more"),
            (0 <= self.max_dropped <= 1, "max_dropped", "a share from 0 to 1"),
            (self.format in FORMATS, "format", f"one of {', '.join(FORMATS)}"),
            error=SourceError,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputOptions:
        """Read an experiment's config.

        Args:
            config: `batch_size`, and `data` with `train`: for each data set, by name, fields of
                `SourceOptions`, with `augment` as fields of `AugmentOptions`; and the other fields
                of this class, where `size` may be one number. `data` may have unrelated fields.

        Raises:
            OptionsError: a field is missing, unknown or invalid; the message names it.
        """
        size = plain(config.get("data", {})).get("size", 768)
        return input_section(cls, config, size=(size, size) if isinstance(size, int) else size)


class BatchSource:
    """Batches by step; see `make_batches`.

    Attributes:
        options: the settings.
        mix: the samples.
        log: counts of dropped samples and of characters that were not drawn.
    """

    def __init__(
        self,
        options: InputOptions,
        *,
        seed: int,
        rows: slice,
        workdir: str | Path | None = None,
        sources: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.options, self.sources = options, sources or {}
        self.seed, self.rows = check_share(seed, rows, batch_size=options.batch_size)
        self.mix = Mix(
            options.train,
            seed=self.seed,
            cache=options.cache,
            form=options.format,
            sources=self.sources,
        )
        self.log = open_log(workdir, self.rows, most=options.max_dropped)
        self._labels: tuple[str | Path, bool] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process reopens the files and writes none.
        return _reopen, (self.options, self.seed, self.rows, self.sources, self._labels)

    def use_labels(
        self, path: str | Path, *, only: bool = False, labels: LabelSet | None = None
    ) -> None:
        """Use pseudo labels for the word-labeled data sets.

        Args:
            path: a file of `craftjax.weak.label_set.LabelSet`, which workers can read.
            only: draw only pages that are labeled.
            labels: content of the file, if known.

        Raises:
            LabelSetError: the file is missing or is not such a file.
        """
        self._labels = path, only
        self.mix.use_labels(labels or LabelSet.load(path), only=only)

    def __getitem__(self, step: int) -> Batch:
        """Return this host's rows of the batch of a step, and log dropped samples.

        Raises:
            IndexError: the step is negative.
            TooManyDropped: more samples were dropped than `max_dropped`.
        """
        return batch_at(self, step)

    def build(self, step: int) -> Built:
        """Make the batch of a step without logging; for threads and workers."""
        step = check_step(step)
        height, width = self.options.size
        count = self.rows.stop - self.rows.start
        batch: Batch = {"image": np.empty((count, height, width, 3), np.uint8)}
        for name in ("region", "affinity", "confidence"):
            batch[name] = np.empty((count, height // 2, width // 2), np.float32)
        built = Built(batch, [], [], Counter())
        for row in range(count):
            position = step * self.options.batch_size + self.rows.start + row
            which, sample, index, drops = self.mix.sample(position)
            rng = np.random.default_rng([self.seed, _AUGMENTING, position])
            item = make_item(rng, sample, self.mix.options[which].augment, self.options)
            for key, value in zip(batch, item[:4], strict=True):
                batch[key][row] = value
            built.undrawn.update(item.undrawn)
            built.chosen.append((which, index))
            built.drops.extend(drops)
        return built

    def batch_names(self, step: int) -> list[str]:
        """Return the files of this host's rows of a batch, by making the batch again."""
        return [self.mix.name(*one) for one in self.build(step).chosen]

    def describe(self) -> str:
        """Return lines for the start of a run: the data sets, and their unusable parts."""
        lines = []
        for name, one, length, share in zip(
            self.mix.names, self.mix.options, self.mix.lengths, self.mix.shares, strict=True
        ):
            endless = one.kind == "pages" and one.stop is None
            many = "endless pages" if endless else f"{length:,} samples"
            where = f" {one.path}" if one.path else ""
            if self.options.format == "packed" and one.packed_folder:
                where = f" {one.packed_folder}"
            lines.append(f"{name}: {many} ({one.kind}{where}), {share / 10:g} % of the batches")
        lines += [f"{path}: {reason}" for path, reason in self.mix.problems().items()]
        return "\n".join([*lines, self.log.summary()])

    def close(self) -> None:
        """Close the files; the source cannot be used afterwards."""
        self.mix.close()


def make_batches(
    config: Mapping[str, Any],
    *,
    seed: int,
    rows: slice,
    workdir: str | Path | None = None,
    sources: Mapping[str, Sequence[Any]] | None = None,
) -> BatchSource:
    """Open the data sets of an experiment.

    Args:
        config: a config as for `InputOptions.from_config`.
        seed: seed; random numbers depend on it and on the step.
        rows: the rows of each batch that this host needs (`ocrcore.runtime.mesh.host_rows`).
        workdir: folder for `dropped.jsonl`, which lists unusable samples; a host whose first row is
            not 0 writes `dropped-ROW.jsonl`. None writes neither.
        sources: the samples of each data set of kind "python", by name: a sequence of
            `ocrcore.pages.Sample` with `len(source)` and `source[index]`, which must be thread-safe
            and, for worker processes, picklable. A list works, and so does a `grain.MapDataset`
            that is not repeated. A sample that is None counts as dropped.

    Raises:
        OptionsError: an invalid setting.
        SourceError: an unusable data set.
        LabelError: an unreadable data set.
    """
    return BatchSource(
        InputOptions.from_config(config), seed=seed, rows=rows, workdir=workdir, sources=sources
    )


class Item(NamedTuple):
    """One row of a batch, and counts of characters that were not drawn."""

    image: ByteArray
    region: FloatArray
    affinity: FloatArray
    confidence: FloatArray
    undrawn: Counter[str]


def make_item(
    rng: np.random.Generator, sample: Sample, augment: AugmentOptions, options: InputOptions
) -> Item:
    """Make one row of a batch from a sample.

    Args:
        rng: random generator for the augmentation.
        sample: an image with its page.
        augment: the augmentation.
        options: size and targets.
    """
    if isinstance(sample, TaughtSample):
        return _taught_item(rng, sample, augment, options.size)
    height, width = options.size
    page = sample.page
    words = [word for word in page.words if word.care and word.characters]
    quads = _quads(words)
    matrix = draw_transform(rng, (page.height, page.width), options.size, augment, quads)

    colors = draw_colors(rng, mean_color(sample.image), augment)
    # Before warping adds the area outside the image, so that it stays black.
    image = recolor(sample.image, colors)
    if (quality := draw_quality(rng, augment)) is not None:
        image = compress(image, quality, matrix, options.size)
    image = warp(image, matrix, options.size)

    shape = (height // 2, width // 2)
    to_map = np.diag([0.5, 0.5, 1.0]) @ matrix
    targets = draw_targets(
        _moved(quads, _TO_BOXES @ to_map, shape),
        shape,
        enlarge_region=options.enlarge_region,
        enlarge_affinity=options.enlarge_affinity,
    )
    trust = [_trust(word) for word in page.words]
    doubtful = [(word.outline, x) for word, x in zip(page.words, trust, strict=True) if x < 1]
    confidence = confidence_map(
        shape, [move(outline, to_map) for outline, _ in doubtful], [x for _, x in doubtful]
    )
    border = [(0, 0), (page.width, 0), (page.width, page.height), (0, page.height)]
    if not _covers(border, to_map, shape):
        confidence *= 1 - confidence_map(shape, [move(border, to_map)], [0])
    undrawn = Counter({k: n for k, n in targets.dropped.items() if k not in _EXPECTED})
    return Item(image, targets.region, targets.affinity, confidence, undrawn)


def _quads(words: Sequence[Word]) -> list[FloatArray]:
    """Return the quads of the characters of each word, `(n, 4, 2)`."""
    if not words:
        return []
    every = np.concatenate([c.quad for word in words for c in word.characters]).reshape(-1, 4, 2)
    ends = accumulate(len(word.characters) for word in words)
    return [every[start:end] for start, end in pairwise([0, *ends])]


def _taught_item(
    rng: np.random.Generator, sample: TaughtSample, augment: AugmentOptions, size: tuple[int, int]
) -> Item:
    """A window of a crop and of its maps; of the augmentation only the scale and the colors."""
    page, scale = sample.page, math.exp(rng.uniform(*np.log(augment.scale)))
    # In pixels of the maps, which have half the size: image and maps are cut alike.
    height, width = round(size[0] / scale / 2), round(size[1] / scale / 2)
    if height > page.height // 2 or width > page.width // 2:
        raise PageError(
            f"{page.path}: a scored crop of {page.width}x{page.height}, expected at least "
            f"{2 * width}x{2 * height}: config.data.size at a scale of {scale:.2f}"
        )
    y = int(rng.integers(0, page.height // 2 - height + 1))
    x = int(rng.integers(0, page.width // 2 - width + 1))
    image = sample.image[2 * y : 2 * (y + height), 2 * x : 2 * (x + width)]
    image = _resized(recolor(image, draw_colors(rng, mean_color(image), augment)), size)
    maps = _resized(sample.maps[y : y + height, x : x + width], (size[0] // 2, size[1] // 2))
    region, affinity = (np.divide(maps[..., i], 255, dtype=np.float32) for i in (0, 1))
    trusted = np.ones(maps.shape[:2], np.float32)
    return Item(image, region, affinity, trusted, Counter())


def _resized(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Resize an image to a height and width."""
    if image.shape[:2] == size:
        return image
    how = cv2.INTER_AREA if image.shape[0] > size[0] else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=how).astype(np.uint8, copy=False)


def _trust(word: Word) -> float:
    if not (word.care and word.characters):
        return 0.0
    return 1.0 if word.score is None else min(max(word.score, 0.0), 1.0)


def _moved(quads: list[FloatArray], matrix: NDArray[np.float64], shape: tuple[int, int]) -> Any:
    """Map the characters of words to the target map; words far from it are left out."""
    if not quads:
        return []
    moved = move(np.concatenate(quads), matrix)
    ends = np.cumsum([len(quad) for quad in quads])
    starts = ends - [len(quad) for quad in quads]
    low = np.minimum.reduceat(moved.min(axis=1), starts)
    high = np.maximum.reduceat(moved.max(axis=1), starts)
    # Characters are enlarged when they are drawn.
    reach = (high - low).max(axis=1, keepdims=True)
    near = ((high + reach >= 0) & (low - reach <= (shape[1], shape[0]))).all(axis=1)
    return [moved[starts[word] : ends[word]] for word in np.flatnonzero(near)]


def _covers(
    border: list[tuple[int, int]], matrix: NDArray[np.float64], shape: tuple[int, int]
) -> bool:
    """Whether the image covers all pixels of the map."""
    height, width = shape
    corners = move([(0, 0), (width, 0), (width, height), (0, height)], np.linalg.inv(matrix))
    return bool((corners >= -1e-6).all() and (corners <= np.add(border[2], 1e-6)).all())


def _reopen(
    options: InputOptions,
    seed: int,
    rows: slice,
    sources: Mapping[str, Sequence[Any]],
    labels: tuple[str | Path, bool] | None,
) -> BatchSource:
    source = BatchSource(options, seed=seed, rows=rows, sources=sources)
    if labels is not None:
        source.use_labels(labels[0], only=labels[1])
    return source
