"""Training on words alone: the schedule, the guards, and all of it through the command."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_words
from tiny_words import Darkness, make_page, state_of, weights, write_words

from craftjax import training
from craftjax.input_pipeline import InputOptions, make_batches, make_item
from craftjax.options import DetectorOptions
from craftjax.sources import SourceError, SourceOptions
from craftjax.targets import confidence_map
from craftjax.training import TrainError, make_loss, train
from craftjax.weak.collapse import GuardOptions, hmean_collapse, label_collapse
from craftjax.weak.label_set import LabelSet
from craftjax.weak.options import SupervisionOptions
from craftjax.weak.supervision import CollapseError, WeakSupervision, label_places
from ocrcore.data.prefetch import iterate
from ocrcore.images import read_image, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import Character, Page, Sample, Word
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import RunMemory
from ocrcore.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
GOOD = {"words": 100.0, "confidence": 0.9, "equal": 0.1, "mass": 0.4}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"))


def open_batches(pages, batch_size=2, **more):
    words = {"kind": "words", "path": str(pages), "holdout": 0.0, **more}
    config = {"batch_size": batch_size, "data": {"size": 64, "train": {"words": words}}}
    return make_batches(config, seed=0, rows=slice(0, batch_size))


class Steered(WeakSupervision):
    """A supervision whose run is at any step, in any state."""

    def begin(self, step):
        """Does what the train loop does when a period begins; the step at which it ends."""
        self._run.step = step
        labels = self.refresh()
        self._source.use_labels(labels.path, only=labels.only, labels=labels.labels)
        return labels.stop

    def teach(self, state):
        self._run.state = state

    def scored(self, step, hmean, *, best):
        self._run.step = step
        self.evaluated(hmean, best=None if hmean >= best else best)


def supervise(source, folder, memory=None, checkpoints=(), first=0, steps=10_000, **section):
    """A supervision with a network that is quick to compile, and what it logs."""
    said, logged = [], []
    run = SimpleNamespace(
        config=SimpleNamespace(steps=steps, init_from="", init_weights="start"),
        folder=RunFolder(folder),
        step=first,
        state=state_of(1.0, 1.0),
        memory=RunMemory() if memory is None else memory,
        checkpoints=SimpleNamespace(steps=list(checkpoints)),
        writer=SimpleNamespace(write=lambda *line: logged.append(line), lines=logged),
        progress=SimpleNamespace(paused=nullcontext),
        log=said.append,
        save=lambda: None,
    )
    weak = Steered(
        SupervisionOptions.from_config({"height": 32, **section}),
        run,
        source=source,
        model=Darkness(),
        start_weights=lambda: weights(0.5),
    )
    return weak, said


def copied(memory):
    """As a checkpoint gives it back."""
    return RunMemory(**json.loads(json.dumps(asdict(memory))))


def test_judgments():
    guard = GuardOptions()
    assert label_collapse(GOOD, None, guard) == label_collapse(GOOD, GOOD, guard) == []
    for change, words in (
        ({"confidence": 0.6}, "mean confidence is 0.600, after 0.900"),
        ({"mass": 0.1}, "mean region score of words is 0.100, after 0.400"),
        ({"mass": 0.9}, "mean region score of words is 0.900: everything is taken for text"),
        ({"equal": 0.6}, "60% of the words were split without the scores"),
    ):
        (reason,) = label_collapse({**GOOD, **change}, GOOD, guard)
        assert words in reason
    assert label_collapse({**GOOD, "equal": 0.6}, None, guard)
    assert label_collapse({**GOOD, "mass": 0.9}, None, guard)
    assert not label_collapse({**GOOD, "mass": 0.9}, GOOD, GuardOptions(mass=0.0))
    faint = {**GOOD, "mass": 0.15}  # words are seen better than at the start
    assert not label_collapse(GOOD, faint, guard)
    assert label_collapse({"words": 0.0}, GOOD, guard) == ["no word could be labeled"]
    assert not label_collapse({**GOOD, "confidence": 0.6}, GOOD, GuardOptions(confidence=0.5))
    assert not hmean_collapse(0.4, 0.8, guard) and hmean_collapse(0.39, 0.8, guard)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"guard": {"hmaen": 0.5}},
            r"guard\.hmaen is not known: did you mean hmean",
        ),
        ({"guard": {"mass": 2}}, r"config\.pseudo\.guard\.mass is 2"),
        ({"teacher": "student"}, "teacher is 'student', expected one of ema, copy, fixed"),
        ({"evry": 3}, r"config\.pseudo\.evry is not known"),
        ({"method": "magic"}, "method='magic'"),
        ({"every": -1}, "every is -1"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_settings_that_cannot_be(section, message):
    with pytest.raises(OptionsError, match=message):
        SupervisionOptions.from_config(section)


def test_what_the_watershed_needs(monkeypatch):
    monkeypatch.setattr("craftjax.weak.options.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"needs scikit-image: pip install \"ocrjax\[watershed\]"):
        SupervisionOptions.from_config({"method": "watershed"})
    SupervisionOptions.from_config({"method": "split"})


def test_a_period_is_a_pass_and_only_its_pages_are_labeled(pages, tmp_path):
    source = open_batches(pages)
    weak, said = supervise(source, tmp_path)
    assert weak.length == 3  # 6 pages, 2 at a time
    assert weak.begin(0) == 3
    labels = LabelSet.load(weak.path(0))
    assert labels.indices("words") == list(range(6)) and labels.stats()["words"] == 12
    assert said[0].startswith("step 0: making pseudo labels for 6 pages: the network splits")
    sheet = weak.path(0).with_suffix(".png")
    assert said[1].endswith(f"; the least confident ones are drawn in {sheet}")
    assert read_image(sheet).shape[1] == 4 * 380 + 3 * 12
    assert "12 words labeled" in said[1] and "on 6 pages" in said[1]
    assert supervise(source, tmp_path, every=7)[0].length == 7

    chunked, _ = supervise(source, tmp_path / "chunk", chunk=4)
    assert chunked.length == 2
    assert chunked.begin(2) == 4
    drawn = {source.mix.index(*source.mix.pick(position)) for position in range(4, 8)}
    assert LabelSet.load(chunked.path(2)).indices("words") == sorted(drawn)
    for step in (2, 3):
        source[step]
    strong = {"pages": {"kind": "pages", "preset": "plain"}}
    config = {"batch_size": 2, "data": {"size": 64, "train": strong}}
    with pytest.raises(SourceError, match="no data set of kind 'words'"):
        supervise(make_batches(config, seed=0, rows=slice(0, 2)), tmp_path)


def test_pages_that_cannot_be_read_are_replaced_as_the_loader_does(tmp_path):
    folder = write_words(tmp_path / "pages", 30)
    (folder / "images" / "p3.png").write_bytes(b"no picture")
    (folder / "gt" / "gt_p4.txt").write_text("1,2,3")
    source = open_batches(folder)
    weak, _ = supervise(source, tmp_path / "run", chunk=12)
    step = 0
    while step < 15:
        stop = weak.begin(step)
        for one in range(step, stop):
            built = source.build(one)
            assert {drop.reason for drop in built.drops} <= {"picture", "labels"}
        step = stop


def test_the_teacher(pages, tmp_path):
    source = open_batches(pages)

    def mass(teacher, steps=(0,)):
        folder = tmp_path / teacher
        weak, _ = supervise(source, folder, teacher=teacher, guard={"mass": 0.0})
        weak.teach(state_of(network=0.9, average=0.8))
        for step in steps:
            weak.begin(step)
        return LabelSet.load(weak.path(steps[-1])).stats()["mass"]

    average = mass("ema")
    assert mass("copy") == pytest.approx(average * 0.9 / 0.8, rel=1e-3)
    # At the start the network has the start weights; nothing is labeled twice.
    assert mass("fixed", (0, 3)) == mass("copy")
    # Of a run that goes on they are read again.
    weak, _ = supervise(source, tmp_path / "again", teacher="fixed")
    weak.teach(state_of(network=0.9, average=0.8))
    weak.begin(3)
    found = LabelSet.load(weak.path(3)).stats()["mass"]
    assert found == pytest.approx(average * 0.5 / 0.8, rel=1e-3)


def test_a_teacher_of_constant_output_is_refused_at_the_start(pages, tmp_path):
    for gain in (0.0, 1e9):
        weak, _ = supervise(open_batches(pages), tmp_path, method="watershed")
        weak.teach(state_of(gain, gain))
        if gain:
            weak._labeler._apply = lambda teacher, images: np.full(
                (len(images), images.shape[1] // 2, images.shape[2] // 2, 2), 0.9, np.float32
            )
        with pytest.raises(CollapseError, match=r"are unusable: .* split without the scores"):
            weak.begin(0)
        assert not weak.path(0).exists()


def test_a_period_of_synthetic_pages_alone_is_no_collapse(pages, tmp_path):
    """Chance may draw no page with words, at the start or later; a blind teacher still shows."""
    words = {"kind": "words", "path": str(pages), "holdout": 0.0}
    train = {"words": words, "pages": {"kind": "pages", "preset": "plain"}}
    config = {"batch_size": 1, "data": {"size": 64, "train": train}}
    source, memory = make_batches(config, seed=0, rows=slice(0, 1)), RunMemory()
    empty = next(step for step in range(50) if not source.mix.word_places(step, step + 1))
    weak, said = supervise(source, tmp_path, memory, every=1)
    weak.teach(state_of(0.0, 0.0))  # is not asked
    assert weak.begin(empty) == empty + 1
    assert said[-1].endswith(
        f"no pseudo labels, because no page with words is drawn until step {empty + 1}"
    )
    weak.scored(empty, 0.1, best=0.9)
    assert weak.collapsed is None and memory.pseudo["first"] is None
    source[empty]
    seen = next(step for step in range(empty + 1, 60) if source.mix.word_places(step, step + 1))
    weak.teach(state_of(1.0, 1.0))
    weak.begin(seen)
    assert memory.pseudo["first"]["words"] > 0
    later = next(step for step in range(seen + 1, 90) if not source.mix.word_places(step, step + 1))
    weak.begin(later)
    assert weak.collapsed is None and memory.pseudo["used"] == seen
    assert weak.path(seen).exists()


def test_a_teacher_that_collapses_is_not_followed(pages, tmp_path):
    source, memory = open_batches(pages), RunMemory()
    weak, said = supervise(source, tmp_path, memory, chunk=4, guard={"equal": 0.9})
    logged = weak._run.writer.lines
    assert weak.begin(0) == 2
    good = LabelSet.load(weak.path(0))
    before = copied(memory)
    weak.teach(state_of(0.0, 0.0))
    assert weak.begin(2) is None
    assert "COLLAPSE" in said[-1] and "trains on those of step 0" in said[-1]
    assert weak.collapsed and logged[-1] == (2, {"labels/collapsed": 1.0})
    # From now on only pages with good labels are drawn.
    names = {name for step in range(2, 12) for name in source.batch_names(step)}
    assert {int(Path(name).stem[1:]) for name in names} == set(good.indices("words"))
    # A run that goes on from before does the same; one from after makes no labels at all.
    again, said = supervise(source, tmp_path, before, first=2, chunk=4, guard={"equal": 0.9})
    again.teach(state_of(0.0, 0.0))
    assert again.begin(2) is None and "COLLAPSE" in said[-1]
    after, said = supervise(source, tmp_path, copied(memory), first=3, chunk=4)
    after.teach(state_of(1.0, 1.0))
    assert after.begin(3) is None
    (line,) = said
    assert "no pseudo labels are made since step 2, because of a COLLAPSE: 100% of" in line
    assert f"--config.init_from={tmp_path}" in line


def test_an_evaluation_that_collapses_goes_back_to_the_best_labels(pages, tmp_path):
    source = open_batches(pages)
    weak, said = supervise(source, tmp_path)
    weak.scored(0, 0.8, best=0.8)
    for start in (0, 3, 6):
        weak.begin(start)
        weak.scored(start + 1, 0.7 + start / 20, best=max(0.8, 0.7 + start / 20))
    weak.scored(8, 0.3, best=1.0)
    assert "hmean is 0.3000, after 1.0000 at best" in said[-1]
    assert "from step 9 on" in said[-1]
    used = source._labels
    assert weak.begin(8) == 9 and source._labels == used  # a run that goes on in between
    assert weak.begin(9) is None
    assert source._labels == (weak.path(6), True)


def test_a_run_that_goes_on_with_longer_periods_has_labels_for_them(pages, tmp_path):
    weak, _ = supervise(open_batches(pages), tmp_path, every=1)
    weak.begin(0)
    source = open_batches(pages)
    again, said = supervise(source, tmp_path, weak._run.memory, first=1, every=3)
    assert again.begin(1) == 3
    assert "lacks some pages: its pseudo labels are made by the weights of step 1" in said[0]
    assert not [drop for step in range(3) for drop in source.build(step).drops]


def test_a_collapse_at_the_end_of_a_period_makes_no_labels(pages, tmp_path):
    source = open_batches(pages)
    weak, _ = supervise(source, tmp_path)
    weak.begin(0)
    weak.scored(0, 0.8, best=0.8)
    weak.teach(state_of(0.0, 0.0))
    weak.scored(3, 0.1, best=0.8)
    assert weak.begin(3) is None and not weak.path(3).exists()
    assert source._labels == (weak.path(0), True)


def test_labels_that_no_checkpoint_needs_are_removed(pages, tmp_path):
    weak, _ = supervise(open_batches(pages), tmp_path, checkpoints=[4, 13])
    for start in range(0, 18, 3):
        weak.begin(start)
    assert sorted(int(path.stem) for path in weak.folder.glob("*.npz")) == [0, 3, 12, 15]
    assert len(list(weak.folder.glob("*.png"))) == 6  # the pictures stay
    other, said = supervise(open_batches(pages), tmp_path, weak._run.memory, first=16)
    weak.path(15).unlink()
    other.begin(16)
    assert "is missing: its pseudo labels are made by the weights of step 16" in said[0]
    # A new run begins without the labels of another.
    supervise(open_batches(pages), tmp_path)
    assert not list(weak.folder.iterdir())


def test_labels_of_steps_that_are_taken_again_are_made_again(pages, tmp_path):
    source, memory = open_batches(pages), RunMemory()
    weak, _ = supervise(source, tmp_path, memory)
    weak.begin(0)
    saved = copied(memory)  # at step 2, say
    weak.begin(3)
    weak.teach(state_of(0.0, 0.0))  # the run went wrong, and its settings are changed
    places = weak._places(6, 9)
    label_places(weak._labeler, source, weak._teacher(6), places, log=str).save(weak.path(6))
    (weak.folder / "00000003.npz.part").write_bytes(b"half written")
    again, said = supervise(source, tmp_path, saved, first=2)
    assert {path.name for path in weak.folder.iterdir()} == {"00000000.npz", "00000000.png"}
    for start in (2, 3, 6):
        again.begin(start)
    assert again.collapsed is None and "12 words labeled" in said[-1]


@pytest.mark.parametrize("teacher", ["fixed", "copy"])
def test_labels_made_otherwise_are_not_gone_on_with(pages, tmp_path, teacher):
    source = open_batches(pages)
    weak, _ = supervise(source, tmp_path, teacher="ema")
    weak.begin(0)
    weak.teach(state_of(network=0.9, average=0.8))
    weak.begin(3)
    old = weak._run.memory.pseudo["first"]
    again, said = supervise(source, tmp_path, weak._run.memory, first=4, teacher=teacher)
    again.teach(state_of(network=0.7, average=0.8))
    again.begin(4)
    assert f"was made differently (teacher was 'ema', is '{teacher}'" in said[0]
    found = LabelSet.load(again.path(3)).stats()
    assert found["mass"] == pytest.approx(old["mass"] * (0.5 if teacher == "fixed" else 0.7), 1e-3)
    assert again._run.memory.pseudo["first"] == found  # others are no measure
    said.clear()
    again.begin(5)
    assert not said
    source = open_batches(pages)
    other, said = supervise(
        source, tmp_path, again._run.memory, first=5, teacher=teacher, height=64
    )
    other.teach(state_of(network=0.7, average=0.8))
    other.begin(5)
    assert "was made differently (height was 32, is 64)" in said[0] and len(said) == 3


def test_no_page_is_labeled_that_the_run_does_not_draw(pages, tmp_path):
    source = open_batches(pages)
    weak, _ = supervise(source, tmp_path, every=100, steps=2, teacher="fixed")
    weak.begin(0)
    drawn = {source.mix.index(*source.mix.pick(position)) for position in range(4)}
    assert LabelSet.load(weak.path(0)).indices("words") == sorted(drawn) != list(range(6))
    # A run that is made longer has the others labeled, too, and them alone.
    more, said = supervise(
        source, tmp_path, weak._run.memory, first=2, every=100, steps=9, teacher="fixed"
    )
    more.teach(state_of(1.0, 1.0))
    more.begin(2)
    assert said[1].startswith(f"step 2: making pseudo labels for {6 - len(drawn)} pages: ")
    assert LabelSet.load(weak.path(0)).indices("words") == list(range(6))


def test_a_damaged_file_of_labels_is_made_again(pages, tmp_path):
    weak, said = supervise(open_batches(pages), tmp_path)
    weak.begin(0)
    good = weak.path(0).read_bytes()
    weak.path(0).write_bytes(good[: len(good) // 2])
    assert weak.begin(1) == 3
    assert "00000000.npz is damaged: its pseudo labels are made by the weights" in said[-3]
    assert weak.path(0).read_bytes() == good


def test_what_there_is_is_saved_before_labels_are_made(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_WORDS", str(pages))
    config = tiny_words.get_config()
    config.checkpoint.every, config.eval.every, config.steps = 100, 100, 5
    teacher, seen = WeakSupervision._teacher, []

    def look(self, *arguments):
        self._run.checkpoints.wait()
        seen.append(self._run.checkpoints.steps)
        return teacher(self, *arguments)

    monkeypatch.setattr(WeakSupervision, "_teacher", look)
    train(config, tmp_path)
    assert seen == [[0], [0, 3]]


def test_confidence_on_the_map_never_opens_what_is_masked():
    image = np.full((64, 64, 3), 200, np.uint8)
    letters = tuple(
        Character("", [(x, 10), (x + 10, 10), (x + 10, 30), (x, 30)]) for x in (10, 20, 30)
    )
    doubtful = Word([(10, 10), (40, 10), (40, 30), (10, 30)], "abc", score=0.6, characters=letters)
    masked = Word([(30, 20), (60, 20), (60, 50), (30, 50)], care=False)
    unlabeled = Word([(5, 40), (20, 40), (20, 60), (5, 60)], "xyz")
    options = InputOptions(1, {}, size=(64, 64))
    augment = SourceOptions("words", "x", augment=SourceOptions("pages").augment).augment
    for words in ((doubtful, masked, unlabeled), (masked, unlabeled, doubtful)):
        item = make_item(
            np.random.default_rng(0), Sample(image, Page(64, 64, words)), augment, options
        )
        expected = confidence_map(
            (32, 32), [w.quad / 2 for w in (doubtful, masked, unlabeled)], [0.6, 0, 0]
        )
        np.testing.assert_array_equal(item.confidence, expected)
        assert sorted(np.unique(item.confidence).tolist()) == pytest.approx([0, 0.6, 1])
        assert item.region.max() > 0.8


def test_batches_need_labels_and_workers_get_them(pages, tmp_path):
    source = open_batches(pages)
    with pytest.raises(SourceError, match=r"config\.data\.train\.words has only words"):
        source[0]
    weak, _ = supervise(source, tmp_path)
    weak.begin(0)
    batch, other = source[1], pickle.loads(pickle.dumps(source))[1]
    for name, array in batch.items():
        np.testing.assert_array_equal(array, other[name])
    assert batch["region"].max() > 0.5


def test_batches_end_where_they_are_told_to(pages, tmp_path):
    source = open_batches(pages)
    weak, _ = supervise(source, tmp_path, every=9)
    weak.begin(0)
    for first, stop in ((0, 2), (1, 8), (4, 4)):
        made = list(iterate(source, first, stop_step=stop, threads=2, ahead=2))
        assert len(made) == stop - first
        for step, batch in enumerate(made, first):
            np.testing.assert_array_equal(batch["image"], source[step]["image"])


@pytest.mark.parametrize("name", ["ic15", "ic15:synthtext", "ic15:pages", "custom", "borndigital"])
def test_recipes(name):
    file, _, mixed = name.partition(":")
    make = runpy.run_path(str(ROOT / "configs" / f"{file}.py"))["get_config"]
    config = make(mixed) if mixed else make()
    weak = SupervisionOptions.from_config(config.pseudo)
    assert weak.labels.method == "split" and weak.guard == GuardOptions()
    assert (weak.batch_size, "threads" in config.pseudo) == (None, True)
    config.lock()
    config.pseudo.batch_size = 8  # the command line adds no fields
    assert SupervisionOptions.from_config(config.pseudo).batch_size == 8
    data = InputOptions.from_config(config)
    DetectorOptions(**config.detector)
    make_loss(config.loss)
    _, rate = make_optimizer(OptimizerOptions.from_config(config.optimizer), steps=config.steps)
    words = data.train["words"]
    assert words.dont_care == ("###",)
    assert config.data.workers == 0  # they start over after each labeling
    for section in (config.eval.pages, config.test):
        assert section.root == config.data.root == words.path
        assert section.holdout == (words.holdout if section.split != "all" else 0)
    if file != "borndigital":  # nothing that is evaluated on is trained on, whatever is set
        shared = (
            "holdout",
            "dont_care",
            *(("images", "layout", "order") if file == "custom" else ()),
        )
        values = {
            "holdout": 0.3,
            "dont_care": ("?",),
            "images": "x",
            "layout": "box",
            "order": "name",
        }
        config.data.train.words.update({name: values[name] for name in shared})
        for section in (config.eval.pages, config.test):
            assert all(section[name] == values[name] for name in shared)
    if file == "ic15":  # the original's custom_data_train.yaml
        loss = {"version": 2, "neg_rto": 0.3, "n_min_neg": 5000, "count_masked": True}
        assert config.loss.to_dict() == loss
        assert (config.steps, data.size) == (25_000, (768, 768))
        rates = [float(rate(step)) for step in (0, 7499, 7500, 15_000, 22_500)]
        assert rates == pytest.approx([1e-4, 1e-4, 2e-5, 4e-6, 8e-7])
        augment = words.augment
        assert (augment.area, augment.aspect) == ((0.03, 0.4), (0.75, 1.33))
        assert (augment.rotation, augment.flip, augment.crop) == (20, 0.5, "random_resize_crop")
        assert config.batch_size == (6 if mixed else 5)
        # What its head says to bring the original's way back.
        head = runpy.run_path(str(ROOT / "configs" / "ic15.py"))["__doc__"]
        for name, value in (("teacher", "copy"), ("method", "watershed"), ("original", True)):
            assert f"pseudo.{name}={value}" in head
            config.pseudo[name] = value
        config.pseudo.guard.update({"confidence": 0.0, "mass": 0.0, "equal": 1.0, "hmean": 0.0})
        assert SupervisionOptions.from_config(config.pseudo).labels.original
        assert not mixed or words.ratio / data.train["synth"].ratio == 5


def test_pages_without_words_are_background(tmp_path):
    folder = write_words(tmp_path / "pages", 2)
    write_image(folder / "images" / "p2.png", make_page(0, texts=()).image)
    (folder / "gt" / "gt_p2.txt").write_text("")
    source = open_batches(folder, batch_size=3)
    weak, _ = supervise(source, tmp_path / "run")
    weak.begin(0)
    assert not source.build(0).drops
    assert any(not region.any() for region in source[0]["region"])


def launch(workdir, pages, *flags, die=False):
    """The command; with `die` it is killed in the middle of its second labeling."""
    trap = (
        "import os, signal, sys\n"
        "from craftjax import main\n"
        "from craftjax.weak import crop_workers\n"
        "cut = crop_workers.CropWork.cut\n"
        "def trap(*arguments):\n"
        f"    if os.path.exists({str(workdir / 'pseudo' / '00000000.npz')!r}):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return cut(*arguments)\n"
        "crop_workers.CropWork.cut = trap\n"
        "from ocrcore.training.flags import run_program\n"
        "run_program(main.main, 'craftjax.main')\n"
    )
    return subprocess.run(
        [
            sys.executable,
            *(["-c", trap] if die else ["-m", "craftjax.main"]),
            f"--config={tiny_words.__file__}",
            f"--workdir={workdir}",
            *flags,
        ],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TINY_WORDS": str(pages)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def rows(workdir):
    names = ("loss", "grad_norm", "labels/confidence", "labels/words", "eval/hmean")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return sorted((row["step"], name, row[name]) for row in found for name in names if name in row)


def test_a_run_that_is_killed_while_it_labels_repeats_exactly(pages, tmp_path, monkeypatch):
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    died = launch(broken, pages, die=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert "step 3/8" in died.stdout
    assert [path.name for path in (broken / "pseudo").glob("*.npz")] == ["00000000.npz"]
    done = launch(broken, pages, "--config.pseudo.workers=1")
    assert done.returncode == 0, done.stderr
    assert "start: resume" in done.stdout and "step 3: 12 words labeled" in done.stdout

    monkeypatch.setenv("TINY_WORDS", str(pages))
    train(tiny_words.get_config(), straight)
    assert rows(broken) == rows(straight)
    assert [step for step, name, _ in rows(broken) if name == "labels/words"] == [0, 3, 6]
    labels = sorted(path.name for path in (straight / "pseudo").glob("*.npz"))
    assert labels and labels == sorted(path.name for path in (broken / "pseudo").glob("*.npz"))
    for name in labels:
        assert (straight / "pseudo" / name).read_bytes() == (broken / "pseudo" / name).read_bytes()
    assert (straight / "weights.pth").read_bytes() == (broken / "weights.pth").read_bytes()


@pytest.mark.slow
def test_two_processes_and_one_device_equal_four(pages, tmp_path):
    """Over gloo, two devices each; then one device alone, and four."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "craftjax.main", f"--config={tiny_words.__file__}"]
    several = [f"--coordinator=127.0.0.1:{port}", "--process_count=2"]
    shapes = {"two": 2, "one": 1, "four": 4}
    for name, devices in shapes.items():
        flags = f"--xla_force_host_platform_device_count={devices}"
        path = f"{ROOT}:{ROOT / 'tests'}"
        env = {"PYTHONPATH": path, "TINY_WORDS": str(pages), "XLA_FLAGS": flags}
        own = [[*several, f"--process_id={rank}"] for rank in range(2)] if name == "two" else [[]]
        running = [
            subprocess.Popen(
                [*command, f"--workdir={tmp_path / name}", "--config.steps=5", *arguments],
                env=os.environ | env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for arguments in own
        ]
        for process in running:
            _, err = process.communicate(timeout=600)
            assert process.returncode == 0, err[-3000:]
    expected = rows(tmp_path / "four")
    assert len([name for _, name, _ in expected if name == "labels/words"]) == 2
    for name in ("one", "two"):
        found = rows(tmp_path / name)
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        for row, other in zip(found, expected, strict=True):
            assert row[2] == pytest.approx(other[2], rel=2e-3), row
        for step in (0, 3):
            one, other = (
                LabelSet.load(tmp_path / run / "pseudo" / f"{step:08}.npz")
                for run in (name, "four")
            )
            np.testing.assert_array_equal(one.pages, other.pages)
            np.testing.assert_array_equal(one.words, other.words)
            np.testing.assert_allclose(one.quads, other.quads, atol=0.05)


def test_an_average_that_is_not_kept_cannot_teach(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_WORDS", str(pages))
    config = tiny_words.get_config()
    config.ema = 0.0
    with pytest.raises(TrainError, match=r"config\.pseudo\.teacher is 'ema', but config\.ema is 0"):
        train(config, tmp_path)


@pytest.mark.parametrize(
    ("form", "start"),
    [("raw", "words: labels read as quad"), ("packed", "packed labels are not audited")],
)
def test_labels_are_audited_unless_packed(pages, tmp_path, monkeypatch, form, start):
    monkeypatch.setenv("TINY_WORDS", str(pages))
    monkeypatch.setattr(training, "WeakSupervision", lambda *_, **__: None)
    options = InputOptions(1, {"words": SourceOptions("words", str(pages))}, format=form)
    said = []
    source = SimpleNamespace(options=options)
    config = tiny_words.get_config()
    training._supervision(config, SimpleNamespace(log=said.append), source, None)
    (line,) = said
    assert line.startswith(start)
