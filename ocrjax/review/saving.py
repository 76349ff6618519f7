"""Labels that a person has corrected, written in their format; a later save replaces an earlier.

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
        rows = [
            f"{Path(str(one.path)).name}\t{len(one.words)}\t{len(two.words)}"
            for one, two in zip(session.pages, pages, strict=True)
            if one.words != two.words
        ]
        note = _mark(session, "picture\twords before\twords after", rows)
        write_copy(out, copies, (MARK, note), pictures=pictures)
    return f"written: {out}, {sum(len(page.words) for page in pages):,} words"


def save_crops(session: Session, out: Path, target: str) -> str:
    """Writes the crops that a person looked at and that have a text; see `save`.

    Args:
        session: the review, of pages that are crops.
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
        return "nothing is written: no word was accepted or typed so far"
    bad: list[Exception] = []
    with _SAVING, replaced(out) as made:
        count = write_crops(crops, made, target, bad)
        rows = [f"{crop.name}\t{crop.text}" for crop in crops]
        write_text(made / MARK, _mark(session, "picture\ttext", rows))
    lines = [f"written: {out}, {count:,} crops; those that nobody looked at are left out"]
    return "\n".join([*lines, *(f"left out: {error}" for error in bad)])


def _mark(session: Session, head: str, rows: Sequence[str]) -> str:
    """The text of the file `MARK`."""
    return "\n".join([f"# review of {digest_of(session.pages)}", head, *rows]) + "\n"
