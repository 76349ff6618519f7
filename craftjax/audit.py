"""Looks at word labels before anything is trained on them, and says what would go wrong.

Most failures of training on one's own words are decided by the labels: all words are marked "don't
care", boxes are written as x, y, width and height, corners begin elsewhere. The detector then
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

# Shares of all words (or lines) from which on a fault is called one of the whole data set.
_MANY, _SOME = 0.2, 0.02
_MOSTLY, _HALF = 0.9, 0.5
SMALL = 8
"""Pixels; lower words have characters of two or three pixels of the maps."""
_SHOWN = 5  # lines shown of what is malformed


@dataclass(slots=True)
class Audit:
    """What was found; see `audit_words`.

    Attributes:
        layout: how the lines of the label files are written.
        pages: pictures with labels that can be read.
        empty: those among them without words.
        words: all words, those included that do not count.
        dont_care: words that do not count.
        no_text: words that count, without any text in their line.
        blank: words that count, whose text has no character in it.
        dropped: words that count and have a text, but whose quad cannot be used.
        usable: words that can be trained on.
        characters: of those.
        vertical: words among them that run downwards.
        spaces: words among them with a space inside.
        small: words among them that are less than 8 pixels high.
        longest: text with the most characters.
        height: median height of usable words, in pixels.
        faults: quads by what is wrong with them.
        examples: the first of these: file, word and fault.
        bad: malformed lines, broken pictures and label files.
        turned: pictures that EXIF turns.
        notes: what of the folder is not used.
        warnings: what makes training fail, and what to do.
        hints: those of them that only make its result worse than it could be.
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
        """Lines on how much there is."""
        return [
            f"labels read as {self.layout}",
            f"{self.pages:,} pages ({self.empty:,} without words), {self.words:,} words: "
            f"{self.usable:,} to train on with {self.characters:,} characters, "
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
    """Read all labels of a folder, and decode all its pictures once.

    Words that do not count, and words without a text, are masked in training: how many characters
    they have is not known.

    Args:
        folder: with its layout and its "don't care" texts.
        start: first picture that is trained on.
        stop: the picture before which to stop; None goes to the end.
    """
    bad: list[Exception] = []
    return audit_pages(folder, _pages(folder, start, stop, bad), bad)


def audit_pages(folder: PhotoFolder, pages: Iterable[Page], bad: list[Exception]) -> Audit:
    """The same of pages that are read elsewhere.

    Args:
        folder: that they are of.
        pages: nothing is taken of them where the layout of the labels is not clear.
        bad: malformed lines, broken pictures and label files; read when `pages` is at its end.
    """
    audit = Audit(bad=bad)
    heights: list[int] = []
    shapes: Counter[str] = Counter()
    audit.notes = unused_files(folder)
    try:
        audit.layout = str(folder.layout)
    except LabelError as unclear:
        audit.layout = "nothing: their layout is not clear"
        audit.bad.append(unclear)
        audit.warnings.append("nothing can be trained on before the layout is named; see above")
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
    """Look at the data sets of an experiment that have words only.

    Args:
        sources: by name.
        log: called with what was found.

    Returns:
        What was found in each of them.

    Raises:
        LabelError: a folder that does not exist, or holds no picture.
    """
    found = {}
    for name, options in sources.items():
        if options.needs_labels:
            folder = open_source(options, seed=0)
            found[name] = audit_words(folder, start=options.start, stop=options.stop)
            log(f"{name}: {found[name]}")
    return found


def audit_experiment(config: Mapping[str, Any]) -> bool:
    """Look at all word labels of an experiment, and prints what was found: the mode `audit`.

    Returns:
        Whether nothing is wrong.

    Raises:
        ValueError: (its subclasses) invalid fields, or no data set of photos and words.
    """
    check(config)
    audits = audit_sources(InputOptions.from_config(config).train)
    if not audits:
        raise ValueError(
            "this config has no data set of kind 'words', or of an annotation tool, in "
            "config.data.train"
        )
    sections = {"config.eval.pages": config["eval"]["pages"], "config.test": config["test"]}
    bad = audit_truth({name: section for name, section in sections.items() if section})
    return not bad and not any(audit.warnings or audit.bad for audit in audits.values())


def audit_truth(
    sections: Mapping[str, Mapping[str, Any]], log: Callable[[str], object] = print
) -> list[Exception]:
    """Look at the word-labeled pictures that an experiment judges by.

    Unlike those to train on, none of them is left out: training refuses to begin.

    Args:
        sections: of the config, by their names; those of the same pictures are looked at once.
        log: called with what was found.

    Returns:
        Lines and files that cannot be read.

    Raises:
        LabelError: a folder that does not exist, or holds no picture.
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
            log(f"{name}: the same pictures as {seen[pictures]}")
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
        text = f"{len(pictures):,} pictures of {folder.images}, {care:,} of {len(words):,} words"
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
    """What is wrong with a quad whose shape is none of `quad_faults`.

    Args:
        quad: `(4, 2)`.
        page: height and width of the picture.
        size: of the word, of `word_size`.
    """
    if is_outside(quad, page):
        return "outside the picture"
    if np.abs(quad).max() <= 1:
        return "within the first pixel"
    return "concave or too thin" if size is None else None


def is_tall(quad: NDArray[np.float32]) -> bool:
    """Whether a word is half as high again as wide, as it lies on its picture."""
    wide, high = np.ptp(quad, axis=0).tolist()
    return bool(high > 1.5 * wide)


def first_corner(quad: NDArray[np.float32], across: int, down: int) -> str:
    """Where the first corner of a word of three or more characters seems to lie.

    Args:
        quad: `(4, 2)`.
        across: width of the word, of `word_size`.
        down: its height.

    Returns:
        "right", "turned" or "upside down".
    """
    wide, high = np.ptp(quad, axis=0).tolist()
    if wide > 1.5 * high and down > 1.5 * across:
        return "turned"  # the edge from the first to the second corner is the short one
    if wide > 1.5 * high and quad[0, 0] > quad[1, 0] and quad[0, 1] > quad[3, 1]:
        return "upside down"
    return "right"


def _warnings(audit: Audit, shapes: Counter[str], folder: PhotoFolder) -> list[str]:
    warnings = []
    counting = audit.words - audit.dont_care
    if not audit.words:
        warnings.append(f"there is no word at all in {folder.labels}")
    elif not counting:
        warnings.append(
            "every word is don't care: nothing would be learned. Their texts are in the list "
            "`dont_care` of the data set; change that list or the labels"
        )
    elif audit.dont_care > _MOSTLY * audit.words:
        warnings.append(
            f"{audit.dont_care / audit.words:.0%} of the words are don't care; is the list "
            "`dont_care` of the data set meant so?"
        )
    if counting and audit.no_text + audit.blank == counting:
        warnings.append(
            "0 words have text: without it nobody knows how many characters a word has, and it is "
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
            f"the corners of {disordered:,} words are not clockwise: crops would be mirrored, or "
            "cannot be made. Expected: top left, top right, bottom right, bottom left in reading "
            "direction"
        )
    of = max(shapes["turned picture"], 1)
    tall, others = shapes["tall in turned picture"], shapes["tall in other picture"]
    if tall > _HALF * of and others <= _HALF * shapes["other picture"]:
        warnings.append(
            f"{tall:,} of {of:,} words in pictures turned by EXIF are taller than wide: their "
            "labels seem to be of the stored pixels. Label the turned pictures, or read the "
            f"stored pixels everywhere by {EXIF_VARIABLE}=ignore in the environment"
        )
    seen = max(sum(shapes[kind] for kind in ("turned", "upside down", "right")), 1)
    for kind, what in (
        ("turned", "lie on their side: the first corner does not seem to be the top left one"),
        ("upside down", "stand on their head: the first corner seems to be the bottom right one"),
    ):
        if shapes[kind] > _MANY * seen:
            warnings.append(
                f"{shapes[kind]:,} words {what}. Expected: top left, top right, bottom right, "
                "bottom left in reading direction"
            )
    if audit.faults["outside the picture"] > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.faults['outside the picture']:,} words lie outside of their picture: were "
            "the pictures resized or turned after they were labeled?"
        )
    if audit.faults["within the first pixel"] > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.faults['within the first pixel']:,} words lie within the first pixel: are "
            "their coordinates shares of the picture? Expected: pixels"
        )
    if audit.dropped > _SOME * max(counting, 1):
        warnings.append(
            f"{audit.dropped:,} of {counting:,} words that count are dropped, because no crop can "
            f"be made of their quads; {audit.usable:,} are left to train on"
        )
    return warnings


def _hints(audit: Audit) -> list[str]:
    hints = []
    if audit.small > _MANY * max(audit.usable, 1):
        hints.append(
            f"{audit.small:,} words are lower than {SMALL} pixels; magnify the pictures, or mark "
            "such words as don't care"
        )
    if audit.spaces > _MANY * max(audit.usable, 1):
        hints.append(
            f"{audit.spaces:,} words have a space inside: these seem to be lines. The detector "
            "will learn to find lines"
        )
    return hints
