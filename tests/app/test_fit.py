"""`ocrjax fit`: options, the split, stages that resume, what pays; and all of it in small."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_fit
import tiny_recognizer
from tiny_words import make_page, write_words

import crnnjax
import ocrjax
from craftjax.evaluate import OperatingPoint
from craftjax.options import DetectorOptions, load_operating_point
from ocrcore.data.readers.icdar import read_icdar
from ocrcore.evaluation.matching import evaluate_pages
from ocrcore.images import read_image, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import Page, Word
from ocrcore.weights.pth import load_weights
from ocrjax.cli.main import _parse, _run
from ocrjax.fitting import average, plan
from ocrjax.fitting.judging import ERRORS, Judged, WordReading, errors_by_kind, figures, gains
from ocrjax.fitting.options import FitError, FitOptions, parse_budget
from ocrjax.fitting.pictures import (
    Picture,
    data_digest,
    divide_pictures,
    pages_of_part,
    read_pictures,
    read_split,
    write_parts,
)
from ocrjax.fitting.stages import Done, Job, Stage, Stopped, run_stages
from ocrjax.labels.twins import fingerprint, group_twins

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("45", 2700), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400)],
)
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "45x", "0m", "-1m", "1h 30m", "1e9"])
def test_no_budgets(text):
    with pytest.raises(FitError, match="expected a time such as 45m"):
        parse_budget(text)


def test_options():
    assert FitOptions(data="d", out="exp/my plates").name == "my_plates"
    assert FitOptions(data="d", out="exp/2026").name == "_2026"
    for changes, message in (
        ({"name": "1a"}, "name is '1a'"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"detector_steps": -1}, "detector_steps is -1"),
        ({"layout": "csv"}, "layout is 'csv'"),
    ):
        with pytest.raises(OptionsError, match=message):
            FitOptions(data="d", out="o", **changes)


def test_twins_are_told_from_others(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 90, 3), np.uint8)
    image = np.kron(image[::6, ::9], np.ones((6, 9, 1), np.uint8))
    twin = np.clip(image[::2, ::2].astype(int) + 9, 0, 255).astype(np.uint8)
    other = np.kron(rng.integers(0, 256, (10, 10, 3), np.uint8), np.ones((6, 9, 1), np.uint8))
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    flat = np.full((60, 90, 3), 7, np.uint8)
    for path, picture in zip(paths, (image, other, twin, flat, flat), strict=True):
        write_image(path, picture)
    prints = np.stack([fingerprint(str(path)) for path in paths])
    sizes = np.array([read_image(path).shape[:2] for path in paths])
    assert group_twins(prints, sizes).tolist() == [0, 1, 0, 2, 3]
    sizes[2] = 60, 30  # the same gray values in another shape are another picture
    assert group_twins(prints, sizes).tolist() == [0, 1, 2, 3, 4]
    assert group_twins(prints[:0], sizes[:0]).tolist() == []


def pictures_of(groups, parts=()):
    page = make_page(0).page
    parts = parts or [""] * len(groups)
    return [Picture(page, part, group) for group, part in zip(groups, parts, strict=True)]


def test_twins_are_never_divided():
    groups = [n // 3 for n in range(120)]
    parts, how = divide_pictures(pictures_of(groups))
    assert len({*zip(groups, parts, strict=True)}) == 40
    counts = [parts.count(part) for part in ("train", "validation", "test")]
    assert counts[1] == pytest.approx(24, abs=4) and counts[2] == pytest.approx(24, abs=4)
    assert how == "by groups of near-duplicates; 80 near-duplicates"
    assert parts == divide_pictures(pictures_of(groups))[0]
    with pytest.raises(FitError, match="too few to split"):
        divide_pictures(pictures_of([0] * 10))


def test_given_parts_are_kept():
    given = ["train"] * 20 + ["test"] * 5
    parts, how = divide_pictures(pictures_of([*range(24), 3], given))
    assert [part == "test" for part in parts] == [part == "test" for part in given]
    assert parts.count("validation") == 4
    assert how.startswith("train, test as given; 1 near-duplicates")
    assert ("1 given for validation or test have a near-duplicate" in how) == (parts[3] == "train")
    given = ["train", "validation", "test"]
    assert divide_pictures(pictures_of([0, 1, 2], given))[0] == given


def test_files_of_parts(tmp_path):
    path = tmp_path / "split.tsv"
    path.write_text("\ufefftrain\ta.png\n\ntest\tgt/b.png\t7\nvalidation\tc.png\n", "utf-8")
    assert read_split(path) == {"a.png": "train", "b.png": "test", "c.png": "validation"}
    for text, message in (
        ("train a.png", r"split.tsv:1: 'train a.png': expected one of train, validation, test, "),
        ("train\ta\ntest\ta", "'a' is already in train"),
        ("train\ta", "expected images in train and in test"),
    ):
        path.write_text(text)
        with pytest.raises(FitError, match=message):
            read_split(path)
    with pytest.raises(FitError, match="No such file"):
        read_split(tmp_path / "none")


def test_pictures_are_read_and_written(tmp_path):
    data = write_words(tmp_path / "data", 8)
    (data / "images" / "p1.png").write_bytes(b"no picture")
    (data / "gt" / "gt_p2.txt").write_text("1,2,3\n")
    options = FitOptions(data=str(data), out=str(tmp_path / "out"), layout="quad")
    pictures, left_out = read_pictures(options)
    assert len(pictures) == 6 and len(left_out) == 2
    assert "p1.png" in left_out[0] and "gt_p2.txt:1" in left_out[1]
    split = tmp_path / "split.tsv"
    split.write_text(
        "".join(
            f"{part}\tp{n}.png\n"
            for n, part in enumerate(
                ("train", "test", "test", "train", "train", "validation", "test")
            )
        )
    )
    options = FitOptions(data=str(data), out="o", layout="quad", split=str(split))
    pictures, left_out = read_pictures(options)
    assert [one.part for one in pictures] == ["train", "train", "train", "validation", "test"]
    assert left_out[-1].endswith(f"p7.png: not in {split}")
    parts, _ = divide_pictures(pictures)
    assert write_parts(tmp_path / "out" / "data", pictures, parts) == 0
    (page,) = pages_of_part(tmp_path / "out", "test")
    assert page.words == tuple(read_icdar(data / "gt" / "gt_p6.txt"))
    assert Path(str(page.path)).resolve() == (data / "images" / "p6.png").resolve()
    assert len(read_split(tmp_path / "out" / "data" / "split.tsv")) == 5
    split.write_text("train\tp0.png\ntest\tq.png\n")
    with pytest.raises(FitError, match=r"'q.png' \(1 such lines\) is not an image"):
        read_pictures(options)


def test_labels_of_annotation_tools_are_read(tmp_path):
    for n in range(5):
        sample = make_page(n)
        write_image(tmp_path / "data" / str(n % 2) / f"p{n}.png", sample.image)
        shapes = [
            {"label": f" {word.text}", "points": word.quad.tolist(), "shape_type": "polygon"}
            for word in sample.page.words
        ]
        label = {"version": "5.0", "shapes": shapes, "imagePath": f"p{n}.png", "imageData": None}
        path = tmp_path / "data" / str(n % 2) / f"p{n}.json"
        path.write_text(json.dumps({**label, "imageHeight": 64, "imageWidth": 96}))
    options = FitOptions(data=str(tmp_path / "data"), out="o")
    before = data_digest(options)
    pictures, left_out = read_pictures(options)
    assert len(pictures) == 5 and left_out == []
    write_parts(tmp_path / "parts", pictures, ["train"] * 5)
    words = read_icdar(tmp_path / "parts" / "train" / "gt" / "gt_p0.txt")
    assert words == [*make_page(0).page.words]
    path.write_text(path.read_text() + " ")
    assert data_digest(options) != before


class Work:
    """Stages that note their calls."""

    def __init__(self, out: Path) -> None:
        self.out, self.calls, self.fails, self.values = out, [], "", {"b": 1}

    def stage(self, name, **more):
        def work(job: Job) -> Done:
            self.calls.append(name)
            folder = self.out / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(len([*folder.iterdir()]))).touch()
            if self.fails == name:
                raise Stopped
            return Done({"value": self.values.get(name, 0)}, f"{name} is done", (name,))

        return Stage(name, f"doing {name}", work, owns=(name,), **more)

    def stages(self):
        return (
            self.stage("a", uses=("data",)),
            self.stage("b", after=("a",)),
            self.stage("c", uses=("seed",), after=("b",)),
            self.stage("d", after=("a",)),
        )

    def run(self, only=(), **options):
        self.calls, self.said = [], []
        options = FitOptions(**{"data": "d", "out": str(self.out), **options})
        job = Job(options, self.out, self.said.append)
        run_stages(job, self.stages(), only=only)
        return job


def test_stages_are_done_once(tmp_path):
    work = Work(tmp_path / "out")
    job = work.run()
    assert work.calls == ["a", "b", "c", "d"] and job.result("b") == {"value": 1}
    assert work.said[0] == "[1/4] a: doing a" and "[1/4] a: a is done (about" in work.said[1]
    work.run()
    assert work.calls == [] and work.said[0] == "[1/4] a: done before: a is done"
    work.run(seed=3)
    assert work.calls == ["c"]
    assert work.said[2] == "[3/4] c: doing c again, because it was run with another seed (0, now 3)"
    shutil.rmtree(work.out / "b")
    work.run(seed=3)  # with the same result: what uses it stays
    assert work.calls == ["b"] and "has lost its file" in work.said[1]
    work.values["b"] = 2
    shutil.rmtree(work.out / "b")
    work.run(seed=3)
    assert work.calls == ["b", "c"]
    assert "it uses the result of b, which has changed" in work.said[3]
    (work.out / "stages" / "d.json").write_text("{")
    work.run(seed=3)
    assert work.calls == ["d"]


def test_a_stage_that_was_interrupted_goes_on_in_its_folder(tmp_path):
    work = Work(tmp_path / "out")
    work.fails = "c"
    with pytest.raises(Stopped):
        work.run()
    assert work.calls == ["a", "b", "c"] and len([*(work.out / "c").iterdir()]) == 1
    with pytest.raises(Stopped):
        work.run()
    assert work.calls == ["c"] and len([*(work.out / "c").iterdir()]) == 2
    with pytest.raises(Stopped):
        work.run(seed=1)  # other inputs: an empty folder
    assert work.calls == ["c"] and len([*(work.out / "c").iterdir()]) == 1
    work.fails = ""
    work.run(seed=1)
    assert work.calls == ["c", "d"] and len([*(work.out / "c").iterdir()]) == 2


def test_single_stages(tmp_path):
    work = Work(tmp_path / "out")
    with pytest.raises(FitError, match="--stage e: expected one of a, b, c, d"):
        work.run(only=("e",))
    with pytest.raises(FitError, match="the earlier stage a has not run yet"):
        work.run(only=("c",))
    work.run()
    work.run(only=("b",))
    assert work.calls == ["b"] and len([*(work.out / "b").iterdir()]) == 1
    work.run()
    assert work.calls == []
    work.values["b"] = 5
    work.run(only=("b",))
    assert work.calls == ["b"] and "which has changed; left as it is" in work.said[-1]
    work.run()
    assert work.calls == ["c"]


def test_what_pays():
    assert "fewer than 50 words" in plan.detector_pays(words=5000, choosing=(49, 9))
    assert "fewer than 50 words or 5 images" in plan.detector_pays(words=5000, choosing=(500, 4))
    assert "fewer than 300" in plan.detector_pays(words=299, choosing=(50, 5))
    assert plan.detector_pays(words=300, choosing=(50, 5)) == ""
    assert plan.recognizer_pays(words=50, choosing=50) == ""
    assert "49 validation crops" in plan.recognizer_pays(words=50, choosing=49)


def test_updates_by_the_time_there_is():
    found = plan.plan_steps(seconds=1000, step=1, evaluation=10, most=2000)
    assert (found.steps, found.every) == (940, 188)
    assert found.steps + 4 * 10 + 2 * 10 == 1000
    assert plan.plan_steps(seconds=1000, step=1, evaluation=10, most=300).steps == 300
    slow = plan.plan_steps(seconds=1000, step=1, evaluation=200, most=2000)
    assert (slow.steps, slow.every) == (600, 600)
    none = plan.plan_steps(seconds=100, step=1, evaluation=10, most=2000)
    assert none.steps == 0 and none.why.startswith("only 70 steps fit into 1.7 minutes")
    assert plan.plan_steps(seconds=-5, step=1, evaluation=10, most=2000).steps == 0


def test_the_number_of_updates_is_decided_once(tmp_path):
    folder, calls = tmp_path / "run", []

    def probe():
        calls.append(1)
        (folder / "checkpoints" / str(plan.PROBE)).mkdir(parents=True)
        rows = [{"step": n, "images_per_s": 4.0 if n > 2 else 0.1} for n in range(1, 11)]
        text = "".join(json.dumps(row) + "\n" for row in [{"step": 0, "eval/hmean": 1}, *rows])
        (folder / "metrics.jsonl").write_text(text)

    def decide(seconds=1000.0, given=None):
        return plan.decide_steps(
            folder,
            given=given,
            most=2000,
            seconds=lambda: seconds,
            evaluation=10,
            probe=probe,
            batch_size=4,
        )

    found = decide()
    assert found.steps == 940 and calls == [1]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 0, "labels/seconds": 50.0}\n')
    seconds = [plan.seconds_a_step(folder / "metrics.jsonl", 4, every) for every in (0, 200)]
    assert seconds == [1.0, 1.25]
    assert decide(seconds=10, given=7) == found and calls == [1]
    shutil.rmtree(folder)
    assert decide(given=7).steps == 7 and calls == [1]
    shutil.rmtree(folder)
    with pytest.raises(Stopped):
        plan.decide_steps(
            folder,
            given=None,
            most=1,
            seconds=lambda: 1.0,
            evaluation=1,
            probe=lambda: None,
            batch_size=1,
        )


@pytest.mark.slow
def test_a_training_pauses_and_goes_on(tmp_path):
    config = tiny_recognizer.get_config()
    config.update(steps=4)
    config.data.widths = (96,)
    first = config.copy_and_resolve_references()
    first.steps = 1000  # what is not known yet
    for _ in range(2):
        assert crnnjax.train(first, tmp_path / "run", pause=2) is None
        steps = [path.name for path in (tmp_path / "run" / "checkpoints").glob("[0-9]*")]
        assert sorted(steps) == ["2"]
    assert plan.seconds_a_step(tmp_path / "run" / "metrics.jsonl", config.batch_size) > 0
    assert crnnjax.train(config, tmp_path / "run") is not None
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [row["step"] for row in map(json.loads, rows) if "loss" in row] == [1, 2, 3, 4]


def test_figures_and_errors():
    def box(x, text):
        return Word([(x, 0), (x + 9, 0), (x + 9, 9), (x, 9)], text)

    truth = [Page(20, 99, (box(0, "one"), box(20, "two"), box(40, "six"), box(60, "!")), "a.png")]
    found = [Page(20, 99, (box(0, "One"), box(20, "too"), box(80, "ten"), box(60, "x")), "a.png")]
    before = Judged(found, [WordReading("a", "one", "one", 1), WordReading("b", "two", "too", 1)])
    assert dict(zip(ERRORS, (1, 1, 1, 1), strict=True)) == errors_by_kind(truth, before)
    after = Judged(
        [truth[0]], [WordReading("a", "one", "one", 1), WordReading("b", "two", "two", 1)]
    )
    gained = gains(figures(truth, before), figures(truth, after))
    assert gained["word_accuracy"]["value"] == 0.5 and gained["end_to_end"]["value"] > 0.5


def detected(truth, hits):
    """A point at which the words of the first pages are found."""
    found = [page if n < hits else page.with_words([]) for n, page in enumerate(truth)]
    return OperatingPoint(0.7, 0.4, 0.4, evaluate_pages(truth, found))


@pytest.mark.parametrize("hits", [0, 2, 8])
def test_the_detector_is_averaged_where_that_is_better_by_more_than_chance(
    tmp_path, monkeypatch, hits
):
    arguments = tiny_fit.write_toy(tmp_path, 1)
    options = FitOptions(out=str(tmp_path), **{**arguments, "data": "d"})
    start = load_weights(tmp_path / "detector.pth")
    end = {key: array + 1 for key, array in start.items()}
    truth = [make_page(n).page for n in range(9)]
    seen = []

    def tried(detector, pages, reading, task):
        seen.append(task)
        return [detected(truth, hits if "60%" in task else 0)]

    monkeypatch.setattr(average, "trained_state", lambda folder: end)
    monkeypatch.setattr(average, "try_thresholds", tried)
    reading = DetectorOptions()
    chosen = average.choose_detector(
        tmp_path, options, reading, detected(truth, 1), truth, trained=True
    )
    assert len(seen) == len(average.SHARES) and chosen.tried["0"] == pytest.approx(0.2)
    kept = load_weights(tmp_path / "weights" / "detector.pth")
    better = hits == 8
    assert chosen.share == (0.6 if better else 0)
    assert chosen.why.startswith("60% trained" if better else "the pretrained weights, because")
    for key, array in start.items():
        if np.issubdtype(array.dtype, np.floating):
            np.testing.assert_allclose(kept[key], array + chosen.share, rtol=1e-5, atol=1e-6)


def run(*arguments):
    return _run(_parse(["ocrjax", "fit", *map(str, arguments)]))


def test_places_are_checked_first(tmp_path, capsys):
    data = write_words(tmp_path / "data", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    for arguments, message in (
        ((data, "--out", data / "fit"), "lies in"),
        ((data, "--out", tmp_path / "out"), "already exists and is not from `ocrjax fit`"),
        ((tmp_path / "none", "--out", tmp_path / "new"), "no such folder"),
        ((data, "--out", tmp_path / "new", "--budget", "x"), "expected a time such as 45m"),
        ((data, "--out", tmp_path / "new", "--name", "numpy"), "--name numpy: "),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_training_all_stages_leave_their_files(tmp_path):
    arguments = tiny_fit.write_toy(tmp_path, 8)
    arguments |= {"detector_steps": 0, "recognizer_steps": 0}
    out, said = tmp_path / "fit", []
    found = ocrjax.fit(out=out, log=said.append, **arguments)
    assert found["detector"] == {"steps": 0, "why": "0 steps were requested"}
    assert found["average"]["recognizer"]["share"] == 0
    assert found["after"]["gains"]["end_to_end"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for name in ("detector", "recognizer"):
        card = (out / "model" / name / "README.md").read_text("utf-8")
        assert (
            card.startswith("---\nlicense: other\n")
            and "## License of the pretrained weights" in card
        )
        assert json.loads((out / "model" / name / "config.json").read_text("utf-8"))
    reader = ocrjax.Reader(
        out / "model" / "detector" / "model.safetensors",
        out / "model" / "recognizer" / "model.safetensors",
    )
    assert reader.recognizer.charset.name == "en36"
    beside = out / "model" / "detector" / "model.safetensors.operating_point.json"
    point = load_operating_point(out / "before" / "operating_point.json")
    assert reader.detector.options == load_operating_point(beside) == point
    assert any("the width 0.125" in line for line in said)
    assert (out / "easyocr" / "recognizer" / "fit.yaml").is_file()
    page = (out / "report.html").read_text("utf-8")
    assert "end-to-end F" in page and "not trained: 0 steps were requested" in page
    made = tmp_path / "again.html"
    assert _run(_parse(["ocrjax", "report", str(out), "--out", str(made)])) == 0
    assert "end-to-end F" in made.read_text("utf-8")
    again = []
    assert ocrjax.fit(out=out, log=again.append, **arguments) == found
    assert sum("done before" in line for line in again) == 10


def test_the_audit_stops_what_cannot_be_trained_on(tmp_path, capsys):
    data = write_words(tmp_path / "data", 3)
    for path in (data / "gt").iterdir():
        path.write_text("5,5,40,5,40,20,5,20,###\n")
    assert run(data, "--out", tmp_path / "out", "--layout", "quad") == 2
    assert "no usable word to train on" in capsys.readouterr().err
    assert "all words are don't care" in (tmp_path / "out" / "audit.txt").read_text("utf-8")


# Files that every run of the toy leaves with the same bytes.
FINAL = (
    "weights/detector.pth",
    "weights/recognizer/weights.pth",
    "model/detector/README.md",
    "model/recognizer/model.safetensors",
    "after/scores.json",
    "data/split.tsv",
    "easyocr/recognizer/fit.yaml",
)


def digests(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FINAL}


def launch(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    tests = ROOT / "tests"
    return subprocess.Popen(
        [sys.executable, str(tests / "tiny_fit.py"), str(folder), str(out)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tests}", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_with_the_same_files(tmp_path):
    """python -m pytest -m slow tests/app/test_fit.py -k killed: ten minutes of two free cores."""
    tiny_fit.write_toy(tmp_path)
    begun = time.monotonic()
    whole = launch(tmp_path, tmp_path / "a" / "fit")
    assert whole.wait() == 0
    seconds = time.monotonic() - begun
    moments, kills = random.Random(0), 0
    while True:
        process = launch(tmp_path, tmp_path / "b" / "fit")
        try:
            process.wait(moments.uniform(0.1, 0.6) * seconds if kills < 10 else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.returncode == 0
        if kills >= 10:
            break
        shutil.rmtree(tmp_path / "b")  # it was done before the tenth: once more from the start
    assert digests(tmp_path / "a" / "fit") == digests(tmp_path / "b" / "fit")
