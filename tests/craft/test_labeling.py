"""Pseudo labels in bulk, with a network that is quick to compile; and their files."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny_words import Darkness, make_page, weights

from craftjax.weak.label_set import LabelSet, LabelSetError, join, make, mark
from craftjax.weak.labeling import Labeler
from craftjax.weak.options import PseudoOptions
from craftjax.weak.pseudo_labels import label_word
from craftjax.weak.word_crops import crop_word
from ocrcore.data.mixing import SourceError
from ocrcore.images import ImageError
from ocrcore.pages import LabelError, Page, Sample, Word
from ocrcore.runtime.mesh import make_mesh

OPTIONS = PseudoOptions(height=32)


def labeler(devices=1, **more):
    mesh = make_mesh(jax.devices()[:devices])
    return Labeler(Darkness(), mesh=mesh, options=OPTIONS, **more)


def assert_same(one, other, *, exact=True):
    assert [a[:2] for a in one] == [b[:2] for b in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.label.quads, b.label.quads)
        assert a.label[1:] == b.label[1:]
        assert a.mass == pytest.approx(b.mass, rel=0 if exact else 1e-5)


def expected(sample, word, options=OPTIONS):
    """One word alone, at the size of its own crop."""
    crop = crop_word(sample.image, word.quad, text=word.text, options=options)
    height, width = (side // 2 * 2 for side in crop.image.shape[:2])
    scores, _ = Darkness().apply(weights(1), crop.image[None, :height, :width])
    region, affinity = np.moveaxis(np.asarray(scores[0]), -1, 0)
    label = label_word(region, affinity, crop=crop, text=word.text, options=options)
    return label, float(np.clip(region, 0, 1).mean())


def test_bulk_equals_one_at_a_time():
    many = labeler(devices=4, batch_size=2, threads=3)
    found = many.label(weights(1), 5, make_page)
    assert found.marks == [mark(make_page(place).page) for place in range(5)] and not found.errors
    assert [one[:2] for one in found.words] == [
        (page, word) for page in range(5) for word in (0, 1)
    ]
    assert many.programs <= 3
    for one in found.words:
        sample = make_page(one.page)
        label, mass = expected(sample, sample.page.words[one.word])
        np.testing.assert_allclose(one.label.quads, label.quads, atol=1e-4)
        assert len(one.label.quads) == 5
        assert one.label.confidence == pytest.approx(label.confidence, abs=1e-5)
        assert one.mass == pytest.approx(mass, abs=1e-5)


def test_threads_devices_and_company_change_nothing():
    found = labeler(threads=1).label(weights(1), 5, make_page).words
    assert_same(found, labeler(threads=4).label(weights(1), 5, make_page).words)
    many = labeler(devices=4, batch_size=1).label(weights(1), 5, make_page).words
    assert_same(found, many, exact=False)
    alone = labeler().label(weights(1), 1, lambda place: make_page(3)).words
    assert_same([one._replace(page=3) for one in alone], [one for one in found if one.page == 3])


def read_with_a_fault(place):
    if multiprocessing.parent_process():  # Ctrl-C and SIGTERM are for the program to answer
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    if place == 2:
        raise LabelError("gt.txt", 3, "x", "a number", reason="coordinates")
    return make_page(place)


def read_and_die(place):
    if place == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_page(place)


def test_processes_change_nothing():
    seen = []
    by_threads = labeler().label(weights(1), 5, read_with_a_fault)
    by_workers = labeler(workers=2).label(weights(1), 5, read_with_a_fault, progress=seen.append)
    assert_same(by_threads.words, by_workers.words)
    assert by_threads.marks == by_workers.marks and seen == [1, 2, 3, 4, 5]
    assert list(by_workers.errors) == [2]
    assert str(by_workers.errors[2]) == str(by_threads.errors[2])


def test_a_killed_process_is_named():
    with pytest.raises(SourceError, match=r"set config\.pseudo\.workers lower than 2"):
        labeler(workers=2).label(weights(1), 5, read_and_die)


def test_what_cannot_be_labeled_is_left_out():
    sample = make_page(0)
    north, water = sample.page.words
    strange = (
        replace(north, care=False),
        replace(north, text=None),
        replace(north, text=" "),
        replace(north, quad=np.zeros((4, 2))),
        replace(north, quad=north.quad + 500),
        water,
    )
    pages = [
        Sample(sample.image, sample.page.with_words(strange)),
        Sample(sample.image, Page(64, 96)),
        ImageError("no picture"),
    ]

    def read(place):
        if isinstance(pages[place], Exception):
            raise pages[place]
        return pages[place]

    one = labeler()
    found = one.label(weights(1), 3, read)
    assert [word[:2] for word in found.words] == [(0, 5)]
    assert found.marks == [mark(pages[0].page), mark(pages[1].page), 0]
    assert list(found.errors) == [2]
    assert one.programs == 1
    nothing = labeler()
    assert nothing.label(weights(1), 1, lambda place: pages[1]).words == []
    assert nothing.label(weights(1), 0, read).marks == []
    assert nothing.programs == 0


def test_long_lines_are_squeezed_and_vertical_words_turned():
    image = np.full((900, 900, 3), 255, np.uint8)
    line = Word([(10, 10), (890, 10), (890, 30), (10, 30)], "a" * 40)
    down = Word([(100, 100), (120, 100), (120, 400), (100, 400)], "downwards")
    found = labeler().label(
        weights(1), 1, lambda place: Sample(image, Page(900, 900, (line, down)))
    )
    for one, word in zip(found.words, (line, down), strict=True):
        corners = one.label.quads.reshape(-1, 2)
        assert len(one.label.quads) == len(word.text)
        np.testing.assert_allclose(corners.min(0), word.quad.min(0), atol=8)
        np.testing.assert_allclose(corners.max(0), word.quad.max(0), atol=8)
    centers = found.words[1].label.quads.mean(1)
    assert (np.diff(centers[:, 1]) < 0).all()  # the original reads such words upwards


def test_scores_that_are_not_finite_stop_it():
    with pytest.raises(ValueError, match=r"scores of '\w+' are not all finite"):
        labeler().label(weights(np.nan), 1, make_page)
    with pytest.raises(ValueError, match="threads=0"):
        labeler(threads=0)
    with pytest.raises(ValueError, match="workers=-1"):
        labeler(workers=-1)


QUAD = np.array([(0, 0), (4, 0), (4, 8), (0, 8)], np.float32)


def label_set(shift=0.0):
    """Two characters on word 1 of page 3, none on page 7, one on page 0 of another set."""
    return make(
        ["one", "two"],
        [(0, 3, mark(page_of(2))), (0, 7, mark(page_of(1))), (1, 0, mark(page_of(1)))],
        [(0, 1, 2), (2, 0, 1)],
        [(0.75, 0, 0.25), (0.5, 1, 0.25)],
        [np.stack([QUAD, QUAD + 5]) + shift, QUAD[None] + shift],
    )


def page_of(words, text="ab", shift=0):
    return Page(50, 50, tuple(Word(QUAD + shift, text) for _ in range(words)))


def test_labels_are_kept_and_attached(tmp_path):
    label_set().save(tmp_path / "new" / "labels.npz")
    assert not list(tmp_path.glob("**/*.part"))
    labels = LabelSet.load(tmp_path / "new" / "labels.npz")
    assert labels.indices("one") == [3, 7] and labels.indices("other") == []
    page = labels.attach("one", 3, page_of(2))
    assert page.words[0] == Word(QUAD, "ab")
    assert page.words[1].score == 0.75
    np.testing.assert_array_equal(page.words[1].characters[1].quad, QUAD + 5)
    assert labels.attach("one", 7, page_of(1)) == page_of(1)
    assert len(labels.attach("two", 0, page_of(1)).words[0].characters) == 1
    assert labels.attach("one", 0, page_of(1)) is None
    for other in (page_of(3), page_of(2, "ac"), page_of(2, shift=1)):
        with pytest.raises(LabelSetError, match="changed since the pseudo labels of page 3 of one"):
            labels.attach("one", 3, other)
    stats = {"words": 2, "confidence": 0.625, "equal": 0.5, "mass": 0.25}
    assert labels.stats() == pytest.approx(stats)
    assert make([], [], [], [], []).stats() == {"words": 0}


def test_later_labels_replace_earlier_ones():
    both = join([label_set(), label_set(shift=1), make(["two"], [(0, 9, 4)], [], [], [])])
    assert both.sources == ("one", "two")
    assert both.pages[:, :2].tolist() == [[0, 3], [0, 7], [1, 0], [1, 9]]
    assert both.pages[3, 2] == 4
    page = both.attach("one", 3, page_of(2))
    np.testing.assert_array_equal(page.words[1].characters[0].quad, QUAD + 1)
    assert both.stats()["words"] == 2


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "labels.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelSetError, match=r"labels\.npz: not a file of pseudo labels"):
        LabelSet.load(path)
