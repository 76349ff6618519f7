"""Batches for the detector: pictures as uint8, and what the network is to answer.

`make_batches` gives a source with random access by step: `source[step]` is a function of the
config, the seed and the step, whoever computes it. So the state of the input is one integer, any
number of threads or workers yields the same batches, and a run goes on where it ended on other
hardware.

Words that do not count ("don't care") have confidence 0, and so have words without characters on a
page where others have some: they are text, but nobody knows where their characters are. Neither is
drawn. Words with pseudo labels have the confidence of these. Where words overlap the least counts,
so that nothing opens what is masked. Pixels of a crop that lie beside the picture have confidence
0, too, as in the original.

`iterate` computes ahead: see `ocrcore.data.prefetch`.

Host code: no jax.
"""

from __future__ import annotations

import contextlib
import difflib
import operator
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields
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
from ocrcore.config import given
from ocrcore.data.mixing import Drop, DropLog, SourceError, TooManyDropped, fill
from ocrcore.data.prefetch import STEPS
from ocrcore.pages import ByteArray, Sample, Word

Batch = dict[str, NDArray[Any]]
"""This host's rows of a batch: `image` uint8 `(b, H, W, 3)`, RGB; `region`, `affinity` and
`confidence` float32 `(b, H / 2, W / 2)`."""

_AUGMENTING = 3  # streams 1 and 2 of the seed are those of `ocrcore.data.mixing`
# What crops and small text bring about; all else that is not drawn is a fault of the labels.
_EXPECTED = ("outside", "no pixel")
# Boxes are cut from a map by EasyOCR's rules, which take the index of a pixel, times 2, for its
# place, and grow them further down and right where they grow by an odd number. Targets that lie
# as the words do gave boxes half a pixel of the input too far up and left, on average.
BOX_SHIFT = 0.25  # pixels of the map
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
        if self.batch_size < 1:
            raise SourceError(f"batch_size is {self.batch_size}, expected 1 or more")
        if len(self.size) != 2 or any(side < 32 or side % 32 for side in self.size):
            raise SourceError(
                f"size is {self.size}, expected a height and a width in multiples of 32"
            )
        if not 0 <= self.max_dropped <= 1:
            raise SourceError(f"max_dropped is {self.max_dropped}, expected a share from 0 to 1")
        if self.format not in FORMATS:
            raise SourceError(f"format is {self.format!r}, expected one of {', '.join(FORMATS)}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputOptions:
        """Reads an experiment's config.

        Args:
            config: `batch_size`, and `data` with `train`: for each data set, by name, fields of
                `SourceOptions`, `augment` being fields of `AugmentOptions`; and other fields of
                this class, `size` also as one number. `data` may hold fields of others.

        Raises:
            SourceError: what is missing, unknown or out of range; the field is named.
        """
        for name in ("batch_size", "data"):
            if name not in config:
                raise SourceError(f"config.{name} is missing")
        data = _plain(config["data"])
        if "train" not in data:
            raise SourceError("config.data.train is missing: the data sets to train on, by name")
        sources = {}
        for name, values in data["train"].items():
            where = f"config.data.train.{name}"
            values = given(values)
            values["augment"] = fill(AugmentOptions, values.get("augment", {}), f"{where}.augment")
            sources[name] = fill(SourceOptions, values, where)
        known = {one.name for one in fields(cls)} - {"batch_size", "train"}
        for name in set(data) - known - {"train"}:
            if near := difflib.get_close_matches(name, known - set(data), 1, cutoff=0.8):
                raise SourceError(f"config.data.{name} is not known: did you mean {near[0]}?")
        values = {name: _plain(data[name]) for name in known & set(data)}
        size = values.pop("size", (768, 768))
        size = (size, size) if isinstance(size, int) else tuple(size)
        values |= {"batch_size": config["batch_size"], "train": sources, "size": size}
        options: InputOptions = fill(cls, values, "config.data")
        return options


class Built(NamedTuple):
    """A batch and what came up while it was made.

    Attributes:
        batch: the arrays.
        chosen: its rows' samples: data set, and index in it.
        drops: samples that could not be used, in the order in which they were met.
        undrawn: characters on the crops without a place on the maps, by reason.
    """

    batch: Batch
    chosen: list[tuple[int, int]]
    drops: list[Drop]
    undrawn: Counter[str]


class BatchSource:
    """Batches by step; see `make_batches`.

    Attributes:
        options: the settings.
        mix: the samples.
        log: what was dropped so far.
        undrawn: characters so far that were not drawn because their quads cannot be, by reason.
    """

    def __init__(
        self, options: InputOptions, *, seed: int, rows: slice, workdir: str | Path | None = None
    ) -> None:
        self.options, self.seed = options, operator.index(seed)
        start, stop = rows.start or 0, rows.stop
        if self.seed < 0:
            raise SourceError(f"seed is {seed}, expected 0 or more")
        if stop is None or rows.step not in (None, 1) or not 0 <= start < stop:
            raise SourceError(f"rows is {rows}, expected slice(first, after the last)")
        if stop > options.batch_size:
            raise SourceError(f"rows is {rows}, beyond config.batch_size: {options.batch_size}")
        self.rows = slice(start, stop)
        self.workdir = None if workdir is None else Path(workdir)
        self.mix = Mix(options.train, seed=self.seed, cache=options.cache, form=options.format)
        name = "dropped.jsonl" if not start else f"dropped-{start}.jsonl"
        path = None if self.workdir is None else self.workdir / name
        self.log = DropLog(path, most=options.max_dropped)
        self.undrawn: Counter[str] = Counter()
        self._labels: tuple[str | Path, bool] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Files are opened anew in the worker, which writes nothing.
        return _reopen, (self.options, self.seed, self.rows, self._labels)

    def use_labels(
        self, path: str | Path, *, only: bool = False, labels: LabelSet | None = None
    ) -> None:
        """Takes pseudo labels for the data sets that have words only.

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
        """Returns this host's rows of the batch of a step, and notes what was dropped.

        Raises:
            IndexError: a step that is negative.
            TooManyDropped: more samples were dropped than `max_dropped`.
        """
        with self.noting():
            return self.note(self.build(step))

    def build(self, step: int) -> Built:
        """Makes the batch of a step and notes nothing, so that threads and workers may do it."""
        step = operator.index(step)
        if not 0 <= step < STEPS:
            raise IndexError(f"step {step}: expected 0 to {STEPS - 1}")
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

    def note(self, built: Built) -> Batch:
        """Counts and names what was dropped; returns the batch.

        Raises:
            TooManyDropped: more samples were dropped than `max_dropped`.
        """
        self.undrawn.update(built.undrawn)
        self.log.add(built.drops, used=len(built.chosen))
        return built.batch

    @contextlib.contextmanager
    def noting(self) -> Generator[None, None, None]:
        """Names what an error on the way was about, too."""
        try:
            yield
        except TooManyDropped as error:
            self.log.note(error.drops)
            raise

    def batch_names(self, step: int) -> list[str]:
        """Returns the files of this host's rows of a batch; makes the batch again to know them."""
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

    def summary(self) -> str:
        """One line for the end of a run: what was dropped, and what was not drawn."""
        line = self.log.summary()
        if self.undrawn:
            parts = ", ".join(f"{reason}: {count}" for reason, count in self.undrawn.most_common())
            line += f"; characters not drawn, each time that they came up: {parts}"
        return line

    def close(self) -> None:
        """Lets go of the files; the source cannot be used any more."""
        self.mix.close()


def make_batches(
    config: Mapping[str, Any], *, seed: int, rows: slice, workdir: str | Path | None = None
) -> BatchSource:
    """Opens the data sets of an experiment.

    Args:
        config: as `InputOptions.from_config` reads it.
        seed: whole number; what is drawn at random depends on it, and on the step.
        rows: which rows of each batch this host needs (`ocrcore.runtime.mesh.host_rows`).
        workdir: where `dropped.jsonl` names the samples that cannot be used; a host whose first row
            is not 0 writes `dropped-ROW.jsonl`. None writes neither.

    Raises:
        SourceError: a setting that cannot be.
        LabelError: a data set that cannot be read.
    """
    return BatchSource(InputOptions.from_config(config), seed=seed, rows=rows, workdir=workdir)


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
    """Makes one row of a batch of a sample.

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
    """Puts the characters of words onto the map; words far from it are left out."""
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


def _plain(value: Any) -> Any:
    """Turns sections of a ConfigDict into dicts."""
    return dict(value.items()) if hasattr(value, "items") else value


def _reopen(
    options: InputOptions, seed: int, rows: slice, labels: tuple[str | Path, bool] | None
) -> BatchSource:
    source = BatchSource(options, seed=seed, rows=rows)
    if labels is not None:
        source.use_labels(labels[0], only=labels[1])
    return source
