"""Experiments: what they leave out has a default, and the command line changes all of it."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from craftjax.config import detector, pages, pages_of, pseudo, source
from craftjax.evaluate import read_truth
from craftjax.input_pipeline import InputOptions
from crnnjax import config as crnn
from crnnjax.augment import PRESETS
from crnnjax.input_pipeline import InputOptions as CropOptions
from ocrcore.config_sections import given
from ocrcore.synth.config import Chance, preset
from ocrcore.training.flags import explain_keys

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))
# ml_collections loads a config's file so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
CHANGED = {int: 7, float: 2.5, str: "another", tuple: (1.5, 2.5), ConfigDict: {"kind": "words"}}


def leaves(config, prefix=""):
    for name in config:
        if isinstance(config[name], ConfigDict):
            yield from leaves(config[name], f"{prefix}{name}.")
        else:
            yield prefix + name, config.get_type(name), config[name]


def parse(monkeypatch, file, *options):
    """The config as a command gets it."""
    line = ["main", f"--config={file}", *options]
    monkeypatch.setattr(sys, "argv", line)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True)
    values(line)
    return values.config


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_field_can_be_changed(file, monkeypatch):
    made = runpy.run_path(str(file))["get_config"]()
    wanted = {
        name: value is not True if kind is bool else CHANGED[kind]
        for name, kind, value in leaves(made)
    }
    assert len(wanted) > 80
    options = [f"--config.{name}={value}" for name, value in wanted.items()]
    config = parse(monkeypatch, file, *options)
    for name, value in wanted.items():
        held = config
        for part in name.split("."):
            held = held[part]
        held = held.to_dict() if isinstance(held, ConfigDict) else held
        assert held == value and type(held) is type(value), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_misspelled_field_is_refused(file, monkeypatch):
    made = runpy.run_path(str(file))["get_config"]()
    names = [name for name, _, _ in leaves(made) if len(name.rpartition(".")[2]) > 3]
    for name in names[::10]:
        near = explain_keys(["main", f"--config={file}", f"--config.{name}q=1"])
        assert f"has no config.{name}q; did you mean " in near
        assert near.endswith(f"config.{name}?")
    with pytest.raises(AttributeError):
        parse(monkeypatch, file, f"--config.{names[0]}q=1")
    with pytest.raises((AttributeError, KeyError), match="locked"):
        made.eval.everye = 3


def test_files_are_short():
    lines = [len(file.read_text(encoding="utf-8").splitlines()) for file in FILES]
    assert sum(lines) / len(lines) <= 55


def test_a_config_needs_neither_absl_nor_jax():
    code = """
import sys
from craftjax.config import detector
from crnnjax.config import recognizer
config = detector("mine", steps=100, optimizer={"learning_rate": 1e-3})
config.model.width = 0.5
assert recognizer("mine").steps == 1000
assert not {"jax", "flax", "optax"} & set(sys.modules), set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_config_in_python():
    config = detector("mine", steps=3, optimizer={"clip_norm": 1})
    assert (config.name, config.steps, config.seed) == ("mine", 3, 0)
    assert config.optimizer.to_dict()["clip_norm"] == 1.0
    with pytest.raises(KeyError, match='Did you mean "learning_rate"'):
        detector("mine", optimizer={"learning_rat": 1e-3})
    with pytest.raises(AttributeError, match='Did you mean "learning_rate"'):
        config.optimizer.learning_rat = 1e-3
    with pytest.raises(TypeError, match="steps"):
        detector("mine", steps="many")
    with pytest.raises(TypeError, match="batch_size"):
        config.detector.batch_size = "many"
    with pytest.raises(KeyError, match="rotations"):
        source("words", augment={"rotations": 1.0})
    with pytest.raises(KeyError, match="count"):
        crnn.crops("tsv", count=3)
    assert config.pseudo is config.test is config.eval.pages is config.calibration is None
    config.pseudo = pseudo(teacher="copy", guard={"mass": 0})
    assert (config.pseudo.every, config.pseudo.guard.mass) == (0, 0.0)
    assert config.pseudo.guard.hmean == 0.5


def test_what_is_evaluated_follows_what_is_trained_on():
    config = detector("mine")
    photos = source("words", path=config.data.get_ref("root"), dont_care=("x",))
    config.data.train.photos = photos
    config.eval.pages = pages_of(photos, split="validation")
    config.test = pages_of(photos, split="test", holdout=0.0)
    config.data.root = "there"
    photos.update(labels="text", images="photos", holdout=0.3, order="spread", layout="box")
    for section in (config.eval.pages, config.test):
        assert (section.root, section.images, section.gt) == ("there", "photos", "text")
        assert (section.order, section.layout, section.dont_care) == ("spread", "box", ("x",))
    assert (config.eval.pages.holdout, config.test.holdout) == (0.3, 0.0)


def test_changes_to_a_preset():
    config = detector("mine")
    config.data.train.drawn = source("pages", page={"height": 320, "style": {"colored": 1}})
    assert InputOptions.from_config(config).train["drawn"].page == {
        "height": 320,
        "style": {"colored": 1.0},
    }
    page = config.data.train.drawn.page
    page.style.colored = page.height = None
    assert given(page) == {} == InputOptions.from_config(config).train["drawn"].page
    page.arcs, page.effects.jpeg, page.text.max_length = (0.5, 10, 20), (1.0, 30, 40), 9
    page.text.sources = ConfigDict({"words": 1.0})
    changed = preset("scene", **given(page))
    assert changed.arcs == Chance(0.5, 10, 20) and changed.effects.jpeg == Chance(1.0, 30, 40)
    assert changed.text.max_length == 9 and changed.text.sources == {"words": 1.0}
    plain = preset("scene")
    assert (changed.style, changed.effects.blur) == (plain.style, plain.effects.blur)
    (drawn,) = read_truth(pages("pages", count=1, page={"height": 96, "width": 128}))
    assert drawn.image.shape == (96, 128, 3)


def test_changes_to_an_augmentation():
    config = crnn.recognizer("mine")
    config.data.train.drawn = crnn.source("words", augment="light", augment_changes={"p_blur": 1})
    augment = CropOptions.from_config(config).train["drawn"].augment
    assert augment.p_blur == 1.0 != PRESETS["light"].p_blur
    assert augment.p_noise == PRESETS["light"].p_noise
    config.data.train.drawn.augment_changes.p_blur = None
    assert CropOptions.from_config(config).train["drawn"].augment == PRESETS["light"]


def test_crops_are_read_as_in_training():
    config = crnn.recognizer("mine", data={"turn_above": 2})
    assert config.recognizer.turn_above == 2.0
    config.data.turn_above = 1.5
    assert config.recognizer.turn_above == 1.5


def test_every_field_that_the_page_for_newcomers_names_exists():
    """docs/coming_from_*.md, first of the detector, then of the recognizer."""
    of_detector = of_recognizer = ""
    for name in ("easyocr", "keras_ocr"):
        page = (FILES[0].parents[1] / "docs" / f"coming_from_{name}.md").read_text("utf-8")
        _, of_one, of_other = re.split(r"^## (?:Detector|Recognizer)$", page, flags=re.M)
        of_detector, of_recognizer = of_detector + of_one, of_recognizer + of_other
    kinds = {"icdar": "a", "words": "b", "pages": ""}
    ours = detector("any", pseudo=pseudo())
    for kind, path in kinds.items():
        ours.data.train[kind] = source(kind, **({"path": path} if path else {}))
    ours.test = pages("icdar", root="a")
    theirs = crnn.recognizer("any")
    for kind, path in {"tsv": "a", "words": "", "pages": ""}.items():
        theirs.data.train[kind] = crnn.source(kind, **({"path": path} if path else {}))
    theirs.eval.sets.mine = crnn.crops("tsv", path="a")
    theirs.test.mine = crnn.crops("tsv", path="a")
    for config, part, least in ((ours, of_detector, 60), (theirs, of_recognizer, 50)):
        named = re.findall(r"`config\.([\w.]+)`", part)
        assert len(named) > least
        for name in sorted(set(named)):
            places = [config]
            for step in name.split("."):
                places = [
                    place[one]
                    for place in places
                    if isinstance(place, ConfigDict)
                    for one in (place if step == "NAME" else [step] if step in place else [])
                ]
            assert places, f"config.{name}"
