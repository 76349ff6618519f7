"""What a review begins with: the words to look at, or predictions of pictures without labels.

Host code: no jax; a reader is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ocrcore.data.readers.skipped_files import broken_pictures
from ocrcore.evaluation.label_errors import Suspect
from ocrcore.images import check_image, find_images, image_size
from ocrcore.pages import Page
from ocrcore.progress import Progress
from ocrjax.labels.lint import Lint
from ocrjax.review.session import Item

if TYPE_CHECKING:
    from ocrjax.reader import Reader


def items_of(found: Lint, suspects: Sequence[Suspect] = (), *, every: bool = False) -> list[Item]:
    """The words to look at, each once: faults, then labels that networks doubt.

    Args:
        found: of the pages, in the order of their parts.
        suspects: the most suspicious first.
        every: whether all other words that count come behind them.
    """
    pages = [page for part in found.parts for page in part.pages]
    numbers = {str(page.path): number for number, page in enumerate(pages)}
    read = {
        (numbers[one.page or ""], one.word): one.read for one in suspects if one.word is not None
    }
    items: dict[object, Item] = {}
    for fault in found.findings:
        if fault.word is not None and fault.picture in numbers:
            key = numbers[fault.picture], fault.word
            why = f"{fault.kind}: {fault.why}"
            items.setdefault(key, Item(*key, why, read.get(key)))
    for one in suspects:
        page = numbers[one.page or ""]
        quad = np.array(one.quad, np.float32)
        key = page, one.word if one.word is not None else one.quad  # type: ignore[assignment]
        items.setdefault(key, Item(page, one.word, one.why, one.read, quad))
    if every:
        for number, page_ in enumerate(pages):
            for index, word in enumerate(page_.words):
                if word.care:
                    items.setdefault((number, index), Item(number, index))
    return list(items.values())


def empty_pages(folder: str | Path) -> tuple[list[Page], list[ValueError]]:
    """A page without words for each picture of a folder, and pictures that cannot be read."""
    paths = find_images([str(folder)])
    sizes = {}

    def look(path: Path) -> None:
        check_image(path)  # a truncated one would be saved as a picture without text
        sizes[path] = image_size(path)

    broken = broken_pictures(paths, look, task=f"decoding the pictures of {folder}")
    pages = [Page(*sizes[path], (), str(path)) for path in paths if path in sizes]
    return pages, [error for _, error in broken]


def predicted(pages: Sequence[Page], reader: Reader) -> tuple[list[Page], list[Item]]:
    """Pages with what a reader finds, and all their words, those it doubts most first."""
    found = list(pages)
    with Progress("reading", unit="picture", total=len(pages)) as progress:
        for reading in reader.stream([str(page.path) for page in pages]):
            if reading.page is not None:
                page = pages[reading.index]
                found[reading.index] = page.with_words(reading.page.words)
            progress.update(progress.done + 1)
    return found, by_doubt(found)


def by_doubt(pages: Iterable[Page]) -> list[Item]:
    """All words, the least sure first."""
    items = [
        (word.confidence or 0.0, number, index, word.text)
        for number, page in enumerate(pages)
        for index, word in enumerate(page.words)
    ]
    return [
        Item(number, index, f"{confidence:.0%} sure", text)
        for confidence, number, index, text in sorted(items, key=lambda one: one[:3])
    ]
