"""Checksums of the files of a checkpoint: what was written is what is read.

Host code: no jax.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ocrcore.files import write_text

NAME = "checksums.json"
# What Orbax writes after all else: when it began and ended. It is looked at but has no checksum.
_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")
_CHUNK = 1 << 20


def write_checksums(folder: str | Path) -> None:
    """Writes `checksums.json` into a folder: size and CRC-32 of each file in it and below."""
    folder = Path(folder)
    left_out = {NAME, *_LAST}
    _write(folder, {name: _sum(path) for name, path in _files(folder) if name not in left_out})


@contextmanager
def files_changing(folder: str | Path, names: Sequence[str]) -> Iterator[None]:
    """Around what writes some files of a checkpoint again; the others keep their checksums.

    A process that is killed on the way leaves these files without checksums, not with wrong ones.

    Args:
        folder: of the checkpoint; where it has no checksums, it gets none.
        names: of the files.

    Raises:
        OSError, ValueError, KeyError: the checksums cannot be read.
    """
    folder = Path(folder)
    if not has_checksums(folder):
        yield
        return
    known = json.loads((folder / NAME).read_text(encoding="utf-8"))["crc32"]
    others = {name: found for name, found in known.items() if name not in names}
    _write(folder, others)
    yield
    _write(folder, {**others, **{name: _sum(folder / name) for name in names}})


def has_checksums(folder: str | Path) -> bool:
    """Whether a folder has checksums; those of earlier versions have none."""
    return (Path(folder) / NAME).is_file()


def find_damage(folder: str | Path, *, only: Container[str] | None = None) -> str | None:
    """Compares the files of a checkpoint with their checksums.

    Args:
        folder: of the checkpoint.
        only: names of the files to look at; None: all.

    Returns:
        The first file that is not as it was written, and what is wrong with it; None where there is
        none, or where there are no checksums.
    """
    folder = Path(folder)
    if not has_checksums(folder):
        return None
    try:
        known = json.loads((folder / NAME).read_text(encoding="utf-8"))["crc32"].items()
        expected = {str(name): (int(size), int(crc)) for name, (size, crc) in known}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{NAME} is not a list of checksums ({error})"
    for name, (size, crc) in expected.items():
        if only is not None and name not in only:
            continue
        try:
            found = _sum(folder / name)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found[0] != size:
            return f"{name} has {found[0]:,} bytes, but {size:,} were written"
        if found[1] != crc:
            return f"{name} was altered: its checksum is {found[1]:08x}, but {crc:08x} was written"
    return _find_bad_json(folder)


def _find_bad_json(folder: Path) -> str | None:
    """Looks at the small files, also those that have no checksum at the moment."""
    for name in ("_CHECKPOINT_METADATA", "run/metadata", "metrics/metrics"):
        path = folder / name
        try:
            if path.is_file() and not isinstance(json.loads(path.read_bytes()), dict):
                return f"{name} is not an object of JSON"
        except (OSError, ValueError, RecursionError) as error:
            return f"{name} is not JSON ({error})"
    return None


def _write(folder: Path, found: Mapping[str, Sequence[int]]) -> None:
    write_text(folder / NAME, json.dumps({"crc32": found}, indent=0) + "\n")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _sum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return size, crc
