"""Finds suspected label errors: labels that a confident prediction contradicts.

Networks that read well are right about some labels that people got wrong. `suspects` takes the
output of a recognizer and a detector for the labels of one page, and returns a suspicion for every
label that can be judged and for every confident word without a label. `ranked` sorts those of all
pages, the most suspicious first. Nothing here runs a network.

Texts are judged by likelihood, not by string equality: the CTC log-probability of the label is
compared with that of the best reading. If the network is unsure between `O` and `0`, a label with
either is hardly suspicious; if it is sure of another word, the label is.

Kinds:

- `text`: the recognizer is sure of another text.
- `neighbor`: the same, and the label is read elsewhere on the page: labels were swapped.
- `unlabeled`: a word is found and read with confidence where there is no label.
- `ignored`: a word that is labeled "don't care" is read with confidence.
- `empty`: the detector sees no text within a label.

Suspicions of all kinds share one scale, in nats, and are 0 or more; how many of them are label
errors depends on the data (docs/benchmarks.md, "Suspected label errors").

Host code: no jax.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ocrcore.geometry import box_pairs, outlines, overlaps
from ocrcore.pages import Page, Word

KINDS = ("text", "neighbor", "unlabeled", "ignored", "empty")
"""Kinds of suspicions."""

# In nats, chosen on the first 300 images of `borndigital`, with labels corrupted using other
# seeds than the reported ones. Contradictions are capped at `_MOST`; if a network is unsure of its
# reading, the log-probability of the reading counts `_DOUBT` times against the suspicion. A missing
# label is weaker evidence, since data sets leave out words on purpose.
_MOST, _LACKING, _DOUBT = 20.0, 16.0, 2.0
_COVERED = 0.5  # fraction of a found word that labels must cover for it to count as labeled


@dataclass(frozen=True, slots=True)
class Reading:
    """A recognizer's output for the crop of one word.

    Attributes:
        text: the best reading.
        log_probability: its probability, summed over CTC alignments, natural logarithm.
        label_log_probability: the same for the label; None if there is no label, or one with
            characters that the network does not know.
    """

    text: str
    log_probability: float
    label_log_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that may be wrong, or missing.

    Attributes:
        kind: one of `KINDS`.
        suspicion: in nats, 0 or more.
        page: path of the image.
        word: index of the labeled word on its page; None if there is no label.
        label: its text; None if there is no label, or one without text.
        read: the best reading; None if there is none.
        confidence: probability of that reading; for `empty`, 1 minus the highest score.
        quad: quad of the word on its page, corners as `(x, y)`.
    """

    kind: str
    suspicion: float
    page: str | None
    word: int | None
    label: str | None
    read: str | None
    confidence: float
    quad: tuple[tuple[float, float], ...]

    @property
    def why(self) -> str:
        """The reason as a sentence without a period."""
        sure = f"{self.confidence:.0%} sure"
        return {
            "text": f"reads {self.read!r} ({sure}), labeled {self.label!r}",
            "neighbor": f"reads {self.read!r} ({sure}), labeled {self.label!r}, which is read "
            "elsewhere on the image",
            "unlabeled": f"reads {self.read!r} ({sure}) where there is no label",
            "ignored": f"reads {self.read!r} ({sure}), labeled as don't care",
            "empty": f"labeled {self.label!r} where the detector sees no text",
        }[self.kind]


def suspects(
    truth: Page,
    readings: Sequence[Reading | None],
    *,
    peaks: Sequence[float | None] | None = None,
    found: Page | None = None,
    found_readings: Sequence[Reading | None] = (),
) -> list[Suspect]:
    """Judge the labels of one page.

    Args:
        truth: the labels.
        readings: for the crop of each labeled word, including "don't care"; None if there is none
            (a degenerate quad). Crops are cut by the labels' quads.
        peaks: the detector's highest region score inside each label, see `label_peaks`; None if
            unknown.
        found: words of the detector, with their scores; None does not search for missing labels.
        found_readings: for the crop of each of these.

    Returns:
        A suspicion for each label that can be judged, mostly 0, in order, then one for each
        readable found word without a label.

    Raises:
        ValueError: a list whose length is not the number of words.
    """
    peaks = [None] * len(truth.words) if peaks is None else peaks
    found = found or truth.with_words(())
    for name, given, words in (
        ("readings", readings, truth.words),
        ("peaks", peaks, truth.words),
        ("found_readings", found_readings, found.words),
    ):
        if len(given) != len(words):
            raise ValueError(f"{truth.path}: {len(given)} {name} for {len(words)} words")
    texts = [_normal(reading.text) if reading else "" for reading in readings]
    judged = []
    for index, (word, reading, peak) in enumerate(zip(truth.words, readings, peaks, strict=True)):
        elsewhere = {text for other, text in enumerate(texts) if other != index}
        if (one := _judge_label(word, reading, peak, elsewhere)) is not None:
            judged.append(_suspect(*one, truth, word, index, reading))
    covered = _covered(truth, found)
    for word, reading, cover in zip(found.words, found_readings, covered, strict=True):
        if reading is not None and reading.text and cover < _COVERED:
            suspicion = _readable(reading, _LACKING)
            judged.append(_suspect("unlabeled", suspicion, 0.0, truth, word, None, reading))
    return judged


def crop_suspects(
    names: Sequence[str], labels: Sequence[str], readings: Sequence[Reading | None]
) -> list[Suspect]:
    """Judge the labels of crops that do not belong to a page; see `suspects`.

    Args:
        names: names of the crops.
        labels: label of each crop.
        readings: reading of each crop.

    Returns:
        A suspicion for each crop that can be judged; its page is the crop's name.
    """
    judged = []
    for name, label, reading in zip(names, labels, readings, strict=True):
        if reading is not None and reading.label_log_probability is not None:
            sure = math.exp(min(reading.log_probability, 0.0))
            suspicion = _contradiction(reading)
            judged.append(Suspect("text", suspicion, name, None, label, reading.text, sure, ()))
    return judged


def ranked(pages: Iterable[Sequence[Suspect]]) -> list[Suspect]:
    """Sort all suspicions, the most suspicious first; ties keep their order."""
    return sorted((one for page in pages for one in page), key=lambda one: -one.suspicion)


def label_peaks(truth: Page, maps: NDArray[np.floating]) -> list[float]:
    """Return the highest region score inside each label.

    Args:
        truth: the labels.
        maps: `(h, w, C)`, the whole image at any scale; channel 0 is the region score.

    Returns:
        One value for each word; 0 for a word outside the image.
    """
    height, width = maps.shape[:2]
    scale = np.array([width / truth.width, height / truth.height])
    peaks = []
    for word in truth.words:
        low = np.floor(word.outline.min(axis=0) * scale).astype(int)
        high = np.ceil(word.outline.max(axis=0) * scale).astype(int)
        (left, top), (right, bottom) = np.clip(low, 0, None), np.clip(high, 0, [width, height])
        inside = maps[top:bottom, left:right, 0]
        peaks.append(float(inside.max()) if inside.size else 0.0)
    return peaks


def _judge_label(
    word: Word, reading: Reading | None, peak: float | None, elsewhere: set[str]
) -> tuple[str, float, float] | None:
    """Return kind, suspicion and, for `empty`, 1 minus the peak; None if it cannot be judged."""
    if not word.care:
        if reading is None or not reading.text:
            return None
        return "ignored", _readable(reading, _MOST), 0.0
    kinds = []
    if reading is not None and reading.label_log_probability is not None:
        swapped = _normal(word.text or "") in elsewhere
        kinds.append(("neighbor" if swapped else "text", _contradiction(reading), 0.0))
    if peak is not None:
        kinds.append(("empty", _emptiness(peak), 1 - min(max(peak, 0.0), 1.0)))
    return max(kinds, key=lambda kind: kind[1], default=None)


def _contradiction(reading: Reading) -> float:
    """Return by how much the best reading beats the label, minus the network's uncertainty."""
    assert reading.label_log_probability is not None
    gap = reading.log_probability - reading.label_log_probability
    return max(min(gap, _MOST) + _DOUBT * reading.log_probability, 0.0)


def _readable(reading: Reading, most: float) -> float:
    """Return the evidence that there is a word."""
    return max(most + _DOUBT * reading.log_probability, 0.0)


def _emptiness(peak: float) -> float:
    """Return the evidence that there is no word."""
    return min(-math.log(max(peak, 1e-6)), _MOST)


def _covered(truth: Page, found: Page) -> NDArray[np.float64]:
    """Return the fraction of each found word that labels cover, `(N,)`."""
    one = outlines([word.outline for word in truth.words])
    two = outlines([word.outline for word in found.words])
    a, b = box_pairs(one.boxes, np.zeros(len(one), int), two.boxes, np.zeros(len(two), int))
    proper = one.valid[a] & two.valid[b]
    shared = overlaps(one, a[proper], two, b[proper])
    total = np.bincount(b[proper], weights=shared, minlength=len(two))
    return total / np.maximum(two.areas, 1e-9)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _suspect(
    kind: str,
    suspicion: float,
    empty: float,
    page: Page,
    word: Word,
    index: int | None,
    reading: Reading | None,
) -> Suspect:
    sure = (
        empty if kind == "empty" else math.exp(min(reading.log_probability, 0.0)) if reading else 0
    )
    return Suspect(
        kind,
        suspicion,
        page.path,
        index,
        None if index is None else word.text,
        reading.text if reading else None,
        sure,
        tuple((float(x), float(y)) for x, y in word.quad),
    )
