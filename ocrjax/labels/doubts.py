"""Labels that a detector and a recognizer contradict with confidence."""

from __future__ import annotations

from collections.abc import Sequence

from craftjax.detector import Detection
from crnnjax.label_readings import read_labels
from ocrcore.evaluation.label_errors import Reading, Suspect, label_peaks, ranked, suspects
from ocrcore.images import ImageError, load_image
from ocrcore.pages import ByteArray, Page
from ocrcore.progress import Progress
from ocrjax.crops import rectify
from ocrjax.labels.findings import Finding
from ocrjax.labels.lint import Lint
from ocrjax.reader import Reader

SURE = 10.0
"""Nats of suspicion from which on a label is named as contradicted."""
LEAST = 1.0
"""Nats from which on it is shown in the list of suspects."""


def find_doubts(found: Lint, reader: Reader) -> list[Suspect]:
    """Judges all labels, and adds those that are contradicted to the findings.

    Args:
        found: with its pages.
        reader: the networks.

    Returns:
        The suspected label errors of all parts, the most suspicious first.
    """
    pages = [page for part in found.parts for page in part.pages]
    parts = {str(page.path): part.name for part in found.parts for page in part.pages}
    judged = []
    with Progress("judging labels by the networks", unit="picture", total=len(pages)) as progress:
        for detection in reader.detector.stream([str(page.path) for page in pages]):
            if detection.error is None:
                judged.append(_judge(pages[detection.index], detection, reader))
            progress.update(progress.done + 1)
    doubts = [one for one in ranked(judged) if one.suspicion >= LEAST]
    found.findings += [
        Finding(
            "contradicted",
            one.page or "",
            f"{one.why}; {one.suspicion:.0f} nats",
            one.label or "",
            picture=one.page or "",
            part=parts[one.page or ""],
            word=one.word,
            quad=one.quad,
        )
        for one in doubts
        if one.suspicion >= SURE
    ]
    found.sort()
    return doubts


def _judge(page: Page, detection: Detection, reader: Reader) -> list[Suspect]:
    """What the networks say of one page."""
    assert detection.page is not None and detection.scores is not None
    try:
        image = load_image(str(page.path))
    except ImageError:  # it is no more what it was
        return []
    labels = [word.text if word.care else None for word in page.words]
    return suspects(
        page,
        _read(reader, image, page, labels),
        peaks=label_peaks(page, detection.scores.valid("crop")),
        found=detection.page,
        found_readings=_read(reader, image, detection.page, [None] * len(detection.page.words)),
    )


def _read(
    reader: Reader, image: ByteArray, page: Page, labels: Sequence[str | None]
) -> list[Reading | None]:
    """What the recognizer says of each word; None where no crop can be made of its quad."""
    height = reader.recognizer.height
    crops = [rectify(image, word.quad, height=height) for word in page.words]
    there = [place for place, crop in enumerate(crops) if crop is not None]
    read = read_labels(
        reader.recognizer,
        [crop for crop in crops if crop is not None],
        [labels[place] for place in there],
    )
    by_place = dict(zip(there, read, strict=True))
    return [by_place.get(place) for place in range(len(crops))]
