"""Finds what a data set holds that is not used, and which images are broken or rotated.

Files that are skipped silently look like files that were read, so commands that read a folder end
with these messages. Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.label_files import PREFIXES
from ocrcore.data.readers.words import file_stems, unused_folders
from ocrcore.images import (
    EXIF_VARIABLE,
    SUFFIXES,
    ImageError,
    check_image,
    is_turned,
    left_out,
    name_files,
    page_count,
)
from ocrcore.progress import Progress

_THREADS = 4  # decoding releases the GIL
_CHUNK = 256
T = TypeVar("T")


class Unused(NamedTuple):
    """Parts of a data set that are not used, for one reason.

    Attributes:
        kind: "pictures", "pages", "labels" or "folders"; "documents": notes of the label files.
        paths: the files or folders; empty for "documents".
        text: a line for the user.
    """

    kind: str
    paths: list[Path]
    text: str


def unused_files(folder: PhotoFolder) -> list[str]:
    """Return messages about unused images, pages and label files of a folder, one per kind."""
    return [one.text for one in find_unused(folder)]


def find_unused(folder: PhotoFolder) -> list[Unused]:
    """Find the images, pages, label files and folders of a data set that are not used."""
    notes = [] if folder.documents is None else folder.documents.notes()
    found = [Unused("documents", [], note) for note in notes]
    if folder.documents is None and (others := left_out(folder.images)):
        text = (
            f"{len(others):,} images of {folder.images} are not used, because of their suffix "
            f"or because they are in subfolders: {name_files(others)}"
        )
        found.append(Unused("pictures", others, text))
    names = [Path(folder.name(index)) for index in range(len(folder))]
    tiffs = [path for path in names if path.suffix.lower() in (".tif", ".tiff")]
    if several := [path for path in tiffs if page_count(path) > 1]:
        text = (
            f"{len(several):,} files have more than one page, and only the first is used: "
            f"{name_files(several)}"
        )
        found.append(Unused("pages", several, text))
    # A folder of label files may serve several folders of images.
    used = folder.searched[1] if folder.searched else ()
    stems = {stem for path in used for stem in file_stems(path, SUFFIXES)}
    lonely = [
        path
        for path in folder.lonely
        if not any(path.stem.removeprefix(prefix) in stems for prefix in PREFIXES)
    ]
    if lonely:
        text = (
            f"{len(lonely):,} label files of {folder.labels} have no image and are not used: "
            f"{name_files(lonely)}"
        )
        found.append(Unused("labels", lonely, text))
    if folder.searched and (others := unused_folders(*folder.searched)):
        text = (
            f"{len(others):,} folders of {folder.searched[0]} hold labeled images or their "
            f"labels, and are not used: {name_files(others)}"
        )
        found.append(Unused("folders", others, text))
    return found


def turned_pictures(folder: PhotoFolder) -> list[str]:
    """Return the paths of images that EXIF rotates; labels must be for the rotated image."""
    names = [folder.name(index) for index in range(len(folder))]
    return [name for name in names if is_turned(name)]


def describe_turned(turned: Sequence[str], count: int) -> str:
    """Return one line about images that EXIF rotates."""
    return (
        f"{len(turned):,} of {count:,} images are rotated by EXIF "
        f"({name_files(list(map(Path, turned)))}): labels must be for the rotated image, as "
        f"viewers display it (set {EXIF_VARIABLE}=ignore in the environment to read the stored "
        "pixels, for labels from tools that do not rotate)"
    )


def broken_pictures(
    items: Iterable[T], look: Callable[[T], None], *, task: str
) -> list[tuple[T, ValueError]]:
    """Decode every image of a data set once, in threads.

    Args:
        items: the items to check.
        look: raises an ImageError or a LabelError if an item is broken; see
            `ocrcore.images.check_image`.
        task: name of the task, for the progress bar.

    Returns:
        The broken items, with their errors.
    """

    def tried(item: T) -> tuple[T, ValueError] | None:
        try:
            look(item)
        except ValueError as error:
            return item, error
        return None

    found = []
    listed = list(items)
    with (
        Progress(task, unit="image", total=len(listed)) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        # Not all at once: one pending task for each of millions of images takes gigabytes.
        for first in range(0, len(listed), _CHUNK):
            part = listed[first : first + _CHUNK]
            found += [one for one in pool.map(tried, part) if one is not None]
            progress.update(first + len(part))
    return found


def broken_photos(folder: PhotoFolder, start: int, stop: int) -> dict[str, ImageError]:
    """Decode the images of a folder once; return the errors of broken ones by path."""
    names = [folder.name(index) for index in range(start, stop)]
    found = broken_pictures(names, check_image, task=f"decoding the images of {folder.images}")
    return {name: ImageError(str(error)) for name, error in found}
