"""Labels that a detector and a recognizer contradict with high confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from craftjax.detector import Detection
from crnnjax.label_readings import read_labels
from ocrcore.data.readers.crops import Crop
from ocrcore.evaluation.label_errors import (
    Reading,
    Suspect,
    crop_suspects,
    label_peaks,
    ranked,
    suspects,
)
from ocrcore.images import ImageError, load_image
from ocrcore.pages import ByteArray, Page
from ocrcore.progress import Progress
from ocrjax.crops import rectify
from ocrjax.labels.findings import Finding
from ocrjax.labels.lint import Lint
from ocrjax.reader import Reader

SURE, CONFIDENT = 14.0, 0.7
"""Least suspicion in nats, and least confidence, to report a label as contradicted."""
LEAST = 1.0
"""Least suspicion in nats to list a label as a suspect."""
_TOGETHER = 256  # crops read together


class _Judged(NamedTuple):
    """A page whose crops wait for the recognizer: those of its labels and of detected words."""

    page: Page
    found: Page
    peaks: list[float]
    crops: list[ByteArray | None]


def find_doubts(found: Lint, reader: Reader) -> list[Suspect]:
    """Judge all labels with the networks, and add contradicted ones to the findings.

    Args:
        found: the lint, with its pages.
        reader: the networks.

    Returns:
        The suspected label errors of all parts, the most suspicious first.
    """
    pages = [page for part in found.parts for page in part.pages]
    parts = {str(page.path): part.name for part in found.parts for page in part.pages}
    judged: list[list[Suspect]] = []
    waiting: list[_Judged] = []
    with Progress("judging labels with the networks", unit="image", total=len(pages)) as progress:
        for detection in reader.detector.stream([str(page.path) for page in pages]):
            if detection.error is None:
                waiting += _cut(pages[detection.index], detection, reader)
            if sum(len(one.crops) for one in waiting) >= _TOGETHER:
                judged += _judge(waiting, reader)
                waiting = []
            progress.update(progress.done + 1)
        judged += _judge(waiting, reader)
    doubts = [one for one in ranked(judged) if one.suspicion >= LEAST]
    found.findings += [
        Finding(
            "word without a label" if one.kind == "unlabeled" else "contradicted",
            one.page or "",
            one.why,
            one.label or "",
            picture=one.page or "",
            part=parts[one.page or ""],
            word=one.word,
            quad=one.quad,
        )
        for one in doubts
        if one.suspicion >= SURE and one.confidence >= CONFIDENT
    ]
    found.sort()
    return doubts


def find_crop_doubts(found: Lint, crops: Sequence[Crop], reader: Reader) -> list[Suspect]:
    """Judge the texts of crops; see `find_doubts`."""
    judged = []
    with Progress("judging labels with the network", unit="crop", total=len(crops)) as progress:
        for start in range(0, len(crops), _TOGETHER):
            part = crops[start : start + _TOGETHER]
            labels = [crop.text for crop in part]
            read = read_labels(reader.recognizer, [crop.image() for crop in part], labels)
            judged.append(crop_suspects([crop.name for crop in part], labels, read))
            progress.update(start + len(part))
    doubts = [one for one in ranked(judged) if one.suspicion >= LEAST]
    found.findings += [
        Finding("contradicted", one.page or "", one.why, one.label or "", picture=one.page or "")
        for one in doubts
        if one.suspicion >= SURE and one.confidence >= CONFIDENT
    ]
    found.sort()
    return doubts


def _cut(page: Page, detection: Detection, reader: Reader) -> list[_Judged]:
    """Cut the crops of a page; none if its image can no longer be read."""
    assert detection.page is not None and detection.scores is not None
    try:
        image = load_image(str(page.path))
    except ImageError:
        return []
    height = reader.recognizer.height
    words = (*page.words, *detection.page.words)
    crops = [rectify(image, word.quad, height=height) for word in words]
    return [_Judged(page, detection.page, label_peaks(page, detection.scores.valid("crop")), crops)]


def _judge(waiting: Sequence[_Judged], reader: Reader) -> list[list[Suspect]]:
    """Compare the labels of some pages with the networks."""
    crops: list[ByteArray] = []
    labels: list[str | None] = []
    for one in waiting:
        texts = [word.text if word.care else None for word in one.page.words]
        texts += [None] * len(one.found.words)
        for crop, text in zip(one.crops, texts, strict=True):
            if crop is not None:
                crops.append(crop)
                labels.append(text)
    read = iter(read_labels(reader.recognizer, crops, labels) if crops else [])
    out = []
    for one in waiting:
        readings: list[Reading | None] = [None if c is None else next(read) for c in one.crops]
        count = len(one.page.words)
        out.append(
            suspects(
                one.page,
                readings[:count],
                peaks=one.peaks,
                found=one.found,
                found_readings=readings[count:],
            )
        )
    return out
