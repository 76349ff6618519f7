"""Find faults in a data set of labeled images before training.

A fault of a whole page (labels that ignore the EXIF rotation; boxes as x, y, width, height;
relative coordinates) is reported once, and its words are then checked as they were meant.

Host code: no jax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from craftjax.audit import Audit, audit_pages, is_tall
from craftjax.options import DetectorOptions, magnification_of
from crnnjax.charset import Charset
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import DONT_CARE
from ocrcore.data.readers.label_documents import turned_word
from ocrcore.data.readers.label_files import read_lines
from ocrcore.data.readers.label_lines import Layout, LineError, form_of, read_line, scan
from ocrcore.data.readers.skipped_files import broken_pictures, find_unused
from ocrcore.data.readers.words import find_folders, open_words
from ocrcore.images import ImageError, orientation, read_small
from ocrcore.pages import FloatArray, LabelError, Page, PageError, Word
from ocrcore.progress import shown
from ocrcore.text import visible_graphemes
from ocrjax.labels.findings import KINDS, SEVERITIES, Finding
from ocrjax.labels.twins import fingerprint_of, group_twins
from ocrjax.labels.word_faults import word_faults

_SHORT = 3  # characters; the aspect ratio of shorter words tells little
_MANY = 0.2  # share of pages above which all boxes are taken for x, y, width, height
_EDGE = 2.0  # pixels by which a box may exceed the image
_SWAPPED = "width and height"  # part of the error about a box that ends before it begins
_NAMED = 3  # images of a near-duplicate group that are named


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What labels are checked against.

    Attributes:
        detector: detector options, which determine the scale of images.
        charset: charset of the recognizer; None: any character is valid.
    """

    detector: DetectorOptions = field(default_factory=DetectorOptions)
    charset: Charset | None = None


@dataclass(slots=True)
class Part:
    """A part of a data set and what was read from it.

    Attributes:
        name: "train" or "test".
        folder: the images and their labels.
        pages: the readable pages, with faults of whole pages repaired.
        audit: the training audit of the data as it is.
    """

    name: str
    folder: PhotoFolder
    pages: list[Page] = field(default_factory=list)
    audit: Audit = field(default_factory=Audit)


@dataclass(slots=True)
class Lint:
    """The findings in a data set.

    Attributes:
        parts: the parts of the data set.
        findings: the findings, by severity, kind, file and line.
        characters: how often each character occurs in texts that count.
    """

    parts: list[Part]
    findings: list[Finding] = field(default_factory=list)
    characters: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of findings of each kind, in their order."""
        return dict(Counter(one.kind for one in self.findings))

    @property
    def faulty(self) -> bool:
        """Return whether there are findings worse than hints."""
        return any(one.severity != "hint" for one in self.findings)

    def sort(self) -> None:
        """Sort the findings, the worst first."""
        kinds = {kind: place for place, kind in enumerate(KINDS)}
        self.findings.sort(
            key=lambda one: (
                *(SEVERITIES.index(one.severity), kinds[one.kind], one.part, one.path, one.line),
                -1 if one.word is None else one.word,
            )
        )


def open_parts(
    path: str | Path,
    *,
    kind: str = "auto",
    images: str = "",
    layout: str = "auto",
    dont_care: Sequence[str] = DONT_CARE,
) -> tuple[list[Part], list[Finding]]:
    """Open a data set, and its own test set if it has one.

    Args:
        path: its folder, or a label file.
        kind: one of `ocrcore.data.readers.words.WORD_KINDS`.
        images: folder of the images; empty: next to the labels or in a folder inside.
        layout: layout of text files with one word per line.
        dont_care: texts that mark a word as don't care.

    Returns:
        The parts, and findings about duplicate image names.

    Raises:
        LabelError: there are no labels or no images, or labels of several kinds.
    """
    path = Path(path)
    bad: list[LabelError] = []
    folder = open_words(
        path,
        kind=kind,
        images=str(Path(images).absolute()) if images else "",
        labels="." if images and path.is_dir() else "",
        layout=layout,
        dont_care=dont_care,
        bad=bad,
    )
    parts = [Part("train", folder)]
    doubles = [_of_error("duplicate picture name", error, part="train") for error in bad]
    if folder.documents is None and not images and (pair := find_folders(path, test=True)):
        bad = []
        test = PhotoFolder(*pair, None, layout=layout, dont_care=dont_care, bad=bad)
        parts.append(Part("test", test))
        doubles += [_of_error("duplicate picture name", error, part="test") for error in bad]
    return parts, doubles


def lint(parts: list[Part], options: LintOptions | None = None) -> Lint:
    """Check all labels, and decode all images once.

    Args:
        parts: parts of `open_parts`; their pages and audits are filled in.
        options: what they are checked against.
    """
    options = options or LintOptions()
    found = Lint(parts)
    prints: dict[str, FloatArray] = {}
    for part in parts:
        _look_at(part, options, found, prints)
    found.findings += _twins(parts, prints)
    found.sort()
    return found


def _look_at(part: Part, options: LintOptions, found: Lint, prints: dict[str, FloatArray]) -> None:
    """Read a part; add its findings and the fingerprints of its images."""
    folder = part.folder
    findings = found.findings
    findings += _unused(part)
    try:
        layout = folder.layout
    except LabelError as error:
        findings.append(_of_error("ambiguous layout", error, part=part.name))
        part.audit = audit_pages(folder, (), [])
        return
    broken = _decode(folder, prints)
    findings += [
        Finding("broken picture", name, why, picture=name, part=part.name)
        for name, why in broken.items()
    ]
    read: list[tuple[int, Page, Page | None]] = []  # as it is, and read as x, y, w, h
    bad: list[Exception] = [ImageError(f"{name}: {why}") for name, why in broken.items()]
    lines: dict[int, list[LabelError]] = {}
    for index in shown(range(len(folder)), f"reading the labels of {folder.labels}", unit="page"):
        if folder.name(index) in broken:
            continue
        lines[index] = []
        try:
            page = folder.page(index, bad=lines[index])
        except (LabelError, ImageError, PageError) as error:
            bad.append(error)
            findings.append(_of_page(error, folder, index, part.name))
            continue
        other = _as_sizes(folder, index, page, layout) if isinstance(layout, Layout) else None
        read.append((index, page, other))
    boxes = [index for index, _, other in read if other is not None]
    failing = {
        index for index in boxes if any(_SWAPPED in error.expected for error in lines[index])
    }
    every = len(failing) > _MANY * max(len(boxes), 1)
    for index, page, other in shown(read, f"judging {folder.labels}", unit="page"):
        bad += lines[index]
        if other is not None and (index in failing or (every and other.words)):
            label = str(folder.label_files(index)[0])
            why = "boxes seem to be x, y, width, height. Expected left, top, right, bottom"
            findings.append(_whole("x, y, width, height", label, why, page, part.name))
            mended, lines[index] = other, []
        else:
            mended = page
        findings += [_of_error("broken line", error, part=part.name) for error in lines[index]]
        mended = _mended_page(mended, folder, index, part.name, findings)
        part.pages.append(mended)
        findings += _of_words(mended, folder, index, part.name, options)
        for word in mended.words:
            if word.care:
                found.characters.update(visible_graphemes(word.text or ""))
    part.audit = audit_pages(folder, [page for _, page, _ in read], bad)
    _whole_set(part, findings)


def _unused(part: Part) -> list[Finding]:
    """Images, pages, labels and folders that are not used."""
    found = []
    for one in find_unused(part.folder):
        kind = "labels without picture" if one.kind == "labels" else "not used"
        if not one.paths:
            found.append(Finding(kind, str(part.folder.labels), one.text, part=part.name))
        why = {
            "pictures": "unsupported suffix, or inside a subfolder",
            "pages": "has several pages; only the first is used",
            "labels": "there is no image of this name",
            "folders": "has images or labels, but is not a known part of the data set",
        }
        found += [Finding(kind, str(path), why[one.kind], part=part.name) for path in one.paths]
    return found


def _decode(folder: PhotoFolder, prints: dict[str, FloatArray]) -> dict[str, str]:
    """Decode all images; return the errors of broken ones, by path."""

    def look(name: str) -> None:
        prints[name] = fingerprint_of(read_small(name))

    names = [folder.name(index) for index in range(len(folder))]
    task = f"decoding the images of {folder.images}"
    broken = broken_pictures(names, look, task=task)
    return {name: str(error).removeprefix(f"{name}: ") for name, error in broken}


def _of_error(kind: str, error: LabelError, *, part: str) -> Finding:
    return Finding(
        kind, error.path, f"expected {error.expected}", error.value, error.line, part=part
    )


def _of_page(error: Exception, folder: PhotoFolder, index: int, part: str) -> Finding:
    """The finding about a page that cannot be read."""
    name = folder.name(index)
    if not isinstance(error, LabelError):
        return Finding("broken labels", name, str(error), picture=name, part=part)
    missing = not folder.label_files(index)
    kind = "picture without labels" if missing else "broken labels"
    return replace(_of_error(kind, error, part=part), picture=name)


def _whole(kind: str, path: str, why: str, page: Page, part: str) -> Finding:
    """The finding about all words of a page."""
    return Finding(kind, path, why, f"{len(page.words)} words", 0, str(page.path), part)


def _as_sizes(folder: PhotoFolder, index: int, page: Page, layout: Layout) -> Page | None:
    """A page with its boxes read as x, y, width, height.

    None if lines do not hold boxes, or if such boxes do not fit into the image.
    """
    files = folder.label_files(index)
    if "box" not in (layout.commas, layout.blanks) or not files:
        return None
    words: list[Word] = []
    try:
        for _, text in read_lines(files[0]):
            line = scan(text)
            if len(line.numbers) < 4 or form_of(line, layout) != "box":
                return None
            x, y, wide, high = (float(number) for number in line.numbers[:4])
            corners = [f"{value:g}" for value in (x, y, x + wide, y + high)]
            if rest := line.rest(4):
                corners.append(rest)
            words.append(
                read_line(line.separator.join(corners), layout, dont_care=folder.dont_care)
            )
    except (LabelError, LineError, OSError):
        return None
    made = page.with_words(words)
    beyond = made.quads.reshape(-1, 2) - (page.width, page.height)
    return made if (beyond <= _EDGE).all() else None


def _mended_page(
    page: Page, folder: PhotoFolder, index: int, part: str, findings: list[Finding]
) -> Page:
    """The page with faults of the whole page repaired; adds findings about them."""
    path = str(next(iter(folder.label_files(index)), page.path))
    if len(page.words) > 1 and np.abs(page.quads).max() <= 1:
        why = "coordinates are relative to the image size. Expected pixels"
        findings.append(_whole("relative coordinates", path, why, page, part))
        size = np.array([page.width, page.height], np.float32)
        return page.with_words([_scaled(word, size) for word in page.words])
    turn = orientation(str(page.path)) if folder.documents is None else 1
    if turn >= 5 and _is_stored(page):
        why = f"EXIF rotates the image (orientation {turn}), but the labels are not rotated with it"
        findings.append(_whole("EXIF rotation ignored", path, why, page, part))
        return page.with_words(
            [turned_word(word, turn, (page.width, page.height)) for word in page.words]
        )
    return page


def _scaled(word: Word, size: FloatArray) -> Word:
    polygon = None if word.polygon is None else word.polygon * size
    return replace(word, quad=word.quad * size, polygon=polygon)


def _is_stored(page: Page) -> bool:
    """Whether labels seem to ignore an EXIF rotation by 90 degrees.

    Most words are then taller than wide, or some are outside the rotated image, but none outside
    the stored one.
    """
    points = page.quads.reshape(-1, 2)
    if not len(points):
        return False
    shown_size, stored = np.array([page.width, page.height]), np.array([page.height, page.width])
    if (points > shown_size + _EDGE).any() and (points <= stored + _EDGE).all():
        return True
    long = [word for word in page.words if len(visible_graphemes(word.text or "")) >= _SHORT]
    tall = sum(is_tall(word.quad) for word in long)
    return tall > 1 and tall > len(long) / 2 and bool((points <= stored + _EDGE).all())


def _of_words(
    page: Page, folder: PhotoFolder, index: int, part: str, options: LintOptions
) -> list[Finding]:
    faults = word_faults(
        page, scale=magnification_of(page, options.detector), charset=options.charset
    )
    if not faults:
        return []
    path = str(next(iter(folder.label_files(index)), page.path))
    lines = folder.line_numbers(index)
    # The words of a repaired page may differ from those of its lines.
    known = lines if len(lines) == len(page.words) else []
    found = []
    for fault in faults:
        word = page.words[fault.word]
        quad = tuple((float(x), float(y)) for x, y in word.quad)
        found.append(
            Finding(
                fault.kind,
                path,
                fault.why,
                word.text or "",
                known[fault.word] if known else 0,
                str(page.path),
                part,
                fault.word,
                quad,
            )
        )
    return found


def _whole_set(part: Part, findings: list[Finding]) -> None:
    """Add the findings about the whole set; drop those about single words that they cover."""
    audit, labels = part.audit, str(part.folder.labels)
    for why in audit.warnings:
        findings.append(
            Finding("whole data set", labels, why, part=part.name, hint=why in audit.hints)
        )
    if audit.no_text + audit.blank == audit.words - audit.dont_care:  # there are no texts at all
        findings[:] = [one for one in findings if one.kind != "no text" or one.part != part.name]


def _twins(parts: Sequence[Part], prints: dict[str, FloatArray]) -> list[Finding]:
    """Find near-duplicates among the images of all parts."""
    pages = [(part.name, page) for part in parts for page in part.pages]
    if not pages:
        return []
    vectors = np.stack([prints[str(page.path)] for _, page in pages])
    sizes = np.array([(page.height, page.width) for _, page in pages])
    members: dict[int, list[tuple[str, str]]] = {}
    for group, (part, page) in zip(group_twins(vectors, sizes).tolist(), pages, strict=True):
        members.setdefault(group, []).append((part, str(page.path)))
    found = []
    for group in members.values():
        tested = [name for part, name in group if part == "test"]
        for part, name in group:
            if tested and part == "train":
                why = f"nearly the same image as {Path(tested[0]).name} of the test set"
                found.append(
                    Finding("near-duplicate in test set", name, why, picture=name, part=part)
                )
        if len(group) > 1 and (not tested or len(tested) == len(group)):
            names = [Path(name).name for _, name in group]
            more = f" and {len(names) - 1 - _NAMED} more" if len(names) - 1 > _NAMED else ""
            why = f"nearly the same image as {', '.join(names[1 : 1 + _NAMED])}{more}"
            part, name = group[0]
            found.append(Finding("near-duplicates", name, why, picture=name, part=part))
    return found
