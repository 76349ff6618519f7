"""The split of a data set's images into training, validation and test parts.

Near-duplicates always go to the same part: testing on a twin of a training image measures nothing.
Each part is written as a folder of links to the images, with labels as `x1,y1,...,x4,y4,text`,
which every command can read.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crnnjax.split import divide
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import write_icdar
from ocrcore.data.readers.words import find_folders, open_words
from ocrcore.files import write_text
from ocrcore.images import ImageError
from ocrcore.pages import LabelError, Page, PageError, Word
from ocrcore.progress import shown
from ocrjax.fitting.options import FitError, FitOptions
from ocrjax.labels.twins import fingerprint, group_twins

PARTS = ("train", "validation", "test")
LAYOUT = "quad"
"""Layout of the label files that are written."""
VALIDATION, TEST = 0.2, 0.2
"""Shares of the images in the parts, if the data set does not define the parts."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A usable image.

    Attributes:
        page: its labels.
        part: one of `PARTS` if the data set defines it; else empty.
        group: number of its group of near-duplicates.
    """

    page: Page
    part: str = ""
    group: int = 0


def open_folders(options: FitOptions) -> list[tuple[str, PhotoFolder]]:
    """Open the folders of a data set: the images, and its own test set if it has one.

    Raises:
        LabelError: there is nothing to train on.
    """
    folder = open_words(options.data, kind="auto", layout=options.layout)
    folders = [("train", folder)]
    lines = not options.split and folder.documents is None
    if lines and (pair := find_folders(options.data, test=True)):
        test = PhotoFolder(*pair, None, layout=options.layout)
        test.searched = folder.searched
        folders.append(("test", test))
    return folders


def read_pictures(options: FitOptions) -> tuple[list[Picture], list[str]]:
    """Read all labels and decode all images.

    Returns:
        The usable images, grouped by near-duplicates; and what is wrong with the others.

    Raises:
        FitError: the split file names images that do not exist, or a part is missing.
        LabelError: there is nothing to train on.
    """
    folders = open_folders(options)
    given = read_split(options.split) if options.split else {}
    pictures, left_out, prints = [], [], []
    used = set()
    for part, folder in folders:
        for index in shown(range(len(folder)), f"reading {folder.images}", unit="picture"):
            name = Path(folder.name(index)).name
            if given and name not in given:
                left_out.append(f"{folder.name(index)}: not in {options.split}")
                continue
            used.add(name)
            try:
                page = folder.page(index)
                prints.append(fingerprint(folder.name(index)))
            except (LabelError, ImageError, PageError) as fault:
                left_out.append(str(fault))
                continue
            of = given.get(name) or (part if len(folders) > 1 else "")
            pictures.append(Picture(page, of))
    if missing := sorted(set(given) - used):
        raise FitError(
            f"{options.split}: {missing[0]!r} ({len(missing)} such lines) is not an image of "
            f"{options.data}: expected the names of its images"
        )
    sizes = np.array([(one.page.height, one.page.width) for one in pictures]).reshape(-1, 2)
    groups = group_twins(np.array(prints).reshape(len(prints), -1), sizes)
    return [replace(one, group=int(g)) for one, g in zip(pictures, groups, strict=True)], left_out


def read_split(path: str | Path) -> dict[str, str]:
    """Read a split file with lines `part`, tab, image name; text after another tab is ignored.

    Returns:
        The part of each image, by its file name without folders.

    Raises:
        FitError: the file cannot be read, or a line is invalid.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FitError(f"--split {path}: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        part, _, name = line.partition("\t")
        name = Path(name.partition("\t")[0].strip()).name
        if part not in PARTS or not name:
            raise FitError(
                f"{path}:{number}: {line!r}: expected one of {', '.join(PARTS)}, a tab, and an "
                "image name"
            )
        if found.setdefault(name, part) != part:
            raise FitError(
                f"{path}:{number}: {name!r} is already in {found[name]}: expected each image once"
            )
    if not {"train", "test"} <= {*found.values()}:
        raise FitError(f"--split {path}: expected images in train and in test")
    return found


def divide_pictures(pictures: Sequence[Picture]) -> tuple[list[str], str]:
    """Assign each image to a part.

    Returns:
        The parts, and how they were found, for the user.

    Raises:
        FitError: too few images, or too few groups of near-duplicates.
    """
    groups = np.array([one.group for one in pictures])
    parts = [one.part for one in pictures]
    free = np.flatnonzero([part in ("", "train") for part in parts])
    test = 0.0 if "test" in parts else TEST
    validation = 0.0 if "validation" in parts else VALIDATION
    if validation or test:
        _, own = np.unique(groups[free], return_inverse=True)
        first = np.full(own.max(initial=0) + 1, len(own))
        np.minimum.at(first, own, np.arange(len(own)))
        order = np.argsort(np.argsort(first))  # numbered by first occurrence
        try:
            found = divide(order[own], validation=validation, test=test)
        except SourceError as error:
            raise FitError(
                f"{len(free)} images in {len(first)} groups of near-duplicates are too few to "
                "split into train, validation and test: give more images, or --split"
            ) from error
        for index, number in zip(free.tolist(), found.tolist(), strict=True):
            parts[index] = PARTS[number]
    kept = [part for part in PARTS if part in {one.part for one in pictures}]
    how = f"{', '.join(kept)} as given" if kept else "by groups of near-duplicates"
    doubled = len(groups) - len(np.unique(groups))
    how += f"; {doubled:,} near-duplicates" if doubled else "; no near-duplicates"
    trained = {one.group for one, part in zip(pictures, parts, strict=True) if part == "train"}
    twins = sum(
        part != "train" and one.group in trained for one, part in zip(pictures, parts, strict=True)
    )
    if twins:
        how += (
            f"; {twins:,} given for validation or test have a near-duplicate in the training part"
        )
    return parts, how


def write_parts(folder: Path, pictures: Sequence[Picture], parts: Sequence[str]) -> int:
    """Write `split.tsv`, and for each part `images/` (links) and `gt/`.

    Args:
        folder: target folder; empty, or with the files of an interrupted call.
        pictures: the images with their labels.
        parts: the part of each image.

    Returns:
        The number of curved words, whose outline becomes the enclosing rectangle.
    """
    curved = 0
    lines = []
    taken: set[tuple[str, str]] = set()
    jobs = list(zip(pictures, parts, strict=True))
    for one, part in shown(jobs, f"writing {folder}", unit="picture"):
        source = Path(str(one.page.path)).absolute()
        stem, number = source.stem, 1
        while (part, stem) in taken:  # by an image of another folder
            number += 1
            stem = f"{source.stem}_{number}"
        taken.add((part, stem))
        link = folder / part / "images" / f"{stem}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(source)
        except OSError:  # no support for links
            shutil.copyfile(source, link)
        curved += sum(word.polygon is not None for word in one.page.words)
        words = tuple(map(_plain, one.page.words))
        page = replace(one.page, words=words)
        write_icdar(folder / part / "gt" / f"gt_{stem}.txt", page)
        lines.append(f"{part}\t{source.name}\t{one.group}")
    write_text(folder / "split.tsv", "\n".join(sorted(lines)) + "\n")
    return curved


def _plain(word: Word) -> Word:
    """A word as a label line can hold it: no outline, and a text without line breaks."""
    text = None if word.text is None else " ".join(word.text.split())
    return replace(word, text=text, polygon=None)


def section_of(out: Path, part: str) -> dict[str, object]:
    """Return the config section that reads a part."""
    return {
        "images": "images",
        "split": "all",
        "holdout": 0.0,
        "layout": LAYOUT,
        "root": str(out / "data" / part),
        "gt": "gt",
    }


def pages_of_part(out: Path, part: str) -> list[Page]:
    """Return the pages of a part, ordered by image name."""
    folder = out / "data" / part
    found = PhotoFolder(folder / "images", folder / "gt", None, layout=LAYOUT)
    return [found.page(index) for index in range(len(found))]


def words_of(pages: Sequence[Page]) -> list[Word]:
    """Return the words that count (not don't care)."""
    return [word for page in pages for word in page.words if word.care]


def data_digest(options: FitOptions) -> dict[str, object]:
    """Return the number of files in a data set and a digest of names, sizes and times."""
    files: dict[Path, None] = {}
    for _, folder in open_folders(options):
        for index in range(len(folder)):
            files |= dict.fromkeys([Path(folder.name(index)), *folder.label_files(index)])
        if folder.documents is not None:
            files |= dict.fromkeys(folder.documents.files)
    if options.split:
        files[Path(options.split)] = None
    digest = hashlib.sha256()
    for path in files:
        with suppress(OSError):  # reading the file will report the error
            stat = path.stat()
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))
    return {"files": len(files), "state": digest.hexdigest()[:16]}
