"""Drawings for inspection: training batches with their targets, and pseudo labels of words.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from craftjax.input_pipeline import BatchSource
from craftjax.weak.crop_workers import UNREADABLE
from craftjax.weak.label_set import LabelSet, LabelSetError
from ocrcore.drawing import (
    CHARACTER,
    FOUND,
    SCORES,
    Color,
    draw_caption,
    draw_page,
    draw_scores,
    draw_text,
    fit_cell,
    grid,
)
from ocrcore.pages import ByteArray, Character, FloatArray, Page, Sample, Word

_SIDE = 320  # side of a crop on a sheet, in pixels
_WIDTH, _HEIGHT, _LINE = 380, 110, 20  # size of a word on a sheet, height of a text line under it
_MARGIN = 0.3  # margin around a word, relative to its height
_MASKED, _DOUBTED = (220, 30, 60), (255, 170, 0)


def draw_batches(source: BatchSource, steps: range) -> ByteArray:
    """Draw the crops of training batches with their targets.

    From left to right: the crop; the region and affinity targets; and where the loss is masked or
    has a lower weight.

    Args:
        source: batches of `craftjax.input_pipeline.make_batches`.
        steps: steps of the batches; at least one.

    Returns:
        `(H, W, 3)` uint8, RGB, with a legend.
    """
    cells = list[ByteArray]()
    for step in steps:
        batch, chosen, *_ = source.build(step)
        for row, (image, place) in enumerate(zip(batch["image"], chosen, strict=True)):
            maps = np.stack([batch["region"][row], batch["affinity"][row]], -1)
            counted = _draw_confidence(image, batch["confidence"][row])
            panels = np.split(draw_scores(image, maps), 2, axis=1)
            fitted = [fit_cell(x, width=_SIDE, height=_SIDE) for x in (image, *panels, counted)]
            strip = grid(fitted, columns=4)
            which, _ = place
            name = f"{source.mix.names[which]}: {Path(source.mix.name(*place)).name}"
            over = draw_text(f"step {step}, {name}", width=strip.shape[1], height=_LINE)
            cells.append(grid([over, strip], columns=1))
    legend = (
        *SCORES,
        ("masked: don't care, unknown, or outside the image", _MASKED),
        ("lower weight", _DOUBTED),
    )
    title = "training crops; region and affinity targets; where the loss counts"
    sheet = grid(cells, columns=2, gap=16)
    return grid([draw_caption(title, legend, width=sheet.shape[1]), sheet], columns=1, gap=12)


def draw_labels(
    labels: LabelSet, read: Callable[[str, int], Sample], *, title: str, count: int = 16
) -> ByteArray | None:
    """Draw pseudo labels over their photos: the words with the least confidence, worst first.

    Args:
        labels: the pseudo labels.
        read: reads a page by the name of its data set and its index there.
        title: title of the sheet.
        count: most words to draw.

    Returns:
        `(H, W, 3)` uint8, RGB, with a legend; None if no word can be drawn.
    """
    worst = np.argsort(labels.scores[:, 0], kind="stable")[:count].tolist()
    cells: dict[int, ByteArray] = {}
    for at in sorted(worst, key=lambda at: int(labels.words[at, 0])):  # page by page
        source, index, _ = labels.pages[labels.words[at, 0]].tolist()
        name = labels.sources[source]
        try:
            sample = read(name, index)
            page = labels.attach(name, index, sample.page)
        except (*UNREADABLE, LabelSetError):
            continue
        if page is not None:
            word = page.words[int(labels.words[at, 1])]
            photo = Path(page.path).name if page.path else f"page {index}"
            split = ", in equal parts" if labels.scores[at, 1] else ""
            cells[at] = _draw_word(sample.image, word, split, photo)
    if not cells:
        return None
    sheet = grid([cells[at] for at in worst if at in cells], columns=4, gap=12)
    legend: list[tuple[str, Color | None]] = [
        ("your word box", FOUND),
        ("characters that the network is trained on", CHARACTER),
        ("in equal parts: the network's scores were too weak", None),
    ]
    return grid([draw_caption(title, legend, width=sheet.shape[1]), sheet], columns=1, gap=12)


def _draw_confidence(image: ByteArray, confidence: FloatArray) -> ByteArray:
    """A crop with masked areas in red, and areas of lower weight in orange."""
    size = image.shape[1], image.shape[0]
    known = cv2.resize(confidence, size, interpolation=cv2.INTER_NEAREST)[:, :, None]
    color = np.where(known > 0, np.array(_DOUBTED), np.array(_MASKED))
    share = 0.75 * (1 - known)
    return np.rint(image * (1 - share) + color * share).astype(np.uint8)


def _draw_word(image: ByteArray, word: Word, split: str, photo: str) -> ByteArray:
    """A word cut out of its photo, with its characters; its text and the photo's name below."""
    points = np.concatenate([word.quad, *(c.quad for c in word.characters)])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(_MARGIN * float((high - low).min()), 2.0)
    last = np.array(image.shape[1::-1]) - 1
    left, top = np.clip(np.floor(low - margin), 0, last).astype(int).tolist()
    right, bottom = np.maximum(np.ceil(high + margin).astype(int), (left + 1, top + 1)).tolist()
    cut = image[top:bottom, left:right]
    corner = np.array([left, top], np.float32)
    quads = (Character(c.text, c.quad - corner) for c in word.characters)
    moved = replace(word, quad=word.quad - corner, polygon=None, characters=tuple(quads))
    size = cut.shape[0], cut.shape[1]
    scale = min(_WIDTH / size[1], _HEIGHT / size[0])
    drawn = draw_page(cut, Page(*size, (moved,)), scale=scale, characters=True)
    text = f"{word.text!r} {word.score or 0:.2f}{split}"
    return np.vstack(
        [
            fit_cell(drawn, width=_WIDTH, height=_HEIGHT),
            draw_text(text, width=_WIDTH, height=_LINE),
            draw_text(photo, width=_WIDTH, height=_LINE, color=(90, 90, 90)),
        ]
    )
