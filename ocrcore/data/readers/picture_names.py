"""Finds the image that a label file refers to, from paths, URLs and names as tools write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from ocrcore.data.readers.label_lines import LineError
from ocrcore.images import PICTURE_SUFFIXES, SUFFIXES

_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio prepends it to uploaded files
_DEPTH = 4


def is_picture_name(value: str) -> bool:
    """Return whether a text is the path or URL of an image, judged by its suffix."""
    return len(value) < 4096 and any(
        form.lower().endswith((*SUFFIXES, *PICTURE_SUFFIXES)) for form in name_forms(value)
    )


def name_forms(name: str) -> Iterator[str]:
    r"""Yield possible paths of a name on this disk, the most literal first, separated by `/`.

    `/data/upload/3/1a2b3c4d-photo.jpg`, `/data/local-files/?d=set/photo.jpg`, `s3://bucket/a/b.jpg`
    and `https://host/a%20b.jpg` are from Label Studio; `C:\set\photo.jpg` is from Windows.
    """
    forms = [name.replace("\\", "/")]
    if "?" in name or "://" in name:
        try:
            parts = urlsplit(name)
            forms += [value for value in parse_qs(parts.query).get("d", [])]
            forms.append(parts.path)
        except ValueError:  # not a URL
            pass
    forms += [unquote(form) for form in forms if "%" in form]
    for form in list(forms):
        head, slash, tail = form.rpartition("/")
        if short := _PREFIX.sub("", tail, count=1):
            forms.append(head + slash + short)
    yield from dict.fromkeys(form.strip("/") for form in forms if form.strip("/"))


class PictureNames:
    """The images below some folders, to be found by the names used in label files.

    Only images below these folders are ever found, whatever a label file says.

    Args:
        roots: the folders; subfolders are searched four levels deep.

    Attributes:
        paths: all images, by folder and name.
    """

    def __init__(self, roots: list[Path]) -> None:
        self.roots = list(dict.fromkeys(roots))
        found: dict[Path, None] = {}
        for root in self.roots:
            found.update(dict.fromkeys(_pictures(root)))
        self.paths = list(found)
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.paths:
            self._by_name.setdefault(path.name, []).append(path)
            self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, name: str) -> Path | None:
        """Return the image with a name; None if there is none.

        If several images have the name, the one whose path shares most trailing folders with it
        is taken. A name without an image suffix may stand for one with a suffix.

        Raises:
            LineError: several images match equally well.
        """
        if len(name) > 4096 or "\0" in name:
            return None
        forms = list(name_forms(name))
        for form in forms:
            if found := self._best(form, self._by_name):
                return found
        for form in forms:
            if found := self._best(form, self._by_stem):
                return found
        return None

    def _best(self, form: str, known: dict[str, list[Path]]) -> Path | None:
        parts = [part for part in form.split("/") if part not in ("", ".")]
        if not parts or ".." in parts[-1:]:
            return None
        paths = known.get(parts[-1], [])
        if len(paths) < 2:
            return paths[0] if paths else None
        folders = parts[-2::-1] if len(parts) > 1 else []
        scores = [_common(path.parts[-2::-1], folders) for path in paths]
        best = [path for path, score in zip(paths, scores, strict=True) if score == max(scores)]
        if len(best) == 1:
            return best[0]
        # A name without folders: take the image that is nested least.
        depth = min(len(path.parts) for path in best)
        shallow = [path for path in best if len(path.parts) == depth]
        if len(shallow) == 1 and not max(scores):
            return shallow[0]
        raise LineError(form, f"only one image of this name, found {best[0]} and {best[1]}")


def _common(one: tuple[str, ...], two: list[str]) -> int:
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count


def _pictures(root: Path) -> Iterator[Path]:
    """Yield the images below a folder, by name; hidden files and folders are skipped."""
    level = [root]
    for _ in range(_DEPTH + 1):
        inside: list[Path] = []
        for folder in level:
            try:
                with os.scandir(folder) as entries:
                    files = sorted(entries, key=lambda entry: entry.name)
                    for entry in files:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir():
                            inside.append(folder / entry.name)
                        elif entry.name.lower().endswith(SUFFIXES):
                            yield folder / entry.name
            except OSError:  # for example lost+found
                continue
        level = inside
