"""Conversion of labels from one format to another, with their images, into a new folder."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.data.readers.synthtext import SynthText
from ocrcore.data.readers.words import open_words
from ocrcore.files import new_folder, write_bytes
from ocrcore.images import ImageError
from ocrcore.pages import LabelError, Page, PageError
from ocrcore.progress import shown
from ocrjax.labels.carry import fitted
from ocrjax.labels.targets import TARGETS, losses

PICTURES = ("copy", "link", "none")


@dataclass(slots=True)
class Conversion:
    """The outcome of a conversion.

    Attributes:
        source: how the labels were read.
        pages: number of images written.
        words: number of words on them.
        lost: what the target format cannot store, with counts.
        bad: errors of words and images that cannot be read.
        notes: parts of the source that are not used.
    """

    source: str
    pages: int = 0
    words: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    bad: list[Exception] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_pages(
    path: Path,
    *,
    kind: str = "auto",
    images: str = "",
    layout: str = "auto",
    dont_care: Sequence[str] = ("###",),
) -> tuple[list[Page], Conversion]:
    """Read the labels of all images.

    Args:
        path: a label file or a folder.
        kind: one of `ocrcore.data.readers.words.WORD_KINDS`, or "synthtext".
        images: folder of the images; empty: next to the labels or in a folder inside.
        layout: layout of text files with one word per line.
        dont_care: texts that mark a word as don't care.

    Raises:
        LabelError: there are no labels, labels of several kinds, or an ambiguous layout.
    """
    folder: PhotoFolder | SynthText
    root = path.parent if path.name == "gt.mat" else path
    if kind == "synthtext" or (kind == "auto" and (root / "gt.mat").is_file()):
        folder = SynthText(root)
        done = Conversion("SynthText (gt.mat)")
    else:
        named = str(Path(images).absolute()) if images else ""
        labels = "." if images and path.is_dir() else ""
        folder = open_words(
            path,
            kind=kind,
            images=named,
            labels=labels,
            split="all",
            layout=layout,
            dont_care=dont_care,
        )
        done = Conversion(str(folder.layout))
        if folder.documents is None:
            done.notes = unused_files(folder)
        else:
            done.notes, done.bad = folder.documents.notes(bad=False), [*folder.documents.bad]
    pages = []
    for index in shown(range(len(folder)), "reading the labels", unit="page"):
        bad: list[LabelError] = []
        try:
            pages.append(
                folder[index] if isinstance(folder, SynthText) else folder.page(index, bad=bad)
            )
        except (LabelError, ImageError, PageError) as error:
            done.bad.append(error)
        done.bad += bad
    return pages, done


def write_labels(
    pages: Sequence[Page], out: Path, target: str, *, pictures: str = "copy"
) -> tuple[int, Counter[str]]:
    """Write labels and images in a format into a new folder, atomically.

    Args:
        pages: pages with the paths of their images.
        out: the folder; it must not exist, or be empty.
        target: one of `ocrjax.labels.targets.TARGETS`.
        pictures: what to do with the images: "copy", "link" (symbolic links) or "none" (only write
            labels).

    Returns:
        The number of words written, and what the format cannot store.

    Raises:
        ValueError: there are words, but the format can store none of them.
        OSError: an image does not exist, or the folder cannot be written.
    """
    form = TARGETS[target]
    lost: Counter[str] = Counter()
    named = []
    for page, name in zip(pages, picture_names(pages), strict=True):
        page, gone = fitted(page, form.carries)
        lost += gone
        named.append(
            replace(page, path=name if form.pictures == "." else f"{form.pictures}/{name}")
        )
    count = sum(len(page.words) for page in named)
    if not count and any(page.words for page in pages):
        raise ValueError(
            f"no word can be written as {form.title}: {'; '.join(losses(lost))}. Name another "
            "format"
        )
    files = {str(b.path): Path(str(a.path)) for a, b in zip(pages, named, strict=True)}
    labels = form.write(named, files, out.name)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    with new_folder(out, marker=next(iter(labels), "")) as part:
        part.chmod(0o777 & ~_umask())
        for place, data in labels.items():
            write_bytes(part / place, data)
        for page, one in shown(
            list(zip(pages, named, strict=True)), f"writing {out}", unit="image"
        ):
            picture = part / str(one.path)
            if pictures != "none":
                picture.parent.mkdir(parents=True, exist_ok=True)
            if pictures == "copy":
                shutil.copyfile(str(page.path), picture)
            elif pictures == "link":
                picture.symlink_to(Path(str(page.path)).absolute())
    return count, lost


def _umask() -> int:
    """The process's umask, to give the new folder usual permissions; temporary ones have fewer."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def picture_names(pages: Sequence[Page]) -> list[str]:
    """Return file names for all images in one folder: their own, prefixed by the folder if needed.

    Label files are found by the name without suffix, so names must differ even without it.
    """
    paths = [Path(str(page.path)) for page in pages]
    alike = Counter(path.stem for path in paths)
    taken: set[str] = set()
    names = []
    for path in paths:
        name = path.name
        if alike[path.stem] > 1:
            name = f"{path.parent.name}_{name}"
        stem, count = Path(name).stem, 1
        while Path(name).stem in taken:
            count += 1
            name = f"{stem}-{count}{path.suffix}"
        taken.add(Path(name).stem)
        names.append(name)
    return names
