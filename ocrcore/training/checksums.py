"""Checksums of the files of a checkpoint, to detect damage.

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
# Orbax writes these last, with its start and end times. They are checked but have no checksum.
_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")
_CHUNK = 1 << 20


def write_checksums(folder: str | Path) -> None:
    """Write `checksums.json` into a folder: size and CRC-32 of each file, recursively."""
    folder = Path(folder)
    left_out = {NAME, *_LAST}
    _write(folder, {name: _sum(path) for name, path in _files(folder) if name not in left_out})


@contextmanager
def files_changing(folder: str | Path, names: Sequence[str]) -> Iterator[None]:
    """Keep checksums valid while some files of a checkpoint are rewritten inside the context.

    If the process is killed inside, these files have no checksums rather than wrong ones.

    Args:
        folder: folder of the checkpoint; if it has no checksums, none are added.
        names: the files that are rewritten.

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
    """Return whether a folder has checksums; earlier versions did not write them."""
    return (Path(folder) / NAME).is_file()


def find_damage(folder: str | Path, *, only: Container[str] | None = None) -> str | None:
    """Compare the files of a checkpoint with their checksums.

    Args:
        folder: folder of the checkpoint.
        only: names of the files to check; None: all.

    Returns:
        The first damaged file and what is wrong with it; None if there is no damage or there are no
        checksums.
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
    """Check the small JSON files, including those that have no checksum at the moment."""
    for name in ("_CHECKPOINT_METADATA", "run/metadata", "metrics/metrics"):
        path = folder / name
        try:
            if path.is_file() and not isinstance(json.loads(path.read_bytes()), dict):
                return f"{name} is not a JSON object"
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
    """Return size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return size, crc
