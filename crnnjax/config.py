"""Configs of the recognizer: `recognizer`, and parts of one that differ by data set.

    config = recognizer("mine", steps=2000, optimizer={"learning_rate": 3e-4})
    config.data.train.mine = source("tsv", path="labels.tsv", split={"part": "train"})
    config.eval.sets.mine = crops_of(config.data.train.mine, "validation")
    config.test.mine = crops("lmdb", path="test")

Every field of a config is a field of a dataclass, which holds its default and says what it means:
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
"""What is written and how it is drawn, of synthetic words that look as those of IIIT5K and ICDAR
2015 on average: half in capitals, narrow letters, marks that labels leave out."""
METRICS = ("accuracy", "alnum_accuracy", "one_minus_ned")
"""Scores that the best checkpoint can be chosen by: the higher the better."""


@dataclass(frozen=True, slots=True)
class RecognizerRun:
    """Top-level fields of a recognizer's config beyond `RunOptions`.

    Attributes:
        init_charset: of the first weights, where it is not known.
    """

    init_charset: str = ""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The section `config.model`: `crnnjax.models.CRNN`.

    Attributes:
        features: "vgg", "resnet", "rcnn" or "lcnetv4".
        channels: of the last features.
        hidden: of the LSTM, each direction; of LightSVTR.
        sequence: "bilstm", "lightsvtr" (after lcnetv4 alone) or "none".
        transform: "none" or "affine".
        batch_norm: False for lcnetv4 as it is published, with BatchNorm folded into biases.
        dtype: of the computation: "float32", or "bfloat16" on GPUs and TPUs.
        freeze_norm: BatchNorm keeps its running statistics.
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
            (compact or self.batch_norm, "batch_norm", "True but for features 'lcnetv4'"),
            (compact or not light, "sequence", "'bilstm' or 'none' but for features 'lcnetv4'"),
            (not light or self.hidden % 8 == 0, "hidden", "a multiple of 8 for 'lightsvtr'"),
        )


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The section `config.data`, in which fields of `InputOptions` stand as well.

    Attributes:
        root: folder that data sets of the config may refer to.
        labels: file of labels that they may refer to.
        threads: that make batches, in each worker.
        workers: processes that make batches; 0: this one.
    """

    root: str = ""
    labels: str = ""
    threads: int = 2
    workers: int = 0

    def __post_init__(self) -> None:
        expect(self, *loading(self.threads, self.workers))


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The section `config.eval`, in which `sets` and `probe` stand as well.

    `sets` choose the best weights; `probe`, which may be empty, only tells what is forgotten.

    Attributes:
        every: updates from one evaluation to the next; 0: only after the last one.
        patience: evaluations without a better score before training stops; 0 disables early
            stopping. With fewer than 300 words in `sets` nothing stops.
        metric: the score that says which checkpoint is best: "accuracy", "alnum_accuracy" or
            "one_minus_ned".
    """

    every: int = 1000
    patience: int = 0
    metric: str = "alnum_accuracy"

    def __post_init__(self) -> None:
        expect(
            self,
            (self.every >= 0, "every", "0 or more updates"),
            (self.patience >= 0, "patience", "0 or more evaluations"),
            (self.metric in METRICS, "metric", f"one of {', '.join(METRICS)}"),
        )


@dataclass(frozen=True, slots=True)
class CropsOptions:
    """Labeled crops to evaluate on, of kind "auto", "lmdb", "csv", "tsv", "doctr" or "trdg".

    Attributes:
        path: folder or file.
        root: of "tsv": folder that its paths start from; None is that of the file.
        outside: of "csv" and "tsv": whether paths may lead out of that folder.
        split: which part of them is used.
        start: index of the first crop that is read.
        stop: index after the last one, as in a slice; None reads all.
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
        count: how many.
        seed: of the words; another seed gives other words.
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
    """A recognizer's config: all fields, with their defaults where they are not changed.

    `recognizer.turn_above` is `data.turn_above`: what is read is turned as in training.

    Args:
        name: of the experiment; results go to `exp/<name>`.
        **changes: fields, and sections as dicts of their fields.

    Returns:
        The config, locked but for the data sets in `data.train`, `eval.sets`, `eval.probe` and
        `test`.

    Raises:
        KeyError: a field that does not exist; the nearest is named.
        TypeError: a value of another type than the field's.
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
    """Refuse values that make no sense, before anything is read or computed with them.

    Data sets are not looked at: `InputOptions.from_config` and `crnnjax.report.open_sets` check
    them.

    Args:
        config: of `recognizer`; sections that are missing are not looked at.

    Raises:
        OptionsError: names the field, its value, and what is expected.
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
    """A data set to train on, for `config.data.train.NAME`.

    Args:
        kind: as of `SourceOptions`.
        **changes: fields of `SourceOptions`; `augment` as the name of one of
            `crnnjax.augment.PRESETS`, `augment_changes` as a dict of fields of `AugmentOptions`
            that differ from it; `text`, `words` and `page` as dicts of fields of `TextConfig`,
            `WordConfig` and `SynthConfig`, of "words" and "pages".
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
    """Crops to evaluate on: for `eval.sets.NAME`, `eval.probe.NAME` and `test.NAME`.

    Args:
        kind: "auto", "lmdb", "csv", "tsv", "doctr" or "trdg", or "words" for synthetic ones.
        **changes: fields of `CropsOptions`; or of `WordsOptions`, `text` and `words` as dicts of
            fields of `TextConfig` and `WordConfig`.
    """
    if kind != "words":
        return section({"kind": kind, **defaults(CropsOptions)}, changes)
    fields = {**defaults(WordsOptions), "text": unchanged(TextConfig), "words": _look()}
    return section({"kind": kind, **fields}, changes)


def crops_of(real: ConfigDict, part: str, /, **changes: Any) -> ConfigDict:
    """Crops to evaluate on: another part of a data set to train on.

    The path, and what the split goes by, are those of `real`, whatever the command line makes of
    them there.

    Args:
        real: of `source`, of kind "auto", "lmdb", "csv", "tsv", "doctr" or "trdg".
        part: "validation" or "test".
        **changes: as of `crops`.
    """
    shared = {name: real.get_ref(name) for name in ("path", "root", "outside")}
    split = {name: real.split.get_ref(name) for name in ("by", "validation", "test")}
    return crops(real.kind, **{**shared, "split": {**split, "part": part}, **changes})


def _look() -> dict[str, Any]:
    """Fields of `WordConfig`; its text has a section of its own."""
    return unchanged(WordConfig, leave=("text", "fonts"))
