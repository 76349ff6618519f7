"""Batches for the detector: pictures as uint8, and what the network is to answer.

`make_batches` gives a source with random access by step (`ocrcore.data.batches`), and
`ocrcore.data.prefetch.iterate` makes its batches ahead. A batch has `image` uint8 `(b, H, W, 3)`,
RGB, and `region`, `affinity` and `confidence` float32 `(b, H / 2, W / 2)`: this host's rows.

Words that do not count ("don't care") have confidence 0, and so have words without characters on a
page where others have some: they are text, but nobody knows where their characters are. Neither is
drawn. Words with pseudo labels have the confidence of these. Where words overlap the least counts,
so that nothing opens what is masked. Pixels of a crop beside the picture also have confidence 0, as
in the original.

Host code: no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

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
from ocrcore.pages import ByteArray, Sample, Word

_AUGMENTING = 3  # streams 1 and 2 of the seed are those of `ocrcore.data.mixing`
# What crops and small text bring about; all else that is not drawn is a fault of the labels.
_EXPECTED = ("outside", "no pixel")
# Boxes are cut from a map by EasyOCR's rules, which take the index of a pixel, times 2, for its
# place, and grow them further down and right where they grow by an odd number. Targets that lie
# as the words do gave boxes half a pixel of the input too far up and left, on average.
BOX_SHIFT = 0.25  # pixels of the map
_LARGEST = 4096  # side of a crop
_TO_BOXES = np.array([[1, 0, BOX_SHIFT], [0, 1, BOX_SHIFT], [0, 0, 1]])


@dataclass(frozen=True, slots=True)
class InputOptions:
    """The settings of the input: `config.batch_size`, and fields of `config.data`.

    Attributes:
        batch_size: rows of the batch of all hosts.
        train: the data sets, by name.
        size: height and width of the crops, multiples of 32.
        enlarge_region: as for `craftjax.targets.draw_targets`.
        enlarge_affinity: the same.
        max_dropped: the greatest share of samples that may be dropped.
        cache: folder for what is indexed once; None is the user's cache folder.
        format: "raw": data sets as they were downloaded; "packed": the same samples from what
            `--mode=pack` made of them.

    Raises:
        SourceError: a value out of range.
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
                `SourceOptions`, `augment` being fields of `AugmentOptions`; and other fields of
                this class, `size` also as one number. `data` may hold fields of others.

        Raises:
            OptionsError: what is missing, unknown or has a bad value; the field is named.
        """
        size = plain(config.get("data", {})).get("size", 768)
        return input_section(cls, config, size=(size, size) if isinstance(size, int) else size)


class BatchSource:
    """Batches by step; see `make_batches`.

    Attributes:
        options: the settings.
        mix: the samples.
        log: what was dropped so far, and what was not drawn.
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
        # The worker opens the files again, and writes none.
        return _reopen, (self.options, self.seed, self.rows, self.sources, self._labels)

    def use_labels(
        self, path: str | Path, *, only: bool = False, labels: LabelSet | None = None
    ) -> None:
        """Take pseudo labels for the data sets that have words only.

        Args:
            path: of a file of `craftjax.weak.label_set.LabelSet`, also there for workers.
            only: draw nothing but the pages that are labeled.
            labels: what is in the file, if that is known.

        Raises:
            LabelSetError: the file is missing or something else.
        """
        self._labels = path, only
        self.mix.use_labels(labels or LabelSet.load(path), only=only)

    def __getitem__(self, step: int) -> Batch:
        """Return this host's rows of the batch of a step, and note what was dropped.

        Raises:
            IndexError: a step that is negative.
            TooManyDropped: more samples were dropped than `max_dropped`.
        """
        return batch_at(self, step)

    def build(self, step: int) -> Built:
        """Make the batch of a step and note nothing, so that threads and workers may do it."""
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
        """Return the files of this host's rows of a batch; makes the batch again to know them."""
        return [self.mix.name(*one) for one in self.build(step).chosen]

    def describe(self) -> str:
        """Lines for the start of a run: the data sets, and what cannot be used of them."""
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
        """Close the files; the source cannot be used any more."""
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
        config: as `InputOptions.from_config` reads it.
        seed: whole number; what is drawn at random depends on it, and on the step.
        rows: which rows of each batch this host needs (`ocrcore.runtime.mesh.host_rows`).
        workdir: where `dropped.jsonl` names the samples that cannot be used; a host whose first row
            is not 0 writes `dropped-ROW.jsonl`. None writes neither.
        sources: for each data set of kind "python", by name, its samples: `len(source)`, and
            `source[index]` is an `ocrcore.pages.Sample`, whatever the thread and, with worker
            processes, for a pickled copy. A list will do, and so will a `grain.MapDataset`, which
            must not be repeated. Where it is None, it counts as dropped.

    Raises:
        OptionsError: a setting that cannot be.
        SourceError: a data set that cannot be used.
        LabelError: a data set that cannot be read.
    """
    return BatchSource(
        InputOptions.from_config(config), seed=seed, rows=rows, workdir=workdir, sources=sources
    )


class Item(NamedTuple):
    """One row of a batch, and the characters that were not drawn."""

    image: ByteArray
    region: FloatArray
    affinity: FloatArray
    confidence: FloatArray
    undrawn: Counter[str]


def make_item(
    rng: np.random.Generator, sample: Sample, augment: AugmentOptions, options: InputOptions
) -> Item:
    """Make one row of a batch of a sample.

    Args:
        rng: for the augmentation.
        sample: a picture with its page.
        augment: what becomes of it.
        options: size and targets.
    """
    height, width = options.size
    page = sample.page
    words = [word for word in page.words if word.care and word.characters]
    quads = [np.stack([c.quad for c in word.characters]) for word in words]
    matrix = draw_transform(rng, (page.height, page.width), options.size, augment, quads)

    colors = draw_colors(rng, mean_color(sample.image), augment)
    # Before what lies beside the picture is added, so that it stays black.
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


def _trust(word: Word) -> float:
    if not (word.care and word.characters):
        return 0.0
    return 1.0 if word.score is None else min(max(word.score, 0.0), 1.0)


def _moved(quads: list[FloatArray], matrix: NDArray[np.float64], shape: tuple[int, int]) -> Any:
    """Put the characters of words onto the map; words far from it are left out."""
    if not quads:
        return []
    moved = move(np.concatenate(quads), matrix)
    ends = np.cumsum([len(quad) for quad in quads])
    starts = ends - [len(quad) for quad in quads]
    low = np.minimum.reduceat(moved.min(axis=1), starts)
    high = np.maximum.reduceat(moved.max(axis=1), starts)
    # Characters grow when they are drawn.
    reach = (high - low).max(axis=1, keepdims=True)
    near = ((high + reach >= 0) & (low - reach <= (shape[1], shape[0]))).all(axis=1)
    return [moved[starts[word] : ends[word]] for word in np.flatnonzero(near)]


def _covers(
    border: list[tuple[int, int]], matrix: NDArray[np.float64], shape: tuple[int, int]
) -> bool:
    """Whether all pixels of the map show something of the picture."""
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
