"""Atomic copies of a data set in its own format: its parts and a list of changes."""

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
    """A part of a data set to write, with its pages and format; "test" becomes a folder inside."""

    name: str
    pages: Sequence[Page]
    target: str


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Context manager: yield a temporary folder that replaces `out` on success.

    Args:
        out: the target; an existing one is removed, which the caller must have allowed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as folder:
        made = Path(folder) / out.name  # same name: some formats store the name of the folder
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
    """Write a data set; an existing folder is replaced, which the caller must have allowed.

    Args:
        out: the folder.
        parts: the parts of the data set.
        note: name and text of an additional file.
        pictures: as for `ocrjax.labels.convert.write_labels`.

    Returns:
        Lines on what the formats cannot store.

    Raises:
        ValueError: a format can store none of the words.
        OSError: an image does not exist, or the folder cannot be written.
    """
    lost = []
    with replaced(out) as made:
        for part in parts:
            place = made / "test" if part.name == "test" else made
            _, gone = write_labels(part.pages, place, part.target, pictures=pictures)
            lost += losses(gone)
        write_text(made / note[0], note[1])
    return lost
