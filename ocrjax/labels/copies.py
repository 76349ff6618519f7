"""A data set written as it was read, its parts and a list of changes, whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ocrcore.files import write_text
from ocrcore.pages import Page
from ocrjax.labels.convert import write_labels
from ocrjax.labels.targets import losses


class CopyPart(NamedTuple):
    """A part of a data set to write: "test" becomes a folder inside; its pages and their format."""

    name: str
    pages: Sequence[Page]
    target: str


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Gives a folder to make, which takes the place of another once it is whole.

    Args:
        out: the place; what is there goes, which the caller has to allow.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as folder:
        made = Path(folder) / out.name  # some formats write the name of the folder
        yield made
        old = Path(folder) / f"{out.name}.old"
        if out.exists():
            out.rename(old)
        try:
            made.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise


def write_copy(
    out: Path, parts: Sequence[CopyPart], note: tuple[str, str], *, pictures: str = "copy"
) -> list[str]:
    """Writes a data set; what is at its place is replaced, which the caller has to allow.

    Args:
        out: the folder.
        parts: of the data set.
        note: name and text of a file more.
        pictures: as of `ocrjax.labels.convert.write_labels`.

    Returns:
        Lines on what the formats cannot carry.

    Raises:
        ValueError: a format can carry none of the words.
        OSError: a picture is not there, or the folder cannot be written.
    """
    lost = []
    with replaced(out) as made:
        for part in parts:
            place = made / "test" if part.name == "test" else made
            _, gone = write_labels(part.pages, place, part.target, pictures=pictures)
            lost += losses(gone)
        write_text(made / note[0], note[1])
    return lost
