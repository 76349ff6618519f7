"""The items of a review: words to check, or predictions for images without labels.

Host code: no jax; readers are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ocrcore.data.readers.skipped_files import broken_pictures
from ocrcore.evaluation.doubt import least_sure
from ocrcore.evaluation.label_errors import Suspect
from ocrcore.images import check_image, find_images, image_size
from ocrcore.pages import Page, Word
from ocrcore.progress import Progress
from ocrjax.labels.lint import Lint
from ocrjax.review.session import Item

if TYPE_CHECKING:
    from ocrjax.reader import Reader


def items_of(found: Lint, suspects: Sequence[Suspect] = (), *, every: bool = False) -> list[Item]:
    """Return the words to check, each once: faults, then labels that networks contradict.

    Args:
        found: the lint of the pages, in the order of their parts.
        suspects: suspected label errors, the most suspicious first.
        every: whether all other words that count follow.
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
    """Return an empty page for each image of a folder, and the errors of unreadable images."""
    paths = find_images([str(folder)])
    sizes = {}

    def look(path: Path) -> None:
        check_image(path)  # else a truncated image would be saved as one without text
        sizes[path] = image_size(path)

    broken = broken_pictures(paths, look, task=f"decoding the images of {folder}")
    pages = [Page(*sizes[path], (), str(path)) for path in paths if path in sizes]
    return pages, [error for _, error in broken]


def predicted(pages: Sequence[Page], reader: Reader) -> tuple[list[Page], list[Item]]:
    """Return pages with a reader's predictions, and all words, the least confident first."""
    found = list(pages)
    with Progress("reading", unit="image", total=len(pages)) as progress:
        for reading in reader.stream([str(page.path) for page in pages]):
            if reading.page is not None:
                page = pages[reading.index]
                found[reading.index] = page.with_words(reading.page.words)
            progress.update(progress.done + 1)
    return found, by_doubt(found)


def predicted_crops(
    pages: Sequence[Page], reader: Reader, *, together: int = 256
) -> tuple[list[Page], list[Item]]:
    """Read images of one word each; return the pages and words, the least confident first.

    Args:
        pages: empty pages of readable images.
        reader: the reader whose recognizer is used.
        together: number of images read at a time.
    """
    found: list[Page] = []
    with Progress("reading", unit="crop", total=len(pages)) as progress:
        for start in range(0, len(pages), together):
            part = pages[start : start + together]
            readings = reader.recognizer.recognize([str(page.path) for page in part])
            for page, (text, confidence) in zip(part, readings, strict=True):
                right, low = page.width, page.height
                quad = np.array([(0, 0), (right, 0), (right, low), (0, low)], np.float32)
                found.append(page.with_words([Word(quad, text, confidence=confidence)]))
            progress.update(len(found))
    return found, by_doubt(found)


def by_doubt(pages: Iterable[Page]) -> list[Item]:
    """Return all words, the least confident first."""
    words = [
        (number, index, word)
        for number, page in enumerate(pages)
        for index, word in enumerate(page.words)
    ]
    chosen = [words[place] for place in least_sure([word.confidence for *_, word in words])]
    return [
        Item(number, index, f"{word.confidence or 0:.0%} sure", word.text)
        for number, index, word in chosen
    ]


def shuffled(items: Sequence[Item]) -> list[Item]:
    """Return the words in a random order, with a fixed seed."""
    return [items[place] for place in np.random.default_rng(0).permutation(len(items))]
