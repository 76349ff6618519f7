"""Find faults in labeled crops; see `ocrjax.labels.lint`.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from crnnjax.charset import Charset
from crnnjax.crop_index import kind_of, open_crops
from ocrcore.data.readers.crops import CSV_NAME, Crop
from ocrcore.data.readers.label_formats import find_formats
from ocrcore.data.readers.words import has_text_files
from ocrcore.files import write_text
from ocrcore.images import ImageError
from ocrcore.pages import ByteArray, LabelError, Page, Word
from ocrcore.progress import Progress
from ocrcore.text import visible_graphemes
from ocrjax.labels.crops import CROP_KINDS, CROP_TARGETS, write_crops
from ocrjax.labels.findings import KINDS, Finding
from ocrjax.labels.lint import Lint
from ocrjax.labels.repair import CHANGES, changes_of
from ocrjax.labels.text_faults import cleaned
from ocrjax.labels.word_faults import word_faults

_THREADS = 4  # decoding releases the interpreter's lock
_CHUNK = 256
_TARGETS = {target.kind: name for name, target in CROP_TARGETS.items()}
_WHY = {
    "stacked letters": "taller than wide: is the word rotated by 90 degrees?",
    "no text": "not usable for training",
    "too much text": "too narrow for its text: the text of another word, or a slanted word?",
}


def find_crops(path: Path, kind: str = "auto") -> tuple[str, Sequence[Crop]] | None:
    """Open a data set of crops; return None for a data set of labeled images.

    Args:
        path: a folder or a file.
        kind: a kind of crops or of labeled images; "auto" detects it.

    Raises:
        LabelError: labels that cannot be read.
    """
    if not path.exists():
        return None
    if kind == "auto":
        if find_formats(path) or (path.is_dir() and has_text_files(path)):
            return None
        kind = kind_of(path)
        lacking = not any(True for _ in path.glob(f"**/{CSV_NAME}")) if path.is_dir() else False
        if kind == "csv" and lacking:
            return None
    elif kind not in CROP_KINDS or (kind == "doctr" and find_formats(path)):
        return None
    return kind, open_crops(kind, path, outside=False)


def lint_crops(crops: Sequence[Crop], charset: Charset | None = None) -> tuple[Lint, list[Crop]]:
    """Check all crops and their texts, and decode each crop once.

    Args:
        crops: the data set.
        charset: charset of the recognizer; None: any character is valid.

    Returns:
        The findings, and the crops with repairable faults repaired.
    """
    found = Lint([])
    kept: list[Crop] = []
    seen: dict[bytes, Crop] = {}
    for item in _looked_at(crops):
        if isinstance(item, LabelError):
            why = f"expected {item.expected}"
            found.findings.append(Finding("broken line", item.path, why, item.value, item.line))
            continue
        crop, image = item
        if isinstance(image, ImageError):
            why = str(image).removeprefix(f"{crop.name}: ")
            found.findings.append(Finding("broken picture", crop.name, why, picture=crop.name))
            continue
        found.findings += _faults(crop, image, charset, seen)
        found.characters.update(visible_graphemes(crop.text))
        text = cleaned(crop.text)
        if visible_graphemes(text):
            kept.append(Crop(crop.name, text, crop.data, crop.photo))
    found.sort()
    return found, kept


def _faults(
    crop: Crop, image: ByteArray, charset: Charset | None, seen: dict[bytes, Crop]
) -> Iterator[Finding]:
    for one in word_faults(_page(crop, image), scale=1.0, charset=charset):
        why = _WHY.get(one.kind, one.why)
        # An axis-aligned crop of a slanted word is taller than the word.
        hint = one.kind == "too much text"
        yield Finding(one.kind, crop.name, why, crop.text, picture=crop.name, hint=hint)
    size = f"{image.shape}".encode()
    other = seen.setdefault(hashlib.sha256(size + image.tobytes()).digest(), crop)
    if other is not crop:
        same = other.text == crop.text
        text = "the same text" if same else f"another text, {other.text!r}"
        why = f"the same image as {Path(other.name).name}, which has {text}"
        kind = "near-duplicates" if same else "overlapping labels"
        yield Finding(kind, crop.name, why, crop.text, picture=crop.name)


def _page(crop: Crop, image: ByteArray) -> Page:
    """The crop as a page with one word."""
    height, width = image.shape[:2]
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return Page(height, width, (Word(np.array(corners, np.float32), crop.text),), crop.name)


def _looked_at(
    crops: Sequence[Crop],
) -> Iterator[tuple[Crop, ByteArray | ImageError] | LabelError]:
    """Yield each crop with its image, decoded in threads, or with its error."""

    def look(index: int) -> tuple[Crop, ByteArray | ImageError] | LabelError:
        try:
            crop = crops[index]
        except LabelError as error:
            return error
        try:
            return crop, crop.image()
        except ImageError as error:
            return crop, error

    with (
        Progress("checking crops", unit="crop", total=len(crops)) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for first in range(0, len(crops), _CHUNK):
            yield from pool.map(look, range(first, min(first + _CHUNK, len(crops))))
            progress.update(min(first + _CHUNK, len(crops)))


def write_repaired_crops(found: Lint, kept: Sequence[Crop], out: Path, kind: str) -> int:
    """Write the repaired crops into a new folder, in the format that was read.

    Args:
        found: the findings of `lint_crops`.
        kept: the crops of `lint_crops`.
        out: the folder.
        kind: the kind of the data set.

    Returns:
        The number of changes that `changes.tsv` lists.

    Raises:
        ValueError: no crop is left.
    """
    if not kept:
        raise ValueError(f"{out}: not written, because no usable crop is left")
    bad: list[Exception] = []
    write_crops(kept, out, _TARGETS[kind], bad)
    done = [one for one in found.findings if KINDS[one.kind].repair or one.kind == "no text"]
    write_text(out / CHANGES, changes_of(done))
    return len(done)
