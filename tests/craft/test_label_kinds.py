"""The detector takes labels of annotation tools as they are: to train on, to judge by, to audit."""

from __future__ import annotations

import pytest
from label_samples import HEIGHT, SAMPLES, WIDTH
from PIL import Image

from craftjax.audit import audit_sources, audit_truth
from craftjax.config import detector, pages, pages_of, source
from craftjax.evaluate import read_truth, truth_notes
from craftjax.sources import KINDS, Mix, SourceOptions, open_source
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.label_formats import FORMATS
from ocrcore.data.readers.words import open_words
from ocrcore.pages import LabelError

LABEL_STUDIO = next(one for one in SAMPLES if one.kind == "label-studio")


@pytest.fixture
def folder(tmp_path):
    for name, content in LABEL_STUDIO.files.items():
        (tmp_path / name).write_text(content)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photo.png")
    return tmp_path


@pytest.mark.parametrize("kind", ["auto", "label-studio"])
def test_to_train_on(folder, kind):
    assert set(FORMATS) < set(KINDS)
    options = SourceOptions(kind, path=str(folder), split="all")
    mix = Mix({"photos": options}, seed=0)
    assert mix.word_sets == [0]
    assert mix.name(0, 0) == str(folder / "photo.png")
    assert [word.text for word in mix.words_of(0, 0).page.words] == ["one", "two", None]
    places = mix.places()["photos"]
    assert next(folder.glob("*.json")) in places and folder in places
    assert mix.problems() == {}
    assert options.content(0)["split"] == "all"
    file = next(folder.glob("*.json"))
    alone = SourceOptions(kind, path=str(file), split="all")
    assert len(open_source(alone, seed=0)) == 1
    assert alone.packed_folder == folder / "packed"
    with pytest.raises(SourceError, match="label-studio"):
        SourceOptions("label studio", path=str(folder))


def test_to_judge_by_and_to_audit(folder):
    section = pages("auto", root=str(folder), split="all")
    (page,) = read_truth(section)
    assert page.care.tolist() == [True, True, False]
    notes = truth_notes(section)
    assert notes[0].startswith("labels read as Label Studio export (JSON), 1 tasks, 3 words")
    said = []
    options = SourceOptions("label-studio", path=str(folder), split="all")
    audit = audit_sources({"photos": options}, said.append)["photos"]
    assert (audit.words, audit.dont_care, audit.usable) == (3, 1, 2) and not audit.bad
    assert audit_truth({"config.test": section}, said.append) == []
    assert "photos: labels read as Label Studio export (JSON)" in said[0]


def test_the_kind_that_is_judged_by_follows(folder):
    config = detector("mine", steps=1)
    photos = source("words", path=str(folder))
    config.data.train.words = photos
    config.test = pages_of(photos, split="test")
    photos.kind = "label-studio"
    assert config.test.kind == "label-studio"


def test_gt_mat_is_named(folder):
    next(folder.glob("*.json")).unlink()
    (folder / "gt.mat").write_bytes(b"MATLAB 7.3")
    with pytest.raises(LabelError, match="kind='synthtext'"):
        open_words(folder, kind="auto")
