"""A repaired copy of a data set: automatic repairs, and a list of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from craftjax.weak.word_crops import is_outside
from ocrcore.data.readers.label_lines import Layout
from ocrcore.pages import FloatArray, Page, Word
from ocrjax.labels.copies import CopyPart, write_copy
from ocrjax.labels.findings import KINDS, Finding
from ocrjax.labels.lint import Lint, Part
from ocrjax.labels.targets import TARGETS
from ocrjax.labels.text_faults import cleaned

CHANGES = "changes.tsv"
"""File in the folder of the copy that lists the changes, one per line."""
_MANY = 0.2  # share of words above which wrong first corners are repaired
# Output formats for layouts of text files; other layouts have a format of the same name.
_LAYOUTS = {
    "box": "icdar2013",
    "quad": "icdar2015",
    "polygon": "cvat-icdar",
    "quoted": "cvat-icdar",
    "ctw1500": "cvat-icdar",  # has outlines without texts, but our CTW1500 writer needs texts
}


def target_of(part: Part) -> str:
    """Return the format of `ocrjax.labels.targets.TARGETS` for the format that a part has.

    Raises:
        ValueError: the format can be read but not written.
    """
    layout, documents = part.folder.layout, part.folder.documents
    if documents is not None:
        name = documents.labels.format
    else:
        assert isinstance(layout, Layout)
        curved = any(word.polygon is not None for page in part.pages for word in page.words)
        name = "polygon" if curved and layout.name in ("box", "quad") else layout.name
        name = _LAYOUTS.get(name, name)
    if name not in TARGETS:
        raise ValueError(f"{layout}: can be read but not written; name another format with --to")
    return name


def repaired(found: Lint) -> tuple[dict[str, list[Page]], list[Finding]]:
    """Repair the faults that can be repaired automatically.

    Args:
        found: the lint of the data set.

    Returns:
        The pages by the name of their part, and the findings that were repaired.
    """
    done: list[Finding] = []
    of_word: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    dropped = set()
    turning = _turning(found)
    for one in found.findings:
        if one.kind == "near-duplicate in test set":
            dropped.add((one.part, one.picture))
            done.append(one)
        elif one.word is not None:
            of_word[one.part, one.picture].append(one)
        elif KINDS[one.kind].repair:
            done.append(one)  # already left out or repaired by the reader
    pages: dict[str, list[Page]] = {}
    for part in found.parts:
        kept = pages.setdefault(part.name, [])
        for page in part.pages:
            key = part.name, str(page.path)
            if key not in dropped:
                words = _repaired_words(page, of_word[key], turning, done)
                kept.append(page.with_words(words))
    return pages, done


def _turning(found: Lint) -> set[tuple[str, str]]:
    """Wrong first corners that are too frequent in a part to be chance, as (part, kind)."""
    usable = {part.name: max(part.audit.usable, 1) for part in found.parts}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for one in found.findings:
        if one.kind in _CORNERS:
            counts[one.part, one.kind] += 1
    return {key for key, count in counts.items() if count > _MANY * usable[key[0]]}


def _repaired_words(
    page: Page, findings: list[Finding], turning: set[tuple[str, str]], done: list[Finding]
) -> list[Word]:
    words: list[Word | None] = list(page.words)
    for one in findings:  # the worst first
        assert one.word is not None
        word = words[one.word]
        if word is None or one.kind not in _REPAIRS:
            continue
        if one.kind in _CORNERS and (one.part, one.kind) not in turning:
            continue
        made = _REPAIRS[one.kind](word, page)
        if made is not None and made == word:
            continue  # only a person can decide
        words[one.word] = made
        done.append(one)
    return [word for word in words if word is not None]


def _leave_out(word: Word, page: Page) -> None:
    return None


def _clean(word: Word, page: Page) -> Word:
    return replace(word, text=cleaned(word.text or "") or None)


def _in_order(word: Word, page: Page) -> Word | None:
    """Order the corners clockwise from the same first corner; outlines are not changed.

    A word entirely outside its image was only reported as self-crossing: it is left out.
    """
    if is_outside(word.quad, (page.height, page.width)):
        return None
    if word.polygon is not None:
        return word
    offsets = word.quad - word.quad.mean(axis=0)
    order = np.argsort(np.arctan2(offsets[:, 1], offsets[:, 0]), kind="stable")
    first = int(np.flatnonzero(order == 0)[0])
    return replace(word, quad=word.quad[np.roll(order, -first)])


def _from_top_left(word: Word, page: Page) -> Word:
    first = int(word.quad.sum(axis=1).argmin())
    return replace(word, quad=np.roll(word.quad, -first, axis=0))


def _cut(word: Word, page: Page) -> Word:
    """Clip an axis-aligned box to its image."""
    quad = word.quad
    if word.polygon is not None or not _is_upright(quad):
        return word
    return replace(word, quad=np.clip(quad, 0, (page.width, page.height)))


def _is_upright(quad: FloatArray) -> bool:
    return len(set(quad[:, 0].tolist())) == 2 and len(set(quad[:, 1].tolist())) == 2


_CORNERS = ("lies on its side", "upside down")
_TEXTS = (
    *("wrong encoding", "markup", "control character", "zero-width character", "not NFC"),
    *("full-width character", "mixed scripts", "unusual space"),
)
_REPAIRS: dict[str, Callable[[Word, Page], Word | None]] = {
    "zero area": _leave_out,
    "outside the picture": _leave_out,
    "within the first pixel": _leave_out,
    "labeled twice": _leave_out,
    "self-crossing": _in_order,
    "anticlockwise": _in_order,
    "lies on its side": _from_top_left,
    "upside down": _from_top_left,
    "reaches outside": _cut,
    **dict.fromkeys(_TEXTS, _clean),
}


def write_repaired(
    found: Lint, out: Path, *, target: str = "", pictures: str = "copy"
) -> tuple[list[Finding], list[str]]:
    """Write a repaired copy into a new folder, with `changes.tsv`.

    Args:
        found: the lint of the data set.
        out: the folder; it must not exist, or be empty. A separate test set becomes `test` in it.
        target: one of `ocrjax.labels.targets.TARGETS`; empty: the format that was read.
        pictures: as for `ocrjax.labels.convert.write_labels`.

    Returns:
        The findings that were repaired, and what the format could not store.

    Raises:
        ValueError: nothing is left; the format cannot be written; or it can store none of the
            words.
    """
    pages, done = repaired(found)
    if not any(pages.values()):
        raise ValueError(f"{out}: not written, because no usable image is left")
    parts = [
        CopyPart(part.name, pages[part.name], target or target_of(part)) for part in found.parts
    ]
    return done, write_copy(out, parts, (CHANGES, changes_of(done)), pictures=pictures)


def changes_of(done: Sequence[Finding]) -> str:
    """Return the lines of `changes.tsv`."""
    rows = [
        f"{one.kind}\t{one.place}\t{one.value!r}\t{KINDS[one.kind].repair or 'left out'}"
        for one in done
    ]
    return "\n".join(["fault\tplace\tvalue\tchange", *rows]) + "\n"


def advice(part: Part, out: Path, target: str = "") -> str:
    """Return the config fields that read the copy of a part."""
    form = TARGETS[target or target_of(part)]
    layout = f", layout='{form.layout}'" if form.layout else ""
    return f"kind='{form.kind}', path='{out}'{layout}"
