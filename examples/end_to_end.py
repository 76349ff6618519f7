"""keras-ocr's "Complete end-to-end training", step by step, as docs/end_to_end.md tells it.

    python examples/end_to_end.py --out exp/end_to_end
    python examples/end_to_end.py --out exp/toy --toy

The first is made for two cores without a GPU, and needs the extra `weights`; the second is the same
in small, to see that all works. What is there already is not made again: the same command goes on.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import craftjax
import craftjax.config as craft
import crnnjax
import crnnjax.config as crnn
from ocrcore.drawing import MISSED, draw_page, draw_text
from ocrcore.evaluation.end_to_end import evaluate_readings
from ocrcore.evaluation.keras_ocr import keras_ocr_scores
from ocrcore.files import write_json, write_text
from ocrcore.images import write_image
from ocrcore.pages import ByteArray, Page, Sample, Word
from ocrcore.runtime.tuning import tune_process
from ocrcore.synth.backgrounds import find_backgrounds, scene_ground
from ocrcore.synth.config import preset
from ocrcore.synth.crops import CropSource
from ocrcore.synth.fonts import Split, bundled_fonts, find_fonts, select
from ocrcore.synth.pages import PageSource
from ocrcore.text import fold
from ocrjax import Reader

ALPHABET = string.digits + string.ascii_letters + "!?. "
LOWER = "".join(sorted(set(ALPHABET.lower())))
"""What the recognizer reads: some fonts draw small letters and capitals alike."""
MAX_LENGTH = 10
"""Characters of a line that the recognizer is trained on."""
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Size:
    """How much of everything; the defaults are meant for two cores without a GPU.

    Attributes:
        side: of a page, in pixels.
        font_size: in pixels.
        margin: of a page, in pixels.
        words: on a page, at least and at most.
        backgrounds: images that are drawn where none are given.
        pages: to evaluate the detector on: 308 words, fewer than 300 would stop nothing early.
        detector_epochs: at most.
        detector_steps: of an epoch, a page each (keras-ocr: one for each background).
        height: of the recognizer's images.
        lines: to train the recognizer on.
        test_lines: to evaluate it on.
        recognizer_epochs: at most.
        recognizer_steps: of an epoch, eight lines each.
        small: networks that are narrow and begin with random weights.
    """

    side: int = 640
    font_size: tuple[int, int] = (60, 120)
    margin: int = 50
    words: tuple[int, int] = (5, 9)
    backgrounds: int = 100
    pages: int = 50
    detector_epochs: int = 3
    detector_steps: int = 20
    height: int = 48
    lines: int = 1000
    test_lines: int = 300
    recognizer_epochs: int = 40
    recognizer_steps: int = 25
    small: bool = False


TOY = Size(
    side=96,
    font_size=(20, 28),
    margin=6,
    words=(1, 2),
    backgrounds=30,
    pages=4,
    detector_epochs=2,
    detector_steps=30,
    height=31,
    lines=48,
    test_lines=8,
    recognizer_epochs=2,
    recognizer_steps=4,
    small=True,
)


def choose_fonts(folder: str | None) -> dict[str, tuple[str, ...]]:
    """Fonts that draw the whole alphabet and are neither thin nor light, by split.

    Whole families go to one of the splits, 80/10/10.
    """
    found, problems = (bundled_fonts(), {}) if folder is None else find_fonts([folder])
    for path, reason in problems.items():
        print(f"left out: {path}: {reason}")
    fonts = select(
        [font for font in found if font.covers(ALPHABET)],
        without_weights=("thin", "extralight", "light"),
    )
    parts = {split: select(fonts, split=split) for split in SPLITS}
    print(f"fonts: {len(fonts)} of {len(found)} draw the alphabet and are not thin")
    return {split: tuple(font.path for font in part) for split, part in parts.items()}


def choose_backgrounds(folder: str | None, out: Path, size: Size) -> dict[str, tuple[str, ...]]:
    """Images without text, by split; where there is no folder of them, streets and rooms."""
    if folder is None:
        folder = str(out / "backgrounds")
        for index in range(size.backgrounds):
            path = Path(folder, f"{index:04}.jpg")
            if not path.exists():
                rng = np.random.default_rng([0, index])
                write_image(path, scene_ground(rng, size.side, size.side)[0])
    parts: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        pictures, problems = find_backgrounds([folder], split=split)
        parts[split] = tuple(map(str, pictures))
        for name, reason in problems.items():
            print(f"left out: {name}: {reason}")
        print(f"backgrounds for {split}: {len(pictures)}")
    return parts


def page_options(
    size: Size, fonts: tuple[str, ...], backgrounds: tuple[str, ...]
) -> dict[str, Any]:
    """What pages are like: the arguments of keras-ocr's `get_image_generator`.

    Its rotations of 0.05 about X and Y are no degrees, and look about like these.
    """
    return {
        "height": size.side,
        "width": size.side,
        "font_size": size.font_size,
        "margin": size.margin,
        "rotationX": (-20, 20),
        "rotationY": (-20, 20),
        "rotationZ": (-15, 15),
        "words": size.words,
        "lines": 0.5,
        "fonts": fonts,
        "bundled_fonts": False,
        "backgrounds": backgrounds,
        "background_share": 1.0,
        "text": {
            "charset": ALPHABET,
            "max_length": 12,
            "sources": {"words": 0.6, "lines": 0.25, "numbers": 0.15},
        },
    }


def detector_config(pages: Mapping[str, Mapping[str, Any]], size: Size) -> ConfigDict:
    """The detector's training, on pages that are drawn as they are needed, no two alike.

    `metrics.csv` in its folder has a row for each evaluation. There is a checkpoint for each epoch,
    and the best weights are kept; five epochs without a better one end it.
    """
    config = craft.detector("detector", seed=1, batch_size=1, log_every=size.detector_steps)
    config.steps = size.detector_epochs * size.detector_steps
    config.init_weights = "" if size.small else "craft_mlt_25k"
    config.optimizer.update(name="adam", learning_rate=1e-4, clip_norm=1.0)
    config.ema = 0.9
    if size.small:
        config.model.width = 0.125
        config.optimizer.learning_rate = 2e-3
        config.batch_size = 4
        # Little is found by so short a training, and none of it with certainty.
        config.detector.update(text_threshold=0.3, low_text=0.2)
    config.data.size = size.side
    config.data.train.pages = craft.source(
        "pages", preset="plain", page=pages["train"], augment={"crop": "whole"}
    )
    config.eval.pages = craft.pages(
        "pages", preset="plain", page=pages["validation"], count=size.pages, seed=1
    )
    config.test = craft.pages("pages", preset="plain", page=pages["test"], count=size.pages, seed=2)
    config.eval.every = config.checkpoint.every = size.detector_steps
    config.eval.patience = 5
    return config


def write_lines(
    folder: Path, page: Mapping[str, Any], *, count: int, height: int, seed: int
) -> None:
    """Cut lines out of pages, as keras-ocr's single-line conversion does.

    Of each line the first ten characters, level, with a margin of one pixel. (keras-ocr pads them
    with black to 31x200; here training and reading pad in the same way.)
    """
    if (folder / "labels.tsv").exists():
        return
    source = CropSource(
        preset("plain", **page),
        seed,
        unit="line",
        height=height,
        margin=1,
        max_length=MAX_LENGTH,
        per_page=4,
        length=count,
    )
    rows = []
    for index in range(count):
        crop = source[index]
        write_image(folder / f"{index:05}.png", crop.image)
        rows.append(f"{index:05}.png\t{crop.text}\n")
    write_text(folder / "labels.tsv", "".join(rows))


def recognizer_config(out: Path, size: Size) -> ConfigDict:
    """The recognizer's training, on the lines in `out`; it logs and keeps as the detector's.

    In place of keras-ocr's weights, which are not to be had, PP-OCRv6's small recognizer stands; it
    keeps the rows of the characters of `LOWER`. All but its last layer is frozen.
    """
    config = crnn.recognizer("recognizer", seed=1, batch_size=8, log_every=size.recognizer_steps)
    config.steps = size.recognizer_epochs * size.recognizer_steps
    config.data.update(charset=str(out / "alphabet.txt"), case_insensitive=True)
    config.data.update(max_length=MAX_LENGTH, height=size.height)
    if size.small:
        # keras-ocr's network in small: 31x200, a spatial transformer, convolutions, two LSTMs.
        config.model.update(transform="affine", features="vgg", channels=16, hidden=16)
        config.data.update(mode="pad", widths=(200,))
    else:
        config.init_weights = "ppocrv6_small"
        config.model.update(features="lcnetv4", channels=384, hidden=120, sequence="lightsvtr")
        config.model.batch_norm = False
        config.optimizer.freeze = ("FeatureExtraction", "SequenceModeling")
        config.data.update(widths=(96, 192, 384), p_reader_pad=1.0)
    config.recognizer.resize = "easyocr"
    config.optimizer.update(name="adamw", learning_rate=1e-3, weight_decay=0.0, clip_norm=5.0)
    config.ema = 0.98

    lines = {split: str(out / "lines" / split / "labels.tsv") for split in SPLITS}
    config.data.train.lines = crnn.source("tsv", path=lines["train"], augment="light")
    config.eval.sets.lines = crnn.crops("tsv", path=lines["validation"])
    config.test.lines = crnn.crops("tsv", path=lines["test"])
    config.eval.metric = "accuracy"
    config.eval.every = config.checkpoint.every = size.recognizer_steps
    config.eval.patience = 25
    return config


def draw_readings(image: ByteArray, words: Sequence[Word]) -> ByteArray:
    """Draw words and their texts over an image, as keras-ocr's `drawBoxes`, with the texts."""
    height, width = image.shape[:2]
    drawn = draw_page(image, Page(height, width, tuple(words)), color=MISSED)
    for word in words:
        left, top = np.clip(word.quad.min(0), 0, (width - 1, height - 1)).astype(int)
        wide = int(np.clip(np.ptp(word.quad[:, 0]), 60, width))
        plate = draw_text(word.text or "", width=wide, height=24, size=18, color=MISSED)
        room = drawn[max(0, top - 24) : max(0, top - 24) + 24, left : left + wide]
        room[:] = plate[: room.shape[0], : room.shape[1]]
    return drawn


def read_page(out: Path, reader: Reader, sample: Sample) -> None:
    """Find the words of a page, draw them, and read them from their boxes."""
    boxes = reader.detector.detect(sample.image).quads
    words = reader.recognize(sample.image, boxes)
    write_image(out / "read.jpg", draw_readings(sample.image, words))
    write_json(out / "read.json", [word.to_dict() for word in words])
    print("actual:", *(word.text for word in sample.page.words))
    print("predicted:", *(word.text or "(nothing)" for word in words))


def judge(out: Path, reader: Reader, samples: Sequence[Sample]) -> None:
    """Score whole pages: by equal texts, and as keras-ocr's `evaluation.score` does."""
    truth = [sample.page for sample in samples]
    read = reader.read([sample.image for sample in samples])
    ours = evaluate_readings(truth, read)
    theirs = keras_ocr_scores(truth, read, fold=fold)
    scores = {
        "end_to_end": {"precision": ours.precision, "recall": ours.recall, "f": ours.hmean},
        "keras_ocr": {"precision": theirs.precision, "recall": theirs.recall, **asdict(theirs)},
    }
    write_json(out / "scores.json", scores)
    for name, found in scores.items():
        print(f"{name}:", ", ".join(f"{key} {value:.4g}" for key, value in found.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--fonts", help="folder of fonts (default: those of the package)")
    parser.add_argument("--backgrounds", help="folder of images without text (default: drawn)")
    parser.add_argument("--toy", action="store_true", help="tiny networks from random weights")
    options = parser.parse_args(arguments)
    out, size = options.out, TOY if options.toy else Size()
    tune_process()

    fonts = choose_fonts(options.fonts)
    backgrounds = choose_backgrounds(options.backgrounds, out, size)
    pages: dict[str, dict[str, Any]] = {
        split: page_options(size, fonts[split], backgrounds[split]) for split in SPLITS
    }

    first = PageSource(preset("plain", **pages["validation"]), seed=0)[0]
    print("the first page for validation contains:", *(word.text for word in first.page.words))
    write_image(out / "page.jpg", draw_page(first.image, first.page, characters=True))

    found = craftjax.train(detector_config(pages, size), out / "detector")
    if found is not None:
        write_text(out / "alphabet.txt", LOWER)
        counts = (size.lines, size.test_lines, size.test_lines)
        for seed, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
            folder = out / "lines" / split
            write_lines(folder, pages[split], count=count, height=size.height, seed=seed)
        found = crnnjax.train(recognizer_config(out, size), out / "recognizer")
    if found is None:
        raise SystemExit(130)  # stopped by Ctrl-C or a signal; the same command goes on

    reader = Reader(out / "detector", out / "recognizer", log=print)
    source = PageSource(preset("plain", **pages["test"]), seed=3)
    samples = [source[index] for index in range(size.pages)]
    read_page(out, reader, samples[0])
    judge(out, reader, samples)


if __name__ == "__main__":
    main()
