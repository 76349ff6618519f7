"""Fingerprints of data set files, to report what changed since a run was last started.

Host code: no jax.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ocrcore.files import write_text
from ocrcore.images import SUFFIXES

Files = dict[str, list[int]]
_SMALL = 1 << 20  # bytes; larger label files are compared by size and time, not by content
_MANY = 20_000  # files in a folder; beyond that only their number and total size are compared
_NAMED = 3


def note_data(
    path: str | Path,
    sets: Mapping[str, Iterable[Path]],
    log: Callable[[str], object] | None = None,
) -> None:
    """Write fingerprints of the files of data sets, and log what differs from the last time.

    Images are compared by size, label files by content (those of more than a megabyte by size
    and time), so a copy of a data set counts as unchanged. For a folder with more than 20,000
    files, only their number and total size are compared.

    Args:
        path: the file to write.
        sets: files and folders of each data set, by name; folders are not searched recursively.
        log: called with a message for each data set that changed; None compares nothing.
    """
    path, old = Path(path), {}
    now = {name: _look(places) for name, places in sets.items()}
    if log is not None and path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # damaged: nothing to compare with
            old = {}
    for name in old.keys() & now.keys() if isinstance(old, dict) else ():
        if log is not None and (changes := list(_changes(old[name], now[name]))):
            more = f" and {len(changes) - _NAMED:,} more" if len(changes) > _NAMED else ""
            log(
                f"WARNING: config.data.train.{name} changed since this run was last started: "
                f"{', '.join(changes[:_NAMED])}{more}. Training continues with the files as they "
                "are now, so the result belongs to neither version; pass another --workdir to "
                "start a new run"
            )
    write_text(path, json.dumps(now) + "\n")


def comparable(sets: Mapping[str, Iterable[Path]]) -> dict[str, Files]:
    """What the files of data sets are like, for a comparison of the copies on several hosts.

    Of label files of more than a megabyte only the size counts: copies have other times.

    Args:
        sets: as for `note_data`.
    """
    return {
        name: {
            file: kind if kind[0] <= _SMALL else kind[:1] for file, kind in _look(places).items()
        }
        for name, places in sets.items()
    }


def _look(places: Iterable[Path]) -> Files:
    found: Files = {}
    places = dict.fromkeys(places)
    for place in places:
        if place.is_file():
            found[place.name] = _kind(place, place.stat())
        elif place.is_dir():
            with os.scandir(place) as entries:
                files = {
                    entry.name: entry
                    for entry in entries
                    if entry.is_file() and Path(entry.path) not in places
                }
            if len(files) > _MANY:
                total = sum(entry.stat().st_size for entry in files.values())
                found[f"{place.name}/"] = [len(files), total]
                continue
            for name in sorted(files):
                found[f"{place.name}/{name}"] = _kind(Path(files[name].path), files[name].stat())
    return found


def _kind(path: Path, found: os.stat_result) -> list[int]:
    """Size of a file, plus modification time or checksum if it is not an image."""
    if path.suffix.lower() in SUFFIXES:
        return [found.st_size]
    if found.st_size > _SMALL:
        return [found.st_size, found.st_mtime_ns]
    try:
        return [found.st_size, zlib.crc32(path.read_bytes())]
    except OSError:  # whoever needs the file reports this
        return [found.st_size]


def _changes(old: object, now: Files) -> Iterator[str]:
    if not isinstance(old, dict):
        return
    for name in sorted(old.keys() | now.keys()):
        if name not in now:
            yield f"{name} is gone"
        elif name not in old:
            yield f"{name} is new"
        elif old[name] != now[name]:
            yield f"{name} was changed"
