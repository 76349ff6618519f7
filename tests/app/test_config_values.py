"""Values of configs that make no sense: refused before anything is read, in one line that names the
field."""

from __future__ import annotations

import math
import re

import pytest
from ml_collections import ConfigDict

from craftjax import config as craft
from craftjax.input_pipeline import InputOptions as PageInput
from crnnjax import config as crnn
from crnnjax.input_pipeline import make_batches
from crnnjax.report import open_sets


def detector():
    config = craft.detector("mine", pseudo=craft.pseudo())
    config.data.train.drawn = craft.source("pages")
    config.eval.pages = craft.pages("pages")
    config.test = craft.pages("pages")
    return config


def recognizer():
    config = crnn.recognizer("mine")
    config.data.train.drawn = crnn.source("words")
    config.eval.sets.drawn = crnn.crops("words", count=1)
    config.test.listed = crnn.crops("tsv", path="there.tsv")
    return config


def look(config):
    """What a run does with its config before it reads anything."""
    if "pages" in config.eval:
        craft.check(config)
        PageInput.from_config(config)
    else:
        crnn.check(config)
        options = make_batches(config, seed=0, rows=slice(0, 4)).options
        open_sets(config.eval.sets, field="config.eval.sets", options=options)
        open_sets(config.test, field="config.test", options=options)


def put(config, path, value):
    *parts, name = path.split(".")
    for part in parts:
        config = config[part]
    with config.ignore_type():
        config[name] = value


def numbers(config, prefix=""):
    """Full names of all fields that hold a number, and what kind."""
    for name in config:
        kind = config.get_type(name)
        if isinstance(config[name], ConfigDict):
            yield from numbers(config[name], f"{prefix}{name}.")
        elif kind in (int, float):
            yield prefix + name, kind


def test_the_defaults_are_fine():
    look(detector())
    config = recognizer()
    del config.test.listed
    look(config)


@pytest.mark.parametrize(
    ("make", "path", "value", "expected"),
    [
        *(
            (make, *bad)
            for make in (detector, recognizer)
            for bad in (
                ("steps", 0, "1 or more updates"),
                ("steps", -1, "1 or more updates"),
                ("batch_size", 0, "1 to 65,536 samples"),
                ("batch_size", 10**9, "1 to 65,536 samples"),
                ("ema", 2.0, "0 for none, or a decay of less than 1"),
                ("ema", -1.0, "0 for none, or a decay of less than 1"),
                ("model.dtype", "float7", "one of float32, bfloat16"),
                ("optimizer.learning_rate", math.inf, "more than 0"),
                ("optimizer.weight_decay", math.nan, "0 or more"),
                ("checkpoint.keep", 0, "1 or more"),
                ("eval.every", -1, "0 or more steps"),
                ("data.threads", 0, "1 to 1024 threads"),
                ("data.max_dropped", 1.5, "a share from 0 to 1"),
            )
        ),
        (detector, "model.width", 0.0, "a multiple of 1/128 up to 4"),
        (detector, "model.width", 0.3, "a multiple of 1/128 up to 4"),
        (detector, "data.size", 0, "a height and a width in multiples of 32"),
        (detector, "data.size", 999_968, ".* 4096 pixels at most"),
        (detector, "loss.version", 4, "2 or 3"),
        (detector, "eval.protocol", "best", "one of iou"),
        (detector, "eval.pages.count", 0, "1 or more pages"),
        (detector, "test.holdout", 1.0, "0 or more and less than 1"),
        (detector, "detector.low_text", 1.5, "0 to 1"),
        (detector, "detector.mag_ratio", math.inf, "a positive number up to 100"),
        (detector, "sweep.link_threshold", (0.1, 4.0), "thresholds from 0 to 1"),
        (detector, "pseudo.chunk", -1, "0 or more"),
        (detector, "pseudo.guard.mass", 2.0, "0 to 1"),
        (detector, "data.train.drawn.order", "random", "one of name, spread"),
        (detector, "data.train.drawn.augment.hue", math.nan, "0 to 0.5"),
        (recognizer, "model.channels", 0, "16 to 4096"),
        (recognizer, "model.hidden", 0, "1 to 4096"),
        (recognizer, "model.features", "vit", "one of vgg, resnet, rcnn"),
        (recognizer, "data.max_length", 10**9, "1 to 2048 characters"),
        (recognizer, "data.window", 0, "1 to 65,536 batches"),
        (recognizer, "eval.metric", "cer", "one of accuracy, alnum_accuracy, one_minus_ned"),
        (recognizer, "recognizer.beam_width", 0, "1 to 65,536"),
        (recognizer, "recognizer.contrast", math.nan, "0 to 1"),
        (recognizer, "data.train.drawn.ratio", math.nan, "a positive number"),
        (recognizer, "data.train.drawn.words.noise", (0.0, 999.0), "within 0.0 to 255.0"),
        (recognizer, "eval.sets.drawn.count", 0, "1 to 1,048,576 words"),
        (recognizer, "eval.sets.drawn.words.p_blur", 2.0, "a probability"),
        (recognizer, "test.listed.stop", 0, "more than start, or None"),
    ],
)
def test_a_bad_value_names_its_field(make, path, value, expected):
    config = make()
    put(config, path, value)
    with pytest.raises(ValueError, match=rf"^config\.{re.escape(path)} is .*expected {expected}"):
        look(config)


@pytest.mark.parametrize("make", [detector, recognizer])
def test_no_number_is_taken_unseen(make):
    config = make()
    names = list(numbers(config))
    assert len(names) > 60
    for path, kind in names:
        config = make()
        put(config, path, math.nan if kind is float else -(10**9))
        # Of synthetic pages the section is named first, then the field within it.
        name = path.rpartition(".")[2]
        with pytest.raises(ValueError, match=rf"^config\..*\b{name}\b.*expected"):
            look(config)
