"""Saving of corrected labels in their format; a later save replaces an earlier one.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from ocrcore.data.readers.crops import Crop
from ocrcore.files import write_text
from ocrcore.outputs import OutputError
from ocrjax.labels.copies import CopyPart, replaced, write_copy
from ocrjax.labels.crops import write_crops
from ocrjax.review.session import Session, digest_of

MARK = "reviewed.tsv"
"""File in the saved folder that identifies the review and lists the changes."""

_SAVING = Lock()  # several tabs may save at the same time, or Ctrl-C while one does


def check_place(out: Path, journal: Path) -> None:
    """Refuse a folder that holds anything but an earlier save of the same review.

    Raises:
        OutputError: the folder holds something else, or the journal of the review is missing.
    """
    if not out.exists():
        return
    if not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: already exists; name a new folder")
    if (out / MARK).is_file() and not journal.exists():
        raise OutputError(
            f"{out}: holds the labels of an earlier review, but its journal {journal} is missing. "
            "A new review would replace these labels: name a new folder"
        )


def save(
    session: Session,
    out: Path,
    parts: Sequence[tuple[str, int, str]],
    *,
    pictures: str = "copy",
) -> str:
    """Write the current labels into a folder, atomically.

    Args:
        session: the review.
        out: the folder.
        parts: parts of the pages in order: name ("test" gets a folder inside), number of pages,
            format.
        pictures: as for `ocrjax.labels.convert.write_labels`.

    Returns:
        A line for the user.

    Raises:
        OutputError: the folder holds something else.
        ValueError: the format can store none of the words.
        OSError: the folder cannot be written.
    """
    with _SAVING:
        check_place(out, session.journal)
        pages = session.result()
        copies, at = [], 0
        for name, count, target in parts:
            copies.append(CopyPart(name, pages[at : at + count], target))
            at += count
        rows = [
            f"{Path(str(one.path)).name}\t{len(one.words)}\t{len(two.words)}"
            for one, two in zip(session.pages, pages, strict=True)
            if one.words != two.words
        ]
        note = _mark(session, "picture\twords before\twords after", rows)
        write_copy(out, copies, (MARK, note), pictures=pictures)
    return f"written: {out}, {sum(len(page.words) for page in pages):,} words"


def save_crops(session: Session, out: Path, target: str) -> str:
    """Write the reviewed crops that have a text; see `save`.

    Args:
        session: the review, whose pages are crops.
        out: the folder.
        target: one of `ocrjax.labels.crops.CROP_TARGETS`.
    """
    check_place(out, session.journal)
    states = sorted(session.states(), key=lambda state: state["page"])
    crops = [
        Crop(str(session.pages[state["page"]].path), state["text"])
        for state in states
        if state["done"] and state["word"] == 0 and state["care"] and state["text"]
    ]
    if not crops:
        return "nothing was written: no word has been accepted or typed yet"
    bad: list[Exception] = []
    with _SAVING, replaced(out) as made:
        count = write_crops(crops, made, target, bad)
        rows = [f"{crop.name}\t{crop.text}" for crop in crops]
        write_text(made / MARK, _mark(session, "picture\ttext", rows))
    lines = [f"written: {out}, {count:,} crops; crops that were not reviewed are left out"]
    return "\n".join([*lines, *(f"left out: {error}" for error in bad)])


def _mark(session: Session, head: str, rows: Sequence[str]) -> str:
    """The content of the file `MARK`."""
    return "\n".join([f"# review of {digest_of(session.pages)}", head, *rows]) + "\n"
