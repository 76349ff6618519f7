"""Training data of the detector: data sets, mixed, shuffled and repeated, by position.

Each position of the endless sequence of samples determines a data set and one of its samples. It
depends only on the seed and the settings, so that any host, thread or worker can make any part of
the sequence. Of each thousand positions every data set has its exact share, in random order; each
data set is reshuffled for every epoch.

An unusable sample is dropped, and replaced by the next one of the same data set.

Host code: no jax.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from craftjax.augment import AugmentOptions
from craftjax.taught_crops import TaughtCrops
from craftjax.weak.label_set import LabelSet, LabelSetError
from ocrcore.data.mixing import (
    BLOCK,
    Drop,
    SourceError,
    TooManyDropped,
    arranged,
    counted,
    shares,
    shuffled,
)
from ocrcore.data.python_sets import PythonSet, check_sources
from ocrcore.data.readers.arrayrecord import ArrayRecords
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.layouts import LAYOUT_NAMES, is_layout
from ocrcore.data.readers.packed import PackedSamples
from ocrcore.data.readers.pictures import PictureFolder
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.data.readers.synthtext_index import IndexedSynthText
from ocrcore.data.readers.words import ORDERS, SPLITS, WORD_KINDS, open_words
from ocrcore.images import ImageError
from ocrcore.options import expect
from ocrcore.pages import LabelError, PageError, Sample
from ocrcore.synth.config import check_preset, preset
from ocrcore.synth.pages import PageSource

KINDS = ("synthtext", "icdar", *WORD_KINDS, "pictures", "maps", "arrayrecord", "pages", "python")
FORMATS = ("raw", "packed")
ATTEMPTS = 100
"""Most samples to try for one position."""
_ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """One data set of the mix.

    Attributes:
        kind: "synthtext": a folder with `gt.mat`; "icdar": a folder of photos, words and
            characters (`ocrcore.data.readers.characters`); "words": a folder of photos and words
            (`ocrcore.data.readers.words`), whose characters are pseudo labels; the same in files of
            annotation tools: one of `ocrcore.data.readers.label_formats.FORMATS`, or "auto", which
            detects the format; "pictures": a folder of images without labels, which count as
            images without text unless they get a teacher's scores (`config.distill`); "maps": crops
            with a teacher's scores (`craftjax.taught_crops`);
            "arrayrecord": files that `ocrjax synth` writes; "pages": synthetic pages, drawn during
            training; "python": samples that a program passes to training as `sources`.
        path: folder or file; empty for "pages" and "python".
        ratio: proportion of this data set in the mix, relative to the ratios of the others.
        start: index of the first sample to use.
        stop: index after the last sample; None uses all.
        augment: augmentation of its images.
        images: for "icdar": folder of the images in `path`; empty: "images". For "words": empty
            means to look for it, see `ocrcore.data.readers.words.find_folders`.
        labels: folder of the word labels, in the same way; empty: "gt".
        characters: for "icdar": folder of the characters; empty: there are only words.
        split: for "words": as for `ocrcore.data.readers.words.open_words`; `start` and `stop` are
            indices in the split.
        holdout: for "words": as for `open_words`.
        order: for "words": as for `open_words`.
        layout: for "icdar" and "words": one of `ocrcore.data.readers.label_lines.LAYOUTS`.
        dont_care: for "icdar" and "words": texts that mark a word as don't care.
        preset: for "pages": "plain", "scene", "web" or "words".
        page: for "pages": changed fields of `ocrcore.synth.config.SynthConfig`.
        seed: for "pages": seed of the pages; None takes the seed of the run.
        packed: folder of the packed data set; empty: `packed` in `path`. "arrayrecord" is always
            packed; "pages" without a folder here are drawn during training.

    Raises:
        SourceError: an unknown kind, or a value is out of range.
    """

    kind: str
    path: str = ""
    ratio: float = 1.0
    start: int = 0
    stop: int | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    images: str = ""
    labels: str = ""
    characters: str = "chars"
    split: str = "train"
    holdout: float = 0.1
    order: str = "name"
    layout: str = "auto"
    dont_care: tuple[str, ...] = ("###",)
    preset: str = "scene"
    page: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    packed: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SourceError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if (self.kind in ("pages", "python")) == bool(self.path):
            needs = "an empty one: it has no files" if self.path else "a folder or a file"
            raise SourceError(f"path is {self.path!r} for {self.kind}, expected {needs}")
        if not 0 < self.ratio < float("inf"):
            raise SourceError(f"ratio is {self.ratio!r}, expected a positive number")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise SourceError(f"start is {self.start}, stop is {self.stop}: expected start < stop")
        expect(
            self,
            (self.split in SPLITS, "split", f"one of {', '.join(SPLITS)}"),
            (0 <= self.holdout < 1, "holdout", "0 or more and less than 1"),
            (self.order in ORDERS, "order", f"one of {', '.join(ORDERS)}"),
            (is_layout(self.layout), "layout", f"one of {LAYOUT_NAMES}"),
            (self.seed is None or 0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1, or None"),
            error=SourceError,
        )
        if self.kind == "pages":
            check_preset(self.preset, self.page, "page")

    @property
    def needs_labels(self) -> bool:
        """Whether it only has words, whose characters are pseudo labels."""
        return self.kind in WORD_KINDS

    @property
    def packed_folder(self) -> Path | None:
        """Folder of the packed data set; None if it cannot be packed."""
        if self.kind in ("arrayrecord", "maps", "python") or not (self.packed or self.path):
            return None
        path = Path(self.path)
        folder = path.parent if path.is_file() else path  # a label file
        return Path(self.packed) if self.packed else folder / "packed"

    def content(self, seed: int) -> dict[str, Any]:
        """Return everything that determines the samples, except for their paths, as JSON values.

        Args:
            seed: seed of the run.
        """
        kind = "words" if self.needs_labels else self.kind
        names = {
            "icdar": ("images", "labels", "characters", "layout", "dont_care"),
            "words": (
                "images",
                "labels",
                "split",
                "holdout",
                "order",
                "layout",
                "dont_care",
            ),
            "pages": ("preset", "page"),
        }.get(kind, ())
        found = {"kind": self.kind, **{name: getattr(self, name) for name in names}}
        if self.kind == "pages":
            own = seed if self.seed is None else self.seed
            found |= {"seed": own, "page": dict(self.page.items())}
        content: dict[str, Any] = json.loads(json.dumps(found, default=repr))
        return content


class Mix:
    """The endless sequence of samples.

    Args:
        options: options of each data set, by name.
        seed: seed of the run.
        cache: folder for indices of data sets; None is the user's cache folder.
        form: one of `FORMATS`: "packed" reads the same samples from packed data sets.
        sources: the data sets of kind "python", by name.

    Raises:
        SourceError: there is no data set, or one has no samples between `start` and `stop`, or one
            was packed with other settings, or `sources` do not match the options.
        LabelError: an unreadable data set.

    Attributes:
        names: names of the data sets.
        options: options of each.
        lengths: number of samples of each.
        shares: number of positions out of a thousand for each.
    """

    def __init__(
        self,
        options: Mapping[str, SourceOptions],
        *,
        seed: int,
        cache: str | Path | None = None,
        form: str = "raw",
        sources: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        if not options:
            raise SourceError("no data set to train on: expected one or more in config.data.train")
        self.seed = seed
        self.names = list(options)
        self.options = list(options.values())
        given = dict(sources or {})
        check_sources(given, {name: one.kind for name, one in options.items()})
        self._samples: list[Any] = []
        for name, one in options.items():
            if one.kind == "python":
                self._samples.append(PythonSet(given[name], Sample, name=name))
            elif form == "packed" and one.packed_folder:
                self._samples.append(_open_packed(name, one, seed=seed))
            else:
                self._samples.append(open_source(one, seed=seed, cache=cache))
            if isinstance(self._samples[-1], PhotoFolder):
                _ = self._samples[-1].layout  # raise now, not for every sample
        self.lengths = []
        for name, one, samples in zip(self.names, self.options, self._samples, strict=True):
            stop = len(samples) if one.stop is None else min(one.stop, len(samples))
            if stop <= one.start:
                raise SourceError(
                    f"config.data.train.{name}: no samples from start={one.start} to "
                    f"stop={one.stop}: there are {len(samples)}"
                )
            self.lengths.append(stop - one.start)
        self.shares = shares([one.ratio for one in self.options])
        self._bad: dict[tuple[int, int], Drop] = {}
        self._labels: LabelSet | None = None
        self._only: dict[int, list[int]] = {}

    @property
    def word_sets(self) -> list[int]:
        """Indices of the data sets that only have words and need pseudo labels."""
        return [number for number, one in enumerate(self.options) if one.needs_labels]

    def word_places(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return which of the positions from `first` to before `last` need pseudo labels.

        Returns:
            For each, the index of its data set, and the place in the endless sequence of that set.
        """
        needy = set(self.word_sets)
        picked = map(self.pick, range(first, last))
        return [(which, place) for which, place in picked if which in needy]

    def words_of(self, which: int, index: int) -> Sample:
        """Return a sample without pseudo labels.

        Raises:
            ImageError: the sample is unusable; other errors mean the same.
        """
        sample: Sample = self._samples[which][index]
        return sample

    def use_labels(self, labels: LabelSet, *, only: bool = False) -> None:
        """Use pseudo labels for the word-labeled data sets.

        Args:
            labels: labels of all pages that will be drawn.
            only: draw only pages that are labeled, at any position.
        """
        self._labels = labels
        self._bad.clear()
        self._only = {}
        if only:
            named = {which: labels.indices(self.names[which]) for which in self.word_sets}
            self._only = {which: indices for which, indices in named.items() if indices}

    def sample(self, position: int) -> tuple[int, Sample, int, list[Drop]]:
        """Return the sample of a position.

        Returns:
            The index of its data set, the sample, its index there, and samples dropped before it.

        Raises:
            TooManyDropped: too many unusable samples in a row.
        """
        which, place = self.pick(position)
        dropped: list[Drop] = []
        for attempt in range(ATTEMPTS):
            index = self.index(which, place + attempt)
            known = self._bad.get((which, index))
            if known is None:
                sample = self._read(which, index)
                if isinstance(sample, Sample):
                    return which, sample, index, dropped
                self._bad[which, index] = known = sample
            dropped.append(known)
        by_sample = {drop.index: drop.reason for drop in dropped}
        raise TooManyDropped(
            f"{ATTEMPTS} samples of {self.names[which]} in a row are unusable; the last error is "
            f"{dropped[-1].error}\n{counted(Counter(by_sample.values()))}",
            dropped,
        )

    def pick(self, position: int) -> tuple[int, int]:
        """Return the data set of a position, and the place in the endless sequence of that set."""
        if len(self.shares) == 1:
            return 0, position
        block, offset = divmod(position, BLOCK)
        order, rank = arranged(self.seed, block, self.shares)
        which = int(order[offset])
        return which, block * self.shares[which] + int(rank[offset])

    def index(self, which: int, place: int) -> int:
        """Return the index of a place in the endless sequence of a data set."""
        length = self.lengths[which]
        if self.options[which].kind == "pages":  # endless, and random anyway
            return self.options[which].start + place % length
        only = self._only.get(which)
        if only is not None:
            length = len(only)
        turn, offset = divmod(place, length)
        chosen = int(shuffled(self.seed, which, turn, length)[offset])
        return self.options[which].start + chosen if only is None else only[chosen]

    def name(self, which: int, index: int) -> str:
        """Return the file of a sample, or another name for it; a packed sample is read for it."""
        options = self.options[which]
        if options.kind == "pages":
            return f"page {index} of {self.names[which]}, seed {options.content(self.seed)['seed']}"
        name: str = self._samples[which].name(index)
        return name

    def problems(self) -> dict[str, str]:
        """Return what is known to be unusable in advance: reasons by path.

        These are fonts and backgrounds of synthetic pages, samples of packed data sets, and files
        of photo folders.
        """
        found: dict[str, str] = {}
        for samples in self._samples:
            if isinstance(samples, PageSource):
                found |= samples.problems
            elif isinstance(samples, PackedSamples) and samples.faults:
                found[str(samples.folder)] = f"{counted(samples.faults)} when it was packed"
            elif isinstance(samples, PhotoFolder) and (unused := unused_files(samples)):
                found[str(samples.images)] = "; ".join(unused)
        return found

    def places(self) -> dict[str, list[Path]]:
        """Return the files and folders of the data sets, for `ocrcore.data.fingerprint`."""
        found: dict[str, list[Path]] = {}
        for name, one, samples in zip(self.names, self.options, self._samples, strict=True):
            if isinstance(samples, PackedSamples):
                found[name] = [samples.folder]
            elif isinstance(samples, PhotoFolder):
                files = samples.documents.files if samples.documents else [samples.labels]
                folders = (samples.images, *files, samples.characters)
                found[name] = [folder for folder in folders if folder is not None]
            elif isinstance(samples, PictureFolder):
                found[name] = list(dict.fromkeys(path.parent for path in samples.paths))
            elif one.path:
                path = Path(one.path)
                found[name] = [path / "gt.mat" if one.kind == "synthtext" else path]
        return found

    def close(self) -> None:
        """Close the files; no samples can be read afterwards."""
        self._samples.clear()

    def _read(self, which: int, index: int) -> Sample | Drop:
        options = self.options[which]
        try:
            sample: Sample = self._samples[which][index]
        except ImageError as error:
            # For synthetic pages an error is due to the user's settings, not to a bad sample.
            if options.kind == "pages":
                raise
            return self._drop(which, index, "picture", str(error))
        except LabelError as error:
            return self._drop(which, index, error.reason, str(error))
        except PageError as error:
            return self._drop(which, index, "labels", str(error))
        if options.needs_labels:
            return self._labeled(which, index, sample)
        words = sample.page.words
        if not any(word.care and word.characters for word in words):
            # A page that is empty on purpose teaches what is not text. A page whose words have no
            # characters teaches nothing.
            made = options.kind in ("pictures", "maps", "pages", "arrayrecord", "python")
            empty = made and not any(w.care for w in words)
            if not empty:
                name = self.name(which, index)
                return self._drop(
                    which, index, "no characters", f"{name}: none of {len(words)} words has any"
                )
        return sample

    def _labeled(self, which: int, index: int, sample: Sample) -> Sample | Drop:
        if self._labels is None:
            raise SourceError(
                f"config.data.train.{self.names[which]} has only words: it needs pseudo labels "
                "from a section config.pseudo (see configs/custom.py); with config.distill set its "
                "kind to 'pictures'"
            )
        try:
            page = self._labels.attach(self.names[which], index, sample.page)
        except LabelSetError as error:
            return self._drop(which, index, "labels changed", str(error))
        if page is None:
            name = self.name(which, index)
            return self._drop(which, index, "not labeled", f"{name}: no pseudo labels")
        return Sample(sample.image, page)

    def _drop(self, which: int, index: int, reason: str, error: str) -> Drop:
        return Drop(self.names[which], index, self.name(which, index), reason, error)


def open_source(options: SourceOptions, *, seed: int, cache: str | Path | None = None) -> Any:
    """Open an unpacked data set: samples by index.

    Args:
        options: options of the data set, whose kind is not "python".
        seed: seed of the run.
        cache: as for `Mix`.

    Raises:
        LabelError: an unreadable data set.
    """
    path = Path(options.path)
    if options.kind == "synthtext":
        return IndexedSynthText(path, cache=cache)
    if options.kind == "arrayrecord":
        return ArrayRecords(path)
    if options.kind == "pictures":
        return PictureFolder(path)
    if options.kind == "maps":
        return TaughtCrops(path)
    if options.needs_labels:
        return open_words(
            path,
            kind=options.kind,
            images=options.images,
            labels=options.labels,
            split=options.split,
            holdout=options.holdout,
            layout=options.layout,
            dont_care=tuple(options.dont_care),
            order=options.order,
        )
    if options.kind == "icdar":
        return PhotoFolder(
            path / (options.images or "images"),
            path / (options.labels or "gt"),
            path / options.characters if options.characters else None,
            layout=options.layout,
            dont_care=tuple(options.dont_care),
        )
    return PageSource(
        preset(options.preset, **options.page), options.content(seed)["seed"], length=_ENDLESS
    )


def _open_packed(name: str, options: SourceOptions, *, seed: int) -> PackedSamples:
    folder = options.packed_folder
    assert folder is not None
    where = f"config.data.train.{name}"
    try:
        samples = PackedSamples(folder, root=options.path)
    except LabelError as error:
        raise SourceError(f"{where} is not packed: {error}; --mode=pack packs it") from error
    content = options.content(seed)
    packed = {"order": "name"} | dict(samples.source)  # older files lack the order
    differ = [key for key in content if packed.get(key) != content[key]]
    if differ:
        lines = ", ".join(f"{k} was {packed.get(k)!r}, is {content[k]!r}" for k in differ)
        raise SourceError(
            f"{where}: {folder} was packed with other settings: {lines}; restore those, or pack it "
            f"again (--mode=pack) to another {where}.packed"
        )
    stop = "the end" if options.stop is None else options.stop
    enough = samples.complete or (options.stop is not None and options.stop <= len(samples))
    if options.start < samples.start or not enough:
        raise SourceError(
            f"{where}: samples from {options.start} to {stop} are requested, but {folder} has "
            f"those from {samples.start} to {len(samples)}: change start and stop, or pack it "
            f"again (--mode=pack) to another {where}.packed"
        )
    return samples
