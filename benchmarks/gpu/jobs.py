"""What `train.py` trains: each job's data, packed small, and its changes to a config of `configs/`.

Another job is one more entry of `JOBS`.
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
CROPS, PHOTOS = 1000, 60  # of a dev set in an archive
_KEPT = 1 << 15  # bytes of a picture that is packed as it is


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        config: a file of `configs/`; its steps are what is tried first.
        package: "craftjax" or "crnnjax", whose `train` trains.
        prepare: copies from a folder of data sets what the job needs into another.
        settings: changes the config for one GPU, with the packed data in a folder.
        weights: to start from unless others are packed; empty for random ones.
        teacher: weights that are learned from, packed as well; empty for none.
        max_steps: most updates that are of use.
        evaluations: how many on the way; eval_s: seconds of one, estimated.
        reserve_s: seconds after the last step: its evaluation, the results, the judgment.
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
    """Real crops to judge a recognizer on, evenly from all over two sets."""
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
    """Photos to judge a detector on, evenly from all over `det_dev`."""
    root = datasets / "icdar2015" / "det_dev"
    pages = open_words(root)
    for index in _evenly(range(len(pages)), PHOTOS):
        path = Path(pages.name(index))
        _copy(path, folder / "det_dev" / "images" / path.name)
        label = f"gt_{path.stem}.txt"
        _copy(root / "gt" / label, folder / "det_dev" / "gt" / label)


def prepare_weak(datasets: Path, folder: Path) -> None:
    """The 300 pictures of configs/borndigital.py that train and choose, in its order.

    All 410 do not fit beside the weights: the 110 of the test are judged where they are. Large
    pictures become WebP of quality 90.
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
    """The ten photos that teach, backgrounds to write on, and photos to judge on.

    Backgrounds are pictures of a folder `backgrounds` beside the data sets, where there is one;
    those of a folder `pictures` teach as the ten photos do.
    """
    prepare_scene(datasets, folder)
    found = {"pictures/ic15": datasets / "icdar2015" / "det_train10" / "images"}
    found |= {name: datasets / name for name in ("backgrounds", "pictures")}
    for name, source in found.items():
        for path in find_images([source]) if source.is_dir() else []:
            _copy(path, folder / name / path.name)


def words_settings(config: ConfigDict, data: Path) -> None:
    """Judged on real crops; synthetic ones only for the product's own last evaluation."""
    config.eval.sets = ConfigDict()
    for name in ("iiit5k", "rec_train"):
        path = str(data / name / "labels.tsv")
        config.eval.sets[name] = ConfigDict({"kind": "tsv", "path": path})
    config.test.synthetic.count = 200
    config.log_every = 20


def scratch_settings(config: ConfigDict, data: Path) -> None:
    """The words and updates of the config, in bfloat16, with four widths instead of nine."""
    words_settings(config, data)
    config.model.dtype = "bfloat16"
    config.data.widths = tuple(config.data.height * times for times in (2, 3, 4, 6))
    config.data.update(threads=1, workers=5 if config.data.height > 32 else 3)


def scene_settings(config: ConfigDict, data: Path) -> None:
    """Judged on photos, read as configs/ic15.py does, which has the settings of EasyOCR's guide."""
    config.steps = 7000  # tried first; those of the config are for an hour or more
    config.detector = load("ic15").detector
    # The height of the scores' peaks is not that of the published weights.
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
    """Four times the batch of configs/borndigital.py, in bfloat16; the rest is its recipe."""
    config.batch_size = 16
    config.model.dtype = "bfloat16"
    config.model.freeze_norm = True  # as its batches of 4 have it by themselves
    config.data.workers = 12
    config.data.root = str(data / "borndigital")
    config.data.train.words.order = "name"  # the packed names are in its order
    config.pseudo.every = 1_000_000  # once
    config.pseudo.threads = 2
    config.sweep.low_text = (0.35, 0.45, 0.55)
    config.sweep.text_threshold = (0.6, 0.7, 0.8, 0.9)
    for pages in (config.eval.pages, config.calibration, config.test):
        pages.order = "name"
    config.test.update(start=240, stop=250)
    config.overlays = 4


def compact_settings(config: ConfigDict, data: Path) -> None:
    """Judged on photos, at thresholds of its own."""
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
            max_steps=5500,  # as many words for both
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
        max_steps=3000,  # of 16 crops: eight times the crops of the config
        evaluations=3,
    ),
}


def load(name: str) -> ConfigDict:
    """A config of `configs/`."""
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()


def pack(job: Job, datasets: Path, archive: Path, *, weights: str, teacher: str) -> None:
    """Writes a job's data as a tar file, and the weights to start from as float16.

    Args:
        job: one of `JOBS`.
        datasets: folder of the data sets.
        archive: to write.
        weights: a name or file of those to start from; empty for none.
        teacher: the same of those to learn from.
    """
    folder = archive.with_name(archive.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(datasets, folder)
    for name, file in ((weights, "start"), (teacher, "teacher")):
        if name:
            _pack_weights(name, folder / f"{file}.safetensors")
    # Pictures do not shrink, but float16 weights do, by a tenth.
    with tarfile.open(archive, "w:xz", preset=0) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(folder).as_posix())
    shutil.rmtree(folder)


def unpack(archive: Path, folder: Path) -> None:
    """Extracts what `pack` wrote."""
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the archives are our own.
        safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, **safe)


def as_half(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights as float16; vectors stay float32, since variances leave float16's range.

    Raises:
        ValueError: a weight that is not finite in float16.
    """
    out = {}
    for name, value in state.items():
        half = value.dtype.kind == "f" and value.ndim > 1
        with np.errstate(over="ignore"):  # said below, with its name
            out[name] = value.astype(np.float16) if half else value
        if half and not np.isfinite(out[name]).all():
            raise ValueError(f"{name}: a weight is not finite in float16, largest {value.max():g}")
    return out


def write_toy(datasets: Path) -> Path:
    """Writes a few made-up samples in the layout of the data sets, and small random weights.

    Returns:
        The file of the weights.
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
    """Makes any job small enough for seconds of a CPU; its rows stay."""
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
        # Random weights, which nobody would trust.
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
