"""Folders of photos with labeled words in common layouts, for training on words and evaluation.

`find_folders` knows the folder names that data sets unpack to; `open_words` opens the split for
training, for choosing a checkpoint, or for testing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import DONT_CARE
from ocrcore.data.readers.label_documents import ambiguous, documents_of, open_documents
from ocrcore.data.readers.label_files import LABEL_SUFFIXES, PREFIXES
from ocrcore.data.readers.label_formats import FORMATS, find_formats
from ocrcore.images import SUFFIXES
from ocrcore.pages import LabelError

SPLITS = ("all", "train", "validation", "test")
ORDERS = ("name", "spread")
WORD_KINDS = ("words", "auto", *FORMATS)
"""Kinds of photos with labeled words: text files like ICDAR's, or files of other formats."""

_CHALLENGES = (4, 2, 1, 8)  # of ICDAR; 4 is 2015, 2 is 2013, 1 born-digital images, 8 MLT
_TRAINING = "ch4_training_images", "ch4_training_localization_transcription_gt"


def _icdar(split: str) -> tuple[tuple[str, str], ...]:
    """Return folders of images and labels as named by ICDAR's archives and EasyOCR's trainer."""
    return tuple(
        (images, labels)
        for n in _CHALLENGES
        for images in (
            f"ch{n}_{split}_images",
            f"Challenge{n}_{split}_Task12_Images",
            f"Challenge{n}_{split}_Task1_Images",
        )
        for labels in (
            f"ch{n}_{split}_localization_transcription_gt",
            f"ch{n}_{split}_localization_transcription_gt_v2",
            f"Challenge{n}_{split}_Task1_GT",
        )
    )


# The first existing pair is taken; case does not matter.
_OWN = (
    ("train/images", "train/gt"),
    ("train/images", "train/labels"),
    ("images", "gt"),
    ("images", "labels"),
)
# The label files lie next to the folder of the images, as CVAT exports them.
_BESIDE = (("train/images", "train"), ("default/images", "default"), ("images", "."))
# MSRA-TD500 keeps images and labels in one folder.
_TRAIN = (*_icdar("training"), *_OWN, *_BESIDE, ("train", "train"), (".", "."))
_TEST = (
    *_icdar("test"),
    ("ch4_test_images", _TRAINING[1]),  # a slip in EasyOCR's guide, which many follow
    *_icdar("validation"),
    ("test/images", "test/gt"),
    ("test/images", "test/labels"),
    ("test/images", "test"),
    ("test", "test"),
)
_DEPTH = 2  # depth of the search in subfolders


def find_folders(root: str | Path, *, test: bool = False) -> tuple[Path, Path] | None:
    """Find the images and the labels of a data set.

    Args:
        root: folder of the data set.
        test: whether to look for the test set instead of the training set.

    Returns:
        Folders of the images and of the label files; None if there is no test set.

    Raises:
        LabelError: there is no training set.
    """
    root = Path(root)
    known = _folders(root)
    for images, labels in _TEST if test else _TRAIN:
        pictures, files = known.get(images.lower()), known.get(labels.lower())
        if pictures is None or files is None or not (stems := file_stems(pictures, SUFFIXES)):
            continue
        beside = labels == "." or images.startswith(f"{labels}/")
        if (beside and images != labels) or images == labels != ".":
            if not stems & _label_stems(files):
                continue
        elif test and labels == _TRAINING[1]:
            trained = known.get(_TRAINING[0])
            other = file_stems(trained, SUFFIXES) if trained else set()
            # Otherwise img_1 of the test set would get the labels of img_1 of the training set.
            if stems & other or not stems <= _label_stems(files):
                continue
        return pictures, files
    if test:
        return None
    named = ", ".join(f"{images} + {labels}" for images, labels in (_TRAINING, *_OWN, *_BESIDE))
    raise LabelError(
        root,
        0,
        str(root),
        "a folder with images and label files, either directly in it, or in subfolders named "
        f"like ICDAR's or {named}; otherwise set `images` and `labels` of the data set",
    )


def unused_folders(root: str | Path, used: Collection[Path]) -> list[Path]:
    """Return folders of a data set that hold label files or labeled images, but are not used.

    Args:
        root: folder of the data set; subfolders are searched two levels deep.
        used: the folders that are used.
    """
    places = list(_folders(Path(root)).values())
    pictures = {path: file_stems(path, SUFFIXES) for path in places}
    labels = {path: _label_stems(path) for path in places}
    everything = set().union(*pictures.values()), set().union(*labels.values())
    return [
        path
        for path in places
        if path not in used and (labels[path] & everything[0] or pictures[path] & everything[1])
    ]


def _trained(root: Path) -> tuple[Path, ...]:
    """Return the folders of the training set, if there is one."""
    try:
        return find_folders(root) or ()
    except LabelError:
        return ()


def _folders(root: Path) -> dict[str, Path]:
    """Return a folder and its subfolders, `_DEPTH` deep, by relative path in lower case."""
    found = {".": root} if root.is_dir() else {}
    level = list(found.values())
    for _ in range(_DEPTH):
        inside = []
        for path in level:
            with contextlib.suppress(OSError), os.scandir(path) as entries:  # lost+found
                inside += [path / e.name for e in entries if e.name[0] != "." and e.is_dir()]
        # If names differ only in case, the last one in sorted order counts: lower case.
        found |= {path.relative_to(root).as_posix().lower(): path for path in sorted(inside)}
        level = inside
    return found


def file_stems(folder: Path, suffixes: tuple[str, ...]) -> set[str]:
    """Return the stems of files with one of these suffixes; empty if it cannot be read."""
    paths: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        paths += [Path(entry.name) for entry in entries if entry.is_file()]
    return {path.stem for path in paths if path.suffix.lower() in suffixes}


def _label_stems(folder: Path) -> set[str]:
    """Return the stems of images that the label files of a folder may belong to."""
    stems = file_stems(folder, LABEL_SUFFIXES)
    return {stem.removeprefix(prefix) for stem in stems for prefix in PREFIXES}


def has_text_files(root: Path) -> bool:
    """Return whether a folder holds images with text files of words, like ICDAR's."""
    try:
        found = find_folders(root)
    except LabelError:
        return False
    return found is not None and bool(file_stems(found[0], SUFFIXES) & _label_stems(found[1]))


def _documents(
    root: Path, kind: str, images: str, labels: str, dont_care: Sequence[str]
) -> PhotoFolder | None:
    """Open labels that are not text files of words; None if "auto" finds only those."""
    where = root / labels if labels else root
    pictures = (root.parent if root.is_file() else root) / images if images else None
    if kind != "auto":
        found = open_documents(where, format=kind, images=pictures)
    else:
        if not where.exists():
            raise LabelError(where, 0, str(where), "a label file, or a folder of labels")
        formats = find_formats(where)
        texts = where.is_dir() and has_text_files(where)
        if len(formats) + texts > 1:
            raise ambiguous(where, formats, ["words (text files, one word per line)"] * texts)
        if not formats and not texts and (where / "gt.mat").is_file():
            raise LabelError(
                where / "gt.mat", 0, "SynthText's labels", "kind='synthtext' to train on them"
            )
        if not formats:
            return None
        found = documents_of(where, formats[0], images=pictures)
    return PhotoFolder(found.images, where, None, dont_care=dont_care, documents=found)


def open_words(
    root: str | Path,
    *,
    kind: str = "words",
    images: str = "",
    labels: str = "",
    split: str = "all",
    holdout: float = 0.1,
    layout: str = "auto",
    dont_care: Sequence[str] = DONT_CARE,
    order: str = "name",
    bad: list[LabelError] | None = None,
) -> PhotoFolder:
    """Open a split of a data set.

    Args:
        root: folder of the data set, or a label file of a kind other than "words".
        kind: one of `WORD_KINDS`: "words": text files with one word per line; "auto": those, or
            the only format of `ocrcore.data.readers.label_formats.FORMATS` that is found.
        images: folder of the images, relative to `root`; empty searches for it, see
            `find_folders`. A separate test set, if any, is in `test` with the same names. For kinds
            other than "words", the folder to search for images.
        labels: folder of the label files; give both `images` and `labels`, or neither. For kinds
            other than "words", a file or folder relative to `root`.
        split: "all"; "train": all but the last photos; "validation": those last photos; "test": the
            data set's own test set, or the same as "validation" if it has none.
        holdout: fraction of the photos that "train" leaves out, at least one photo; with 0 nothing
            is left out and there is no "validation".
        layout: as for `PhotoFolder`.
        dont_care: as for `PhotoFolder`.
        order: order of the images: "name": `img_10` before `img_2`; "spread":
            `PhotoFolder.spread`, so that the last ones resemble the others.
        bad: as for `PhotoFolder`.

    Raises:
        LabelError: folders that do not exist or hold no image.
        ValueError: an unknown split or order, or a holdout out of range.
    """
    for name, value, known in (("split", split, SPLITS), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout is {holdout!r}, expected at least 0 and less than 1")
    if kind not in WORD_KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(WORD_KINDS)}")
    root = Path(root)
    if kind != "words" and (folder := _documents(root, kind, images, labels, dont_care)):
        return _part(folder.spread() if order == "spread" else folder, split, holdout)
    if bool(images) != bool(labels):
        raise ValueError(f"images is {images!r} and labels is {labels!r}: give both or neither")
    own_test = None
    if split == "test" and not images:
        own_test = find_folders(root, test=True)
    elif split == "test" and all((root / "test" / name).is_dir() for name in (images, labels)):
        own_test = root / "test" / images, root / "test" / labels
    found = own_test or ((root / images, root / labels) if images else find_folders(root))
    assert found is not None  # find_folders returns None only for a test set
    folder = PhotoFolder(*found, None, layout=layout, dont_care=dont_care, bad=bad)
    if order == "spread":
        folder = folder.spread()
    others = (find_folders(root, test=True) or ()) if split != "test" else _trained(root)
    if images:
        others = (
            *(root / part / name for part in ("", "test") for name in (images, labels)),
            *others,
        )
    folder.searched = root, frozenset((*found, *others))
    return folder if own_test else _part(folder, split, holdout)


def _part(folder: PhotoFolder, split: str, holdout: float) -> PhotoFolder:
    """Return the split of a folder that has no test set of its own; see `open_words`."""
    if split == "all" or (split == "train" and not holdout):
        return folder
    left_out = max(1, round(len(folder) * holdout)) if holdout else 0
    if not 0 < left_out < len(folder):
        raise LabelError(
            folder.images,
            0,
            f"{len(folder)} images, holdout={holdout}",
            f"some for {split}: at least two images, and a holdout above 0",
        )
    at = len(folder) - left_out
    return folder.part(0, at) if split == "train" else folder.part(at, None)


def open_section(section: Mapping[str, Any]) -> PhotoFolder:
    """Open the data set in a config section, of one of `WORD_KINDS`.

    Args:
        section: `kind`, `root`, `images` and `gt` (the label files) relative to it, `split`,
            `holdout`, `layout`, `dont_care` and `order` as for `open_words`; optional `start` and
            `stop` select a range of images, `stop` excluded.

    Raises:
        LabelError: folders that do not exist or hold no image.
        ValueError: an unknown split or order, or a holdout out of range.
    """
    return open_words(
        section["root"],
        kind=section.get("kind", "words"),
        images=section.get("images", ""),
        labels=section.get("gt", ""),
        split=section["split"],
        holdout=section["holdout"],
        layout=section["layout"],
        dont_care=tuple(section["dont_care"]),
        order=section.get("order", "name"),
    ).part(section.get("start", 0), section.get("stop"))
