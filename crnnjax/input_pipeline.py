"""Training batches for the recognizer: crops, their widths, and their labels as classes.

`make_batches` returns a source with random access by step (`ocrcore.data.batches`), and
`ocrcore.data.prefetch.iterate` makes its batches ahead. A batch has this host's rows: `image` uint8
`(b, H, W, 1)`, gray; `width` int32 `(b,)`, the number of columns to read in each row; `label` int32
`(b, max_length)`, classes padded with zeros; `length` int32 `(b,)`, characters of each label.

There are three modes for the width of a batch:

* "bucket": one of a few widths that fits its widest row (`crnnjax.batch_plan.BatchPlanner` groups
  rows of similar width); rows keep their aspect ratio and are padded with their last column.
* "fixed": all rows are scaled to one size, as in deep-text-recognition-benchmark.
* "pad": all rows keep their aspect ratio up to one width and are padded to it, as in EasyOCR's
  trainer.

A network that also reads the padding learns another task than one that does not. `width` is the
part of a row to read: in "bucket" mode the crop, for some crops with padding as in EasyOCR's
Reader; in the other modes the whole row, as in the originals.

Host code: no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crnnjax.augment import PRESETS, AugmentOptions, augment
from crnnjax.batch_plan import ROWS, BatchPlan, BatchPlanner
from crnnjax.charset import Charset, named
from crnnjax.crop_index import LISTED, Rules, steps_of, width_needed
from crnnjax.resize import easyocr_width, turn_tall
from crnnjax.sources import Given, RealSet, SourceOptions, open_set, scale
from crnnjax.synthetic import Made, PageSet
from crnnjax.time_steps import FEATURE_KINDS, MIN_HEIGHT
from ocrcore.config_sections import given
from ocrcore.data.batches import (
    Batch,
    Built,
    batch_at,
    check_share,
    input_section,
    open_log,
)
from ocrcore.data.mixing import Drop, SourceError, TooManyDropped, counted
from ocrcore.data.python_sets import check_sources
from ocrcore.images import ImageError
from ocrcore.options import OptionsError, expect, from_section, plain
from ocrcore.pages import ByteArray, LabelError
from ocrcore.synth.text import unused_texts

MODES = ("bucket", "fixed", "pad")
_PER_PAGE = 8  # crops from one synthetic page
# Widths of batches relative to the height: few, because each needs a compiled program.
_BUCKETS = (2, 3, 4, 5, 6, 8, 12)
_WIDTHS = {"fixed": 100, "pad": 600}  # as in deep-text-recognition-benchmark and EasyOCR's trainer


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Settings of the input pipeline: `config.batch_size`, and fields of `config.data`.

    Attributes:
        batch_size: rows of the global batch, over all hosts.
        train: the data sets by name.
        charset: a name or a file, as for `crnnjax.charset.named`.
        case_insensitive: as for `crnnjax.charset.named`.
        mode: "bucket", "fixed" or "pad".
        height: height of the crops, 31 or more: 64 for EasyOCR, 48 for PP-OCR, 32 as in
            deep-text-recognition-benchmark, 31 as in keras-ocr.
        widths: possible widths of batches, ascending multiples of 4; a single one for "fixed" and
            "pad". None is 2, 3, 4, 5, 6, 8 and 12 times the height, rounded up; 100 for "fixed",
            600 for "pad". Wider crops are squeezed.
        max_length: most characters of a label.
        empty_labels: whether crops without text are used.
        features: features of the network, which determine the time steps of a width.
        turn_above: height / width from which real and synthetic crops are rotated by 90 degrees
            (`crnnjax.resize.turn_tall`); 0 rotates none. The recognizer must have the same value.
        p_reader_pad: for "bucket": share of crops that are padded as EasyOCR's Reader pads a single
            crop.
        p_random_pad: for "bucket": share of all crops that are padded further, by a random part of
            the available width.
        window: number of batches that are arranged together.
        max_dropped: greatest share of crops that may be dropped because they cannot be read.
        max_filtered: greatest share of a data set that the filters may leave out.
        cache: folder for indices of data sets; None is the user's cache folder.

    Raises:
        SourceError: a value is out of range.
        CharsetError: there is no such charset.
    """

    batch_size: int
    train: Mapping[str, SourceOptions]
    charset: str = "en36"
    case_insensitive: bool | None = None
    mode: str = "bucket"
    height: int = 32
    widths: tuple[int, ...] | None = None
    max_length: int = 25
    empty_labels: bool = False
    features: str = "vgg"
    turn_above: float = 0.0
    p_reader_pad: float = 0.4
    p_random_pad: float = 0.2
    window: int = 32
    max_dropped: float = 0.05
    max_filtered: float = 0.5
    cache: str | None = None

    def __post_init__(self) -> None:
        turn = not self.turn_above or 1 <= self.turn_above < inf
        shares = ("p_reader_pad", "p_random_pad", "max_dropped", "max_filtered")
        expect(
            self,
            (1 <= self.max_length <= 2048, "max_length", "1 to 2048 characters"),
            (1 <= self.window <= 1 << 16, "window", "1 to 65,536 batches"),
            (self.mode in MODES, "mode", f"one of {', '.join(MODES)}"),
            (MIN_HEIGHT <= self.height <= 512, "height", f"{MIN_HEIGHT} to 512 pixels"),
            (self.features in FEATURE_KINDS, "features", f"one of {', '.join(FEATURE_KINDS)}"),
            *((0 <= getattr(self, one) <= 1, one, "a share from 0 to 1") for one in shares),
            (turn, "turn_above", "0, or 1 or more"),
            error=SourceError,
        )
        widths: tuple[int, ...] = (_WIDTHS.get(self.mode, 0),)
        if self.widths is not None:
            widths = tuple(self.widths)
        elif self.mode == "bucket":
            widths = tuple(-(-times * self.height // 4) * 4 for times in _BUCKETS)
        object.__setattr__(self, "widths", widths)
        rising = all(low < high for low, high in pairwise(widths))
        if not widths or not rising or any(w < 8 or w % 4 or w > 8192 for w in widths):
            raise SourceError(
                f"widths are {widths}, expected ascending multiples of 4 from 8 to 8192"
            )
        if self.mode != "bucket" and len(widths) != 1:
            raise SourceError(f"widths are {widths}, expected one for mode {self.mode}")
        object.__setattr__(self, "case_insensitive", self.rules.charset.case_insensitive)

    @property
    def rules(self) -> Rules:
        """Return the rules that decide which crops are used."""
        charset = named(self.charset, case_insensitive=self.case_insensitive)
        assert self.widths is not None
        return Rules(
            charset,
            self.height,
            self.widths[-1],
            fixed=self.mode != "bucket",
            max_length=self.max_length,
            empty=self.empty_labels,
            features=self.features,
            turn_above=self.turn_above,
        )

    def check_reading(self, recognizer: Mapping[str, Any]) -> None:
        """Refuse reading options that give the network other inputs than training does.

        Args:
            recognizer: fields of `crnnjax.options.RecognizerOptions`.

        Raises:
            SourceError: two fields do not match; the message names both.
        """
        assert self.widths is not None
        resize, width = recognizer.get("resize", "bucket"), recognizer.get("width", 100)
        one_size = self.mode == "fixed"
        if one_size != (resize == "fixed") or (one_size and width != self.widths[0]):
            wanted = f"'fixed' with width={self.widths[0]}" if one_size else "'bucket' or 'easyocr'"
            raise SourceError(
                f"config.recognizer.resize is {resize!r}"
                + (f" with width={width}" if resize == "fixed" else "")
                + f", expected {wanted}, because config.data.mode is {self.mode!r}"
            )
        turns = 0.0 if resize == "easyocr" else recognizer.get("turn_above", 0.0)
        if turns != self.turn_above:
            raise SourceError(
                f"config.data.turn_above is {self.turn_above:g}, but a recognizer with "
                f"config.recognizer.resize={resize!r} rotates crops from {turns:g} on (0: none): "
                "expected the same value in config.recognizer.turn_above (EasyOCR rotates none)"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputOptions:
        """Read an experiment's config.

        Args:
            config: `batch_size`, and `data` with `train`: for each data set, by name, fields of
                `SourceOptions`, with `augment` as a name of `crnnjax.augment.PRESETS` or fields of
                `AugmentOptions`, and `augment_changes` as fields that differ from it; and the other
                fields of this class. `data` may have unrelated fields. `features` comes from
                `model.features`, if there is one.

        Raises:
            OptionsError: a field is missing, unknown or invalid; the message names it.
        """
        values = {}
        if "features" in (model := config.get("model", {})):
            values["features"] = model["features"]
        if train := plain(config.get("data", {})).get("train"):
            values["train"] = {name: _augmented(one, name) for name, one in train.items()}
        return input_section(cls, config, **values)


class BatchSource:
    """Batches by step; see `make_batches`.

    Attributes:
        options: the settings.
        charset: charset of the labels.
        widths: possible widths of batches, ascending.
        log: counts of crops left out and dropped so far.
    """

    def __init__(
        self,
        options: InputOptions,
        *,
        seed: int,
        rows: slice,
        workdir: str | Path | None = None,
        sources: Mapping[str, Given] | None = None,
    ) -> None:
        self.options = options
        self.seed, self.rows = check_share(seed, rows, batch_size=options.batch_size)
        if not options.train:
            raise SourceError("no data set to train on: expected one or more in config.data.train")
        sources = sources or {}
        check_sources(
            {name: given.crops for name, given in sources.items()},
            {name: one.kind for name, one in options.train.items()},
        )
        self._rules = rules = options.rules
        self.charset: Charset = rules.charset
        assert options.widths is not None
        self.widths = options.widths
        self._names = list(options.train)
        self._options = list(options.train.values())
        self._sets = [
            open_set(
                one,
                rules,
                name=name,
                # A different seed for each set, so that several sets of pages differ.
                seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
                most=options.max_filtered,
                cache=options.cache,
                given=sources.get(name),
            )
            for number, (name, one) in enumerate(options.train.items())
        ]
        self._planner = BatchPlanner(
            self._sets,
            [one.ratio for one in self._options],
            seed=self.seed,
            rows=options.batch_size,
            batches=options.window,
            widths=self.widths,
            rules=rules,
            p_reader_pad=options.p_reader_pad,
        )
        self.log = open_log(workdir, self.rows, most=options.max_dropped)
        self._bad: dict[tuple[int, int], Drop] = {}
        for one in self._sets:
            if isinstance(one, RealSet):
                self.log.note(one.filtered.drops)
                for reason, count in one.filtered.counts.items():
                    self.log.counts[reason] += max(0, count - LISTED)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process reopens the files and writes none.
        sets = [one for one in self._sets if isinstance(one, RealSet) and one.given is not None]
        given = {one.name: one.given for one in sets}
        return _reopen, (self.options, self.seed, self.rows, given)

    def places(self) -> dict[str, list[Path]]:
        """Return the files and folders of the data sets, for `ocrcore.data.fingerprint`."""
        real = [one for one in self._sets if isinstance(one, RealSet)]
        return {one.name: places for one in real if (places := one.places())}

    def __getitem__(self, step: int) -> Batch:
        """Return this host's rows of the batch of a step, and log dropped crops.

        Raises:
            IndexError: the step is negative.
            TooManyDropped: more crops were dropped than `max_dropped`.
        """
        return batch_at(self, step)

    def width(self, step: int) -> int:
        """Return the width of the batch of a step, without making it."""
        return self._planner.plan(step).bucket

    def build(self, step: int) -> Built:
        """Make the batch of a step without logging; for threads and workers."""
        plan = self._planner.plan(step)
        count = self.rows.stop - self.rows.start
        batch: Batch = {
            "image": np.empty((count, self.options.height, plan.bucket, 1), np.uint8),
            "width": np.empty(count, np.int32),
            "label": np.zeros((count, self.options.max_length), np.int32),
            "length": np.empty(count, np.int32),
        }
        built = Built(batch, [], [], Counter())
        made = self._cut_pages(plan)
        first = plan.step * self.options.batch_size
        for row, rank in enumerate(range(self.rows.start, self.rows.stop)):
            rng = np.random.Generator(np.random.Philox(key=[self.seed, first + rank]))
            crop = made.get(rank) or self._row(rng, plan, rank, built.drops)
            image, width = self._fit(rng, crop, plan, rank)
            classes = crop.made.classes
            batch["image"][row, :, :, 0] = image
            batch["width"][row] = width
            batch["label"][row, : len(classes)] = classes
            batch["length"][row] = len(classes)
            built.chosen.append(crop.name)
        return built

    def batch_names(self, step: int) -> list[str]:
        """Return the names of this host's rows of a batch, by making the batch again."""
        return self.build(step).chosen

    def describe(self) -> str:
        """Return lines for the start of a run: charset, data sets, unused parts, widths."""
        lines = [f"charset {self.charset.name} ({self.charset.digest}): {self.charset.describe()}"]
        for name, one, crops, share in zip(
            self._names, self._options, self._sets, self._planner.shares, strict=True
        ):
            what = (
                f"{crops.filtered.summary()} ({f'{one.kind} {one.path}'.rstrip()})"
                if isinstance(crops, RealSet)
                else f"endless {one.kind}"
            )
            if not isinstance(crops, RealSet) and (note := unused_texts(crops.text)):
                what += f"; {note}"
            lines.append(f"{name}: {what}, {share / 10:g} % of the batches")
            if isinstance(crops, RealSet) and crops.divided:
                lines.append(f"{name}: {crops.divided}")
        if self.options.mode == "bucket":
            lines.append(self._planner.describe_widths())
        return "\n".join(lines)

    def real_sets(self) -> list[RealSet]:
        """Return the data sets of labeled crops."""
        return [one for one in self._sets if isinstance(one, RealSet)]

    def close(self) -> None:
        """Close the files; the source cannot be used afterwards."""
        self._sets = []
        self._planner.sets = []

    def _kind(self, number: int) -> int | None:
        """Length class of a synthetic crop; None for any."""
        return number if self.options.mode == "bucket" else None

    def _cut_pages(self, plan: BatchPlan) -> dict[int, _Crop]:
        """Make the rows that are cut from synthetic pages, each page once."""
        made: dict[int, _Crop] = {}
        which, number = plan.window.which[plan.order], plan.window.number[plan.order]
        for one, crops in enumerate(self._sets):
            if not isinstance(crops, PageSet):
                continue
            ranks = np.flatnonzero(which == one).tolist()
            most = -(-self.options.batch_size // _PER_PAGE)  # pages per step
            for begin in range(0, len(ranks), _PER_PAGE):
                mine = ranks[begin : begin + _PER_PAGE]
                if mine[-1] < self.rows.start or mine[0] >= self.rows.stop:
                    continue
                page = plan.step * most + begin // _PER_PAGE
                wanted = [
                    (
                        np.random.default_rng([crops.seed, ROWS, page, rank]),
                        self._kind(int(number[rank])),
                    )
                    for rank in mine
                ]
                for rank, done in zip(mine, crops.draw(page, wanted, plan.bucket), strict=True):
                    name = f"page {page} of {self._names[one]}, seed {crops.seed}"
                    made[rank] = _Crop(one, None, done, name)
        return made

    def _row(
        self, rng: np.random.Generator, plan: BatchPlan, rank: int, drops: list[Drop]
    ) -> _Crop:
        """Read or draw a row's crop; an unreadable one is replaced by the next."""
        dropped: list[Drop] = []
        for position in plan.candidates(rank):
            one, number = int(plan.window.which[position]), int(plan.window.number[position])
            crops, name = self._sets[one], self._names[one]
            if isinstance(crops, PageSet):
                continue
            if not isinstance(crops, RealSet):
                drops.extend(dropped)
                done = crops.draw(rng, self._kind(number), plan.bucket)
                return _Crop(one, None, done, f"a word of {name}")
            known = self._bad.get((one, number))
            if known is None:
                try:
                    image = crops.picture(number)
                except (ImageError, LabelError) as error:
                    known = Drop(name, number, crops.crop_name(number), "picture", str(error))
                    self._bad[one, number] = known
                else:
                    drops.extend(dropped)
                    done = Made(image, crops.classes(number))
                    return _Crop(one, number, done, crops.crop_name(number))
            dropped.append(known)
        reasons = Counter({(d.source, d.index): d.reason for d in dropped}.values())
        raise TooManyDropped(
            f"none of {len(dropped)} crops for one row can be read; the last error is "
            f"{dropped[-1].error}\n{counted(reasons)}",
            dropped,
        )

    def _fit(
        self, rng: np.random.Generator, crop: _Crop, plan: BatchPlan, rank: int
    ) -> tuple[ByteArray, int]:
        """Scale, augment and pad a crop; return it with the number of columns to read."""
        options, bucket = self._options[crop.one], plan.bucket
        image = turn_tall(crop.made.image, self.options.turn_above)
        height, mode = self.options.height, self.options.mode
        chance = rng.random(4).tolist()
        own = max(1, -(-image.shape[1] * height // image.shape[0]))
        inner = bucket if mode == "fixed" else min(own, bucket)
        image = scale(image, height, inner, options.resize, chance[0])
        image = augment(rng, image, options.augment)
        width = bucket
        if mode == "bucket":
            steps = steps_of(crop.made.classes)
            width = max(inner, width_needed(steps, features=self.options.features))
            if crop.number is None:
                # The padding of a synthetic crop is not planned when batches are arranged.
                if chance[1] < self.options.p_reader_pad:
                    width = max(width, easyocr_width(height, inner, height))
            else:
                width = max(width, int(plan.window.width[plan.order[rank]]))
            if chance[2] < self.options.p_random_pad:
                width += int(chance[3] * (bucket - min(width, bucket) + 1))
            width = min(width, bucket)
        if inner < bucket:
            image = np.pad(image, ((0, 0), (0, bucket - inner)), mode="edge")
        return image, width


class _Crop(NamedTuple):
    """A row's crop, its data set, its index there if it was read from a file, and its name."""

    one: int
    number: int | None
    made: Made
    name: str


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
        workdir: folder for `dropped.jsonl`, which lists unused crops (the first thousand that the
            filters leave out for each reason); a host whose first row is not 0 writes
            `dropped-ROW.jsonl`. None writes neither.
        sources: the crops of each data set of kind "python", by name: a sequence of
            `ocrcore.data.readers.crops.Crop` with `len(source)` and `source[index]`, which must be
            thread-safe and, for worker processes, picklable. A list works, and so does a
            `grain.MapDataset` that is not repeated. Labels and sizes of all crops are read at the
            start.

    Raises:
        OptionsError: an invalid setting.
        SourceError: an unusable data set, or one with too few usable crops.
        CharsetError: an invalid charset.
        LabelError: an unreadable data set.
    """
    given = {name: Given(crops) for name, crops in (sources or {}).items()}
    options = InputOptions.from_config(config)
    return BatchSource(options, seed=seed, rows=rows, workdir=workdir, sources=given)


def _augmented(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of a data set, with the name of the augmentation preset replaced by its fields."""
    values = given(values)
    augment, changes = values.pop("augment", "none"), values.pop("augment_changes", {})
    where = f"config.data.train.{name}.augment"
    if isinstance(augment, str):
        if augment not in PRESETS:
            raise OptionsError(
                f"{where} is {augment!r}, expected one of {', '.join(PRESETS)}, or a section"
            )
        augment = asdict(PRESETS[augment])
    return {**values, "augment": from_section(AugmentOptions, {**augment, **changes}, where)}


def _reopen(
    options: InputOptions, seed: int, rows: slice, sources: Mapping[str, Given]
) -> BatchSource:
    return BatchSource(options, seed=seed, rows=rows, sources=sources)
