"""Index of labeled crops, built once, and the filters that tell why a crop is not used.

The index of a data set holds what must be known about all crops before the first batch: the labels
in NFC, the sizes of the images (from their headers) and the faults of crops. It is built at the
first start, kept in the cache, and memory-mapped later; a data set of millions is never scanned
twice. Filters run on its arrays, so that they may differ between runs.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnnjax.charset import Charset, normalized
from crnnjax.time_steps import MIN_WIDTH, time_steps
from ocrcore.data.mixing import Drop
from ocrcore.data.python_sets import PythonSet
from ocrcore.data.readers.crops import CSV_NAME, Crop, LmdbCrops, read_labels_csv, read_labels_tsv
from ocrcore.data.readers.doctr import DOCTR_NAME, read_doctr_crops
from ocrcore.data.readers.trdg import TRDG_NAME, is_trdg, read_trdg
from ocrcore.files import default_cache, new_folder
from ocrcore.images import EXIF_VARIABLE, ImageError, encoded_size, image_size
from ocrcore.pages import LabelError
from ocrcore.progress import shown

KINDS = ("auto", "lmdb", "csv", "tsv", "doctr", "trdg")
PPOCR_NAME = "rec_gt.txt"
"""Label file of PPOCRLabel, in the folder of a project."""
LISTED = 1000
"""Most left-out crops to name, for each reason and data set."""
MAX_PIXELS = 1 << 26
"""Larger images are not crops; they are refused before they are decoded."""
REASONS = (
    "picture",
    "labels",
    "detection labels",
    "empty",
    "too long",
    "outside the charset",
    "does not fit its width",
)
_FINE, _PICTURE, _LABELS, _DETECTION = 0, 1, 2, 3
_QUOTE = ord('"')
_NARROW = 16  # any crop may be padded to this width
_VERSION = 1
_CHUNK = 1 << 18  # labels filtered at a time


def kind_of(path: str | Path) -> str:
    """Detect the kind of a data set of crops from the suffix of a file or the files of a folder."""
    path = Path(path)
    if not path.is_dir():
        return "doctr" if path.suffix.lower() == ".json" else "tsv"
    names = {"lmdb": "data.mdb", "csv": CSV_NAME, "doctr": DOCTR_NAME, "tsv": PPOCR_NAME}
    for kind, name in names.items():
        if (path / name).is_file():
            return kind
    return "trdg" if is_trdg(path) else "csv"


def open_crops(
    kind: str, path: str | Path, *, root: str | Path | None = None, outside: bool = False
) -> Sequence[Crop]:
    """Open a data set of crops.

    Args:
        kind: "lmdb": as in deep-text-recognition-benchmark; "csv": folders with a `labels.csv`, as
            in EasyOCR's trainer; "tsv": a file of lines of a path, a tab and a text, as also in
            PaddleOCR; "doctr": a `labels.json` of docTR, with the images in `images`; "trdg": a
            folder of TextRecognitionDataGenerator; "auto": detect the kind.
        path: the folder, or the file of "tsv" and "doctr"; a folder with "tsv" means its
            `rec_gt.txt`.
        root: for "tsv": folder that paths are relative to; None is that of the file.
        outside: for "csv" and "tsv": whether paths may lead out of that folder.

    Returns:
        The crops by index; their images are not read.

    Raises:
        LabelError: there is no such data set, or it cannot be read; the message names the line.
    """
    if kind == "auto":
        kind = kind_of(path)
    if kind == "lmdb":
        return LmdbCrops(path)
    if kind == "csv":
        return read_labels_csv(path, outside=outside)
    if kind == "doctr":
        return read_doctr_crops(Path(path) / DOCTR_NAME if Path(path).is_dir() else Path(path))
    if kind == "trdg":
        return read_trdg(path)
    if kind != "tsv":
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    path = Path(path) / PPOCR_NAME if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise LabelError(path, 0, str(path), "a file of lines: path, tab, text")
    return read_labels_tsv(path, root=root, outside=outside)


@dataclass(frozen=True, eq=False)
class Index:
    """Labels, sizes and faults of all crops of a data set.

    Attributes:
        points: code points of all labels in NFC, concatenated; unsigned.
        ends: `(N,)` int64, end of each label in `points`.
        sizes: `(N, 2)` int32, height and width of the images; 0 if there is none.
        states: `(N,)` uint8, fault of each crop; 0 for none.
    """

    points: NDArray[np.unsignedinteger]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int32]
    states: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ends)

    def label(self, index: int) -> NDArray[np.unsignedinteger]:
        """Return the code points of a crop's label."""
        return self.points[self.ends[index - 1] if index else 0 : self.ends[index]]

    def text(self, index: int) -> str:
        """Return a crop's label in NFC."""
        return "".join(map(chr, self.label(index).tolist()))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that decide which crops are used.

    Attributes:
        charset: charset of the labels.
        height: height of the network's input in pixels.
        width: greatest width of an input.
        fixed: whether every input has that width; otherwise a crop keeps its width at this height,
            or is padded as in EasyOCR up to 1.5 times that.
        max_length: most characters of a label.
        empty: whether labels may be empty.
        features: features of the network, for `crnnjax.time_steps.time_steps`.
        turn_above: height / width above which crops are rotated; 0 rotates none.
    """

    charset: Charset
    height: int
    width: int
    fixed: bool = False
    max_length: int = 25
    empty: bool = False
    features: str = "vgg"
    turn_above: float = 0.0


@dataclass(slots=True)
class Filtered:
    """The result of filtering a data set.

    Attributes:
        kept: indices of the crops that are used, ascending.
        counts: numbers of crops left out, by reason.
        outside: characters outside the charset, with the number of left-out labels that have each.
        drops: the first `LISTED` crops that were left out, for each reason.
        quoted: number of labels in double quotes, which have no special meaning in EasyOCR's csv.
        note: other unused parts of the data set.
    """

    kept: NDArray[np.int32]
    counts: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    drops: list[Drop] = field(default_factory=list)
    quoted: int = 0
    note: str = ""

    def summary(self) -> str:
        """Return a line with the numbers of used and left-out crops, and the reasons."""
        total = len(self.kept) + self.counts.total()
        parts = [f"{reason}: {self.counts[reason]:,}" for reason in REASONS if self.counts[reason]]
        text = f"{len(self.kept):,} of {total:,} crops"
        if parts:
            text += f" ({'; '.join(parts)})"
        if self.outside:
            shown = ", ".join(f"{c!r} {count:,}" for c, count in self.outside.most_common(40))
            more = f" and {len(self.outside) - 40} others" if len(self.outside) > 40 else ""
            text += f"; characters outside the charset: {shown}{more}"
        if self.quoted:
            text += f"; {self.quoted:,} labels have double quotes, which are part of the text"
        return f"{text}; {self.note}" if self.note else text


def steps_needed(classes: NDArray[Any], ends: NDArray[Any]) -> NDArray[np.int64]:
    """Return the time steps that CTC needs for labels: their length, plus one per equal neighbors.

    Args:
        classes: classes of all labels, concatenated.
        ends: `(N,)`, end of each label in `classes`.

    Returns:
        `(N,)` int64.
    """
    lengths = np.diff(ends, prepend=0)
    equal = np.zeros(len(classes) + 1, np.int64)
    equal[1:-1] = classes[1:] == classes[:-1]
    # The first character of a label has no neighbor before it.
    equal[np.minimum(ends - lengths, len(classes))] = 0
    counts = np.concatenate([[0], np.cumsum(equal[:-1])])
    return lengths + counts[ends] - counts[ends - lengths]


def width_needed(steps: Any, *, features: str) -> Any:
    """Return the least image width that gives `steps` time steps; a number or an array."""
    if features == "lcnetv4":
        widths = 8 * steps - 3
    else:
        widths = 4 * (steps - time_steps(1024, features=features) + 256)
    return max(widths, MIN_WIDTH) if isinstance(widths, int) else np.maximum(widths, MIN_WIDTH)


def steps_of(classes: NDArray[Any]) -> int:
    """Return the time steps that CTC needs for one label; see `steps_needed`."""
    return len(classes) + int(np.count_nonzero(classes[1:] == classes[:-1]))


def reader_widths(sizes: NDArray[Any], height: int) -> NDArray[np.int64]:
    """Return the widths to which EasyOCR pads single crops: `crnnjax.resize.easyocr_width`.

    Args:
        sizes: `(N, 2)`, heights and widths, all 1 or more.
        height: height of the network's input.
    """
    ratio = sizes[:, 1] / sizes[:, 0]
    return np.ceil(np.where(ratio < 1, 1 / np.minimum(ratio, 1), ratio)).astype(np.int64) * height


def own_widths(sizes: NDArray[Any], height: int) -> NDArray[np.int64]:
    """Return the widths of crops at a height, keeping the aspect ratio, rounded up: `(N,)`."""
    tall, wide = sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64)
    return np.maximum(-(-wide * height // np.maximum(tall, 1)), 1)


def _room(sizes: NDArray[Any], height: int) -> NDArray[np.int64]:
    """Widths available for labels: with padding as in a Reader, more than the crop's own width.

    But not much more, because still narrower letters cannot be distinguished. Of the crops of ICDAR
    2015 that need more, nearly all are taller than wide: words that run up or down.
    """
    own = own_widths(sizes, height)
    padded = np.minimum(reader_widths(sizes, height), np.maximum(own * 3 // 2, _NARROW))
    return np.maximum(own, padded)


def swap_tall_sizes(index: Index, above: float) -> Index:
    """Return the index with the sizes of crops after `crnnjax.resize.turn_tall`."""
    if not above:
        return index
    sizes = np.array(index.sizes)
    tall = sizes[:, 0] >= above * sizes[:, 1]
    sizes[tall] = sizes[tall, ::-1]
    return Index(index.points, index.ends, sizes, index.states)


def filter_crops(
    index: Index,
    rules: Rules,
    crops: Sequence[Crop],
    *,
    name: str,
    numbers: NDArray[np.intp] | None = None,
) -> Filtered:
    """Apply the rules: find the crops to use, and the reasons for leaving out others.

    Args:
        index: index of the data set.
        rules: the rules.
        crops: the data set, for the names of left-out crops.
        name: name of the data set.
        numbers: indices of the crops to consider, None for all; others are not counted.
    """
    asked = np.zeros(len(index), bool)
    asked[slice(None) if numbers is None else numbers] = True
    found = Filtered(np.zeros(0, np.int32), note=str(getattr(crops, "note", "")))
    kept = []
    listed: Counter[str] = Counter()
    for first in range(0, len(index), _CHUNK):
        last = min(first + _CHUNK, len(index))
        begin = int(index.ends[first - 1]) if first else 0
        points = index.points[begin : int(index.ends[last - 1])]
        ends = index.ends[first:last] - begin
        lengths = np.diff(ends, prepend=0)
        states, sizes = index.states[first:last], index.sizes[first:last]
        classes = rules.charset.classes_of(points)
        counts = np.concatenate([[0], np.cumsum(classes == 0)])
        outside = counts[ends] - counts[ends - lengths]
        needed = width_needed(steps_needed(classes, ends), features=rules.features)
        room: Any = rules.width
        if not rules.fixed:
            room = np.minimum(_room(np.maximum(sizes, 1), rules.height), rules.width)
        wrong = (
            (states == _PICTURE),
            (states == _LABELS),
            (states == _DETECTION),
            (lengths == 0) & (not rules.empty),
            lengths > rules.max_length,
            outside > 0,
            needed > room,
        )
        reason = np.full(last - first, len(REASONS))
        for number in reversed(range(len(REASONS))):
            reason[wrong[number]] = number
        reason[~asked[first:last]] = -1
        kept.append(np.flatnonzero(reason == len(REASONS)).astype(np.int32) + first)
        for number, what in enumerate(REASONS):
            those = np.flatnonzero(reason == number)
            found.counts[what] += len(those)
            for one in those[: max(0, LISTED - listed[what])].tolist():
                error = _explain(index, rules, crops, first + one, what)
                found.drops.append(
                    Drop(name, first + one, crop_name(crops, first + one), what, error)
                )
            listed[what] += min(len(those), LISTED)
            if what == "outside the charset":
                _count_outside(found.outside, points, classes, ends, those)
        quoted = np.flatnonzero((lengths > 2) & (reason >= 0))
        first_points, last_points = points[(ends - lengths)[quoted]], points[ends[quoted] - 1]
        found.quoted += int(((first_points == _QUOTE) & (last_points == _QUOTE)).sum())
    found.counts += Counter()  # reasons that did not occur
    found.kept = np.concatenate(kept) if kept else found.kept
    return found


def crop_name(crops: Sequence[Crop], index: int) -> str:
    """Return the name of a crop without reading its image."""
    if isinstance(crops, LmdbCrops):
        return f"{crops.path}:image-{index + 1:09d}"
    if isinstance(crops, PythonSet):
        return crops.name(index)
    return crops[index].name


def _explain(index: Index, rules: Rules, crops: Sequence[Crop], number: int, reason: str) -> str:
    """Explain in full why a crop is left out; only called for a few crops."""
    if reason == "labels":
        try:
            crops[number]
        except LabelError as error:
            return str(error)
    if reason == "picture":
        try:
            return f"an image of {_size(crops[number])} pixels: expected at most {MAX_PIXELS}"
        except (ImageError, LabelError) as error:
            windows = "\\" in crop_name(crops, number)
            return f"{error}{'; nor with / instead of the backslashes of Windows' * windows}"
    text = index.text(number)
    name = f"{crop_name(crops, number)}: {text!r}"
    if reason == "empty":
        return f"{name}: an empty label; set empty_labels to train on it"
    if reason == "too long":
        return f"{name}: {len(text)} characters, more than max_length={rules.max_length}"
    if reason == "outside the charset":
        missing = "".join(sorted(rules.charset.missing(text)))
        return f"{name}: {missing!r} outside the charset {rules.charset.name}"
    if reason == "detection labels":
        return (
            f"{name[:200]}: a list of boxes, which is a label for a detector: expected an image of "
            "one word or line and its text"
        )
    classes = rules.charset.encode(text)
    steps = steps_of(classes)
    height, width = index.sizes[number].tolist()
    least = int(width_needed(steps, features=rules.features))
    return (
        f"{name}: CTC needs {steps} time steps ({len(text)} characters, "
        f"{steps - len(text)} of them after an equal one), so a width of {least} pixels at a "
        f"height of {rules.height}; the image has {width}x{height} pixels, so a width of "
        f"{int(own_widths(index.sizes[number : number + 1], rules.height)[0])} at that height; the "
        f"widest input is {rules.width}"
    )


def _count_outside(
    outside: Counter[str],
    points: NDArray[Any],
    classes: NDArray[Any],
    ends: NDArray[Any],
    those: NDArray[Any],
) -> None:
    """Count in how many of the labels `those` each character outside the charset occurs."""
    where = np.flatnonzero(classes == 0)
    label = np.searchsorted(ends, where, side="right")
    mine = np.isin(label, those)
    pairs = np.unique(np.stack([label[mine], points[where[mine]]]).astype(np.int64), axis=1)
    characters, counts = np.unique(pairs[1], return_counts=True)
    for character, count in zip(characters.tolist(), counts.tolist(), strict=True):
        outside[chr(character)] += count


def read_index(
    crops: Sequence[Crop], path: str | Path, *, cache: str | Path | None = None
) -> Index:
    """Return the index of a data set from the cache; build it if necessary.

    A data set counts as changed if the size or time of its `data.mdb` or of its label files
    changes. Crops whose image could not be read are checked again at each start, so that missing
    files can be added.

    Args:
        crops: crops of `open_crops`.
        path: path of the data set.
        cache: folder for indices; None is `ocrjax` in the user's cache folder.

    Raises:
        LabelError: the index is damaged.
        OSError: the index cannot be written.
    """
    folder = Path(cache) if cache is not None else default_cache()
    location = folder / f"crops-{data_set_key(crops, path)}"
    if not (location / "index.json").is_file():
        _write(index_crops(crops, task=f"indexing {path} once, to {location}"), location, str(path))
    try:
        names = ("points", "ends", "sizes", "states")
        index = Index(*(_mapped(location / f"{name}.npy") for name in names))
        whole = len(index) == len(index.sizes) == len(index.states) == len(crops)
    except (OSError, ValueError, EOFError) as error:
        raise LabelError(location, 0, str(error), "a complete index; delete it") from error
    if not whole or (len(index) and index.ends[-1] != len(index.points)):
        raise LabelError(location, 0, "parts of different lengths", "a complete index; delete it")
    return _look_again(index, crops)


def data_set_key(crops: Sequence[Crop], path: str | Path) -> str:
    """Return a key of the data set's current state; the arguments are those of `read_index`."""
    state = [str(_VERSION), str(len(crops)), crop_name(crops, 0) if len(crops) else ""]
    for file in label_files(path):
        found = file.stat()
        state += [str(file.resolve()), str(found.st_size), str(found.st_mtime_ns)]
    if os.environ.get(EXIF_VARIABLE):  # image sizes differ
        state.append(os.environ[EXIF_VARIABLE])
    return hashlib.sha256("\n".join(state).encode(errors="surrogateescape")).hexdigest()[:16]


def _mapped(path: Path) -> NDArray[Any]:
    # An empty array cannot be mapped; its file has only a header.
    return np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)


def label_files(path: str | Path) -> list[Path]:
    """Return the label files of a data set: itself, its `data.mdb`, or its `labels.csv` files."""
    path = Path(path)
    if path.is_file():
        return [path]
    inside = [path / "data.mdb", path / CSV_NAME]
    if kind_of(path) in ("doctr", "trdg", "tsv"):
        inside = [path / name for name in (DOCTR_NAME, PPOCR_NAME, TRDG_NAME)]
    # If image names are the labels, the folder's own time shows changes.
    return [one for one in inside if one.is_file()] or sorted(path.rglob(CSV_NAME)) or [path]


def _look_again(index: Index, crops: Sequence[Crop]) -> Index:
    bad = np.flatnonzero(index.states == _PICTURE)
    if not len(bad) or isinstance(crops, LmdbCrops):
        return index
    sizes, states = np.array(index.sizes), np.array(index.states)
    for number in bad.tolist():
        sizes[number], states[number] = _look(crops[number])
    return Index(index.points, index.ends, sizes, states)


def index_crops(crops: Sequence[Crop], *, task: str) -> Index:
    """Read all labels and all image headers.

    Args:
        crops: the data set.
        task: description of the task for the progress bar.
    """
    ends = np.zeros(len(crops), np.int64)
    sizes = np.zeros((len(crops), 2), np.int32)
    states = np.zeros(len(crops), np.uint8)
    parts: list[NDArray[Any]] = []
    texts: list[str] = []
    end = 0
    for number in shown(range(len(crops)), task, unit="crop"):
        try:
            crop = crops[number]
        except LabelError:
            ends[number], states[number] = end, _LABELS
            continue
        text = normalized(crop.text)
        texts.append(text)
        end += len(text)
        ends[number] = end
        if text.startswith('[{"') and '"points"' in text:
            states[number] = _DETECTION
        else:
            sizes[number], states[number] = _look(crop)
        if len(texts) == _CHUNK:
            parts.append(_narrow(texts))
            texts.clear()
    parts.append(_narrow(texts))
    return Index(np.concatenate(parts), ends, sizes, states)


def _narrow(texts: list[str]) -> NDArray[Any]:
    """Code points in the smallest dtype that fits."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    most = int(points.max()) if len(points) else 0
    return points.astype(np.min_scalar_type(most))


def _look(crop: Crop) -> tuple[tuple[int, int], int]:
    try:
        height, width = _size(crop)
    except ImageError:
        return (0, 0), _PICTURE
    return ((height, width), _FINE) if height * width <= MAX_PIXELS else ((0, 0), _PICTURE)


def _size(crop: Crop) -> tuple[int, int]:
    return image_size(crop.name) if crop.data is None else encoded_size(crop.data, name=crop.name)


def _write(index: Index, location: Path, source: str) -> None:
    """Write an index atomically; two processes may do so at the same time."""
    with new_folder(location, marker="index.json") as part:
        for name in ("points", "ends", "sizes", "states"):
            np.save(part / f"{name}.npy", getattr(index, name))
        (part / "index.json").write_text(json.dumps({"version": _VERSION, "source": source}))
