"""Evaluation of a recognizer on labeled crops, set by set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from crnnjax.drawing import draw_readings
from crnnjax.metrics import TextScores, format_scores, pooled, score_texts
from crnnjax.recognizer import Reading, Recognizer
from crnnjax.resize import read_gray
from ocrcore.data.readers.crops import Crop
from ocrcore.evaluation.spaces import space_errors
from ocrcore.files import write_json, write_text
from ocrcore.images import ImageError, write_image
from ocrcore.pages import ByteArray, LabelError
from ocrcore.progress import Progress
from ocrcore.runtime.mesh import from_shares, gather_json, my_share

_CHUNK = 2048  # crops in memory at a time
_NAMED = 20  # most unreadable crops to name in a result


class EvaluationError(ValueError):
    """An evaluation is not possible; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class SetResult:
    """Readings and scores of one set of crops.

    Attributes:
        crops: the readable crops, in order.
        readings: the reading of each.
        scores: scores of the texts.
        unreadable: errors of the other crops, which are not counted.
        outside: number of labels with a character outside the charset; they count as wrong.
    """

    crops: tuple[Crop, ...]
    readings: tuple[Reading, ...]
    scores: TextScores
    unreadable: tuple[str, ...]
    outside: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without single words."""
        return {
            **self.scores.to_dict(),
            "outside_charset": self.outside,
            "unreadable": len(self.unreadable),
            "unreadable_named": list(self.unreadable[:_NAMED]),
        }


def read_set(
    recognizer: Recognizer,
    crops: Sequence[Crop],
    *,
    name: str = "crops",
    **options: Any,
) -> SetResult:
    """Read labeled crops and compare the readings with the labels.

    In training, `read_set(recognizer.with_variables(variables), crops)` shares compiled programs.

    Args:
        recognizer: the recognizer.
        crops: labeled crops, any number; only some of them are in memory at a time.
        name: name of the set, for errors and the progress bar.
        **options: fields of `RecognizerOptions` to change.

    Returns:
        Readings and scores. Labels are compared as the charset writes them: in NFC, and in the
        charset's case if it is case-insensitive.

    Raises:
        EvaluationError: there are no crops, or none can be read.
    """
    found = _read_all(recognizer, crops, name, options)
    good = [one for one in found if not isinstance(one, str)]
    unreadable = tuple(one for one in found if isinstance(one, str))
    _check_any(good, unreadable, name)
    charset = recognizer.charset
    truth = [charset.fold(crop.text) for crop, _ in good]
    return SetResult(
        crops=tuple(crop for crop, _ in good),
        readings=tuple(reading for _, reading in good),
        scores=score_texts(truth, [reading.text for _, reading in good]),
        unreadable=unreadable,
        outside=sum(bool(charset.missing(text)) for text in truth),
    )


def score_share(
    recognizer: Recognizer, crops: Sequence[Crop], *, name: str = "crops", **options: Any
) -> TextScores:
    """Like `read_set`, but each process of a run reads its share; all get the scores of all crops.

    Args:
        recognizer: the recognizer, the same in all processes.
        crops: all crops.
        name: name of the set, for errors and the progress bar.
        **options: fields of `RecognizerOptions` to change.

    Raises:
        EvaluationError: there are no crops, or none can be read; raised in all processes.
        MeshError: the processes have different numbers of crops.
    """
    share = ChosenCrops(crops, my_share(range(len(crops))))
    found = _read_all(recognizer, share, name, options)
    texts = [
        one if isinstance(one, str) else [recognizer.charset.fold(one[0].text), one[1].text]
        for one in found
    ]
    return join_texts(gather_json(texts), name=name)


def join_texts(shares: Sequence[Sequence[list[str] | str]], *, name: str) -> TextScores:
    """Score the readings of all processes' shares of some crops.

    Args:
        shares: for each process and each of its crops (`my_share`), the true text and the reading,
            or the reason why the crop cannot be read.
        name: name of the set, for errors.

    Raises:
        EvaluationError: no crop can be read.
    """
    found = from_shares(shares)
    good = [one for one in found if not isinstance(one, str)]
    _check_any(good, [one for one in found if isinstance(one, str)], name)
    return score_texts([truth for truth, _ in good], [read for _, read in good])


class ChosenCrops(Sequence[Crop]):
    """Some crops of a set, loaded on access."""

    def __init__(self, crops: Sequence[Crop], numbers: Sequence[int]) -> None:
        self._crops, self._numbers = crops, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._crops[self._numbers[index]]


def _read_all(
    recognizer: Recognizer, crops: Sequence[Crop], name: str, options: Mapping[str, Any]
) -> list[tuple[Crop, Reading] | str]:
    """Return the crops in order, each with its reading or the reason why it cannot be read."""
    like_easyocr = replace(recognizer.options, **options).resize == "easyocr"
    out: list[tuple[Crop, Reading] | str] = []
    with (
        Progress(f"reading {name}", unit="crop", total=len(crops)) as progress,
        ThreadPoolExecutor(4) as pool,
    ):
        for start in range(0, len(crops), _CHUNK):
            part = range(start, min(start + _CHUNK, len(crops)))
            found = list(pool.map(lambda index: _load(crops, index, like_easyocr), part))
            images = [one[1] for one in found if not isinstance(one, str)]
            count = partial(_count, progress, start + len(found) - len(images))
            readings = iter(recognizer.recognize(images, count, **options))
            out += [one if isinstance(one, str) else (one[0], next(readings)) for one in found]
    return out


def _check_any(good: Sequence[object], unreadable: Sequence[str], name: str) -> None:
    if not good:
        first = f", the first: {unreadable[0]}" if unreadable else ""
        raise EvaluationError(
            f"{name}: nothing to evaluate: {len(unreadable)} of {len(unreadable)} crops cannot be "
            f"read{first}"
        )


def _count(progress: Progress, before: int, done: int) -> None:
    progress.update(before + done)


def _load(crops: Sequence[Crop], index: int, like_easyocr: bool) -> tuple[Crop, ByteArray] | str:
    """Load a crop and its image; return the error of an unreadable one."""
    try:
        crop = crops[index]
        gray = like_easyocr and crop.data is None
        return crop, read_gray(crop.name) if gray else crop.image()
    except (ImageError, LabelError) as error:
        return str(error)


def evaluate_recognizer(
    recognizer: Recognizer,
    sets: Mapping[str, Sequence[Crop]],
    *,
    weights: str | Path | None = None,
    folder: str | Path | None = None,
    worst: int = 60,
    log: Callable[[str], object] = print,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a recognizer on sets of labeled crops, and log the scores.

    Args:
        recognizer: the recognizer.
        sets: labeled crops by set name, as opened by `crnnjax.crop_index.open_crops`.
        weights: where the recognizer was loaded from, for the report.
        folder: folder for `recognition.json` (the returned values) and for each set
            `NAME_readings.tsv` (path, truth, reading, confidence) and `NAME_worst.png`.
        worst: number of worst readings to draw.
        log: called with each human-readable message.
        **options: fields of `RecognizerOptions` to change.

    Returns:
        `sets`: for each set its `count`; `accuracy`, `alnum_accuracy`, `one_minus_ned` and `cer`,
        each as `value`, `low` and `high` (see `crnnjax.metrics`); and what was not counted. `all`:
        the same for all words together. With a charset that has the space, each has `spaces` as
        well (`ocrcore.evaluation.spaces`). `weights`, `resize`, `decoder`, `charset` and its
        `digest`.

    Raises:
        EvaluationError: there are no sets, or one has no readable crop.
    """
    if not sets:
        raise EvaluationError("no labeled crops to evaluate")
    results = {
        name: read_set(recognizer, crops, name=name, **options) for name, crops in sets.items()
    }
    scores = {name: result.scores for name, result in results.items()}
    whole = pooled(scores.values())
    chosen = replace(recognizer.options, **options)
    report: dict[str, Any] = {
        "sets": {name: result.to_dict() for name, result in results.items()},
        "all": whole.to_dict(),
        "weights": None if weights is None else str(weights),
        "resize": chosen.resize,
        "decoder": chosen.decoder,
        "charset": recognizer.charset.name,
        "digest": recognizer.charset.digest,
    }
    log(format_scores(scores if len(scores) == 1 else {**scores, "all": whole}))
    if " " in recognizer.charset.characters:
        report["all"]["spaces"] = space_errors(whole.truth, whole.read).to_dict()
        for name, one in scores.items():
            spaces = space_errors(one.truth, one.read)
            report["sets"][name]["spaces"] = spaces.to_dict()
            if spaces.found + spaces.missed + spaces.invented:
                log(f"{name}: {spaces}")
    for name, result in results.items():
        if result.outside:
            log(f"{name}: {result.outside} labels have characters outside the charset")
        if result.unreadable:
            log(
                f"{name}: {len(result.unreadable)} crops cannot be read, the first: "
                f"{result.unreadable[0]}"
            )
    if folder is not None:
        folder = Path(folder)
        for name, result in results.items():
            stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
            write_readings(folder / f"{stem}_readings.tsv", result)
            chart = draw_worst(result, worst)
            if chart is not None:
                write_image(folder / f"{stem}_worst.png", chart)
        write_json(folder / "recognition.json", report)
        log(f"written to {folder}: recognition.json, readings and worst words of each set")
    return report


def results_folder(workdir: str | Path, weights: str | None) -> Path:
    """Return the folder for results: the run directory, or a folder inside for other weights.

    Args:
        workdir: the run directory.
        weights: other weights as named by the user; None or empty for the run's own.
    """
    if not weights:
        return Path(workdir)
    name = re.sub(r"[^\w.-]+", "_", weights).strip("_.")
    return Path(workdir) / f"evaluate-{name[-100:]}"


def write_readings(path: str | Path, result: SetResult) -> None:
    """Write a line for each crop: path, truth, reading, confidence, separated by tabs.

    Tabs and line breaks in a text become spaces.
    """
    lines = []
    plain = str.maketrans("\t\r\n", "   ")
    for crop, reading in zip(result.crops, result.readings, strict=True):
        texts = [text.translate(plain) for text in (crop.name, crop.text, reading.text)]
        lines.append("\t".join([*texts, f"{reading.confidence:.4f}"]))
    write_text(path, "\n".join(["path\ttruth\tread\tconfidence", *lines]) + "\n")


def draw_worst(result: SetResult, count: int) -> ByteArray | None:
    """Draw the worst readings; return None if all words were read correctly."""
    chosen = result.scores.worst(count)
    if not chosen:
        return None
    return draw_readings(
        [result.crops[index].image() for index in chosen],
        [result.scores.truth[index] for index in chosen],
        [result.scores.read[index] for index in chosen],
        names=[result.crops[index].name for index in chosen],
        title=f"the {len(chosen)} worst readings of {len(result.crops):,}",
    )
