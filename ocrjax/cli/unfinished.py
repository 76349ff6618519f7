"""Results of a long command, saved file by file, so that an interrupted command can resume.

Until the command is done, `FILE.unfinished` lies next to `FILE`. Its first line holds the settings;
each further line holds the results of one image file. The same command resumes from it. It reads a
file again if the file has changed since, if one of its pages could not be read, or if one of its
outputs is missing. With other settings the command refuses to resume.

Files of the same form hold what shares of several machines have read (`ocrjax.cli.read_parts`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ocrcore.files import check_regular, json_line, replacing
from ocrcore.pages import Page


class UnfinishedError(ValueError):
    """Unfinished results with other settings, or a damaged file; the message names the file."""


class Unfinished:
    """The pages read so far.

    Attributes:
        path: path of the `.unfinished` file.
        resumed: whether the file existed and is continued.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        force: bool = False,
        remedy: str = "repeat that command to resume, or start over with --force",
    ) -> None:
        """Read the unfinished results, if there are any; write nothing yet.

        Args:
            path: path of the unfinished results.
            settings: everything that changes the results, as plain JSON values.
            force: start over if the settings differ.
            remedy: what the error says to do if they differ.

        Raises:
            UnfinishedError: the settings differ, or the file was not written by this class.
        """
        self.path, self._remedy = path, remedy
        self._settings = json.loads(json.dumps(settings))
        self._places: dict[str, int] = {}
        self.resumed = False
        if self.path.exists():
            check_regular(self.path)
            self.resumed = self._read(force)

    def has(self, path: Path) -> bool:
        """Return whether an image file was read completely and has not changed since."""
        if (place := self._places.get(os.fspath(path))) is None:
            return False
        entry = self._entry(place)
        return not entry["errors"] and entry["stamp"] == _stamp(path)

    def entry(self, path: Path) -> dict[str, Any] | None:
        """Return `pages` and `errors` of a file as it is; None where it was not read as such."""
        if (place := self._places.get(os.fspath(path))) is None:
            return None
        entry = self._entry(place)
        return entry if entry["stamp"] == _stamp(path) else None

    def add(self, path: Path, pages: Sequence[Page], errors: Sequence[Exception] = ()) -> None:
        """Save the pages of an image file.

        Args:
            path: path of the image file.
            pages: the pages that could be read.
            errors: why the others could not.
        """
        line = entry_line(path, pages, errors)
        if not self._places and not self.resumed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(settings_line(self._settings), encoding="utf-8")
            self.resumed = True
        with self.path.open("ab") as file:
            self._places[os.fspath(path)] = file.tell()
            file.write(line.encode())

    def finish(self, target: Path, files: Iterable[Path]) -> None:
        """Write the final results in the order of `files`: JSON lines, or a list for `.json`."""
        places = [self._places.get(os.fspath(path)) for path in files]
        write_results(target, (self._entry(place) for place in places if place is not None))
        self.path.unlink(missing_ok=True)

    def _read(self, force: bool) -> bool:
        """Index the lines and drop a truncated last one; return whether to resume."""
        with self.path.open("rb") as file:
            begun = self._parsed(file.readline()).get("settings")
            if begun != self._settings:
                if force:
                    return False
                other = sorted(
                    name
                    for name in {*(begun or {}), *self._settings}
                    if (begun or {}).get(name) != self._settings.get(name)
                )
                raise UnfinishedError(
                    f"{self.path}: was started with another {', '.join(other)}; {self._remedy}"
                )
            place = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    os.truncate(self.path, place)
                    break
                self._places[str(self._parsed(line)["file"])] = place
                place += len(line)
        return True

    def _entry(self, place: int) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(place)
            return self._parsed(file.readline())

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
            if not isinstance(value, dict) or not {"file", "settings"} & set(value):
                raise ValueError("neither settings nor an image file")
        except ValueError as error:
            raise UnfinishedError(
                f"{self.path}: not the unfinished results of this command ({error}); delete it"
            ) from error
        return value


def settings_line(settings: Mapping[str, Any]) -> str:
    """Return the first line of such a file."""
    return json_line({"settings": settings}) + "\n"


def entry_line(path: Path, pages: Sequence[Page], errors: Sequence[Exception]) -> str:
    """Return the line of an image file; arguments as of `Unfinished.add`."""
    value = {"file": os.fspath(path), "stamp": _stamp(path), "errors": [str(e) for e in errors]}
    return json_line({**value, "pages": [page.to_dict() for page in pages]}) + "\n"


def write_results(target: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write pages in order, as `write_pages` does or (`.json`) as a list."""
    lines = target.suffix.lower() == ".jsonl"
    with replacing(target) as part, part.open("w", encoding="utf-8") as out:
        first = True
        for entry in entries:
            for page in entry["pages"]:
                before = "" if lines else "[\n" if first else ",\n"
                out.write(f"{before}{json_line(page)}" + "\n" * lines)
                first = False
        if not lines:
            out.write("[\n]\n" if first else "\n]\n")


def _stamp(path: Path) -> list[int]:
    """Size and modification time of a file, to see whether it has changed."""
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_mtime_ns]
