"""Images and their labels from files of annotation tools, as a folder of photos.

This is for document formats what `ocrcore.data.readers.label_files.LabelFiles` is for text files
with one word per line; `ocrcore.data.readers.characters.PhotoFolder` reads from either.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ocrcore.data.readers.documents import LabeledPicture
from ocrcore.data.readers.label_files import by_name
from ocrcore.data.readers.label_formats import (
    FORMATS,
    FoundFormat,
    Labels,
    find_formats,
    read_labels,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.data.readers.picture_names import PictureNames
from ocrcore.images import name_files, orientation
from ocrcore.pages import Character, FloatArray, LabelError, Word


class LabelDocuments:
    """The images that label files of one format refer to, and their words.

    Args:
        labels: the content of the label files.
        names: the images to search.

    Raises:
        LabelError: none of the images was found.

    Attributes:
        labels: the content of the label files.
        images: the common parent folder of all images.
        pictures: the images found, by folder and name.
        lonely: always empty here; labels without an image are reported by `notes`.
        bad: errors of entries that cannot be read or are duplicates, or whose image is ambiguous.
    """

    def __init__(self, labels: Labels, names: PictureNames) -> None:
        self.labels = labels
        self.bad: list[LabelError] = list(labels.bad)
        self.lonely: list[Path] = []
        self._missing: list[str] = []
        self._unlabeled = 0
        found: dict[Path, LabeledPicture] = {}
        for entry in labels.pictures:
            if not entry.name and not entry.other:
                self.bad += entry.bad
                continue
            path = self._find(entry, names)
            if path is None:
                self.bad += () if entry.words else entry.bad
                continue
            if path in found:
                place = f"{entry.name}: {path.name} is labeled twice"
                self.bad.append(LabelError(entry.source, 0, place, "one entry for each image"))
                continue
            found[path] = entry
        self._found = found
        self.pictures = sorted(found, key=lambda path: (by_name(path), str(path)))
        if not self.pictures:
            roots = ", ".join(map(str, names.roots))
            self._fail(labels, f"the images of the labels in {roots} or below", names)
        self.images = Path(os.path.commonpath([path.parent for path in self.pictures]))
        self._unlabeled = len(names.paths) - len(found)

    def _fail(self, labels: Labels, expected: str, names: PictureNames) -> None:
        file = labels.files[0] if labels.files else (names.roots or [Path()])[0]
        if self.bad:
            raise self.bad[0]
        missing = ", ".join(map(repr, self._missing[:3])) or "no image at all"
        raise LabelError(file, 0, f"{missing}: not found", f"{expected}; name their folder")

    def _find(self, entry: LabeledPicture, names: PictureNames) -> Path | None:
        try:
            for name in (entry.name, entry.other):
                if name and (path := names.find(name)) is not None:
                    return path
        except LineError as fault:
            self.bad.append(LabelError(entry.source, 0, fault.value, fault.expected))
            return None
        self._missing.append(entry.name or entry.other)
        return None

    @property
    def layout(self) -> str:
        """The format, and a count of its content."""
        return str(self.labels)

    @property
    def files(self) -> list[Path]:
        """The label files."""
        return self.labels.files

    def notes(self, *, bad: bool = True) -> list[str]:
        """Return messages about labels and images that are not used.

        Args:
            bad: whether to include a message about `bad`.
        """
        notes = []
        if self._missing:
            shown = ", ".join(map(repr, self._missing[:3]))
            notes.append(
                f"{len(self._missing):,} labeled images were not found and are not used: {shown}"
                + (" ..." if len(self._missing) > 3 else "")
            )
        if self._unlabeled:
            notes.append(
                f"{self._unlabeled:,} images next to the labels are not labeled and not used"
            )
        if bad and self.bad:
            notes.append(
                f"{len(self.bad):,} entries of the labels cannot be used: {self.bad[0]}"
                + (" ..." if len(self.bad) > 1 else "")
            )
        return notes

    def labels_of(self, picture: Path) -> list[Path]:
        """Return the label file of an image, in a list."""
        return [self._found[picture].source]

    def words(
        self,
        picture: Path,
        size: tuple[int, int],
        *,
        dont_care: Sequence[str],
        bad: list[LabelError] | None = None,
    ) -> list[Word]:
        """Return the words of an image, in pixels of the image as displayed.

        If EXIF rotates the image and the size in the label file shows that the labels are for the
        stored pixels, the labels are rotated with it.

        Args:
            picture: one of `pictures`.
            size: its height and width, after EXIF rotation.
            dont_care: texts that mark a word as "don't care".
            bad: if given, errors of invalid words are appended to this list and the words left out.

        Raises:
            LabelError: an invalid word, labels made at another size of the image, or labels of a
                page other than the first.
        """
        entry = self._found[picture]
        faults = list(entry.bad)
        if entry.number is not None and entry.number > 1:
            faults.append(
                LabelError(
                    entry.source, 0, f"page {entry.number} of {picture.name}", "the first page"
                )
            )
        words = [
            replace(word, text=None, care=False) if word.text in dont_care else word
            for word in entry.words
        ]
        if entry.size is not None and entry.size != size:
            turn = orientation(picture) if entry.size == size[::-1] else 1
            if turn < 5:
                height, width = entry.size
                raise LabelError(
                    entry.source,
                    0,
                    f"{picture.name}: labeled at {width}x{height}",
                    f"an image of that size; this one has {size[1]}x{size[0]} pixels: was it "
                    "resized after it was labeled?",
                )
            words = [turned_word(word, turn, entry.size) for word in words]
        if faults and bad is None:
            raise faults[0]
        if bad is not None:
            bad += faults
        return words


def turned_points(points: FloatArray, turn: int, size: tuple[int, int]) -> FloatArray:
    """Maps points of the stored pixels to the image as EXIF displays it.

    Args:
        points: `(N, 2)` float32.
        turn: the EXIF orientation, 1 to 8.
        size: height and width of the stored image.
    """
    x, y = points[:, 0], points[:, 1]
    height, width = size
    if turn in (5, 6, 7, 8):
        x, y, width, height = y, x, height, width
    if turn in (2, 3, 6, 7):
        x = width - x
    if turn in (3, 4, 7, 8):
        y = height - y
    return np.stack([x, y], axis=1).astype(np.float32)


def turned_word(word: Word, turn: int, size: tuple[int, int]) -> Word:
    """Rotate a word with its image; upright boxes start at the top left again.

    Drawing a box on an image that lies on its side does not tell where its text begins.

    Args:
        word: in stored pixels.
        turn: the EXIF orientation, 1 to 8.
        size: height and width of the stored image.
    """
    quad = _turned_quad(word.quad, turn, size)
    polygon = None if word.polygon is None else turned_points(word.polygon, turn, size)
    if polygon is not None and turn in (2, 4, 5, 7):
        polygon = polygon[::-1]
    characters = tuple(
        Character(one.text, _turned_quad(one.quad, turn, size), one.confidence)
        for one in word.characters
    )
    return replace(word, quad=quad, polygon=polygon, characters=characters)


def _turned_quad(quad: FloatArray, turn: int, size: tuple[int, int]) -> FloatArray:
    low, high = quad.min(axis=0), quad.max(axis=0)
    box = np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float32)
    upright = np.array_equal(quad, box)
    points = turned_points(quad, turn, size)
    if upright:
        low, high = points.min(axis=0), points.max(axis=0)
        return np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float32)
    return points[[1, 0, 3, 2]] if turn in (2, 4, 5, 7) else points


def open_documents(
    path: str | Path, *, format: str = "auto", images: str | Path | None = None
) -> LabelDocuments:
    """Open label files of a given format, or of the only one that is found.

    Args:
        path: a label file, or a folder of them.
        format: one of `ocrcore.data.readers.label_formats.FORMATS`; "auto" detects it.
        images: folder of the images; None searches next to the labels and below.

    Raises:
        LabelError: no such labels, labels in several formats, or none of their images is found.
    """
    path = Path(path)
    if not path.exists():
        raise LabelError(path, 0, str(path), "a label file or a folder of them")
    try:
        found = find_formats(path, wanted=format)
    except OSError as error:
        raise LabelError(
            path, 0, str(error.strerror or error), "a file that can be read"
        ) from error
    if not found:
        what = "a known format" if format == "auto" else FORMATS[format].title
        raise LabelError(path, 0, str(path), f"labels in {what}")
    if len(found) > 1:
        raise ambiguous(path, found)
    return documents_of(path, found[0], images=images)


def documents_of(
    path: Path, found: FoundFormat, *, images: str | Path | None = None
) -> LabelDocuments:
    """Open the label files of a detected format; see `open_documents`."""
    root = path.parent if path.is_file() else path
    try:
        labels = read_labels(found)
    except OSError as error:
        raise LabelError(
            path, 0, str(error.strerror or error), "a file that can be read"
        ) from error
    if images is not None:
        roots = [Path(images)]
        if not roots[0].is_dir():
            raise LabelError(roots[0], 0, str(roots[0]), "a folder of images")
    else:
        roots = [root]
        # annotations/train.json next to images/, as in Datumaro and COCO.
        if path.is_file() and path.parent.name.lower() in ("annotations", "labels", "gt", "page"):
            roots.append(path.parent.parent)
    return LabelDocuments(labels, PictureNames(roots))


def ambiguous(path: Path, found: Sequence[FoundFormat], others: Sequence[str] = ()) -> LabelError:
    """Return the error about a folder with labels of several kinds; it lists them."""
    listed = [f"{one.name} ({name_files(one.files, most=1)})" for one in found] + list(others)
    return LabelError(
        path,
        0,
        f"{len(listed)} kinds of labels",
        f"one: name the file, or the format to use: {'; '.join(listed)}",
    )
