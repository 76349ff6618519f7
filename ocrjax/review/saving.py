"""Labels that a person has corrected, written in their format; a later save replaces an earlier.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from ocrcore.outputs import OutputError
from ocrcore.pages import Page
from ocrjax.labels.copies import CopyPart, write_copy
from ocrjax.review.session import Session, digest_of

MARK = "reviewed.tsv"
"""In the folder of the labels: what it is of, and what was changed."""

_SAVING = Lock()  # tabs, and Ctrl-C while one of them saves


def check_place(out: Path, journal: Path) -> None:
    """Refuses a folder that holds anything but an earlier save of a review that goes on.

    Raises:
        OutputError: it does.
    """
    if not out.exists():
        return
    if not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: there already: name a new folder")
    if (out / MARK).is_file() and not journal.exists():
        raise OutputError(
            f"{out}: holds the labels of an earlier review, whose changes are not there: "
            f"{journal}. A new review would replace them: name a new folder"
        )


def save(
    session: Session,
    out: Path,
    parts: Sequence[tuple[str, int, str]],
    *,
    pictures: str = "copy",
) -> str:
    """Writes the labels as they are, into a folder that is whole or as it was.

    Args:
        session: the review.
        out: the folder.
        parts: of the pages in their order: name ("test" gets a folder inside), how many, format.
        pictures: as of `ocrjax.labels.convert.write_labels`.

    Returns:
        A line for the user.

    Raises:
        OutputError: the folder holds something else.
        ValueError: the format can carry none of the words.
        OSError: it cannot be written.
    """
    with _SAVING:
        check_place(out, session.journal)
        pages = session.result()
        copies, at = [], 0
        for name, count, target in parts:
            copies.append(CopyPart(name, pages[at : at + count], target))
            at += count
        rows = _changes(session.pages, pages)
        head = f"# review of {digest_of(session.pages)}\npicture\twords before\twords after"
        write_copy(out, copies, (MARK, "\n".join([head, *rows]) + "\n"), pictures=pictures)
    return f"written: {out}, {sum(len(page.words) for page in pages):,} words"


def _changes(before: Sequence[Page], after: Sequence[Page]) -> list[str]:
    return [
        f"{Path(str(one.path)).name}\t{len(one.words)}\t{len(two.words)}"
        for one, two in zip(before, after, strict=True)
        if one.words != two.words
    ]
