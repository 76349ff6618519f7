"""Results of a long command, kept file by file, so that it goes on where it was stopped.

Beside `FILE` lies `FILE.unfinished` until all is done: a line that says with which settings it was
begun, then one for each picture file that was read. The same command goes on with it: a file is
read again if it has changed since, if one of its pages could not be read, or if an output that the
command names is missing. With other settings the command refuses to go on.

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
    """Results that were begun with other settings; the message names the file."""


class Unfinished:
    """Pages that were read so far.

    Attributes:
        path: of the file.
        resumed: whether it was there.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        force: bool = False,
        remedy: str = "repeat that command to go on; --force starts over",
    ) -> None:
        """Opens what is there; writes nothing yet.

        Args:
            path: of the file.
            settings: plain JSON values; all that changes the results.
            force: starts over where the settings are others.
            remedy: what a user may do where they are.

        Raises:
            UnfinishedError: begun with other settings, or no such file as this writes.
        """
        self.path, self._remedy = path, remedy
        self._settings = json.loads(json.dumps(settings))
        self._places: dict[str, int] = {}
        self.resumed = False
        if self.path.exists():
            check_regular(self.path)
            self.resumed = self._read(force)

    def has(self, path: Path) -> bool:
        """Whether a file was read, and is the same."""
        if (place := self._places.get(os.fspath(path))) is None:
            return False
        entry = self._entry(place)
        return not entry["errors"] and entry["stamp"] == _stamp(path)

    def entry(self, path: Path) -> dict[str, Any] | None:
        """Returns `pages` and `errors` of a file as it is; None where it was not read as such."""
        if (place := self._places.get(os.fspath(path))) is None:
            return None
        entry = self._entry(place)
        return entry if entry["stamp"] == _stamp(path) else None

    def add(self, path: Path, pages: Sequence[Page], errors: Sequence[Exception] = ()) -> None:
        """Keeps the pages of a file.

        Args:
            path: of the picture file.
            pages: those that could be read.
            errors: why others could not.
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
        """Writes the results in order, as `write_pages` does or (`.json`) as a list."""
        places = [self._places.get(os.fspath(path)) for path in files]
        write_results(target, (self._entry(place) for place in places if place is not None))
        self.path.unlink(missing_ok=True)

    def _read(self, force: bool) -> bool:
        """Finds the lines; a last one that was cut off is dropped. Returns whether to go on."""
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
                    f"{self.path}: begun with another {', '.join(other)}: {self._remedy}"
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
                raise ValueError("neither settings nor a picture file")
        except ValueError as error:
            raise UnfinishedError(
                f"{self.path}: not the unfinished results of this command ({error}): delete it"
            ) from error
        return value


def settings_line(settings: Mapping[str, Any]) -> str:
    """Returns the first line of such a file."""
    return json_line({"settings": settings}) + "\n"


def entry_line(path: Path, pages: Sequence[Page], errors: Sequence[Exception]) -> str:
    """Returns the line of a picture file; arguments as of `Unfinished.add`."""
    value = {"file": os.fspath(path), "stamp": _stamp(path), "errors": [str(e) for e in errors]}
    return json_line({**value, "pages": [page.to_dict() for page in pages]}) + "\n"


def write_results(target: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Writes pages in order, as `write_pages` does or (`.json`) as a list."""
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
    """What changes with a file."""
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_mtime_ns]
