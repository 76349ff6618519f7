"""Folders of photos with labeled words, and a file of characters for each photo.

Next to the words (`gt_NAME.txt`, as `ocrcore.data.readers.icdar` reads them) there is `NAME.json`:
a list with an object for each word, in the same order. Its `chars` are `[character, left, top,
right, bottom]`, or `[character, x1, y1, ..., x4, y4]` clockwise from the top left in reading
direction; an empty list if the characters are unknown. Its `text`, if present, must equal that of
the word. Other fields are ignored.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.data.readers.icdar import DONT_CARE
from ocrcore.data.readers.label_documents import LabelDocuments
from ocrcore.data.readers.label_files import MAX_BYTES, LabelFiles, numbered_words
from ocrcore.data.readers.label_lines import MAX_COORDINATE, Layout
from ocrcore.files import check_regular
from ocrcore.images import image_size, read_bytes, read_image
from ocrcore.pages import Character, LabelError, Page, Sample, Word

_GOLDEN = (5**0.5 - 1) / 2


def read_characters(path: str | Path, words: Sequence[Word]) -> list[Word]:
    """Read the characters of the words of one image.

    Args:
        path: path of the JSON file.
        words: as returned by `read_icdar`.

    Returns:
        The words with their characters, including "don't care" words.

    Raises:
        LabelError: not such a file; words other than the given ones; characters that do not spell
            the text of their word.
    """
    path = Path(path)
    try:
        if (size := check_regular(path)) > MAX_BYTES:
            raise LabelError(path, 0, f"{size} bytes", f"a label file of at most {MAX_BYTES}")
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(path, 0, str(error.strerror), "a file of characters") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(path, 0, str(error), "JSON in UTF-8") from error
    if not isinstance(entries, list):
        raise LabelError(path, 0, type(entries).__name__, "a list with an object for each word")
    if len(entries) != len(words):
        raise LabelError(
            path, 0, f"{len(entries)} words", f"as many as labels: {len(words)}", reason="box count"
        )
    return [
        replace(word, characters=_characters(path, number, word, entry))
        for number, (word, entry) in enumerate(zip(words, entries, strict=True))
    ]


class PhotoFolder(Sequence[Sample]):
    """The photos of a folder with their words and characters, by index.

    Images are sorted by file name, as in `ocrcore.data.readers.icdar.read_icdar_folder`:
    `img_10` before `img_2`. Only file names are read until a photo or the layout is requested.

    Args:
        images: folder of the images; subfolders are not read.
        labels: folder of the label files; see `ocrcore.data.readers.label_files`.
        characters: folder of `NAME.json`; None reads words only.
        layout: one of `ocrcore.data.readers.label_lines.LAYOUTS`; "auto" detects it from all files.
        dont_care: as for `read_icdar`.
        bad: if given, errors of images with duplicate names are appended to this list and the
            images left out; otherwise the first one is raised.
        documents: the labels, if they are not text files of words; `images` and `labels` are then
            only used in messages.

    Raises:
        LabelError: a folder does not exist or holds no image, or two images have one name.
        ValueError: an unknown layout.

    Attributes:
        searched: the data set folder in which the other folders were found, and those of its
            folders that are used for something; None if they were given explicitly.
        documents: the labels, if they are not text files of words.
    """

    searched: tuple[Path, frozenset[Path]] | None = None

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        characters: str | Path | None,
        *,
        layout: str = "auto",
        dont_care: Sequence[str] = DONT_CARE,
        bad: list[LabelError] | None = None,
        documents: LabelDocuments | None = None,
    ) -> None:
        self.images, self.labels = Path(images), Path(labels)
        self.characters = None if characters is None else Path(characters)
        self.dont_care = (dont_care,) if isinstance(dont_care, str) else tuple(dont_care)
        if self.characters is not None and not self.characters.is_dir():
            raise LabelError(self.characters, 0, str(self.characters), "a folder")
        self.documents = documents
        # Shared by all parts.
        self._files: LabelFiles | LabelDocuments = (
            LabelFiles(images, labels, layout=layout, bad=bad) if documents is None else documents
        )
        self._names = [path.relative_to(self.images) for path in self._files.pictures]

    @property
    def layout(self) -> Layout | str:
        """Layout of the lines, from the label files of the whole folder; or the document format.

        Raises:
            LabelError: the lines can be read in more than one way.
        """
        return self._files.layout

    @property
    def lonely(self) -> list[Path]:
        """Label files without an image."""
        return self._files.lonely

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Return the path of the image at an index."""
        return str(self.images / self._names[index])

    def part(self, start: int, stop: int | None) -> PhotoFolder:
        """Return the photos from index `start` up to `stop` (exclusive)."""
        other = copy.copy(self)
        other._names = self._names[start:stop]
        return other

    def spread(self) -> PhotoFolder:
        """Return the photos in an order in which every slice is a sample of the whole.

        File names often follow the kind or the time of the photos, so the last ones differ from the
        first. Here runs of neighbors, which are often alike, stay together: a fortieth of the
        folder, between one and ten images. Runs are ordered by the fractional part of their
        number times the golden ratio, so that the runs of any slice are spread evenly.
        """
        count = min(max(len(self._names) // 40, 1), 10)
        runs = range(-(-len(self._names) // count))
        other = copy.copy(self)
        other._names = [
            name
            for run in sorted(runs, key=lambda run: run * _GOLDEN % 1)
            for name in self._names[run * count : (run + 1) * count]
        ]
        return other

    def page(self, index: int, *, bad: list[LabelError] | None = None) -> Page:
        """Return the labels of a photo; only the header of the image is read.

        Args:
            index: index of the photo.
            bad: as for `read_icdar`.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: missing or invalid labels.
            ImageError: the file is not an image.
        """
        path = self._path(index)
        height, width = image_size(path)
        return Page(height, width, self._words(path, (height, width), bad), str(path))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return the photo at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: missing or invalid labels.
            ImageError: the image cannot be read.
        """
        path = self._path(index)
        image = read_image(path)
        height, width = image.shape[:2]
        words = self._words(path, (height, width))
        return Sample(image, Page(height, width, words, str(path)))

    def encoded(self, index: int) -> tuple[bytes, Page]:
        """Return the encoded image file at an index, and its page.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: missing or invalid labels.
            ImageError: the file is missing or is not an image.
        """
        page = self.page(index)
        return read_bytes(str(page.path)), page

    def label_files(self, index: int) -> tuple[Path, ...]:
        """Return the existing files with the words and characters of an index."""
        picture = self.images / self._names[index]
        files = self._files.labels_of(picture)
        if self.characters is not None:
            files.append(self.characters / f"{picture.stem}.json")
        return tuple(path for path in files if path.is_file())

    def line_numbers(self, index: int) -> list[int]:
        """Return the line numbers in the label file, from 1, of the words of a photo.

        Empty if the labels are not text files of words, or cannot be read.

        Raises:
            IndexError: the index is not in `[0, len)`.
        """
        path = self._path(index)
        if isinstance(self._files, LabelDocuments):
            return []
        try:
            label = self._files.label(path)
            layout = self._files.layout
            found = numbered_words(label, layout, dont_care=self.dont_care, bad=[]) if label else []
        except (LabelError, OSError):
            return []
        return [number for number, _ in found]

    def _path(self, index: int) -> Path:
        if not 0 <= index < len(self):
            raise IndexError(f"photo {index} of {len(self)}")
        return self.images / self._names[index]

    def _words(
        self, path: Path, size: tuple[int, int], bad: list[LabelError] | None = None
    ) -> tuple[Word, ...]:
        words = self._files.words(path, size, dont_care=self.dont_care, bad=bad)
        if self.characters is not None:
            words = read_characters(self.characters / f"{path.stem}.json", words)
        return tuple(words)


def _characters(path: Path, number: int, word: Word, entry: Any) -> tuple[Character, ...]:
    rows = entry.get("chars") if isinstance(entry, dict) else None
    if not isinstance(rows, list):
        raise LabelError(path, 0, f"word {number}: {entry!r}", "an object with a list `chars`")
    out = []
    for row in rows:
        if not isinstance(row, list) or len(row) not in (5, 9) or not isinstance(row[0], str):
            raise LabelError(
                path, 0, f"word {number}: {row!r}", "[character, left, top, right, bottom]"
            )
        try:
            numbers = np.array(row[1:], np.float32)
        except (TypeError, ValueError, OverflowError):
            numbers = np.array([np.nan], np.float32)
        if numbers.ndim != 1 or not (np.abs(numbers) <= MAX_COORDINATE).all():
            raise LabelError(
                path,
                0,
                f"word {number}: {row!r}",
                f"coordinates within +-{MAX_COORDINATE:.0f} pixels",
                reason="coordinates",
            )
        if len(row) == 5:
            numbers = numbers[[0, 1, 2, 1, 2, 3, 0, 3]]
        out.append(Character(row[0], numbers.reshape(4, 2)))
    text = entry.get("text", word.text)
    if word.care and word.text is not None:
        if text != word.text:
            raise LabelError(
                path, 0, f"word {number}: {text!r}", f"the text of the labels: {word.text!r}"
            )
        joined = "".join(c.text for c in out)
        if out and "".join(joined.split()) != "".join(word.text.split()):
            raise LabelError(
                path,
                0,
                f"word {number}: characters {joined!r}",
                f"those of {word.text!r}",
                reason="box count",
            )
    return tuple(out)
