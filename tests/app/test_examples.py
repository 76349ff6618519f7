"""The examples run at toy size; their full size fits the weights that they name."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
import tiny_recognizer
import tiny_words
from fixed_reader import FixedDetector, FixedRecognizer, rows, stripes
from ml_collections import ConfigDict
from tiny_fit import write_toy
from tiny_words import make_page

from craftjax.config import check as check_detector
from craftjax.input_pipeline import InputOptions as PageInput
from crnnjax.config import check as check_recognizer
from crnnjax.input_pipeline import InputOptions as LineInput
from crnnjax.training import begin, make_model
from ocrcore.data.readers.crops import read_labels_tsv
from ocrcore.images import image_size, write_image
from ocrcore.pages import read_pages
from ocrcore.synth.fonts import find_fonts
from ocrcore.training.checkpoints import Start
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.run import RunMemory
from ocrcore.weights.named import WeightsNotFoundError, find_weights
from ocrjax import Reader

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "end_to_end.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def metrics(folder: Path, name: str) -> list[float]:
    """A column of a run's csv log."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def test_the_toy(tmp_path):
    """keras-ocr's page from the alphabet to the last picture."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--toy", "--out", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the first page for validation contains:" in done.stdout
    for part, score, epochs in (
        ("detector", "hmean", (30, 60)),
        ("recognizer", "accuracy", (4, 8)),
    ):
        folder = tmp_path / part
        losses = metrics(folder, "loss")
        assert len(losses) == 2 and np.isfinite(losses).all()
        assert len(metrics(folder, f"eval/{score}")) >= 2
        assert all((folder / "checkpoints" / str(step)).is_dir() for step in epochs)
        assert (folder / "weights.pth").stat().st_size > 10_000
    losses = metrics(tmp_path / "detector", "loss")
    assert losses[1] < losses[0]

    crops = read_labels_tsv(tmp_path / "lines" / "train" / "labels.tsv")
    assert len(crops) == 48 and all(0 < len(crop.text) <= 10 for crop in crops)
    assert {image_size(crop.name)[0] for crop in crops} == {31}

    page, read = (cv2.imread(str(tmp_path / name)) for name in ("page.jpg", "read.jpg"))
    assert page.shape == read.shape == (96, 96, 3)
    words = json.loads((tmp_path / "read.json").read_text())
    assert words and all(np.shape(word["quad"]) == (4, 2) for word in words)
    alphabet = set((tmp_path / "alphabet.txt").read_text())
    assert all(set(word["text"]) <= alphabet and 0 <= word["confidence"] <= 1 for word in words)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores) == {"end_to_end", "keras_ocr"}


def test_fonts_and_backgrounds_are_split(example, tmp_path):
    parts = example["choose_fonts"](None)
    families = []
    for paths in parts.values():
        fonts, problems = find_fonts(paths)
        assert fonts and not problems
        assert all(font.covers(example["ALPHABET"]) and font.weight >= 400 for font in fonts)
        families.append({font.family for font in fonts})
    assert not families[0] & families[1] and not (families[0] | families[1]) & families[2]
    size = example["TOY"]
    pictures = example["choose_backgrounds"](None, tmp_path, size)
    found = [Path(path).name for part in pictures.values() for path in part]
    assert sorted(found) == [f"{index:04}.jpg" for index in range(size.backgrounds)]
    again = example["choose_backgrounds"](str(tmp_path / "backgrounds"), tmp_path, size)
    assert again == pictures and min(map(len, pictures.values())) > 0


def test_the_full_size(example, tmp_path):
    """Its configs fit its weights; of the recognizer the last layer alone is trained."""
    size = example["Size"]()
    pages = {split: example["page_options"](size, (), ()) for split in example["SPLITS"]}
    config = example["detector_config"](pages, size)
    check_detector(config)
    assert PageInput.from_config(config).train["pages"].page["font_size"] == (60, 120)
    assert (config.eval.patience, config.batch_size) == (5, 1)

    (tmp_path / "alphabet.txt").write_text(example["LOWER"])
    config = example["recognizer_config"](tmp_path, size)
    check_recognizer(config)
    inputs = LineInput.from_config(config)
    inputs.check_reading(config.recognizer)
    charset = inputs.rules.charset
    assert charset.fold("Is it 5 PM? Yes!") == "is it 5 pm? yes!" and not charset.missing("Az?. ")
    try:
        path = find_weights(config.init_weights)
    except WeightsNotFoundError:
        pytest.skip("the weights extra is not installed")
    model = make_model(config.model, num_classes=charset.num_classes)
    variables = begin(config, model, charset, Start("weights", path), RunMemory())
    options = OptimizerOptions.from_config(config.optimizer)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
    ]
    trained = {name.partition("/")[0] for name in names if not options.is_frozen(name)}
    assert trained == {"Prediction"} and len(names) > 20


def load(name: str):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLE.with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_short_ones_are_short():
    for name in ("read", "train_on_word_boxes", "finetune_recognizer"):
        text = EXAMPLE.with_name(f"{name}.py").read_text("utf-8")
        assert text.count("\n") < 60 and "absl" not in text, name


def test_read(tmp_path, monkeypatch, capsys):
    example = load("read")
    reader = Reader(FixedDetector(rows), FixedRecognizer())
    monkeypatch.setattr(example, "Reader", lambda: reader)
    write_image(tmp_path / "photo.png", stripes(3) * np.uint8(60))
    (tmp_path / "broken.png").write_text("no picture")
    photos = [str(tmp_path / name) for name in ("broken.png", "photo.png")]
    example.main([*photos, "--out", str(tmp_path / "new" / "words.jsonl")])
    said = capsys.readouterr().out
    assert said.startswith("skipped: ") and "broken.png" in said.splitlines()[0]
    (page,) = read_pages(tmp_path / "new" / "words.jsonl")
    assert [word.text for word in page.words] == ["180 0 0"] and "180 0 0" in said


def test_train_on_word_boxes(tmp_path, monkeypatch, capsys):
    example, full = load("train_on_word_boxes"), load("train_on_word_boxes").experiment
    check_detector(full(tmp_path, 500))

    def tiny(folder: Path, steps: int) -> ConfigDict:
        monkeypatch.setenv("TINY_WORDS", str(folder))
        config, small = full(folder, steps), tiny_words.get_config()
        config.init_weights = str(tmp_path / "toy" / "detector.pth")
        config.model, config.pseudo, config.optimizer = small.model, small.pseudo, small.optimizer
        config.loss.n_min_neg, config.data = 100, {**small.data, "train": config.data.train}
        config.detector, config.batch_size = small.detector, 4
        return config

    monkeypatch.setattr(example, "experiment", tiny)
    monkeypatch.setattr(example, "tune_process", lambda: None)
    write_toy(tmp_path / "toy", count=4)
    example.main([str(tmp_path / "toy" / "photos"), "--out", str(tmp_path / "run"), "--steps", "1"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("p2.png: ")
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()
    assert np.isfinite(metrics(tmp_path / "run", "loss")).all()


def test_finetune_recognizer(tmp_path, monkeypatch, capsys):
    example, full = load("finetune_recognizer"), load("finetune_recognizer").experiment
    check_recognizer(full(tmp_path / "labels.tsv", 500))

    def tiny(labels: Path, steps: int) -> ConfigDict:
        config, small = full(labels, steps), tiny_recognizer.get_config()
        config.init_weights = str(tmp_path / "toy" / "start" / "recognizer.pth")
        config.model, config.optimizer = small.model, small.optimizer
        config.data = {**small.data, "train": config.data.train}
        config.batch_size = config.recognizer.batch_size = 4
        config.recognizer.resize = small.recognizer.resize
        return config

    monkeypatch.setattr(example, "experiment", tiny)
    monkeypatch.setattr(example, "tune_process", lambda: None)
    write_toy(tmp_path / "toy", count=1)
    for index, text in enumerate(tiny_words.TEXTS * 2):
        write_image(tmp_path / f"{index}.png", make_page(index, (text,)).image[:32])
    lines = [f"{index}.png\t{text}\n" for index, text in enumerate(tiny_words.TEXTS * 2)]
    (tmp_path / "labels.tsv").write_text("".join(lines))
    example.main([str(tmp_path / "labels.tsv"), "--out", str(tmp_path / "run"), "--steps", "1"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("'music' is read as '")
    assert (tmp_path / "run" / "average.json").is_file()
    assert np.isfinite(metrics(tmp_path / "run", "loss")).all()
