"""Evaluation sets of a run, and its results: weights, scores and curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict

from crnnjax.charset import Charset
from crnnjax.config import CropsOptions, WordsOptions, check
from crnnjax.convert import to_state_dict
from crnnjax.crop_index import KINDS, kind_of, open_crops, read_index
from crnnjax.evaluate import evaluate_recognizer, results_folder
from crnnjax.input_pipeline import InputOptions
from crnnjax.metrics import SCORES
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer
from crnnjax.split import SplitOptions, choose
from crnnjax.synthetic import bounded, word_renderer, writable
from ocrcore.config_sections import given
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.crops import Crop
from ocrcore.images import ImageError
from ocrcore.options import OptionsError, from_section
from ocrcore.outputs import check_apart
from ocrcore.pages import LabelError
from ocrcore.progress import shown
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.curves import write_curves
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.pth import save_weights

Sets = dict[str, Sequence[Crop]]
_FIELDS = {
    "words": {one.name for one in fields(WordsOptions)} | {"kind", "text", "words"},
    "read": {one.name for one in fields(CropsOptions)} | {"kind"},
}


def open_sets(section: Mapping[str, Any], *, field: str, options: InputOptions) -> Sets:
    """Open sets of labeled crops to evaluate on.

    Args:
        section: for each set, by name: `kind` ("auto", "lmdb", "csv", "tsv", "doctr" or "trdg"),
            `path` and optionally `root`, `split`, `start` and `stop` as for
            `crnnjax.sources.SourceOptions`; or for synthetic words `kind` "words" with `count`,
            `seed` and optionally `text` and `words`.
        field: name of the section in the config, for messages.
        options: charset, height and greatest label length, for synthetic words; the cache.

    Raises:
        SourceError: a set has no crops, or fields are missing or unknown.
        OptionsError: an invalid value.
        LabelError: an unreadable data set.
    """
    sets: Sets = {}
    for name, one in section.items():
        where = f"{field}.{name}"
        values = given(one)
        made = values.get("kind") == "words"
        known = _FIELDS["words" if made else "read"]
        needed = {"kind", "count"} if made else {"kind", "path"}
        if unknown := values.keys() - known:
            raise SourceError(f"{where}.{min(unknown)}: expected one of {', '.join(sorted(known))}")
        if missing := needed - values.keys():
            raise SourceError(f"{where}.{min(missing)} is missing")
        from_section(WordsOptions if made else CropsOptions, values, where, others=True)
        if values.get("root") and values["kind"] not in ("tsv", "auto"):
            raise SourceError(
                f"{where}.root is {values['root']!r}, expected None: only kind tsv has a root"
            )
        if made:
            try:
                sets[name] = _made_words(values, options)
            except OptionsError as error:
                raise OptionsError(f"{where}.{error}") from error
            continue
        if values["kind"] not in KINDS:
            raise SourceError(
                f"{where}.kind is {values['kind']!r}, expected words or one of {', '.join(KINDS)}"
            )
        crops = open_crops(
            values["kind"],
            values["path"],
            root=values.get("root"),
            outside=values.get("outside", False),
        )
        start, stop = values.get("start") or 0, values.get("stop")
        numbers: Sequence[int] = range(len(crops))
        split = from_section(SplitOptions, values.get("split", {}), f"{where}.split")
        if split.part:
            index = read_index(crops, values["path"], cache=options.cache)
            try:
                part = choose(crops, values["path"], index, split, cache=options.cache)
            except SourceError as error:
                raise SourceError(f"{where}.split: {error}") from error
            numbers = part.numbers.tolist()
        chosen = [one for one in numbers if start <= one < (stop or len(crops))]
        if not chosen:
            raise SourceError(
                f"{where}: no crop from start={start} to stop={stop}: there are {len(crops)}"
            )
        sets[name] = crops if len(chosen) == len(crops) else _Part(crops, chosen)
    return sets


def open_measured(config: ConfigDict, options: InputOptions) -> tuple[Sets, Sets, Sets]:
    """Open all evaluation sets of a run, so that errors show before the training.

    Returns:
        `config.eval.sets`, `config.eval.probe` and `config.test`; only the probe may be empty.

    Raises:
        SourceError: as for `open_sets`; or there is no set, or one has no usable crop.
        LabelError: an unreadable data set.
    """
    found = []
    for field, section in (
        ("config.eval.sets", config.eval.sets),
        ("config.eval.probe", config.eval.probe),
        ("config.test", config.test),
    ):
        found.append(open_sets(section, field=field, options=options))
        if not found[-1] and field != "config.eval.probe":
            raise SourceError(f"{field} is empty: expected one or more sets of labeled crops")
        for name, crops in found[-1].items():
            check_crops(crops, f"{field}.{name}", options.rules.charset)
    sets, probe, test = found
    return sets, probe, test


def check_crops(crops: Sequence[Crop], name: str, charset: Charset) -> None:
    """Refuse a set of labeled crops if none of them can be read correctly.

    Stops at the first crop that can.

    Args:
        crops: the set.
        name: name of the set, for the message.
        charset: charset of the network.

    Raises:
        SourceError: every crop is broken, has no text, or has characters outside the charset.
    """
    faults: dict[str, list[str]] = {}
    for index in range(len(crops)):
        try:
            crop = crops[index]
            missing = charset.missing(crop.text)
            if not crop.text:
                faults.setdefault("have no text", []).append(crop.name)
            elif missing:
                faults.setdefault(f"have characters outside the charset {charset.name}", []).append(
                    f"{crop.name}: {crop.text!r}"
                )
            else:
                crop.image()
                return
        except (ImageError, LabelError) as error:
            faults.setdefault("cannot be read", []).append(str(error))
    told = (f"{len(found):,} {what}, the first: {found[0]}" for what, found in faults.items())
    raise SourceError(
        f"{name}: none of {len(crops):,} crops can be evaluated: {'; '.join(told)}. Fix them, name "
        "other crops, or another config.data.charset"
    )


class _Part(Sequence[Crop]):
    def __init__(self, crops: Sequence[Crop], chosen: Sequence[int]) -> None:
        self._crops, self._chosen = crops, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        return self._crops[self._chosen[index]]


def _made_words(values: Mapping[str, Any], options: InputOptions) -> list[Crop]:
    """Synthetic words as in training: those that the charset can write within the width."""
    rules, seed = options.rules, values.get("seed", 0)
    renderer = word_renderer(rules, text=values.get("text", {}), words=values.get("words", {}))
    crops = []
    for index in shown(range(values["count"]), "drawing synthetic words", unit="word"):
        accept = bounded(lambda text, font: writable(text, rules, rules.width) is not None)
        word = renderer.draw(np.random.default_rng([seed, index]), accept=accept)
        data = cv2.imencode(".png", cv2.cvtColor(word.image, cv2.COLOR_RGB2BGR))[1].tobytes()
        crops.append(Crop(f"synthetic word {index}", word.text, data))
    return crops


def describe_sets(sets: Sets) -> str:
    """Return the number of crops of each set."""
    parts = [f"{len(crops):,} crops of {name}" for name, crops in sets.items()]
    return ", ".join(parts) or "nothing"


def make_recognizer(
    config: ConfigDict, variables: Mapping[str, Any], charset: Charset
) -> Recognizer:
    """Return a recognizer with the run's settings: options, input height and dtype."""
    return Recognizer(
        variables,
        charset=charset,
        height=config.data.height,
        options=from_section(RecognizerOptions, config.recognizer, "config.recognizer"),
        dtype=config.model.dtype,
    )


def evaluate_run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    weights: str | None = None,
    crops: str | None = None,
) -> dict[str, Any]:
    """Evaluate a run, or other weights, on labeled crops, and write the results.

    Args:
        config: sections `recognizer` and, without `crops`, `data` and `test`.
        workdir: the run directory; results of other weights or crops go to folders inside.
        weights: a name, file or run to use instead of the run's best checkpoint.
        crops: labeled crops to use instead of `config.test`: a file, a folder or an LMDB.

    Returns:
        The result of `crnnjax.evaluate.evaluate_recognizer`.

    Raises:
        ValueError: (subclasses) weights or crops cannot be read.
    """
    check(config)
    folder = results_folder(workdir, weights)
    RunFolder(folder).check_place()
    if crops:
        path = Path(crops)
        check_apart(folder / path.stem, [path], option="--workdir")
        sets: Sets = {path.stem: open_crops(kind_of(path), path)}
        folder /= path.stem
    else:
        options = InputOptions.from_config(config)
        sets = open_sets(config.test, field="config.test", options=options)
    recognizer = Recognizer.from_weights(
        weights or workdir,
        options=from_section(RecognizerOptions, config.recognizer, "config.recognizer"),
    )
    return evaluate_recognizer(recognizer, sets, weights=weights or workdir, folder=folder)


def write_results(
    config: ConfigDict,
    workdir: str | Path,
    *,
    charset: Charset,
    sets: Sets,
    log: Callable[[str], object] = print,
) -> dict[str, float]:
    """Write a run's results, and log what they are and how to use them.

    `weights.pth` has the best weights (EMA) with EasyOCR's names, and `charset.json` next to it the
    characters of their classes; `recognition.json` has their scores on `config.test`, with all
    readings and drawings of the worst words; `curves.png` has the training curves.

    Args:
        config: config of the run.
        workdir: the run directory, with `checkpoints/` and `metrics.jsonl`.
        charset: charset of the run.
        sets: the sets of `config.test`.
        log: called with each human-readable message.

    Returns:
        The scores of all words of `config.test` together.
    """
    run = RunFolder(Path(workdir))
    variables = load_variables(run.path)
    save_weights(run.weights, to_state_dict(variables))
    draw_curves(run.path / "curves.png", run.metrics)
    recognizer = make_recognizer(config, variables, charset)
    report = evaluate_recognizer(recognizer, sets, weights=run.path, folder=run.path, log=log)
    log(
        f"written to {workdir}: weights.pth, charset.json, metrics.jsonl, curves.png\n"
        f"for EasyOCR: ocrjax export easyocr {workdir}\n"
        f"HTML report: ocrjax report {workdir}"
    )
    return {name: float(report["all"][name]["value"]) for name in SCORES}


def draw_curves(path: str | Path, metrics: str | Path) -> None:
    """Draw the loss and the scores of a run's `metrics.jsonl` over steps."""
    write_curves(
        path,
        metrics,
        losses={"loss": "loss"},
        scores={
            "accuracy": "eval/accuracy",
            "accuracy of 0-9 a-z": "eval/alnum_accuracy",
            "1-NED": "eval/one_minus_ned",
            "probe": "eval/probe",
        },
    )
