"""Configs of the detector: `detector`, and functions for their parts.

    config = detector("mine", steps=2000, optimizer={"learning_rate": 5e-5})
    config.data.train.photos = source("words", path="photos")
    config.eval.pages = pages_of(config.data.train.photos, split="validation")
    config.test = pages_of(config.data.train.photos, split="test")

Every field of a config is a field of a dataclass, which documents it and holds its default:
`RunOptions` (ocrcore/training/run_options.py) and `DetectorRun` at the top; in the sections `model`
`ModelOptions`, `loss` `LossOptions`, `optimizer` `OptimizerOptions`
(ocrcore/training/optimizer_options.py), `distill` `DistillOptions`, `checkpoint`
`CheckpointOptions`, `data` `DataOptions` and `InputOptions` (craftjax/input_pipeline.py),
`data.train.NAME` `SourceOptions` (craftjax/sources.py), its `augment` `AugmentOptions`
(craftjax/augment.py), `pseudo` `SupervisionOptions` and `PseudoOptions` (craftjax/weak/options.py),
`eval` `EvalOptions`, `eval.pages`, `calibration` and `test` `PagesOptions`, `detector`
`DetectorOptions` (craftjax/options.py), `sweep` `SweepOptions`.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from ml_collections import ConfigDict

from craftjax.input_pipeline import InputOptions
from craftjax.options import DetectorOptions
from craftjax.sources import SourceOptions
from craftjax.weak.options import PseudoOptions, SupervisionOptions
from ocrcore.config_sections import defaults, given, nothing, section, unchanged
from ocrcore.data.readers.layouts import LAYOUT_NAMES, is_layout
from ocrcore.data.readers.words import ORDERS, SPLITS
from ocrcore.evaluation.matching import PROTOCOLS
from ocrcore.options import check_sections, expect
from ocrcore.synth.config import PRESETS, SynthConfig, check_preset
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.run_options import DTYPES, CheckpointOptions, RunOptions, loading


@dataclass(frozen=True, slots=True)
class DetectorRun:
    """Top-level fields of a detector's config beyond `RunOptions`.

    Attributes:
        weights: weights to evaluate if the run directory has none: a name, a file (.pth,
            .safetensors) or a checkpoint; empty: none.
        overlays: number of test images drawn with the words found at the end of a run.
    """

    weights: str = ""
    overlays: int = 16

    def __post_init__(self) -> None:
        expect(self, (self.overlays >= 0, "overlays", "0 or more images"))


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The section `config.model`.

    Attributes:
        features: "vgg" for CRAFT; "lcnetv4" for the compact network, which starts from
            `config.init_weights = "ppocrv6_det_small"` or a detector trained from it.
        width: channels of CRAFT relative to the original network, a multiple of 1/128.
        dtype: dtype of the computation: "float32", or "bfloat16" on GPUs and TPUs.
        remat: recompute activations in CRAFT's backward pass to save memory.
        freeze_norm: whether BatchNorm keeps its running statistics; None: if a pretrained network
            is trained on fewer than 8 images at a time.
        norm_per_device: compute BatchNorm statistics per device, not over all devices.
    """

    features: str = "vgg"
    width: float = 1.0
    dtype: str = "float32"
    remat: bool = False
    freeze_norm: bool | None = None
    norm_per_device: bool = False

    def __post_init__(self) -> None:
        fine = 0 < self.width <= 4 and float(self.width * 128).is_integer()
        expect(
            self,
            (self.features in ("vgg", "lcnetv4"), "features", "'vgg' or 'lcnetv4'"),
            (fine, "width", "a multiple of 1/128 up to 4, such as 1, 0.5 or 0.25"),
            (self.features == "vgg" or self.width == 1, "width", "1 with features 'lcnetv4'"),
            (self.dtype in DTYPES, "dtype", f"one of {', '.join(DTYPES)}"),
        )


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The section `config.loss`: one of `craftjax.losses`, and its options.

    Attributes:
        version: 3: the original's loss for pages with true characters; 2: that for pseudo labels.
        neg_rto: hard negative pixels per positive pixel.
        n_min_neg: number of hard negative pixels: at least this many for version 3; this many for
            version 2 if there is no positive pixel.
        count_masked: whether masked pixels, whose error is 0, count as negative pixels, as in the
            original.
    """

    version: int = 3
    neg_rto: float = 1.0
    n_min_neg: int = 1000
    count_masked: bool = True

    def __post_init__(self) -> None:
        expect(
            self,
            (self.version in (2, 3), "version", "2 or 3"),
            (0 <= self.neg_rto < inf, "neg_rto", "0 or more"),
            (self.n_min_neg >= 1, "n_min_neg", "1 or more pixels"),
        )


@dataclass(frozen=True, slots=True)
class DistillOptions:
    """The section `config.distill`: training on the scores of a teacher instead of labels.

    Attributes:
        teacher: weights of the teacher, any detector: a name, a file (.pth, .safetensors) or a
            checkpoint.
        dtype: dtype of the teacher's computation: "float32", or "bfloat16" on GPUs and TPUs.
        crops: number of crops that the teacher scores once, before training, which then draws
            windows of `config.data.size` from them; 0: it scores every crop of every step. For
            CPUs, where the teacher takes longer than the step itself.
        crop_size: side of these crops, a multiple of 32, at least `config.data.size`.
        cache: folder of these crops; empty: "taught" in the run directory. Another run may reuse
            it.
        scale: range of the factor by which a window of these crops is resized, log-uniform. It
            gives one crop letters of many sizes. At least `config.data.size / crop_size`.
    """

    teacher: str = "craft_mlt_25k"
    dtype: str = "float32"
    crops: int = 0
    crop_size: int = 512
    cache: str = ""
    scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        expect(
            self,
            (bool(self.teacher), "teacher", "the name or the file of trained weights"),
            (self.crops >= 0, "crops", "0 or more"),
            (self.crop_size % 32 == 0 < self.crop_size, "crop_size", "a multiple of 32"),
            (self.dtype in DTYPES, "dtype", f"one of {', '.join(DTYPES)}"),
            (0 < self.scale[0] <= self.scale[1] <= 100, "scale", "two ascending factors above 0"),
        )


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The section `config.data`, which also has the fields of `InputOptions`.

    Attributes:
        root: folder that data sets of the config may refer to.
        size: height and width of the training crops; a multiple of 32.
        threads: threads that make batches, in each worker.
        workers: processes that make batches; 0: this process.
    """

    root: str = ""
    size: int = 768
    threads: int = 2
    workers: int = 0

    def __post_init__(self) -> None:
        expect(self, *loading(self.threads, self.workers))


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The section `config.eval`, which also has `pages`: the evaluations that choose the weights.

    Attributes:
        every: steps from one evaluation to the next; 0: only after the last step.
        patience: evaluations without improvement of hmean before training stops; 0 disables early
            stopping. With fewer than 300 words in `pages` training never stops early.
        protocol: one of `ocrcore.evaluation.matching.PROTOCOLS`.
        sweep: try text_threshold and low_text of `config.sweep`, and take those that are
            significantly better (`craftjax.evaluate.choose_point`). Training changes the level of
            the scores, so that at fixed thresholds better weights may look worse.
        keep_scores: `--mode=evaluate` and `--mode=sweep` keep score maps in the run directory, so
            that they can resume.
    """

    every: int = 1000
    patience: int = 0
    protocol: str = "iou"
    sweep: bool = False
    keep_scores: bool = False

    def __post_init__(self) -> None:
        expect(
            self,
            (self.every >= 0, "every", "0 or more steps"),
            (self.patience >= 0, "patience", "0 or more evaluations"),
            (self.protocol in PROTOCOLS, "protocol", f"one of {', '.join(PROTOCOLS)}"),
        )


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """The section `config.sweep`: thresholds to try, in every combination.

    Attributes:
        text_threshold: values of this field of `craftjax.options.DetectorOptions`.
        link_threshold: values of this field.
        low_text: values of this field.
    """

    text_threshold: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    link_threshold: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    low_text: tuple[float, ...] = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)

    def __post_init__(self) -> None:
        for name in ("text_threshold", "link_threshold", "low_text"):
            fine = all(0 <= value <= 1 for value in getattr(self, name))
            expect(self, (fine, name, "thresholds from 0 to 1"))


@dataclass(frozen=True, slots=True)
class PagesOptions:
    """Labeled pages to evaluate on, read by `craftjax.evaluate.read_truth`.

    Attributes:
        root: for "icdar" and "words": folder of the data set; for annotation tools also a label
            file.
        images: folder of the images inside `root`; for "words" empty means to look for it.
        gt: folder of the label files, in the same way.
        split: for "words": "all", "train", "validation" or "test", as for
            `ocrcore.data.readers.words.open_words`.
        holdout: for "words": share of the images that is not trained on.
        order: for "words": "name" or "spread".
        layout: layout of a label line, one of `ocrcore.data.readers.label_lines.LAYOUTS`.
        dont_care: texts that mark a word as don't care.
        start: index of the first image to use.
        stop: index after the last image, as in a slice; None uses all.
        preset: for "pages": "plain", "scene", "web" or "words".
        seed: for "pages": seed of the pages.
        count: for "pages": number of pages.
    """

    root: str = ""
    images: str = ""
    gt: str = ""
    split: str = "all"
    holdout: float = 0.1
    order: str = "name"
    layout: str = "auto"
    dont_care: tuple[str, ...] = ("###",)
    start: int = 0
    stop: int | None = None
    preset: str = "scene"
    seed: int = 0
    count: int = 100

    def __post_init__(self) -> None:
        expect(
            self,
            (self.split in SPLITS, "split", f"one of {', '.join(SPLITS)}"),
            (0 <= self.holdout < 1, "holdout", "0 or more and less than 1"),
            (self.order in ORDERS, "order", f"one of {', '.join(ORDERS)}"),
            (is_layout(self.layout), "layout", f"one of {LAYOUT_NAMES}"),
            (self.start >= 0, "start", "0 or more"),
            (self.stop is None or self.stop > self.start, "stop", "more than start, or None"),
            (self.preset in PRESETS, "preset", f"one of {', '.join(PRESETS)}"),
            (0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1"),
            (self.count >= 1, "count", "1 or more pages"),
        )


def detector(name: str, /, **changes: Any) -> ConfigDict:
    """Return a detector's config: all fields, with their defaults unless changed.

    Args:
        name: name of the experiment; results go to `exp/<name>`.
        **changes: fields, and sections as dicts of their fields.

    Returns:
        The config, locked except for the data sets in `data.train`. Optional sections are None:
        `pseudo`, `distill`, `eval.pages`, `calibration` and `test`.

    Raises:
        KeyError: a field does not exist; the message names the nearest one.
        TypeError: a value does not have the type of its field.
    """
    inputs = defaults(InputOptions, leave=("batch_size", "train", "size"))
    fields = {
        "name": name,
        **defaults(RunOptions),
        **defaults(DetectorRun),
        "model": defaults(ModelOptions),
        "loss": defaults(LossOptions),
        "optimizer": defaults(OptimizerOptions),
        "pseudo": nothing(),
        "distill": nothing(),
        "data": {**defaults(DataOptions), **inputs, "train": {}},
        "eval": {**defaults(EvalOptions), "pages": nothing()},
        "calibration": nothing(),
        "test": nothing(),
        "detector": defaults(DetectorOptions),
        "sweep": defaults(SweepOptions),
        "checkpoint": defaults(CheckpointOptions),
    }
    return section(fields, changes)


def check(config: Mapping[str, Any]) -> None:
    """Refuse invalid values before anything is read or computed.

    Training data sets are not checked here but by `InputOptions.from_config`.

    Args:
        config: a config of `detector`; missing sections are not checked.

    Raises:
        OptionsError: a value is invalid; the message names the field, the value and what is
            expected. For synthetic pages it is a `ConfigError`.
    """
    check_sections(
        config,
        {
            "": (RunOptions, DetectorRun),
            "model": (ModelOptions,),
            "loss": (LossOptions,),
            "optimizer": (OptimizerOptions,),
            "pseudo": (SupervisionOptions, PseudoOptions),
            "distill": (DistillOptions,),
            "data": (DataOptions,),
            "eval": (EvalOptions,),
            "eval.pages": (PagesOptions,),
            "calibration": (PagesOptions,),
            "test": (PagesOptions,),
            "detector": (DetectorOptions,),
            "sweep": (SweepOptions,),
            "checkpoint": (CheckpointOptions,),
        },
    )
    for place, one in (
        ("eval.pages", config.get("eval", {}).get("pages")),
        ("calibration", config.get("calibration")),
        ("test", config.get("test")),
    ):
        if one and one["kind"] == "pages":
            check_preset(one["preset"], given(one).get("page", {}), f"config.{place}.page")


def source(kind: str, /, **changes: Any) -> ConfigDict:
    """Return a training data set, for `config.data.train.NAME`.

    Args:
        kind: `kind` of `SourceOptions`.
        **changes: fields of `SourceOptions`; `augment` as a dict of fields of `AugmentOptions`;
            `page` as a dict of fields of `SynthConfig`, for "pages".
    """
    page = {"page": unchanged(SynthConfig)} if kind == "pages" else {}
    return section({"kind": kind, **defaults(SourceOptions), **page}, changes)


def pages(kind: str, /, **changes: Any) -> ConfigDict:
    """Return pages to evaluate on, for `config.eval.pages`, `config.calibration` or `config.test`.

    Args:
        kind: "icdar": images and label files in two given folders; "words": images and label files
            in a folder that is searched and split, like "auto" and the formats of annotation tools
            (`ocrcore.data.readers.label_formats`); "pages": synthetic pages.
        **changes: fields of `PagesOptions`; `page` as a dict of fields of `SynthConfig`, for
            "pages".
    """
    page = {"page": unchanged(SynthConfig)} if kind == "pages" else {}
    return section({"kind": kind, **defaults(PagesOptions), **page}, changes)


def pages_of(photos: ConfigDict, /, **changes: Any) -> ConfigDict:
    """Return pages to evaluate on, from the folder of a training data set.

    Kind, folders, holdout, order, layout and don't-care texts follow those of `photos`, including
    changes on the command line.

    Args:
        photos: a data set of `source`, of kind "icdar" or "words".
        **changes: as for `pages`.
    """
    alike = ("images", "holdout", "order", "layout", "dont_care")
    names = {"root": "path", "gt": "labels"} | {name: name for name in alike}
    shared = {ours: photos.get_ref(theirs) for ours, theirs in names.items()}
    chosen = pages(photos.kind, **{**shared, **changes})
    chosen.kind = photos.get_ref("kind")
    return chosen


def pseudo(**changes: Any) -> ConfigDict:
    """Return the section `config.pseudo`: pseudo labels for data sets of kind "words".

    Args:
        **changes: fields of `SupervisionOptions` and of `PseudoOptions`; `guard` as a dict of
            fields of `GuardOptions`.
    """
    fields = {**defaults(SupervisionOptions, leave=("labels",)), **defaults(PseudoOptions)}
    return section(fields, changes)


def distill(**changes: Any) -> ConfigDict:
    """Return the section `config.distill`: training on another network's scores.

    Args:
        **changes: fields of `DistillOptions`.
    """
    return section(defaults(DistillOptions), changes)
