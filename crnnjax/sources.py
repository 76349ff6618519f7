"""Training data of the recognizer: real and synthetic data sets.

`crnnjax.batch_plan` mixes them.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crnnjax import crop_index
from crnnjax.augment import AugmentOptions
from crnnjax.crop_index import Index, Rules, own_widths, reader_widths, steps_needed, width_needed
from crnnjax.resize import fixed_crop
from crnnjax.split import SplitOptions, choose
from crnnjax.synthetic import PageSet, WordSet
from ocrcore.data.mixing import SourceError
from ocrcore.data.python_sets import PythonSet
from ocrcore.data.readers.crops import Crop, LmdbCrops
from ocrcore.images import check_image, decode_gray, read_bytes
from ocrcore.options import OptionsError
from ocrcore.pages import ByteArray

KINDS = (*crop_index.KINDS, "words", "pages", "python")
RESIZES = ("reader", "bicubic", "area", "any")
_LOOKED_AT = 20_000  # most crops of a data set whose folders are checked for changes


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """One data set of the mix.

    Attributes:
        kind: "auto", "lmdb", "csv", "tsv", "doctr" or "trdg" (`crnnjax.crop_index.open_crops`);
            "words": synthetic words, drawn during training; "pages": words or lines cut from
            synthetic pages; "python": crops that a program passes to training as `sources`.
        path: folder or file; empty for "words", "pages" and "python".
        ratio: proportion of this data set in the mix, relative to the ratios of the others.
        split: the part of a real data set to use.
        start: index of the first crop to use.
        stop: index after the last crop; None uses all.
        augment: augmentation of its crops.
        resize: how crops are scaled: "reader": bilinear, as in EasyOCR's Reader; "bicubic": by
            Pillow, as in deep-text-recognition-benchmark and EasyOCR's trainer; "area": by area
            averaging; "any": bilinear, bicubic or area at random.
        root: for "tsv": folder that paths are relative to; None is that of the file.
        outside: for "csv" and "tsv": whether paths may lead out of that folder.
        text: for "words" and "pages": fields of `ocrcore.synth.text.TextConfig`. Charset and
            greatest length default to those of the training.
        words: for "words": fields of `ocrcore.synth.words.WordConfig`.
        preset: for "pages": "plain", "scene", "web" or "words".
        page: for "pages": changed fields of `ocrcore.synth.config.SynthConfig`.
        unit: for "pages": "word" or "line".
        jitter: for "pages": random shift of the corners, relative to the height.

    Raises:
        SourceError: an unknown kind, or a value is out of range.
    """

    kind: str
    path: str = ""
    ratio: float = 1.0
    split: SplitOptions = field(default_factory=SplitOptions)
    start: int = 0
    stop: int | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    resize: str = "reader"
    root: str | None = None
    outside: bool = False
    text: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "words"
    page: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "word"
    jitter: float = 0.04

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SourceError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if (self.made or self.kind == "python") == bool(self.path):
            needs = "an empty one: it has no files" if self.path else "a folder or a file"
            raise SourceError(f"path is {self.path!r} for {self.kind}, expected {needs}")
        for name, kinds in (("root", ("tsv", "auto")), ("outside", ("csv", "tsv", "auto"))):
            if getattr(self, name) and self.kind not in kinds:
                raise SourceError(
                    f"{name} is {getattr(self, name)!r}, expected none for {self.kind}: only "
                    f"{' and '.join(kinds)} has it"
                )
        if self.resize not in RESIZES:
            raise SourceError(f"resize is {self.resize!r}, expected one of {', '.join(RESIZES)}")
        if not 0 < self.ratio < float("inf"):
            raise SourceError(f"ratio is {self.ratio!r}, expected a positive number")
        if not 0 <= self.jitter <= 0.5:
            raise SourceError(f"jitter is {self.jitter!r}, expected 0 to 0.5 heights")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise SourceError(f"start is {self.start}, stop is {self.stop}: expected start < stop")
        if self.made and (self.start or self.stop is not None):
            raise SourceError(
                f"start and stop have no effect for {self.kind}, which is endless: leave them out"
            )
        if self.split.part and (self.made or self.kind == "python"):
            raise SourceError(
                f"split.part is {self.split.part!r} for {self.kind}, expected nothing"
            )

    @property
    def made(self) -> bool:
        """Whether the crops are synthetic."""
        return self.kind in ("words", "pages")


class Given(NamedTuple):
    """Crops from Python with their index, so that workers need not read all of them."""

    crops: Sequence[Any]
    known: Index | None = None


class RealSet:
    """Crops of a real data set that pass the filters.

    Args:
        options: options of the data set.
        rules: rules that decide which crops are used.
        name: name of the data set.
        most: greatest share of its crops that the filters may leave out.
        cache: folder for the index.
        given: for kind "python": the crops, and their index if known.

    Raises:
        SourceError: too few crops are left; the message counts the others by reason.
        LabelError: an unreadable data set.

    Attributes:
        filtered: the crops that are used, and why others are not.
        divided: how the data set was split, for the user; empty if it was not.
    """

    def __init__(
        self,
        options: SourceOptions,
        rules: Rules,
        *,
        name: str,
        most: float,
        cache: str | Path | None,
        given: Given | None = None,
    ) -> None:
        self.options, self.rules, self.name, self.given = options, rules, name, given
        if given is not None:
            self.crops: Sequence[Crop] = PythonSet(given.crops, Crop, name=name)
            index = given.known or crop_index.index_crops(self.crops, task=f"indexing {name}")
            self.given = Given(given.crops, index)
        else:
            self.crops = crop_index.open_crops(
                options.kind, options.path, root=options.root, outside=options.outside
            )
            index = crop_index.read_index(self.crops, options.path, cache=cache)
        try:
            part = choose(self.crops, options.path, index, options.split, cache=cache)
        except SourceError as error:
            raise SourceError(f"config.data.train.{name}.split: {error}") from error
        self.divided = part.how
        self.index: Index = crop_index.swap_tall_sizes(index, rules.turn_above)
        first, last = np.searchsorted(part.numbers, [options.start, options.stop or len(index)])
        numbers = part.numbers[first:last]
        if not len(numbers):
            raise SourceError(
                f"config.data.train.{name}: no crop from start={options.start} to "
                f"stop={options.stop}: there are {len(self.crops)}"
            )
        self.filtered = crop_index.filter_crops(
            self.index, rules, self.crops, name=name, numbers=numbers
        )
        left_out = self.filtered.counts.total() / len(numbers)
        if not len(self.filtered.kept) or left_out > most:
            why = (
                "no crop can be used"
                if not len(self.filtered.kept)
                else f"a share of {left_out:.3g} is left out, more than config.data.max_filtered, "
                f"{most:g}"
            )
            first = {drop.reason: drop.error for drop in reversed(self.filtered.drops)}
            examples = "".join(f"\n  {error}" for error in first.values())
            raise SourceError(
                f"config.data.train.{name}: {why}: {self.filtered.summary()}; the first of "
                f"each reason:{examples}"
            )

    def __len__(self) -> int:
        return len(self.filtered.kept)

    def crop_name(self, number: int) -> str:
        """Return the name of a crop."""
        return crop_index.crop_name(self.crops, number)

    def places(self) -> list[Path]:
        """Return its label files and image folders, for `ocrcore.data.fingerprint`.

        For very large sets, return only the label files.
        """
        if self.given is not None:
            return []
        found = crop_index.label_files(self.options.path)
        if isinstance(self.crops, LmdbCrops) or len(self.crops) > _LOOKED_AT:
            return found
        return [*found, *sorted({Path(crop.name).parent for crop in self.crops})]

    def classes(self, number: int) -> NDArray[np.int32]:
        """Return the classes of a crop's label."""
        return self.rules.charset.classes_of(self.index.label(number))

    def picture(self, number: int) -> ByteArray:
        """Read a crop, `(H, W)` uint8.

        Raises:
            ImageError: it is missing or not an image.
            LabelError: a damaged LMDB.
        """
        crop = self.crops[number]
        data = read_bytes(crop.name) if crop.data is None else crop.data
        return decode_gray(data, name=crop.name)

    def check(self, number: int) -> None:
        """Decode a crop to check that it is intact.

        Raises:
            ImageError: it is not intact.
            LabelError: a damaged LMDB.
        """
        crop = self.crops[number]
        check_image(crop.name if crop.data is None else crop.data, name=crop.name)

    def widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return the widths of crops at the network's height, up to its greatest width."""
        own = own_widths(self.index.sizes[numbers], self.rules.height)
        return np.minimum(own, self.rules.width)

    def least_widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return the widths that the labels of crops need."""
        ends = self.index.ends[numbers]
        starts = np.where(numbers > 0, self.index.ends[np.maximum(numbers - 1, 0)], 0)
        lengths = ends - starts
        stops = np.cumsum(lengths)
        flat = np.arange(stops[-1] if len(stops) else 0) + np.repeat(
            starts - (stops - lengths), lengths
        )
        classes = self.rules.charset.classes_of(self.index.points[flat])
        return width_needed(steps_needed(classes, stops), features=self.rules.features)

    def reader_widths(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Return the widths to which EasyOCR pads crops, up to the network's greatest width."""
        wide = reader_widths(self.index.sizes[numbers], self.rules.height)
        return np.minimum(wide, self.rules.width)


Set = RealSet | WordSet | PageSet


def open_set(
    options: SourceOptions,
    rules: Rules,
    *,
    name: str,
    seed: int,
    most: float,
    cache: str | Path | None,
    given: Given | None = None,
) -> Set:
    """Open a data set; the arguments are those of `RealSet`, `WordSet` and `PageSet`."""
    if not options.made:
        return RealSet(options, rules, name=name, most=most, cache=cache, given=given)
    try:
        if options.kind == "words":
            return WordSet(rules, seed=seed, text=options.text, words=options.words)
        return PageSet(
            rules,
            seed=seed,
            text=options.text,
            kind=options.preset,
            page=options.page,
            unit=options.unit,
            jitter=options.jitter,
        )
    except OptionsError as error:
        raise OptionsError(f"config.data.train.{name}.{error}") from error
    except SourceError as error:
        raise SourceError(f"config.data.train.{name}: {error}") from error


def scale(image: ByteArray, height: int, width: int, how: str, chance: float) -> ByteArray:
    """Scale a gray crop.

    Args:
        image: `(h, w)` uint8.
        height: height of the result.
        width: width of the result.
        how: one of `RESIZES`.
        chance: random number in [0, 1), which chooses the method of "any".
    """
    if image.shape == (height, width):
        return image
    if how == "any":
        how = ("reader", "bicubic", "area")[int(chance * 3)]
    if how == "bicubic":
        return fixed_crop(image, height, width)
    kind = cv2.INTER_AREA if how == "area" else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
