"""Results of a long command, saved file by file, so that an interrupted command can resume.

Until the command is done, `FILE.unfinished` lies next to `FILE`. Its first line holds the settings;
each further line holds the results of one image file. The same command resumes from it. It reads a
file again if the file has changed since, if one of its pages could not be read, or if one of its
outputs is missing. With other settings the command refuses to resume.
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

    def __init__(self, target: Path, settings: Mapping[str, Any], *, force: bool = False) -> None:
        """Read the unfinished results, if there are any; write nothing yet.

        Args:
            target: path of the final results.
            settings: everything that changes the results, as plain JSON values.
            force: start over if the settings differ.

        Raises:
            UnfinishedError: the settings differ, or the file was not written by this class.
        """
        self.path = target.with_name(target.name + ".unfinished")
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
        return not entry["failed"] and entry["stamp"] == _stamp(path)

    def add(self, path: Path, pages: Sequence[Page], *, failed: int) -> None:
        """Save the pages of an image file.

        Args:
            path: path of the image file.
            pages: the pages that could be read.
            failed: the number of pages that could not.
        """
        value = {"file": os.fspath(path), "stamp": _stamp(path), "failed": failed}
        line = json_line({**value, "pages": [page.to_dict() for page in pages]}) + "\n"
        if not self._places and not self.resumed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json_line({"settings": self._settings}) + "\n", encoding="utf-8")
            self.resumed = True
        with self.path.open("ab") as file:
            self._places[os.fspath(path)] = file.tell()
            file.write(line.encode())

    def finish(self, target: Path, files: Iterable[Path]) -> None:
        """Write the final results in the order of `files`: JSON lines, or a list for `.json`."""
        lines = target.suffix.lower() == ".jsonl"
        with replacing(target) as part, part.open("w", encoding="utf-8") as out:
            first = True
            for path in files:
                if (place := self._places.get(os.fspath(path))) is None:
                    continue
                for page in self._entry(place)["pages"]:
                    before = "" if lines else "[\n" if first else ",\n"
                    out.write(f"{before}{json_line(page)}" + "\n" * lines)
                    first = False
            if not lines:
                out.write("[\n]\n" if first else "\n]\n")
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
                    f"{self.path}: was started with another {', '.join(other)}; repeat that "
                    "command to resume, or start over with --force"
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


def _stamp(path: Path) -> list[int]:
    """Size and modification time of a file, to see whether it has changed."""
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_mtime_ns]
