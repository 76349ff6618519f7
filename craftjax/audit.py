"""Audit of word labels before training: finds what would make training fail.

Most failed trainings on custom words are due to the labels: all words are marked "don't care",
boxes are written as x, y, width and height, or corners are in the wrong order. The detector then
learns that there is no text, while the loss falls.

Host code: no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craftjax.config import check
from craftjax.input_pipeline import InputOptions
from craftjax.options import too_few
from craftjax.sources import SourceOptions, open_source
from craftjax.weak.word_crops import is_outside, is_vertical, word_size
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.skipped_files import (
    broken_photos,
    describe_turned,
    turned_pictures,
    unused_files,
)
from ocrcore.data.readers.words import WORD_KINDS, open_section
from ocrcore.geometry import quad_faults
from ocrcore.images import EXIF_VARIABLE, ImageError, is_turned
from ocrcore.pages import LabelError, Page, PageError
from ocrcore.progress import shown
from ocrcore.text import visible_graphemes

# Shares of all words (or lines) above which a fault concerns the whole data set.
_MANY, _SOME = 0.2, 0.02
_MOSTLY, _HALF = 0.9, 0.5
SMALL = 8
"""Pixels; characters of words below this height cover only two or three pixels of the maps."""
_SHOWN = 5  # most malformed lines to show


@dataclass(slots=True)
class Audit:
    """The result of an audit; see `audit_words`.

    Attributes:
        layout: layout of the lines in the label files.
        pages: number of images with readable labels.
        empty: number of these without words.
        words: number of all words, including don't-care words.
        dont_care: number of don't-care words.
        no_text: number of words that count but have no text in their line.
        blank: number of words that count but whose text has no visible character.
        dropped: number of words that count and have a text, but have an unusable quad.
        usable: number of words that can be trained on.
        characters: number of characters of usable words.
        vertical: number of usable words that run downwards.
        spaces: number of usable words with a space inside.
        small: number of usable words below 8 pixels in height.
        longest: text with the most characters.
        height: median height of usable words, in pixels.
        faults: number of quads by fault.
        examples: the first of these: file, word and fault.
        bad: errors of malformed lines, broken images and label files.
        turned: images that EXIF rotates.
        notes: parts of the folder that are not used.
        warnings: what makes training fail, and what to do.
        hints: the warnings that only make the result worse.
    """

    layout: str = "quad"
    pages: int = 0
    empty: int = 0
    words: int = 0
    dont_care: int = 0
    no_text: int = 0
    blank: int = 0
    dropped: int = 0
    usable: int = 0
    characters: int = 0
    vertical: int = 0
    spaces: int = 0
    small: int = 0
    longest: str = ""
    height: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    bad: list[Exception] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    @property
    def summary(self) -> list[str]:
        """Return lines with the amounts of data."""
        return [
            f"labels read as {self.layout}",
            f"{self.pages:,} pages ({self.empty:,} without words), {self.words:,} words: "
            f"{self.usable:,} usable with {self.characters:,} characters, "
            f"{self.dont_care:,} don't care, {self.no_text + self.blank:,} without text, "
            f"{self.dropped:,} dropped",
            f"{self.vertical:,} vertical, {self.spaces:,} with spaces, {self.small:,} lower than "
            f"{SMALL} pixels; median height {self.height:.0f} pixels; longest {self.longest!r} "
            f"({len(visible_graphemes(self.longest))} characters)",
        ]

    def __str__(self) -> str:
        lines = self.summary
        if self.faults:
            counted = (f"{number:,} {fault}" for fault, number in self.faults.most_common())
            lines.append(f"quads: {', '.join(counted)}")
            lines += [f"  {example}" for example in self.examples]
        lines += _shown(self.bad)
        if self.turned:
            lines.append(describe_turned(self.turned, self.pages))
        return "\n".join(
            [*lines, *self.notes, *(f"WARNING: {warning}" for warning in self.warnings)]
        )


def _shown(bad: Sequence[Exception]) -> list[str]:
    if not bad:
        return []
    more = [f"  and {len(bad) - _SHOWN:,} more"] * (len(bad) > _SHOWN)
    head = f"{len(bad):,} lines or files that cannot be read:"
    return [head, *(f"  {error}" for error in bad[:_SHOWN]), *more]


def audit_words(folder: PhotoFolder, *, start: int = 0, stop: int | None = None) -> Audit:
    """Read all labels of a folder, and decode all its images once.

    Don't-care words and words without text are masked in training, because the number of their
    characters is not known.

    Args:
        folder: the folder, with its layout and its don't-care texts.
        start: index of the first training image.
        stop: index after the last training image; None goes to the end.
    """
    bad: list[Exception] = []
    return audit_pages(folder, _pages(folder, start, stop, bad), bad)


def audit_pages(folder: PhotoFolder, pages: Iterable[Page], bad: list[Exception]) -> Audit:
    """Audit pages that the caller reads; see `audit_words`.

    Args:
        folder: the folder of the pages.
        pages: the pages; not read if the layout of the labels is ambiguous.
        bad: errors of malformed lines, broken images and label files; used after `pages` ends.
    """
    audit = Audit(bad=bad)
    heights: list[int] = []
    shapes: Counter[str] = Counter()
    audit.notes = unused_files(folder)
    try:
        audit.layout = str(folder.layout)
    except LabelError as unclear:
        audit.layout = "nothing: their layout is ambiguous"
        audit.bad.append(unclear)
        audit.warnings.append("no labels can be used until the layout is given; see above")
        return audit
    for page in pages:
        audit.pages += 1
        audit.empty += not page.words
        turned = bool(page.path) and is_turned(page.path or "")
        audit.turned += [page.path or ""] * turned
        faults = quad_faults(page.quads)
        for number, (word, fault) in enumerate(zip(page.words, faults, strict=True), 1):
            audit.words += 1
            if not word.care:
                audit.dont_care += 1
                continue
            size = word_size(word.quad, (page.height, page.width))
            if what := fault or misplaced(word.quad, (page.height, page.width), size):
                audit.faults[what] += 1
                if len(audit.examples) < _SHOWN:
                    audit.examples.append(f"{page.path}: word {number}, {word.text!r}: {what}")
            characters = visible_graphemes(word.text or "")
            if not characters:
                audit.no_text += word.text is None
                audit.blank += word.text is not None
                continue
            if size is None:
                audit.dropped += 1
                continue
            across, down = size
            audit.usable += 1
            audit.characters += len(characters)
            vertical = is_vertical(across, down, len(characters))
            audit.vertical += vertical
            audit.spaces += " " in (word.text or "").strip()
            heights.append(across if vertical else down)
            audit.small += heights[-1] < SMALL
            if len(characters) > len(visible_graphemes(audit.longest)):
                audit.longest = word.text or ""
            if len(characters) > 2:
                where = "turned picture" if turned else "other picture"
                shapes[where] += 1
                shapes[f"tall in {where}"] += is_tall(word.quad)
            if len(characters) > 2 and not fault:
                shapes[first_corner(word.quad, across, down)] += 1
    audit.height = float(np.median(heights)) if heights else 0.0
    audit.hints = _hints(audit)
    audit.warnings = _warnings(audit, shapes, folder) + audit.hints
    return audit


def audit_sources(
    sources: Mapping[str, SourceOptions], log: Callable[[str], object] = print
) -> dict[str, Audit]:
    """Audit the word-labeled data sets of an experiment.

    Args:
        sources: data sets by name.
        log: called with the results.

    Returns:
        The audit of each data set.

    Raises:
        LabelError: a folder does not exist, or has no images.
    """
    found = {}
    for name, options in sources.items():
        if options.needs_labels:
            folder = open_source(options, seed=0)
            found[name] = audit_words(folder, start=options.start, stop=options.stop)
            log(f"{name}: {found[name]}")
    return found


def audit_experiment(config: Mapping[str, Any]) -> bool:
    """Audit all word labels of an experiment and print the results: the mode `audit`.

    Returns:
        Whether there are no faults.

    Raises:
        ValueError: (subclasses) invalid fields, or no data set of photos and words.
    """
    check(config)
    audits = audit_sources(InputOptions.from_config(config).train)
    if not audits:
        raise ValueError(
            "config.data.train has no data set of kind 'words' or of an annotation tool, so there "
            "is nothing to audit"
        )
    sections = {"config.eval.pages": config["eval"]["pages"], "config.test": config["test"]}
    bad = audit_truth({name: section for name, section in sections.items() if section})
    return not bad and not any(audit.warnings or audit.bad for audit in audits.values())


def audit_truth(
    sections: Mapping[str, Mapping[str, Any]], log: Callable[[str], object] = print
) -> list[Exception]:
    """Audit the word-labeled images that an experiment evaluates on.

    Unlike training images, faulty ones are not left out: training refuses to begin.

    Args:
        sections: sections of the config by name; sections with the same images are audited once.
        log: called with the results.

    Returns:
        The errors of lines and files that cannot be read.

    Raises:
        LabelError: a folder does not exist, or has no images.
    """
    found: list[Exception] = []
    seen: dict[tuple[str, ...], str] = {}
    said: set[str] = set()
    for name, section in sections.items():
        if section["kind"] not in WORD_KINDS:
            continue
        folder = open_section(section)
        pictures = tuple(folder.name(index) for index in range(len(folder)))
        if pictures in seen:
            log(f"{name}: the same images as {seen[pictures]}")
            continue
        seen[pictures] = name
        bad: list[Exception] = []
        try:
            layout = str(folder.layout)
        except LabelError as fault:
            log(f"{name}: {fault}")
            found.append(fault)
            continue
        pages = [*_pages(folder, 0, None, bad)]
        words = [word for page in pages for word in page.words]
        care = sum(word.care for word in words)
        text = f"{len(pictures):,} images of {folder.images}, {care:,} of {len(words):,} words"
        lines = [f"{name}: labels read as {layout}", f"{text} count"]
        notes = unused_files(folder)
        lines += [*_shown(bad), *(note for note in notes if note not in said)]
        said.update(notes)
        judging = sum(any(word.care for word in page.words) for page in pages)
        if name != "config.test" and (few := too_few(care, judging)):  # the test chooses nothing
            lines.append(few)
        if turned := turned_pictures(folder):
            lines.append(describe_turned(turned, len(folder)))
        log("\n".join(lines))
        found += bad
    return found


def _pages(
    folder: PhotoFolder, start: int, stop: int | None, bad: list[Exception]
) -> Iterator[Page]:
    lines: list[LabelError] = []
    stop = min(len(folder), len(folder) if stop is None else stop)
    broken = broken_photos(folder, start, stop)
    for index in shown(range(start, stop), f"reading the labels of {folder.labels}", unit="page"):
        if error := broken.get(folder.name(index)):
            bad.append(error)
            continue
        try:
            yield folder.page(index, bad=lines)
        except (LabelError, ImageError, PageError) as fault:
            bad.append(fault)
    bad.extend(lines)


def misplaced(
    quad: NDArray[np.float32], page: tuple[int, int], size: tuple[int, int] | None
) -> str | None:
    """Return the fault of a quad in which `quad_faults` finds none; None if it is usable.

    Args:
        quad: `(4, 2)`.
        page: height and width of the image.
        size: size of the word, as `word_size` returns it.
    """
    if is_outside(quad, page):
        return "outside the picture"
    if np.abs(quad).max() <= 1:
        return "within the first pixel"
    return "concave or too thin" if size is None else None


def is_tall(quad: NDArray[np.float32]) -> bool:
    """Return whether a word is more than 1.5 times as high as wide on its image."""
    wide, high = np.ptp(quad, axis=0).tolist()
    return bool(high > 1.5 * wide)


def first_corner(quad: NDArray[np.float32], across: int, down: int) -> str:
    """Guess the position of the first corner of a word of three or more characters.

    Args:
        quad: `(4, 2)`.
        across: width of the word, as `word_size` returns it.
        down: height of the word.

    Returns:
        "right", "turned" or "upside down".
    """
    wide, high = np.ptp(quad, axis=0).tolist()
    if wide > 1.5 * high and down > 1.5 * across:
        return "turned"  # the edge from the first to the second corner is the shorter one
    if wide > 1.5 * high and quad[0, 0] > quad[1, 0] and quad[0, 1] > quad[3, 1]:
        return "upside down"
    return "right"


def _warnings(audit: Audit, shapes: Counter[str], folder: PhotoFolder) -> list[str]:
    warnings = []
    counting = audit.words - audit.dont_care
    if not audit.words:
        warnings.append(f"{folder.labels} has no words at all")
    elif not counting:
        warnings.append(
            "all words are don't care, so nothing would be learned. Their texts are in the list "
            "`dont_care` of the data set: change that list or the labels"
        )
    elif audit.dont_care > _MOSTLY * audit.words:
        warnings.append(
            f"{audit.dont_care / audit.words:.0%} of the words are don't care; check the list "
            "`dont_care` of the data set"
        )
    if counting and audit.no_text + audit.blank == counting:
        warnings.append(
            "0 words have text: without it the number of characters is not known, and the word is "
            "masked. Write the text after the coordinates: x1,y1,x2,y2,x3,y3,x4,y4,text"
        )
    elif audit.no_text + audit.blank > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.no_text + audit.blank:,} words have no text and are masked (an empty text is "
            "not the same as don't care; write ### for words that nobody can read)"
        )
    swapped = sum("width and height" in str(error) for error in audit.bad)
    if swapped > _SOME * (audit.words + swapped):
        warnings.append(
            f"{swapped:,} boxes end before they begin: they look like x, y, width, height. "
            "Expected: left, top, right, bottom, or four corners"
        )
    bad = len(audit.bad) - swapped
    if bad > _SOME * (audit.words + bad):
        warnings.append(f"{bad:,} lines or files cannot be read; see above")
    disordered = audit.faults["anticlockwise"] + audit.faults["self-crossing"]
    if disordered > _SOME * max(counting, 1):
        warnings.append(
            f"the corners of {disordered:,} words are not clockwise: crops would be mirrored or "
            "impossible. Expected: top left, top right, bottom right, bottom left in reading "
            "direction"
        )
    of = max(shapes["turned picture"], 1)
    tall, others = shapes["tall in turned picture"], shapes["tall in other picture"]
    if tall > _HALF * of and others <= _HALF * shapes["other picture"]:
        warnings.append(
            f"{tall:,} of {of:,} words in images rotated by EXIF are taller than wide: their "
            "labels seem to ignore the rotation. Label the rotated images, or ignore EXIF "
            f"everywhere by {EXIF_VARIABLE}=ignore in the environment"
        )
    seen = max(sum(shapes[kind] for kind in ("turned", "upside down", "right")), 1)
    for kind, what in (
        ("turned", "lie on their side: the first corner does not seem to be the top left one"),
        ("upside down", "are upside down: the first corner seems to be the bottom right one"),
    ):
        if shapes[kind] > _MANY * seen:
            warnings.append(
                f"{shapes[kind]:,} words {what}. Expected: top left, top right, bottom right, "
                "bottom left in reading direction"
            )
    if audit.faults["outside the picture"] > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.faults['outside the picture']:,} words are outside their image: were the "
            "images resized or rotated after labeling?"
        )
    if audit.faults["within the first pixel"] > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.faults['within the first pixel']:,} words lie within the first pixel: are "
            "their coordinates relative to the image size? Expected: pixels"
        )
    if audit.dropped > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.dropped:,} of {counting:,} words that count are dropped, because their quads "
            f"are unusable; {audit.usable:,} are left for training"
        )
    return warnings


def _hints(audit: Audit) -> list[str]:
    hints = []
    if audit.small > _MANY * max(audit.usable, 1):
        hints.append(
            f"{audit.small:,} words are lower than {SMALL} pixels; magnify the images, or mark "
            "such words as don't care"
        )
    if audit.spaces > _MANY * max(audit.usable, 1):
        hints.append(
            f"{audit.spaces:,} words have a space inside and seem to be lines: the detector will "
            "learn to find lines"
        )
    return hints
