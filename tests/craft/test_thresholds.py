"""Thresholds move only where that is better by more than chance; what holds is said."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny_detector

import craftjax.evaluate
from craftjax import training, tune
from craftjax.audit import audit_truth
from craftjax.convert import to_state_dict
from craftjax.detector import Detector, Scores
from craftjax.evaluate import (
    EvaluationError,
    OperatingPoint,
    choose_point,
    sweep,
    with_used,
)
from craftjax.models import CRAFT, init_variables
from craftjax.options import (
    MIN_PICTURES,
    MIN_WORDS,
    DetectorOptions,
    describe_options,
    operating_point_path,
    options_of,
    save_operating_point,
    too_few,
)
from craftjax.resize import fit_page
from ocrcore.data.readers.icdar import write_icdar
from ocrcore.evaluation.matching import Evaluation, ImageResult
from ocrcore.images import write_image
from ocrcore.pages import Page, Sample, Word
from ocrcore.weights.pth import save_weights

OPTIONS = DetectorOptions()  # .7 / .4 / .4


def point(text, low, hits, words=10):
    """A point by the words found on each picture, of ten, with none found in error."""
    images = (ImageResult((), words, found, found, found) for found in hits)
    return OperatingPoint(text, 0.4, low, Evaluation("iou", tuple(images)))


def chosen(*points):
    ranked = sorted(points, key=lambda one: -one.evaluation.hmean)
    return choose_point(ranked, OPTIONS)


def test_thresholds_move_only_with_evidence():
    used = point(0.7, 0.4, [5] * 10)
    better = chosen(point(0.5, 0.3, [7] * 10), used)
    assert better.moved and better.point.thresholds["low_text"] == 0.3
    assert "0.5/0.4/0.3 instead of 0.7/0.4/0.4: hmean +0.1569" in better.why
    assert "on 100 words on 10 images" in better.why
    # One picture gains much, another loses nearly as much.
    chance = chosen(point(0.5, 0.3, [10, 1, *[5] * 8]), used)
    assert chance.point is used and not chance.moved
    assert "is not significantly better: hmean +0.0" in chance.why
    same = chosen(point(0.5, 0.3, [5] * 10), used)
    assert same.point is used and same.why == "none of 2 is better on 100 words on 10 images"


@pytest.mark.parametrize(("pictures", "words"), [(2, 3), (4, 100), (5, 9), (49, 1)])
def test_nothing_is_chosen_by_few_words(pictures, words):
    used, better = (point(0.7, 0.4, [0] * pictures, words), point(0.5, 0.3, [1] * pictures, words))
    choice = chosen(better, used)
    assert choice.few and choice.point is used
    assert choice.why == too_few(pictures * words, pictures)
    assert f"{pictures * words} words on {pictures} images are too few" in choice.why
    assert not too_few(MIN_WORDS, MIN_PICTURES)
    assert too_few(MIN_WORDS - 1, 49) and too_few(500, MIN_PICTURES - 1)


def pages(count, words=10, height=0.5):
    """Pages whose words have region scores of one height, with these score maps."""
    maps = np.zeros((64, 96, 2), np.float32)
    for row in range(words):
        top, left = 4 + 12 * (row // 2), 8 + 44 * (row % 2)
        maps[top : top + 6, left : left + 30, 0] = height
    scores = Scores(maps, fit_page(128, 192, canvas_size=192, mag_ratio=1.0), 128, 192)
    from craftjax.detector import find_words

    found = find_words(scores, replace(OPTIONS, text_threshold=height - 0.05, low_text=0.1))
    assert len(found) == words
    page = Page(128, 192, tuple(replace(word, text="a") for word in found))
    return [Sample(np.zeros((128, 192, 3), np.uint8), page)] * count, scores


class Fixed:
    """Has the same scores for every page."""

    options = OPTIONS

    def __init__(self, scores):
        self.scores = scores

    def with_variables(self, variables):
        return self

    def score(self, images, *, options):
        yield from enumerate([self.scores] * len(images))


def test_equal_points_begin_with_the_one_nearest_to_those_in_use():
    truth, scores = pages(1, height=0.95)
    tried = {"text_thresholds": (0.5, 0.6, 0.75), "low_texts": (0.3, 0.35, 0.45)}
    points = sweep(Fixed(scores), truth, options=OPTIONS, link_thresholds=(0.4,), **tried)
    assert {point.evaluation.hmean for point in points} == {1.0}
    assert points[0].thresholds == {
        "text_threshold": 0.75,
        "link_threshold": 0.4,
        "low_text": pytest.approx(0.35),
    }
    assert with_used((0.8, 0.5), 0.7) == (0.5, 0.7, 0.8) and with_used((), 0.7) == (0.7,)


@pytest.mark.parametrize("count", [4, 5])
def test_training_tries_thresholds_where_there_are_words_enough(count):
    truth, scores = pages(count)
    said: list[str] = []
    grid = {"text_threshold": (0.9, 0.45), "low_text": (0.6, 0.4, 0.3)}
    state = SimpleNamespace(eval_variables={})
    found = training.evaluate_state(state, Fixed(scores), truth, grid=grid, log=said.append)
    if count == 4:
        assert (found["hmean"], found["text_threshold"], said) == (0, 0.7, [])
    else:
        assert found["hmean"] == 1 and (found["text_threshold"], found["low_text"]) == (0.45, 0.4)
        assert "on 50 words on 5 images" in said[0]


def shares(count, monkeypatch, evaluate):
    """What each of some processes gives to the others, and what each gets in the end."""
    given = []
    monkeypatch.setattr(jax, "process_count", lambda: count)
    monkeypatch.setattr(craftjax.evaluate, "gather_json", lambda value: given.append(value) or [])
    monkeypatch.setattr(craftjax.evaluate, "join_points", lambda points, shares: points)
    for index in range(count):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        evaluate()
    return json.loads(json.dumps(given))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shares_of_an_evaluation_equal_the_whole(count, monkeypatch):
    truth, scores = pages(4, height=0.95)
    truth[1] = replace(truth[1], page=replace(truth[1].page, words=truth[1].page.words[:3]))
    tried = {"text_thresholds": (0.5, 0.6, 0.75), "low_texts": (0.3, 0.45)}
    tried |= {"options": OPTIONS, "link_thresholds": (0.4,)}
    whole = sweep(Fixed(scores), truth, **tried)
    join = craftjax.evaluate.join_points
    given = shares(count, monkeypatch, lambda: sweep(Fixed(scores), truth, shared=True, **tried))
    monkeypatch.setattr(craftjax.evaluate, "join_points", join)
    monkeypatch.setattr(craftjax.evaluate, "gather_json", lambda value: given)
    assert sweep(Fixed(scores), truth, shared=True, **tried) == whole
    with pytest.raises(EvaluationError, match="no labeled images"):
        sweep(Fixed(scores), [], shared=True, **tried)


def test_what_lies_beside_the_weights_is_told(tmp_path):
    weights = tmp_path / "net.pth"
    assert options_of(weights, OPTIONS, "EasyOCR's") == (OPTIONS, "EasyOCR's")
    tuned = replace(OPTIONS, low_text=0.3)
    path = operating_point_path(weights)
    save_operating_point(path, tuned, measured={}, chosen="--mode=sweep: 60 words")
    assert options_of(weights, OPTIONS, "") == (tuned, f"{path} (--mode=sweep: 60 words)")
    path.write_text(json.dumps({"options": {"low_text": 0.35}, "measured": {}}))  # as before
    options, origin = options_of(weights, OPTIONS, "")
    assert (options.low_text, origin) == (0.35, str(path))
    assert describe_options(options, origin) == (
        f"text_threshold=0.7 link_threshold=0.4 low_text=0.35 canvas_size=2560 mag_ratio=1: {path}"
    )


@pytest.fixture
def photos(tmp_path):
    """Two photos with a word each, and weights."""
    for index in range(2):
        quad = np.float32([[8, 8], [40, 8], [40, 24], [8, 24]])
        page = Page(64, 64, (Word(quad, text="a"),))
        write_image(tmp_path / "images" / f"p{index}.png", np.zeros((64, 64, 3), np.uint8))
        write_icdar(tmp_path / "gt" / f"gt_p{index}.txt", page)
    save_weights(tmp_path / "net.pth", to_state_dict(init_variables(CRAFT(width=0.125))))
    return tmp_path


def test_an_evaluation_takes_what_detect_takes_and_a_sweep_of_few_words_nothing(photos, capsys):
    config = tiny_detector.get_config()
    weights, work = photos / "net.pth", photos / "exp"
    folders = (str(weights), str(photos / "images"), str(photos / "gt"))
    point = tune.evaluate_run(config, work, *folders, sweeping=True)
    said = capsys.readouterr().out
    assert point.text_threshold == config.detector.text_threshold
    assert "not tuned, nothing written: 2 words on 2 images are too few" in said
    beside = operating_point_path(weights)
    assert not beside.exists() and not (work / "operating_point.json").exists()
    tune.evaluate_run(config, work, *folders)
    assert "low_text=0.1 canvas_size=2560 mag_ratio=1: config.detector\n" in capsys.readouterr().out

    save_operating_point(beside, replace(OPTIONS, low_text=0.3), measured={}, chosen="here")
    point = tune.evaluate_run(config, work, *folders)
    said = capsys.readouterr().out
    assert point.thresholds == {"text_threshold": 0.7, "link_threshold": 0.4, "low_text": 0.3}
    assert f"low_text=0.3 canvas_size=2560 mag_ratio=1: {beside} (here); config.det" in said
    assert "text_threshold 0.1, low_text 0.1; --config.detector.NAME=VALUE" in said
    point = tune.evaluate_run(config, work, *folders, overrides=["low_text"])
    assert (point.text_threshold, point.low_text) == (0.7, 0.1)
    assert "(here); low_text from the command line; config" in capsys.readouterr().out
    tune.evaluate_run(config, work, *folders, sweeping=True)
    assert "unchanged: text_threshold=0.7 link_threshold=0.4 low_text=0.3 canvas_size=2560 " in (
        capsys.readouterr().out
    )


def test_a_sweep_keeps_what_is_better_beyond_chance(tmp_path, monkeypatch, capsys):
    truth, scores = pages(6)
    monkeypatch.setattr(tune, "read_truth", lambda section, bad: truth)
    monkeypatch.setattr(tune, "truth_notes", lambda section: [])

    def load(source, options):
        detector = Fixed(scores)
        detector.options = options
        return detector

    monkeypatch.setattr(Detector, "from_weights", load)
    config = tiny_detector.get_config()
    config.detector.update(text_threshold=0.7, low_text=0.4)
    config.sweep.update(text_threshold=(0.4, 0.45), link_threshold=(0.4,), low_text=(0.3, 0.4))
    weights = tmp_path / "net.pth"
    weights.touch()
    point = tune.evaluate_run(config, tmp_path / "exp", str(weights), sweeping=True)
    assert (point.text_threshold, point.low_text) == (0.45, 0.4)
    kept = json.loads(operating_point_path(weights).read_text())
    assert kept["options"]["text_threshold"] == 0.45
    assert "0.45/0.4/0.4 instead of 0.7/0.4/0.4: hmean +1.0000" in kept["chosen"]
    assert "tuned: 0.45" in capsys.readouterr().out
    config.detector.text_threshold = 0.45
    config.sweep.text_threshold = (0.4, 0.9)
    tune.evaluate_run(config, tmp_path / "exp", str(weights), sweeping=True)
    assert "thresholds unchanged: none of 6 is better on 60 words" in capsys.readouterr().out


def test_the_audit_says_that_there_are_too_few(photos):
    said: list[str] = []
    section = {"kind": "words", "root": str(photos), "split": "all", "holdout": 0.1}
    section |= {"layout": "auto", "dont_care": ["###"]}
    audit_truth({"config.eval.pages": section}, log=said.append)
    assert "2 words on 2 images are too few to choose thresholds by" in said[0]
    audit_truth({"config.test": section}, log=said.append)
    assert "too few" not in said[1]
