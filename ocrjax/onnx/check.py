"""Check of an export: ONNX Runtime and JAX on the same crops or photos."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from craftjax.detector import Detector
from crnnjax.metrics import score_texts
from crnnjax.recognizer import Recognizer
from ocrcore.evaluation.matching import evaluate
from ocrcore.evaluation.statistics import Interval
from ocrcore.pages import ByteArray, FloatArray, Page
from ocrcore.progress import Progress
from ocrjax.onnx.graph import OnnxError
from ocrjax.onnx.models import class_order
from ocrjax.onnx.runtime import load_detector, load_recognizer

# Float rounding in a deep network: PP-OCRv6's logits, up to 35, differ by up to 1.3e-3 between ONNX
# Runtime and JAX.
_LOGITS, _SHARE = 1e-3, 1e-4
_SCORES, _PIXELS = 1e-3, 0.5
_BOXES = {"float16": 0.99, "int8": 0.95}
"""Least hmean of the boxes against those of JAX, matched at IoU > .5."""


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one model.

    Attributes:
        name: `ours` (JAX), or a precision.
        same: number of samples with the same texts or boxes as JAX.
        largest: largest difference of a logit or a score.
        score: word accuracy of a recognizer; for a detector the hmean of its boxes against JAX.
        milliseconds: time per sample, end to end, one sample at a time.
        size: size of the file in bytes; None for JAX.
    """

    name: str
    same: int
    largest: float
    score: float
    milliseconds: float
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """The outputs of ONNX Runtime and JAX on the same samples.

    Attributes:
        samples: number of samples.
        what: "crops" or "photos".
        rows: JAX, then one row for each precision.
        faults: why the export is not good; empty if it is.
    """

    samples: int
    what: str
    rows: tuple[Row, ...]
    faults: tuple[str, ...]

    def table(self) -> str:
        """Return the comparison as text."""
        crops = self.what == "crops"
        score = "accuracy" if crops else "hmean vs ours"
        same = "same texts" if crops else "same boxes"
        lines = [
            f"{self.samples} {self.what}",
            f"{'':10}{same:>12}{'largest difference':>20}{score:>15}{'ms each':>10}{'MB':>8}",
        ]
        for row in self.rows:
            size = "" if row.size is None else f"{row.size / 1e6:.1f}"
            lines.append(
                f"{row.name:10}{row.same:12}{row.largest:20.2g}{row.score:15.4f}"
                f"{row.milliseconds:10.1f}{size:>8}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [asdict(row) for row in self.rows]
        return {
            "samples": self.samples,
            "what": self.what,
            "rows": rows,
            "faults": list(self.faults),
        }


def check_recognizer(
    models: Mapping[str, bytes],
    recognizer: Recognizer,
    crops: Sequence[tuple[ByteArray, str]],
    *,
    threads: int | None = None,
) -> Check:
    """Compare models in ONNX Runtime with JAX on labeled crops.

    In float32, logits must agree within 1e-3 (or 1e-4 of the largest), and texts must be equal
    except for one in a thousand, because of ties. In lower precision the accuracy must be within
    the 95 % interval of JAX, or above.

    Args:
        models: serialized models by precision.
        recognizer: the recognizer in JAX.
        crops: RGB or gray crops with their texts.
        threads: threads of ONNX Runtime; None for all CPUs.

    Raises:
        OnnxError: there are no crops.
    """
    if not crops:
        raise OnnxError("no crops to check with")
    images = [image for image, _ in crops]
    truth = [recognizer.charset.fold(text) for _, text in crops]
    order = class_order(recognizer.charset)

    def read(reader: Recognizer, name: str) -> tuple[list[FloatArray], list[str], float]:
        # Greedy decoding: a beam or lexicon search would hide small differences.
        plain = copy.copy(reader)
        plain.options = replace(reader.options, decoder="greedy", lexicon="")
        with Progress(f"reading with {name}", unit="crop", total=len(images)) as progress:
            texts = [one.text for one in plain.recognize(images, progress.update)]
        logits = plain.logits(images)
        few = images[:50]
        start = time.perf_counter()
        plain.recognize(few)
        return logits, texts, (time.perf_counter() - start) * 1000 / len(few)

    logits, texts, elapsed = read(recognizer, "ours")
    largest = max(float(np.abs(one).max()) for one in logits)
    own = score_texts(truth, texts).accuracy()
    rows = [Row("ours", len(crops), 0.0, own.value, elapsed)]
    faults = []
    for name, model in models.items():
        found, theirs, elapsed = read(load_recognizer(model, threads=threads), f"ONNX {name}")
        difference = _largest([one[:, order] for one in logits], found)
        same = sum(one == two for one, two in zip(texts, theirs, strict=True))
        accuracy = score_texts(truth, theirs).accuracy().value
        rows.append(Row(name, same, difference, accuracy, elapsed, len(model)))
        if name == "float32":
            allowed = max(_LOGITS, _SHARE * largest)
            if not difference <= allowed:
                faults.append(
                    f"{name}: logits differ by {difference:.3g}, expected at most {allowed:.3g}"
                )
            if len(crops) - same > len(crops) / 1000:
                at = next(k for k, one in enumerate(texts) if one != theirs[k])
                faults.append(
                    f"{name}: {len(crops) - same} of {len(crops)} texts differ, such as "
                    f"{theirs[at]!r} instead of {texts[at]!r}"
                )
        else:
            faults += _worse(name, accuracy, own)
    return Check(len(crops), "crops", tuple(rows), tuple(faults))


def check_detector(
    models: Mapping[str, bytes],
    detector: Detector,
    photos: Sequence[tuple[str, ByteArray]],
    *,
    threads: int | None = None,
) -> Check:
    """Compare models in ONNX Runtime with JAX on photos.

    In float32, scores must agree within 1e-3 and boxes within half a pixel. In lower precision the
    hmean of the boxes against those of JAX, matched at IoU > .5, must be at least .99 (float16) or
    .95 (int8).

    Args:
        models: serialized models by precision.
        detector: the detector in JAX, with the options to compare at.
        photos: names and RGB images.
        threads: threads of ONNX Runtime; None for all CPUs.

    Raises:
        OnnxError: there are no photos.
    """
    if not photos:
        raise OnnxError("no photos to check with")
    images = [image for _, image in photos]
    options = replace(detector.options, pad="exact", polygons=False)

    def find(finder: Detector, name: str) -> tuple[list[FloatArray], list[Page], float]:
        maps: dict[int, FloatArray] = {}
        pages: dict[int, Page] = {}
        times = [time.perf_counter()]
        with Progress(f"finding words with {name}", unit="photo", total=len(images)) as progress:
            for one in finder.stream(images, **asdict(options)):
                assert one.page is not None and one.scores is not None
                maps[one.index], pages[one.index] = one.scores.maps, one.page
                times.append(time.perf_counter())
                progress.update(len(maps))
        order = range(len(images))
        # The median leaves out compilation, which JAX needs for each size of photos.
        each = float(np.median(np.diff(times))) * 1000
        return [maps[k] for k in order], [pages[k] for k in order], each

    maps, pages, elapsed = find(detector, "ours")
    rows = [Row("ours", len(photos), 0.0, 1.0, elapsed)]
    faults = []
    for name, model in models.items():
        found, theirs, elapsed = find(load_detector(model, threads=threads), f"ONNX {name}")
        difference = _largest(maps, found)
        far = [_distance(one.quads, two.quads) for one, two in zip(pages, theirs, strict=True)]
        same = sum(one <= _PIXELS for one in far)
        care = [np.ones(len(page.words), np.bool_) for page in pages]
        score = evaluate([page.quads for page in pages], care, [page.quads for page in theirs])
        rows.append(Row(name, same, difference, score.hmean, elapsed, len(model)))
        if name == "float32":
            if not difference <= _SCORES:
                faults.append(
                    f"{name}: scores differ by {difference:.3g}, expected at most {_SCORES}"
                )
            if same < len(photos):
                at = next(k for k, one in enumerate(far) if one > _PIXELS)
                faults.append(
                    f"{name}: boxes differ on {len(photos) - same} of {len(photos)} photos, such "
                    f"as {photos[at][0]}"
                )
        elif any(page.words for page in pages) and score.hmean < _BOXES[name]:
            faults.append(
                f"{name}: the hmean of its boxes against ours is {score.hmean:.4f}, expected at "
                f"least {_BOXES[name]}"
            )
    return Check(len(photos), "photos", tuple(rows), tuple(faults))


def _largest(ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> float:
    """The largest difference; infinite where shapes differ, NaN where a value is NaN."""
    worst = 0.0
    for one, two in zip(ours, theirs, strict=True):
        apart = np.abs(one - two).max() if one.shape == two.shape else np.inf
        worst = float(np.maximum(worst, apart))  # keeps NaN
    return worst


def _distance(ours: FloatArray, theirs: FloatArray) -> float:
    if len(ours) != len(theirs):
        return float("inf")
    return float(np.abs(ours - theirs).max(initial=0))


def _worse(name: str, accuracy: float, own: Interval) -> list[str]:
    if accuracy >= own.low:
        return []
    return [
        f"{name}: word accuracy is {accuracy:.4f}, ours {own.value:.4f} "
        f"({own.low:.4f} to {own.high:.4f})"
    ]
