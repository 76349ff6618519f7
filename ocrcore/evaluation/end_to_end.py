"""End-to-end scores: a word counts if it is found in the right place and read correctly.

The protocol is `end_to_end`. Texts are folded: lower case, then only a-z and 0-9. Words without
any of these do not count: such labels become "don't care", such found words are left out. Then
words are matched as in `iou` of `ocrcore.evaluation.matching`: one to one, intersection over union
above 0.5, ignoring found words with more than half of their area on a single "don't care" word. A
pair is a hit if both texts are equal. Precision is hits over found words, recall hits over true
words, F their harmonic mean (`Evaluation.hmean`).

For intervals over images and the paired comparison of two readings see
`ocrcore.evaluation.statistics`: `bootstrap_hmean` and `paired_bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ocrcore.evaluation.matching import Evaluation, ImageResult, evaluate_pages
from ocrcore.pages import Page
from ocrcore.text import fold

PROTOCOL = "end_to_end"


def evaluate_readings(
    truth: Sequence[Page],
    read: Sequence[Page],
    *,
    fold: Callable[[str], str] = fold,
    iou: float = 0.5,
    ignore: float = 0.5,
) -> Evaluation:
    """Score read pages against labeled ones.

    Args:
        truth: the labels; "don't care" words have `care=False`; words without text count as such.
        read: the readings of the same images in the same order.
        fold: normalizes texts before they are compared.
        iou: intersection over union that a pair must exceed.
        ignore: fraction of a found word on "don't care" above which it does not count.

    Returns:
        An evaluation whose pairs are the hits. Indices refer to the given words; found words
        without a text that counts are in `ignored`.

    Raises:
        ValueError: lists of different lengths, or pages of different images.
    """
    if len(truth) != len(read):
        raise ValueError(
            f"{len(truth)} labeled pages and {len(read)} that were read: expected the same images"
        )
    wanted = [[fold(word.text or "") for word in page.words] for page in truth]
    found = [[fold(word.text or "") for word in page.words] for page in read]
    kept = [[index for index, text in enumerate(texts) if text] for texts in found]
    labels = [
        page.with_words(
            [
                replace(word, care=word.care and bool(text))
                for word, text in zip(page.words, texts, strict=True)
            ]
        )
        for page, texts in zip(truth, wanted, strict=True)
    ]
    readings = [
        page.with_words([page.words[index] for index in indices])
        for page, indices in zip(read, kept, strict=True)
    ]
    places = evaluate_pages(labels, readings, iou=iou, ignore=ignore)
    images = [_read_right(*row) for row in zip(places.images, kept, wanted, found, strict=True)]
    return Evaluation(PROTOCOL, tuple(images))


def _read_right(
    image: ImageResult, kept: list[int], wanted: list[str], found: list[str]
) -> ImageResult:
    """Keep the pairs with equal texts, and maps indices to the given found words."""
    pairs = tuple(
        (true, kept[place]) for true, place in image.pairs if wanted[true] == found[kept[place]]
    )
    empty = {index for index, text in enumerate(found) if not text}
    return replace(
        image,
        pairs=pairs,
        recall_sum=float(len(pairs)),
        precision_sum=float(len(pairs)),
        ignored=tuple(sorted(empty.union(kept[place] for place in image.ignored))),
        invalid_found=tuple(kept[place] for place in image.invalid_found),
    )
