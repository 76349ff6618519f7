"""Configs of the recognizer: `recognizer`, and functions for their parts.

    config = recognizer("mine", steps=2000, optimizer={"learning_rate": 3e-4})
    config.data.train.mine = source("tsv", path="labels.tsv", split={"part": "train"})
    config.eval.sets.mine = crops_of(config.data.train.mine, "validation")
    config.test.mine = crops("lmdb", path="test")

Every field of a config is a field of a dataclass, which documents it and holds its default:
`RunOptions` (ocrcore/training/run_options.py) and `RecognizerRun` at the top; in the sections
`model` `ModelOptions`, `optimizer` `OptimizerOptions` (ocrcore/training/optimizer_options.py),
`checkpoint` `CheckpointOptions`, `average` `AverageOptions`, `data` `DataOptions` and
`InputOptions` (crnnjax/input_pipeline.py), `data.train.NAME` `SourceOptions` (crnnjax/sources.py),
`eval` `EvalOptions`, `eval.sets.NAME`, `eval.probe.NAME` and `test.NAME` `CropsOptions` or
`WordsOptions`, `recognizer` `RecognizerOptions` (crnnjax/options.py).

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict, FieldReference

from crnnjax.augment import AugmentOptions
from crnnjax.input_pipeline import InputOptions
from crnnjax.options import RecognizerOptions
from crnnjax.sources import SourceOptions
from crnnjax.split import SplitOptions
from crnnjax.time_steps import FEATURE_KINDS
from ocrcore.config_sections import defaults, section, unchanged
from ocrcore.options import check_sections, expect
from ocrcore.synth.config import SynthConfig
from ocrcore.synth.text import TextConfig
from ocrcore.synth.words import WordConfig
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.run_options import (
    DTYPES,
    AverageOptions,
    CheckpointOptions,
    RunOptions,
    loading,
)

STREET_WORDS: dict[str, dict[str, Any]] = {
    "text": {
        "sources": {
            "words": 0.76,
            "numbers": 0.08,
            "prices": 0.04,
            "dates": 0.02,
            "codes": 0.03,
            "random": 0.04,
            "characters": 0.03,
        },
        "cases": {"as_is": 0.17, "title": 0.24, "upper": 0.56, "mixed": 0.03},
        "frequency_power": 0.75,
        "punctuation": 0.08,
        "max_length": 16,
    },
    "words": {
        "contrast": (0.3, 1.0),
        "ink_height": (0.6, 1.0),
        "stretch": (0.55, 1.0),
        "p_stretch": 0.7,
        "spacing": (-0.06, 0.4),
        "p_blur": 0.25,
        "p_motion": 0.05,
        "p_noise": 0.25,
        "noise": (2.0, 10.0),
    },
}
"""Texts and style of synthetic words that resemble those of IIIT5K and ICDAR 2015 on average: half
in capitals, narrow letters, punctuation that labels leave out."""
METRICS = ("accuracy", "alnum_accuracy", "one_minus_ned")
"""Scores by which the best checkpoint can be chosen; higher is better."""


@dataclass(frozen=True, slots=True)
class RecognizerRun:
    """Top-level fields of a recognizer's config beyond `RunOptions`.

    Attributes:
        init_charset: charset of the start weights, if it is not known.
    """

    init_charset: str = ""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The section `config.model`: `crnnjax.models.CRNN`.

    Attributes:
        features: "vgg", "resnet", "rcnn" or "lcnetv4".
        channels: channels of the last features.
        hidden: hidden size of the LSTM, per direction, or of LightSVTR.
        sequence: "bilstm", "lightsvtr" (only after lcnetv4) or "none".
        transform: "none" or "affine".
        batch_norm: False for the published lcnetv4, with BatchNorm folded into biases.
        dtype: dtype of the computation: "float32", or "bfloat16" on GPUs and TPUs.
        freeze_norm: whether BatchNorm keeps its running statistics.
    """

    features: str = "vgg"
    channels: int = 512
    hidden: int = 256
    sequence: str = "bilstm"
    transform: str = "none"
    batch_norm: bool = True
    dtype: str = "float32"
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("features", FEATURE_KINDS),
            ("sequence", ("bilstm", "lightsvtr", "none")),
            ("transform", ("none", "affine")),
            ("dtype", DTYPES),
        ):
            expect(self, (getattr(self, name) in known, name, f"one of {', '.join(known)}"))
        expect(
            self,
            (16 <= self.channels <= 4096, "channels", "16 to 4096"),
            (1 <= self.hidden <= 4096, "hidden", "1 to 4096"),
        )
        compact, light = self.features == "lcnetv4", self.sequence == "lightsvtr"
        expect(
            self,
            (compact or self.batch_norm, "batch_norm", "True except for features 'lcnetv4'"),
            (compact or not light, "sequence", "'bilstm' or 'none' except for features 'lcnetv4'"),
            (not light or self.hidden % 8 == 0, "hidden", "a multiple of 8 for 'lightsvtr'"),
        )


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The section `config.data`, which also has the fields of `InputOptions`.

    Attributes:
        root: folder that data sets of the config may refer to.
        labels: file of labels that they may refer to.
        threads: threads that make batches, in each worker.
        workers: processes that make batches; 0: this process.
    """

    root: str = ""
    labels: str = ""
    threads: int = 2
    workers: int = 0

    def __post_init__(self) -> None:
        expect(self, *loading(self.threads, self.workers))


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The section `config.eval`, which also has `sets` and `probe`.

    `sets` choose the best weights; `probe`, which may be empty, only measures forgetting.

    Attributes:
        every: steps from one evaluation to the next; 0: only after the last step.
        patience: evaluations without improvement before training stops; 0 disables early stopping.
            With fewer than 300 words in `sets` training never stops early.
        metric: the score that chooses the best checkpoint: "accuracy", "alnum_accuracy" or
            "one_minus_ned".
    """

    every: int = 1000
    patience: int = 0
    metric: str = "alnum_accuracy"

    def __post_init__(self) -> None:
        expect(
            self,
            (self.every >= 0, "every", "0 or more steps"),
            (self.patience >= 0, "patience", "0 or more evaluations"),
            (self.metric in METRICS, "metric", f"one of {', '.join(METRICS)}"),
        )


@dataclass(frozen=True, slots=True)
class CropsOptions:
    """Labeled crops to evaluate on, of kind "auto", "lmdb", "csv", "tsv", "doctr" or "trdg".

    Attributes:
        path: folder or file.
        root: for "tsv": folder that paths are relative to; None is that of the file.
        outside: for "csv" and "tsv": whether paths may lead out of that folder.
        split: the part of the data set to use.
        start: index of the first crop to use.
        stop: index after the last crop, as in a slice; None uses all.
    """

    path: str = ""
    root: str | None = None
    outside: bool = False
    split: SplitOptions = field(default_factory=SplitOptions)
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        expect(
            self,
            (self.start >= 0, "start", "0 or more"),
            (self.stop is None or self.stop > self.start, "stop", "more than start, or None"),
        )


@dataclass(frozen=True, slots=True)
class WordsOptions:
    """Synthetic words to evaluate on, of kind "words".

    Attributes:
        count: number of words.
        seed: seed of the words.
    """

    count: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        expect(
            self,
            (1 <= self.count <= 1 << 20, "count", "1 to 1,048,576 words"),
            (0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1"),
        )


def recognizer(name: str, /, **changes: Any) -> ConfigDict:
    """Return a recognizer's config: all fields, with their defaults unless changed.

    `recognizer.turn_above` follows `data.turn_above`, so that crops are rotated as in training.

    Args:
        name: name of the experiment; results go to `exp/<name>`.
        **changes: fields, and sections as dicts of their fields.

    Returns:
        The config, locked except for the data sets in `data.train`, `eval.sets`, `eval.probe` and
        `test`.

    Raises:
        KeyError: a field does not exist; the message names the nearest one.
        TypeError: a value does not have the type of its field.
    """
    inputs = defaults(InputOptions, leave=("batch_size", "train", "features"))
    fields = {
        "name": name,
        **defaults(RunOptions),
        **defaults(RecognizerRun),
        "model": defaults(ModelOptions),
        "optimizer": defaults(OptimizerOptions),
        "data": {**defaults(DataOptions), **inputs, "train": {}},
        "eval": {**defaults(EvalOptions), "sets": {}, "probe": {}},
        "test": {},
        "recognizer": defaults(RecognizerOptions),
        "checkpoint": defaults(CheckpointOptions),
        "average": defaults(AverageOptions),
    }
    fields["recognizer"]["turn_above"] = fields["data"]["turn_above"] = FieldReference(0.0)
    return section(fields, changes)


def check(config: Mapping[str, Any]) -> None:
    """Refuse invalid values before anything is read or computed.

    Data sets are checked by `InputOptions.from_config` and `crnnjax.report.open_sets`, not here.

    Args:
        config: a config of `recognizer`; missing sections are not checked.

    Raises:
        OptionsError: a value is invalid; the message names the field, the value and what is
            expected.
    """
    check_sections(
        config,
        {
            "": (RunOptions, RecognizerRun),
            "model": (ModelOptions,),
            "optimizer": (OptimizerOptions,),
            "data": (DataOptions,),
            "eval": (EvalOptions,),
            "recognizer": (RecognizerOptions,),
            "checkpoint": (CheckpointOptions,),
            "average": (AverageOptions,),
        },
    )


def source(kind: str, /, **changes: Any) -> ConfigDict:
    """Return a training data set, for `config.data.train.NAME`.

    Args:
        kind: `kind` of `SourceOptions`.
        **changes: fields of `SourceOptions`; `augment` as a name of `crnnjax.augment.PRESETS`,
            `augment_changes` as a dict of fields of `AugmentOptions` that differ from it; for
            "words" and "pages" `text`, `words` and `page` as dicts of fields of `TextConfig`,
            `WordConfig` and `SynthConfig`.
    """
    fields = {
        "kind": kind,
        **defaults(SourceOptions, leave=("augment",)),
        "augment": "none",
        "augment_changes": unchanged(AugmentOptions),
    }
    if kind in ("words", "pages"):
        fields["text"] = unchanged(TextConfig)
    if kind == "words":
        fields["words"] = _look()
    if kind == "pages":
        fields["page"] = unchanged(SynthConfig, leave=("text",))
    return section(fields, changes)


def crops(kind: str, /, **changes: Any) -> ConfigDict:
    """Return crops to evaluate on, for `eval.sets.NAME`, `eval.probe.NAME` or `test.NAME`.

    Args:
        kind: "auto", "lmdb", "csv", "tsv", "doctr" or "trdg", or "words" for synthetic words.
        **changes: fields of `CropsOptions`; or of `WordsOptions`, with `text` and `words` as dicts
            of fields of `TextConfig` and `WordConfig`.
    """
    if kind != "words":
        return section({"kind": kind, **defaults(CropsOptions)}, changes)
    fields = {**defaults(WordsOptions), "text": unchanged(TextConfig), "words": _look()}
    return section({"kind": kind, **fields}, changes)


def crops_of(real: ConfigDict, part: str, /, **changes: Any) -> ConfigDict:
    """Return crops to evaluate on: another part of a training data set.

    The path and the split criterion follow those of `real`, including changes on the command line.

    Args:
        real: a data set of `source`, of kind "auto", "lmdb", "csv", "tsv", "doctr" or "trdg".
        part: "validation" or "test".
        **changes: as for `crops`.
    """
    shared = {name: real.get_ref(name) for name in ("path", "root", "outside")}
    split = {name: real.split.get_ref(name) for name in ("by", "validation", "test")}
    return crops(real.kind, **{**shared, "split": {**split, "part": part}, **changes})


def _look() -> dict[str, Any]:
    """Fields of `WordConfig` without its text, which has its own section."""
    return unchanged(WordConfig, leave=("text", "fonts"))
