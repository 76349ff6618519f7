"""Split of a data set of crops into training, validation and test parts.

Crops of one photo are similar: the same words in the same light and print. If some of them are
trained on and others are used for evaluation, scores are too high. So crops are grouped, and a
group is never divided. Groups are the photos that the crops were cut from, if labels or names tell
these; otherwise near-duplicates with the same text, or crops named as copies of one crop.

The split only depends on the data set and its options, not on the seed of a run.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crnnjax.crop_index import Index, data_set_key
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.crops import Crop, LmdbCrops
from ocrcore.files import default_cache, new_folder, write_json
from ocrcore.images import ImageError, decode_gray, read_bytes
from ocrcore.pages import ByteArray, LabelError
from ocrcore.progress import Progress

PARTS = ("train", "validation", "test")
MAX_COMPARED = 200_000
"""Larger data sets are not searched for near-duplicates, because all crops would be decoded."""
_VERSION = 1
_THREADS = 4  # decoding releases the GIL
# A counted end of a name: "_12", "-w3", " (2)".
_END = re.compile(r"[\s_.\-@#(]+[A-Za-z]*\d+\)?$")
_ENDS = 3  # most counted ends to strip from a name
_MIN_PHOTOS = 5
_MIN_CROPS = 1.5  # least mean number of crops per photo
_MAX_SHARE = 1 / 3  # greatest share of all crops in one photo
_MAX_COPIES = 100  # more crops with the same beginning of the name are not copies of one
_HASH = (8, 16)  # rows and columns of bits
# Out of 128 bits. Among crops of the same text in ICDAR 2015 and IIIT5K, nearly all pairs that
# differ by less are close in the file: they are from one photo, or from the next one.
_MAX_BITS = 20
_MAX_STRETCH = 0.2  # greatest relative difference of near-duplicates' widths at the same height
_MAX_ALIKE = 2048  # most crops of one text to compare pairwise
_RUNS = 100
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """The part of a data set of crops to use.

    Attributes:
        part: "train", "validation" or "test"; empty: all of it.
        by: what is kept together. "auto": the photo that crops were cut from, if labels or names
            tell it, else near-duplicates. "order": nothing; the last crops are the test part and
            those before them the validation part, which suits crops in the order of their photos.
            Otherwise a regular expression whose first group, found in the path of a crop, names its
            photo.
        validation: share of the crops in the validation part; from 1 on their number.
        test: share of the crops in the test part; from 1 on their number.

    Raises:
        SourceError: a value is out of range.
    """

    part: str = ""
    by: str = "auto"
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if self.part not in ("", *PARTS):
            raise SourceError(f"part is {self.part!r}, expected {', '.join(PARTS)} or nothing")
        for name in ("validation", "test"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise SourceError(f"{name} is {value!r}, expected a share below 1 or a number")
        if self.by not in ("auto", "order"):
            try:
                groups = re.compile(self.by).groups
            except re.error as error:
                raise SourceError(
                    f"by is {self.by!r}, not a regular expression: {error}"
                ) from error
            if not groups:
                raise SourceError(
                    f"by is {self.by!r}: expected auto, order, or a regular expression with a "
                    r"group for the photo, such as '(img_\d+)_'"
                )


class Groups(NamedTuple):
    """Groups of crops that are kept together.

    Attributes:
        of: `(N,)` int32, the group of each crop, numbered by first occurrence.
        how: how the groups were found, for the user.
    """

    of: NDArray[np.int32]
    how: str


class Part(NamedTuple):
    """A part of a data set.

    Attributes:
        numbers: indices of its crops, ascending.
        how: how the data set was split, for the user; empty if it was not.
    """

    numbers: NDArray[np.intp]
    how: str


def choose(
    crops: Sequence[Crop],
    path: str | Path,
    index: Index,
    options: SplitOptions,
    *,
    cache: str | Path | None = None,
) -> Part:
    """Choose the crops of a part.

    Args:
        crops: crops of `crnnjax.crop_index.open_crops`.
        path: path of the data set.
        index: index of the same crops.
        options: which part to choose.
        cache: folder for hashes of near-duplicates; None is `ocrjax` in the user's cache folder.

    Raises:
        SourceError: the data set cannot be split in this way.
        OSError: the cache cannot be written.
    """
    if not options.part:
        return Part(np.arange(len(crops)), "")
    validation, test = options.validation, options.test
    if options.by == "order":
        parts = in_order(len(crops), validation=validation, test=test)
        how = "by their order"
    else:
        groups = _groups(crops, path, index, options.by, cache)
        parts = divide(groups.of, validation=validation, test=test)
        how = groups.how
    counts = np.bincount(parts, minlength=len(PARTS)).tolist()
    sizes = ", ".join(f"{count:,} {name}" for count, name in zip(counts, PARTS, strict=True))
    numbers = np.flatnonzero(parts == PARTS.index(options.part))
    if not len(numbers):
        raise SourceError(
            f"the {options.part} part of {path} is empty: {options.part} is "
            f"{getattr(options, options.part)}, expected more than 0"
        )
    return Part(numbers, f"split {how}: {sizes}")


def in_order(count: int, *, validation: float, test: float) -> NDArray[np.uint8]:
    """Split crops by their order: training, validation and test parts, in this order.

    Args:
        count: number of crops.
        validation: as for `SplitOptions`.
        test: as for `SplitOptions`.

    Returns:
        `(count,)`, for each crop its index in `PARTS`.

    Raises:
        SourceError: no crop is left for training.
    """
    choosing, testing = _wanted(count, validation, test)
    parts = np.zeros(count, np.uint8)
    parts[count - testing - choosing :] = 1
    parts[count - testing :] = 2
    return parts


def divide(groups: NDArray[Any], *, validation: float, test: float) -> NDArray[np.uint8]:
    """Split crops by whole groups, in runs of neighbors from all over the data set.

    Neighbors often come from the same photo or the next one, even if nothing shows it.

    Args:
        groups: `(N,)`, groups of `Groups`.
        validation: as for `SplitOptions`.
        test: as for `SplitOptions`. Sizes are approximate, because groups are not divided.

    Returns:
        `(N,)`, for each crop its index in `PARTS`.

    Raises:
        SourceError: there are too few groups, or no crop is left for training.
    """
    choosing, testing = _wanted(len(groups), validation, test)
    sizes = np.bincount(groups)
    needed = 1 + (choosing > 0) + (testing > 0)
    if len(sizes) < needed:
        raise SourceError(
            f"the crops form {len(sizes)} groups that must stay together (photos, "
            f"near-duplicates), expected {needed} or more: give crops of other photos in separate "
            "files, or set split.by"
        )
    length = max(1, len(sizes) // _RUNS)
    runs = np.array_split(np.arange(len(sizes)), -(-len(sizes) // length))
    turns = np.random.default_rng(0).permutation(len(runs))
    order = np.concatenate([runs[turn] for turn in turns.tolist()])
    part = np.zeros(len(sizes), np.uint8)
    for place, wanted in ((2, testing), (1, choosing)):
        filled = 0
        for group in order.tolist():
            if filled < wanted and not part[group] and filled + sizes[group] <= 1.25 * wanted:
                part[group] = place
                filled += sizes[group]
        if wanted and not filled:  # all groups are larger than wanted
            free = np.flatnonzero(part == 0)
            part[free[np.argmin(sizes[free])]] = place
    return part[groups]


def _wanted(count: int, validation: float, test: float) -> tuple[int, int]:
    """The number of crops for validation and test."""
    wanted = [max(round(x * count), 1) if 0 < x < 1 else int(x) for x in (validation, test)]
    if sum(wanted) >= count:
        raise SourceError(
            f"none of {count} crops is left for training: validation is {validation:g}, test is "
            f"{test:g}"
        )
    return wanted[0], wanted[1]


def _groups(
    crops: Sequence[Crop], path: str | Path, index: Index, by: str, cache: str | Path | None
) -> Groups:
    """Groups of a data set; the result is cached if crops had to be decoded."""
    names = [] if isinstance(crops, LmdbCrops) else [crop.name for crop in crops]
    if by != "auto":
        return photos_by_pattern(names, by, path)
    if names and any(crop.photo for crop in crops):
        of = _numbered([crop.photo for crop in crops])
        return Groups(of, f"by the photos that {path} names ({of.max() + 1:,})")
    texts = [index.text(number) for number in range(len(crops))] if _comparable(crops) else []
    if names and (found := photos_by_name(names, texts)):
        return found
    if not texts:
        return Groups(
            np.arange(len(crops), dtype=np.int32),
            f"by runs of neighbors (more than {MAX_COMPARED:,} crops: no search for "
            "near-duplicates)",
        )
    key = f"{data_set_key(crops, path)}\n{_VERSION}"
    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:16]
    location = (Path(cache) if cache is not None else default_cache()) / f"split-{name}"
    try:
        of = np.load(location / "groups.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        of = np.zeros(0, np.int32)
    if of.shape != (len(crops),):
        hashes = hash_pictures(crops, task=f"looking for near-duplicates in {path}, once")
        of = alike(names, texts, hashes, index.sizes)
        if all(one is not None for one in hashes):  # otherwise broken crops may still be repaired
            with new_folder(location, marker="split.json") as part:
                np.save(part / "groups.npy", of)
                write_json(part / "split.json", {"version": _VERSION, "source": str(path)})
    doubled = len(crops) - int(of.max()) - 1
    return Groups(of, f"by runs of neighbors ({doubled:,} near-duplicates are kept together)")


def _comparable(crops: Sequence[Crop]) -> bool:
    return len(crops) <= MAX_COMPARED


def _numbered(keys: Sequence[Any]) -> NDArray[np.int32]:
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def photos_by_pattern(names: Sequence[str], pattern: str, path: str | Path) -> Groups:
    """Group crops by the photos that a regular expression finds in their paths.

    Args:
        names: paths of the crops.
        pattern: regular expression with a group for the photo.
        path: path of the data set, for messages.

    Raises:
        SourceError: the crops have no names, or the expression finds no photo in one.
    """
    if not names:
        raise SourceError(f"split.by is {pattern!r}, but crops in an LMDB ({path}) have no names")
    photos = []
    for name in names:
        found = re.search(pattern, name)
        if found is None or found[1] is None:
            raise SourceError(f"split.by is {pattern!r}, which finds no photo in {name!r}")
        photos.append(found[1])
    of = _numbered(photos)
    return Groups(of, f"by the photos in the names ({of.max() + 1:,}, such as {photos[0]!r})")


def photos_by_name(names: Sequence[str], texts: Sequence[str] = ()) -> Groups | None:
    """Group crops by their names without counted ends, or by their folders.

    `1009_2.png` is from the photo `1009`, `photos/7/3.png` from `photos/7`. Names only count if
    they give several groups with several crops each.

    Args:
        names: paths of the crops.
        texts: texts of the crops, or empty; names may contain the text instead of a photo.

    Returns:
        The groups; None if names do not tell them.
    """
    if not names:
        return None
    stems = [str(PurePath(name).with_suffix("")) for name in names]
    for _ in range(_ENDS):
        stems = [_END.sub("", stem) for stem in stems]
        if _are_photos(stems) and not _are_texts(stems, texts):
            return _by_photos(stems)
    folders = [str(PurePath(name).parent) for name in names]
    return _by_photos(folders) if _are_photos(folders) else None


def _by_photos(photos: Sequence[str]) -> Groups:
    of = _numbered(photos)
    return Groups(
        of, f"by the photos in the names ({of.max() + 1:,}, such as {PurePath(photos[0]).name!r})"
    )


def _are_photos(keys: Sequence[str]) -> bool:
    counts = Counter(keys)
    few, many = max(len(counts), 1), max(counts.values(), default=0)
    return few >= _MIN_PHOTOS and len(keys) >= _MIN_CROPS * few and many <= _MAX_SHARE * len(keys)


def _are_texts(stems: Sequence[str], texts: Sequence[str]) -> bool:
    same = sum(
        PurePath(stem).name.casefold() == text.casefold()
        for stem, text in zip(stems, texts, strict=False)
    )
    return same > len(stems) / 2


def alike(
    names: Sequence[str],
    texts: Sequence[str],
    hashes: Sequence[bytes | None],
    sizes: NDArray[Any],
) -> NDArray[np.int32]:
    """Group crops of the same text that are nearly the same image, or named as copies.

    Crops of a text are compared pairwise. To bound the cost, only crops with equal hashes count as
    near-duplicates if a text has several thousand crops.

    Args:
        names: paths of the crops; empty for an LMDB.
        texts: texts of the crops.
        hashes: hashes of `hash_picture`; None for an unreadable crop.
        sizes: `(N, 2)`, heights and widths.

    Returns:
        `(N,)`, the group of each crop, numbered by first occurrence.
    """
    first: dict[Any, int] = {}
    pairs: list[tuple[int, int]] = []
    stems = [PurePath(name).stem for name in names]
    begins = [_END.sub("", stem) for stem in stems]
    copies = Counter(begins)
    for number, (stem, begin) in enumerate(zip(stems, begins, strict=True)):
        keys = [stem] if copies[begin] > _MAX_COPIES else [stem, begin]
        pairs += [(first.setdefault((key, texts[number]), number), number) for key in keys]
    members: dict[str, list[int]] = {}
    for number, (text, one) in enumerate(zip(texts, hashes, strict=True)):
        if one is not None:
            same = first.setdefault((one, text), number)
            pairs.append((same, number))
            if same == number:
                members.setdefault(text, []).append(number)
    for several in members.values():
        if 1 < len(several) <= _MAX_ALIKE:
            pairs += _near(np.array(several), hashes, sizes)
    left, right = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(texts), len(texts)))
    return _numbered(connected_components(graph, directed=False)[1].tolist())


def _near(
    numbers: NDArray[np.intp], hashes: Sequence[bytes | None], sizes: NDArray[Any]
) -> list[tuple[int, int]]:
    """Pairs of crops with nearly the same hash and shape."""
    joined = b"".join(hashes[n] or b"" for n in numbers.tolist())
    bits = np.frombuffer(joined, np.uint64).reshape(len(numbers), -1)
    shape = np.log(np.maximum(sizes[numbers], 1)) @ np.array([-1.0, 1.0])
    pairs = []
    for row in range(len(numbers) - 1):
        apart = np.bitwise_count(bits[row + 1 :] ^ bits[row]).sum(axis=1, dtype=np.int64)
        near = (apart <= _MAX_BITS) & (np.abs(shape[row + 1 :] - shape[row]) <= _MAX_STRETCH)
        pairs += [
            (int(numbers[row]), int(numbers[row + 1 + other]))
            for other in np.flatnonzero(near).tolist()
        ]
    return pairs


def hash_picture(gray: ByteArray) -> bytes:
    """Hash an image such that size, light, contrast, noise and compression change it little.

    For eight rows of 17 mean gray values, each bit tells whether the next value is clearly lighter.

    Args:
        gray: `(H, W)` uint8.

    Returns:
        16 bytes.
    """
    rows, columns = _HASH
    small = cv2.resize(gray, (columns + 1, rows), interpolation=cv2.INTER_AREA).astype(np.int16)
    least = 0.05 * (int(small.max()) - int(small.min()))
    return np.packbits(small[:, 1:] - small[:, :-1] > least).tobytes()


def hash_pictures(crops: Sequence[Crop], *, task: str) -> list[bytes | None]:
    """Hash all crops in threads; None for unreadable ones.

    Args:
        crops: the data set.
        task: description of the task for the progress bar.
    """
    found: list[bytes | None] = []
    with (
        Progress(task, unit="crop", total=len(crops)) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for first in range(0, len(crops), _CHUNK):
            numbers = range(first, min(first + _CHUNK, len(crops)))
            found += pool.map(partial(_hash, crops), numbers)
            progress.update(len(found))
    return found


def _hash(crops: Sequence[Crop], number: int) -> bytes | None:
    try:
        crop = crops[number]
        data = read_bytes(crop.name) if crop.data is None else crop.data
        return hash_picture(decode_gray(data, name=crop.name))
    except (ImageError, LabelError):
        return None
