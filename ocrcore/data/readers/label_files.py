"""Folders of images with one label file each: how they are matched and how lines are read.

All readers of such folders share one rule. The labels of `NAME.jpg` are in `gt_NAME.txt`,
`NAME.txt`, `res_NAME.txt` or `NAME.gt`; suffixes may be in upper case. Two images, or two label
files, of one name are an error. Subfolders are not read.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ocrcore.data.readers.label_lines import Layout, LineError, read_line
from ocrcore.data.readers.layouts import find_layout, joined_lines, named_layout
from ocrcore.files import check_regular
from ocrcore.images import SUFFIXES
from ocrcore.pages import LabelError, Word

MAX_BYTES = 1 << 25
"""Larger label files are rejected."""
PREFIXES = ("gt_", "", "res_")
"""Prefixes of label files, before the name of the image."""
LABEL_SUFFIXES = (".txt", ".gt")
"""Suffixes of label files; the second is MSRA-TD500's."""

_LINE_END = re.compile(r"\r\n|\n|\r")
_ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8
_MOST = 20_000  # files to detect the layout from; larger folders are sampled evenly
_WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def by_name(path: Path) -> str:
    """Sort key for files, by name as `sorted` does: `img_10` before `img_2`.

    Everything that splits a folder into parts, to train or to test on, must use this order;
    otherwise the parts may overlap.
    """
    return path.name


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Read the lines of a label file that are not blank, stripped, with their numbers.

    Accepts UTF-8, or UTF-16 or UTF-32 with a byte order mark. Bytes that are not UTF-8 become lone
    surrogates, so that only the line with them is bad.

    Raises:
        LabelError: the file is too large, or UTF-16 without a byte order mark.
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = check_regular(path)
    if size > MAX_BYTES:
        raise LabelError(path, 0, f"{size} bytes", f"a label file of at most {MAX_BYTES} bytes")
    data = path.read_bytes()
    wide = next((name for mark, name in _WIDE if data.startswith(mark)), "")
    try:
        text = data.decode(wide) if wide else data.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise LabelError(
            path, 0, f"{wide}, damaged at byte {error.start}", "UTF-8: save it as UTF-8"
        ) from error
    if not wide and 4 * text[:200].count("\0") > len(text[:200]):
        raise LabelError(
            path, 0, "zero bytes: UTF-16 without a byte order mark?", "UTF-8: save it as UTF-8"
        )
    lines = enumerate(_LINE_END.split(text), 1)
    stripped = ((number, line.lstrip("\ufeff").strip()) for number, line in lines)
    return list(joined_lines((number, line) for number, line in stripped if line))


def read_words(
    path: str | Path,
    layout: Layout,
    *,
    dont_care: Sequence[str],
    bad: list[LabelError] | None = None,
) -> list[Word]:
    """Read the words of a label file, one per line.

    Args:
        path: path of the file.
        layout: the layout of its lines.
        dont_care: texts that mark a word as "don't care".
        bad: if given, errors of malformed lines are appended to this list and the lines left out;
            otherwise the first one is raised.

    Raises:
        LabelError: a malformed line; names the file, the line, the value and what was expected.
        OSError: the file cannot be read.
    """
    return [word for _, word in numbered_words(path, layout, dont_care=dont_care, bad=bad)]


def numbered_words(
    path: str | Path,
    layout: Layout,
    *,
    dont_care: Sequence[str],
    bad: list[LabelError] | None = None,
) -> list[tuple[int, Word]]:
    """Read the words of a label file with the numbers of their lines; see `read_words`."""
    words = []
    lines = read_lines(path)
    # If one line is not UTF-8, others may decode only by chance, with wrong words.
    foreign = any(_ESCAPED.search(line) for _, line in lines)
    for number, line in lines:
        try:
            if foreign and not line.isascii():
                raise _not_utf8(line)
            words.append((number, read_line(line, layout, dont_care=dont_care)))
        except LineError as fault:
            error = LabelError(path, number, fault.value, fault.expected)
            if bad is None:
                raise error from fault
            bad.append(error)
    return words


def _not_utf8(line: str) -> LineError:
    shown = line.encode("utf-8", "backslashreplace").decode("utf-8")
    shown = re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", shown)
    escaped = _ESCAPED.search(line)
    byte = f"byte 0x{ord(escaped[0]) - 0xDC00:02x}" if escaped else "another line of this file"
    return LineError(shown, f"UTF-8, but {byte} is not: save the file as UTF-8")


class LabelFiles:
    """The images of a folder and their label files.

    Args:
        images: folder of the images.
        labels: folder of the label files; may be the same.
        layout: one of `ocrcore.data.readers.label_lines.LAYOUTS`.
        bad: if given, errors of images with duplicate names are appended to this list and the
            images left out; otherwise the first one is raised.

    Raises:
        LabelError: a folder does not exist or holds no image, or two images have one name.
        ValueError: an unknown layout.

    Attributes:
        pictures: sorted by name: `img_10` before `img_2`.
        lonely: label files without an image.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        *,
        layout: str = "auto",
        bad: list[LabelError] | None = None,
    ) -> None:
        self.images, self.labels = Path(images), Path(labels)
        self._layout = named_layout(layout)
        names: dict[str, Path] = {}
        for path in _files(self.images, SUFFIXES):
            if (other := names.setdefault(path.stem, path)) != path:
                error = LabelError(
                    path, 0, path.name, f"only one image of this name, found also {other.name}"
                )
                if bad is None:
                    raise error
                bad.append(error)
        self.pictures = list(names.values())
        if not self.pictures:
            raise LabelError(self.images, 0, "no image", f"images ({', '.join(SUFFIXES)})")
        self._files: dict[str, list[Path]] = {}
        for path in _files(self.labels, LABEL_SUFFIXES):
            self._files.setdefault(path.stem, []).append(path)
        used = {prefix + stem for stem in names for prefix in PREFIXES}
        self.lonely = [
            path for stem, paths in self._files.items() if stem not in used for path in paths
        ]

    def labels_of(self, picture: Path) -> list[Path]:
        """Return all label files of an image; there should be exactly one."""
        return [path for p in PREFIXES for path in self._files.get(p + picture.stem, ())]

    def label(self, picture: Path) -> Path | None:
        """Return the label file of an image; None if there is none.

        Raises:
            LabelError: there are two.
        """
        found = self.labels_of(picture)
        if len(found) > 1:
            raise LabelError(
                found[1],
                0,
                found[1].name,
                f"only one label file for {picture.name}, found also {found[0]}",
            )
        return found[0] if found else None

    def words(
        self,
        picture: Path,
        size: tuple[int, int],
        *,
        dont_care: Sequence[str],
        bad: list[LabelError] | None = None,
    ) -> list[Word]:
        """Return the words of an image.

        Args:
            picture: one of `pictures`.
            size: its height and width; not used, because text files do not state a size.
            dont_care: as for `read_words`.
            bad: as for `read_words`.

        Raises:
            LabelError: there is no label file, or there are two; or as for `read_words`.
        """
        label = self.label(picture)
        if label is None:
            raise LabelError(picture, 0, picture.name, f"gt_{picture.stem}.txt in {self.labels}")
        return read_words(label, self.layout, dont_care=dont_care, bad=bad)

    @property
    def layout(self) -> Layout:
        """The layout of the lines, from all label files that have an image.

        Raises:
            LabelError: the lines can be read in more than one way.
        """
        if self._layout is None:
            paths = [path for picture in self.pictures for path in self.labels_of(picture)]
            step = -(-len(paths) // _MOST) or 1
            self._layout = _layout_of(self.labels, paths[::step])
        return self._layout


def file_layout(path: str | Path, layout: str) -> Layout:
    """Detect the layout of a single file.

    Raises:
        LabelError: its lines can be read in more than one way.
        ValueError: an unknown layout.
    """
    return named_layout(layout) or _layout_of(Path(path), [Path(path)])


def _layout_of(where: Path, paths: Sequence[Path]) -> Layout:
    lines: list[str] = []
    for path in paths:
        try:
            lines += [line for _, line in read_lines(path)]
        except (OSError, LabelError):
            continue  # reported when its words are read
    try:
        return find_layout(lines)
    except LineError as error:
        raise LabelError(where, 0, error.value, error.expected) from error


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise LabelError(folder, 0, str(folder), "a folder")
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if Path(entry.name).suffix.lower() in suffixes and entry.is_file()
        ]
    return [folder / name for name in sorted(names)]
