"""The jobs of `train.py`: each job's data, packed small, and its changes to a config of `configs/`.

To add a job, add an entry to `JOBS`.
"""

from __future__ import annotations

import runpy
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict

from ocrcore.data.readers.icdar import write_icdar
from ocrcore.data.readers.words import open_words
from ocrcore.images import find_images, read_image, write_image
from ocrcore.synth.config import preset
from ocrcore.synth.pages import PageSource
from ocrcore.synth.words import WordConfig, WordRenderer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CROPS, PHOTOS = 1000, 60  # per dev set in an archive
_KEPT = 1 << 15  # bytes; smaller pictures are packed unchanged


@dataclass(frozen=True)
class Job:
    """A training job.

    Attributes:
        config: a file of `configs/`; its number of steps is the first plan.
        package: "craftjax" or "crnnjax", whose `train` is run.
        prepare: copies what the job needs from a folder of data sets into another folder.
        settings: adapts the config to one GPU and to the folder of the packed data.
        weights: initial weights unless others are packed; empty for random ones.
        teacher: weights of a teacher to distill from, also packed; empty for none.
        max_steps: steps beyond which training is of no use.
        evaluations: number of evaluations during training.
        eval_s: estimated seconds per evaluation.
        reserve_s: seconds kept for what follows the last step: evaluation, results, final scores.
    """

    config: str
    package: str
    prepare: Callable[[Path, Path], None]
    settings: Callable[[ConfigDict, Path], None]
    weights: str = ""
    teacher: str = ""
    max_steps: int = 1_000_000
    evaluations: int = 2
    eval_s: float = 15.0
    reserve_s: float = 75.0


def prepare_words(datasets: Path, folder: Path) -> None:
    """Copy real crops to evaluate a recognizer on, evenly spaced from two sets."""
    for name, labels in (
        ("iiit5k", datasets / "iiit5k" / "labels_train.tsv"),
        ("rec_train", datasets / "icdar2015" / "rec_train" / "labels.tsv"),
    ):
        lines = [line for line in labels.read_text(encoding="utf-8").splitlines() if line]
        out = []
        for number, line in enumerate(_evenly(lines, CROPS)):
            path, text = line.split("\t", 1)
            target = f"{number:04}{Path(path).suffix}"
            _copy(labels.parent / path, folder / name / target)
            out.append(f"{target}\t{text}\n")
        (folder / name / "labels.tsv").write_text("".join(out), encoding="utf-8")


def prepare_scene(datasets: Path, folder: Path) -> None:
    """Copy photos to evaluate a detector on, evenly spaced from `det_dev`."""
    root = datasets / "icdar2015" / "det_dev"
    pages = open_words(root)
    for index in _evenly(range(len(pages)), PHOTOS):
        path = Path(pages.name(index))
        _copy(path, folder / "det_dev" / "images" / path.name)
        label = f"gt_{path.stem}.txt"
        _copy(root / "gt" / label, folder / "det_dev" / "gt" / label)


def prepare_weak(datasets: Path, folder: Path) -> None:
    """Copy the 300 training and selection pictures of configs/borndigital.py, in its order.

    All 410 would not fit beside the weights; the 110 test pictures are evaluated where they are.
    Large pictures become WebP of quality 90.
    """
    root = datasets / "borndigital"
    pages = open_words(root, order="spread")
    for index in range(min(len(pages), 300)):
        path = Path(pages.name(index))
        label = f"gt_{index:03}.txt"
        _copy(root / "gt" / f"gt_{path.stem}.txt", folder / "borndigital" / "gt" / label)
        target = folder / "borndigital" / "images" / f"{index:03}{path.suffix}"
        data = path.read_bytes()
        if len(data) > _KEPT:
            image = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
            packed = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 90])[1].tobytes()
            if len(packed) < len(data):
                data, target = packed, target.with_suffix(".webp")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def prepare_compact(datasets: Path, folder: Path) -> None:
    """Copy the ten photos to distill on, backgrounds for synthetic text, and evaluation photos.

    Backgrounds are the pictures of a folder `backgrounds` beside the data sets, if there is one.
    The pictures of a folder `pictures` are used like the ten photos.
    """
    prepare_scene(datasets, folder)
    found = {"pictures/ic15": datasets / "icdar2015" / "det_train10" / "images"}
    found |= {name: datasets / name for name in ("backgrounds", "pictures")}
    for name, source in found.items():
        for path in find_images([source]) if source.is_dir() else []:
            _copy(path, folder / name / path.name)


def words_settings(config: ConfigDict, data: Path) -> None:
    """Evaluate on real crops; synthetic ones only in the training command's final evaluation."""
    config.eval.sets = ConfigDict()
    for name in ("iiit5k", "rec_train"):
        path = str(data / name / "labels.tsv")
        config.eval.sets[name] = ConfigDict({"kind": "tsv", "path": path})
    config.test.synthetic.count = 200
    config.log_every = 20


def scratch_settings(config: ConfigDict, data: Path) -> None:
    """Keep the config's words and number of steps; bfloat16, and four widths instead of nine."""
    words_settings(config, data)
    config.model.dtype = "bfloat16"
    config.batch_size = 64
    config.data.widths = tuple(config.data.height * times for times in (2, 3, 4, 6))
    config.data.update(threads=1, workers=5 if config.data.height > 32 else 3)


def scene_settings(config: ConfigDict, data: Path) -> None:
    """Evaluate on photos with configs/ic15.py's detector settings, those of EasyOCR's guide."""
    config.steps = 7000  # first plan; the config's steps would take an hour or more
    config.detector = load("ic15").detector
    # Trained from scratch, the scores peak at other heights than with the published weights.
    config.sweep = ConfigDict({"text_threshold": (0.5, 0.6, 0.7, 0.8), "low_text": (0.3, 0.4, 0.5)})
    config.eval.sweep = True
    config.eval.pages = ConfigDict(
        {
            "kind": "icdar",
            "root": str(data / "det_dev"),
            "images": "images",
            "gt": "gt",
            "layout": "auto",
            "dont_care": ("###",),
        }
    )
    config.test.count = 20
    config.overlays = 4
    config.log_every = 20


def weak_settings(config: ConfigDict, data: Path) -> None:
    """Use four times the batch of configs/borndigital.py, in bfloat16; the rest is its recipe."""
    config.batch_size = 16
    config.model.dtype = "bfloat16"
    config.model.freeze_norm = True  # the default for the config's own batch size of 4
    config.data.workers = 12
    config.data.root = str(data / "borndigital")
    config.data.train.words.order = "name"  # the packed files are named in the config's order
    config.pseudo.every = 1_000_000  # once
    config.pseudo.threads = 2
    config.sweep.low_text = (0.35, 0.45, 0.55)
    config.sweep.text_threshold = (0.6, 0.7, 0.8, 0.9)
    for pages in (config.eval.pages, config.calibration, config.test):
        pages.order = "name"
    config.test.update(start=240, stop=250)
    config.overlays = 4


def compact_settings(config: ConfigDict, data: Path) -> None:
    """Evaluate on photos, at thresholds tuned for the small network."""
    scene_settings(config, data)
    config.update(steps=4000, batch_size=16, ema=0.998)
    config.model.dtype = "bfloat16"
    config.data.update(size=640, threads=1, workers=15)
    config.distill.update(crops=0, dtype="bfloat16")
    config.distill.teacher = str(data / "teacher.safetensors")
    config.data.root = str(data / "pictures")
    if (data / "backgrounds").is_dir():
        config.data.train.pages.page.backgrounds = (str(data / "backgrounds"),)
    config.detector.update(canvas_size=1280, mag_ratio=1.0)


JOBS: dict[str, Job] = {
    "words": Job(
        "crnn_gpu",
        "crnnjax",
        prepare_words,
        words_settings,
        evaluations=4,
        eval_s=5.0,
        reserve_s=45.0,
    ),
    **{
        name: Job(
            name,
            "crnnjax",
            prepare_words,
            scratch_settings,
            max_steps=5500,  # the same number of words for both networks
            evaluations=1,
            reserve_s=40.0,
        )
        for name in ("lcnet_synth", "crnn_synth")
    },
    "scene": Job("synth_scene", "craftjax", prepare_scene, scene_settings),
    "compact": Job(
        "craft_compact",
        "craftjax",
        prepare_compact,
        compact_settings,
        weights="ppocrv6_det_small",
        teacher="craft_mlt_25k",
        reserve_s=60.0,
    ),
    "weak": Job(
        "borndigital",
        "craftjax",
        prepare_weak,
        weak_settings,
        weights="craft_mlt_25k",
        max_steps=3000,  # of batch size 16: eight times the crops of the config
        evaluations=3,
    ),
}


def load(name: str) -> ConfigDict:
    """Load a config of `configs/`."""
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()


def pack(job: Job, datasets: Path, archive: Path, *, weights: str, teacher: str) -> None:
    """Write a job's data as a tar file, with the initial weights as float16.

    Args:
        job: one of `JOBS`.
        datasets: folder of the data sets.
        archive: file to write.
        weights: name or file of the initial weights; empty for none.
        teacher: name or file of the teacher's weights; empty for none.
    """
    folder = archive.with_name(archive.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(datasets, folder)
    for name, file in ((weights, "start"), (teacher, "teacher")):
        if name:
            _pack_weights(name, folder / f"{file}.safetensors")
    # Compression does not shrink pictures, but it shrinks float16 weights by a tenth.
    with tarfile.open(archive, "w:xz", preset=0) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(folder).as_posix())
    shutil.rmtree(folder)


def unpack(archive: Path, folder: Path) -> None:
    """Extract an archive written by `pack`."""
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no extraction filters; the archives are trusted.
        safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, **safe)


def as_half(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert weights to float16; vectors stay float32, because variances may exceed its range.

    Raises:
        ValueError: A weight is not finite in float16.
    """
    out = {}
    for name, value in state.items():
        half = value.dtype.kind == "f" and value.ndim > 1
        with np.errstate(over="ignore"):  # reported below, with the weight's name
            out[name] = value.astype(np.float16) if half else value
        if half and not np.isfinite(out[name]).all():
            raise ValueError(f"{name}: a weight is not finite in float16, largest {value.max():g}")
    return out


def write_toy(datasets: Path) -> Path:
    """Write a few synthetic samples in the layout of the data sets, and small random weights.

    Returns:
        Path of the weights.
    """
    words = WordRenderer(WordConfig(height=32))
    for root, labels in (
        (datasets / "iiit5k", "labels_train.tsv"),
        (datasets / "icdar2015" / "rec_train", "labels.tsv"),
    ):
        lines = []
        for index in range(6):
            write_image(root / "images" / f"{index}.png", words[index].image)
            lines.append(f"images/{index}.png\t{words[index].text}\n")
        (root / labels).write_text("".join(lines), encoding="utf-8")
    pages = PageSource(preset("plain", height=96, width=96, font_size=(14, 20), words=(1, 2)), 0)
    ic15 = datasets / "icdar2015"
    for root, count in (
        (ic15 / "det_dev", 2),
        (ic15 / "det_train10", 2),
        (datasets / "borndigital", 5),
    ):
        for index in range(count):
            sample = pages[index]
            write_image(root / "images" / f"p{index}.png", sample.image)
            (root / "gt").mkdir(exist_ok=True)
            write_icdar(root / "gt" / f"gt_p{index}.txt", sample.page)

    from craftjax.convert import to_state_dict
    from craftjax.models import CRAFT, init_variables
    from ocrcore.weights.pth import save_weights

    weights = datasets / "toy.safetensors"
    save_weights(weights, to_state_dict(init_variables(CRAFT(0.125), seed=0)))
    return weights


def toy_settings(config: ConfigDict) -> None:
    """Shrinks any job to a few seconds on a CPU; it still produces all its rows."""
    config.steps, config.batch_size, config.log_every = 6, 4, 1
    config.model.dtype = "float32"  # CPUs are slow in bfloat16
    config.data.update(threads=1, workers=0)
    if "recognizer" in config:
        config.model.update(channels=16, hidden=8)
        config.data.widths = (96,)
        config.data.window = 4
        config.test.synthetic.count = 4
        return
    config.model.update(features="vgg", width=0.125)
    config.data.size = 64
    config.detector.update(canvas_size=96, mag_ratio=1.0)
    config.overlays = 1
    drawn = [*config.data.train.values(), config.test]
    for pages in (one for one in drawn if one.kind == "pages"):
        pages.preset = "plain"
        page = {"height": 64, "width": 64, "font_size": (12, 24), "words": (1, 3)}
        pages.page = ConfigDict(page)
    if config.test.kind == "pages":
        config.test.count = 2
    if config.distill:
        config.distill.dtype = "float32"
    if config.pseudo:
        config.data.train.words.stop = 3
        config.eval.pages.update(start=3, stop=5)
        config.test.update(start=3, stop=5)
        config.pseudo.height = 32
        # With random weights the guards against useless labels would stop the run.
        config.pseudo.guard.update(confidence=0.0, mass=0.0, equal=1.0, hmean=0.0)


def _pack_weights(name: str, target: Path) -> None:
    from ocrcore.weights.named import find_weights
    from ocrcore.weights.pth import load_weights, save_safetensors

    target.parent.mkdir(parents=True, exist_ok=True)
    path = find_weights(name)
    if path.suffix == ".onnx":
        from craftjax.convert import to_state_dict
        from craftjax.ppocr import load_ppocr_detector

        state = to_state_dict(load_ppocr_detector(path))
    else:
        state = load_weights(path)
    save_safetensors(target, as_half(state))


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
