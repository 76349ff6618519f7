"""Data sets made, killed, continued and read back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ocrcore.data.readers.arrayrecord import ArrayRecords
from ocrcore.data.readers.crops import LmdbCrops, read_labels_csv
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.data.readers.synthtext import SynthText
from ocrcore.images import encode_image, read_image
from ocrcore.pages import read_pages
from ocrcore.synth import make
from ocrcore.synth.config import ConfigError, SynthConfig
from ocrcore.synth.job import Job, changed
from ocrcore.synth.make import Maker, make_set
from ocrcore.synth.pages import SynthError
from ocrcore.synth.words import WordConfig
from ocrcore.synth.write import FORMATS, IcdarWriter, icdar_page, open_writer

SMALL = (("height", "96"), ("width", "96"), ("words", "(1, 4)"), ("font_size", "(12, 16)"))
ROOT = Path(__file__).parents[2]


def job(kind, **options):
    return Job(
        preset="plain",
        format=kind,
        **{"count": 7, "records_per_file": 3, "changes": SMALL} | options,
    )


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def same_sets(kind, a, b):
    if kind == "crops-lmdb":
        assert list(LmdbCrops(a)) == [
            type(c)(c.name.replace(str(b), str(a)), c.text, c.data) for c in LmdbCrops(b)
        ]
        assert (a / make.MANIFEST).read_bytes() == (b / make.MANIFEST).read_bytes()
    else:
        assert files(a) == files(b)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_killed_run_continues_to_the_same_files(tmp_path, kind, monkeypatch):
    if kind == "crops-lmdb":
        pytest.importorskip("lmdb")
    make_set(job(kind), tmp_path / "whole")

    class Killed(BaseException):
        pass

    real = make.write_note
    for place in ("in a shard", "after a commit", "after the last"):
        folder = tmp_path / place
        notes = []

        def note(folder, arguments, summary, *, place=place, notes=notes):
            notes.append(summary.done)
            if (place, summary.done) in (("after a commit", 3), ("after the last", 7)):
                raise Killed
            real(folder, arguments, summary)

        def progress(done, *, place=place):
            if place == "in a shard" and done >= 4:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(make, "write_note", note)
            if kind in ("arrayrecord", "crops-csv"):  # a kill closes and removes nothing
                writer = "RecordWriter" if kind == "arrayrecord" else "CsvWriter"
                patch.setattr(f"ocrcore.synth.write.{writer}.close", lambda self: None)
            with pytest.raises(Killed):
                make_set(job(kind), folder, progress=progress)
        done = []
        assert make_set(job(kind), folder, progress=done.append).finished
        # What was noted is not made again.
        assert done[0] == {"in a shard": 3, "after a commit": 0, "after the last": 6}[place]
        same_sets(kind, folder, tmp_path / "whole")


KILLED = """
import os, signal, sys
from ocrcore.synth.make import make_set
from tests.core.test_synth_make import job

def progress(done):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    make_set(job("icdar", count=40, records_per_file=8), sys.argv[1], workers=2, progress=progress)
"""


def test_two_workers_and_sigkill_make_the_bytes_of_none(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    folder = tmp_path / "set"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}"}
    ended = subprocess.run([sys.executable, script, folder], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    start = []
    make_set(job("icdar", count=40, records_per_file=8), folder, progress=start.append)
    assert start[0] == 16  # two shards came from the workers
    make_set(job("icdar", count=40, records_per_file=8), tmp_path / "whole")
    assert files(folder) == files(tmp_path / "whole")


def test_icdar_reads_back(tmp_path):
    one = job("icdar", changes=(*SMALL, ("legible_height", "12")))
    make_set(one, tmp_path)
    found = read_icdar_folder(tmp_path / "images", tmp_path / "gt", layout="quad")
    pages = read_pages(tmp_path / "pages.jsonl")
    maker = Maker(one)
    assert len(found) == len(pages) == 7
    cares = set()
    for index, (got, full) in enumerate(zip(found, pages, strict=True)):
        sample = maker.sample(index)
        assert full.words == sample.page.words
        assert full.path == f"images/{index:07d}.jpg"
        assert got.words == icdar_page(sample.page).words
        assert np.array_equal(got.quads, np.rint(full.quads))
        assert [w.text for w in got.words] == [w.text if w.care else None for w in full.words]
        cares |= {w.care for w in got.words}
        difference = read_image(tmp_path / full.path).astype(int) - sample.image
        assert np.abs(difference).mean() < 6
    assert cares == {True, False}
    assert '"finished": true' in (tmp_path / make.MANIFEST).read_text()


def test_synthtext_reads_back(tmp_path):
    make_set(job("synthtext", suffix=".png"), tmp_path)
    found = SynthText(tmp_path)
    maker = Maker(job("synthtext"))
    assert len(found) == 7
    for index in range(7):
        sample = maker.sample(index)
        got = found[index]
        for ours, theirs in zip(got.words, sample.page.words, strict=True):
            assert np.array_equal(ours.quad, theirs.quad) and ours.text == theirs.text
            assert ours.characters == theirs.characters and ours.line == theirs.line
        assert np.array_equal(read_image(got.path), sample.image)


def test_arrayrecord_reads_back_exactly(tmp_path):
    make_set(job("arrayrecord", suffix=".png"), tmp_path / "pages")
    words = Job(preset="words", format="arrayrecord", count=5, suffix=".png")
    make_set(words, tmp_path / "words")
    for one, folder in ((job("arrayrecord"), "pages"), (words, "words")):
        records, maker = ArrayRecords(tmp_path / folder), Maker(one)
        assert len(records) == one.count
        for index in range(one.count):
            assert records[index] == maker.sample(index)


@pytest.mark.parametrize("kind", ["crops-lmdb", "crops-csv"])
@pytest.mark.parametrize("preset", ["plain", "words"])
def test_crops_read_back(tmp_path, kind, preset):
    if kind == "crops-lmdb":
        pytest.importorskip("lmdb")
    one = Job(
        preset=preset, format=kind, count=6, suffix=".png", crop_height=24,
        changes=SMALL if preset == "plain" else (),
    )  # fmt: skip
    make_set(one, tmp_path)
    crops = LmdbCrops(tmp_path) if kind == "crops-lmdb" else read_labels_csv(tmp_path)
    maker = Maker(one)
    assert len(crops) == 6
    for index, crop in enumerate(crops):
        sample = maker.sample(index)
        assert crop.text == sample.page.words[0].text
        assert np.array_equal(crop.image(), sample.image)
        assert sample.image.shape[0] == 24


def test_the_words_of_a_file_are_written_and_what_no_font_has_is_counted(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("alpha\nbeta\n\U0001f4a9\n", encoding="utf-8")
    broken = tmp_path / "fonts" / "bad.ttf"
    broken.parent.mkdir()
    broken.write_bytes(b"no font")
    one = Job(
        preset="words", format="crops-csv", count=30, words=str(texts), fonts=(str(broken.parent),)
    )
    summary = make_set(one, tmp_path / "set")
    assert {crop.text for crop in read_labels_csv(tmp_path / "set")} == {"alpha", "beta"}
    assert set(summary.undrawable) == {"\U0001f4a9"}
    assert list(summary.problems) == [str(broken)]
    again = make_set(one, tmp_path / "set")
    assert again == summary and again.finished


def test_another_job_or_other_files_are_refused(tmp_path):
    make_set(job("icdar"), tmp_path / "set")
    for other in (job("icdar", seed=1), job("icdar", count=8), job("icdar", split="train")):
        with pytest.raises(ConfigError, match=r"an earlier run made another set here: .* was .*"):
            make_set(other, tmp_path / "set")
    with pytest.raises(ConfigError, match="is not empty"):
        make_set(job("icdar"), tmp_path)
    (tmp_path / "set" / make.MANIFEST).write_text("{}")
    with pytest.raises(ConfigError, match="not a note of an earlier run"):
        make_set(job("icdar"), tmp_path / "set")
    with pytest.raises(ConfigError, match="workers is -1"):
        make_set(job("icdar"), tmp_path / "new", workers=-1)
    assert not (tmp_path / "new").exists()


def test_files_that_vanish_between_runs_are_missed(tmp_path):
    with pytest.raises(ValueError, match=r"pages\.jsonl: missing"):
        IcdarWriter(tmp_path, suffix=".jpg", done=2)
    (tmp_path / "pages.jsonl").write_text("{}\n{}")
    with pytest.raises(ValueError, match="has 1 lines, expected 2"):
        IcdarWriter(tmp_path, suffix=".jpg", done=2)
    with pytest.raises(ValueError, match="format 'nonsense'"):
        open_writer("nonsense", tmp_path, count=1, records_per_file=1, suffix=".jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "nonsense"}, "preset is 'nonsense', expected one of plain, scene, web, words"),
        ({"format": "nonsense"}, "format is 'nonsense'"),
        ({"split": "none"}, "split is 'none'"),
        ({"suffix": ".gif"}, "suffix is"),
        ({"count": 0}, "count is 0"),
        ({"format": "synthtext", "count": 2_000_000}, "count is 2000000, expected 1 to 1000000"),
        ({"seed": -1}, "seed is -1"),
        ({"quality": 101}, "quality is 101"),
        ({"records_per_file": 0}, "records_per_file is 0"),
        ({"cut": True}, "crops are cut or drawn for crops-lmdb, crops-csv, not for icdar"),
        ({"fonts": ("/no/such",)}, "/no/such: no such file"),
        ({"words": "/no/such"}, "/no/such: no such file"),
        (
            {"preset": "words", "format": "crops-csv", "backgrounds": (str(ROOT),)},
            "have no backgrounds",
        ),
    ],
)
def test_jobs_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        Job(**{"preset": "plain", "format": "icdar", "count": 1} | options)


def test_settings_are_changed_by_name():
    config = changed(
        SynthConfig(),
        [
            ("height", "96"), ("words", "(2, 3)"), ("text.max_length", "9"), ("ground", "scene"),
            ("effects.blur", "(0.5, 1, 2)"), ("text.charset", "012"),
            ("text.sources", "{'random': 1}"), ("text.languages", "('de',)"),
        ],
    )  # fmt: skip
    assert (config.height, config.words, config.text.max_length) == (96, (2, 3), 9)
    assert (config.effects.blur.probability, config.effects.blur.high) == (0.5, 2)
    assert (config.ground, config.text.charset) == ("scene", "012")
    assert changed(WordConfig(), [("rotation", "(-9, 9)")]).rotation == (-9, 9)
    for name, value, message in (
        ("nonsense", "1", "unknown setting 'nonsense'; known here are height"),
        ("text.nonsense", "1", r"unknown setting 'text\.nonsense'"),
        ("height.x", "1", r"unknown setting 'height\.x'"),
        ("height", "tall", "height is 'tall', expected a whole number"),
        ("text", "1", r"expected a setting inside it, like text\.NAME"),
        ("effects.blur", "2", "expected .probability, low, high."),
        ("effects.blur", "(2, 1, 1)", "probability is 2"),
        ("effects.blur", "(0, 1, 1, 1)", "expected .probability, low, high."),
        ("text.languages", "('xx',)", r"text\.languages: no word list for xx"),
        ("text._allowed", "1", "unknown setting"),
    ):
        with pytest.raises(ConfigError, match=message):
            changed(SynthConfig(), [(name, value)])


def test_errors_of_workers_come_through(tmp_path, monkeypatch):
    texts = tmp_path / "texts.txt"
    texts.write_text("\U0001f4a9\n", encoding="utf-8")
    with pytest.raises(SynthError, match="no font draws any of"):
        make_set(job("icdar", words=str(texts)), tmp_path / "set", workers=1)


def test_quality_counts():
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    assert len(encode_image(image, quality=20)) < len(encode_image(image, quality=95))
