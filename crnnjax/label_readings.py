"""Probabilities of labels by a recognizer, compared with its best readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from crnnjax.charset import normalized
from crnnjax.decoding import text_log_probability
from crnnjax.recognizer import Recognizer
from ocrcore.evaluation.label_errors import Reading
from ocrcore.images import ImageLike
from ocrcore.pages import FloatArray

_CHUNK = 256  # crops whose logits are in memory at a time


def read_labels(
    recognizer: Recognizer,
    images: Sequence[ImageLike],
    labels: Sequence[str | None],
    report: Callable[[int], None] | None = None,
) -> list[Reading]:
    """Read labeled crops and compare each label with the best reading, by likelihood.

    For `ocrcore.evaluation.label_errors`.

    Args:
        recognizer: the recognizer.
        images: crops, as for `Recognizer.recognize`.
        labels: the label of each crop; None for no label.
        report: called with the number of crops read so far.

    Returns:
        The comparison for each crop. A label with characters outside the charset has no
        probability. Texts are as the charset writes them.

    Raises:
        ImageError: a crop cannot be read.
    """
    readings = []
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        for logits, label in zip(recognizer.logits(images[part]), labels[part], strict=True):
            readings.append(read_label(recognizer, logits, label))
        if report:
            report(len(readings))
    return readings


def read_label(recognizer: Recognizer, logits: FloatArray, label: str | None) -> Reading:
    """Compare a label with the best reading, from the logits `(T, num_classes)` of a crop."""
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    charset = recognizer.charset
    path = logs.argmax(axis=1)
    classes = path[(path != 0) & (path != np.concatenate([[0], path[:-1]]))]
    text = charset.decode(classes)
    best = text_log_probability(logs, classes.tolist())
    if label is None or charset.missing(label):
        return Reading(text, best)
    own = text_log_probability(logs, charset.encode(label).tolist())
    if own > best:  # the best path does not always give the best text
        return Reading(charset.fold(normalized(label)), own, own)
    return Reading(text, best, own)
