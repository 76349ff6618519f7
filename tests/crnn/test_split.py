"""Parts of a data set: deterministic, of about their size, and no photo in two of them."""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnnjax import split
from crnnjax.config import crops_of, recognizer, source
from crnnjax.crop_index import open_crops, read_index
from crnnjax.input_pipeline import InputOptions, make_batches
from crnnjax.report import open_measured
from crnnjax.split import (
    PARTS,
    SplitOptions,
    alike,
    choose,
    divide,
    hash_picture,
    in_order,
    photos_by_name,
    photos_by_pattern,
)
from ocrcore.data.mixing import SourceError
from ocrcore.images import encode_image, write_image
from ocrcore.options import OptionsError
from ocrcore.synth.write import LmdbWriter


def word(text, *, seed=0, size=(60, 200), place=(6, 42), ink=40, ground=200):
    """A drawn word on a ground of its own."""
    rng = np.random.default_rng(seed)
    rough = cv2.resize(rng.normal(0, 12, (4, 9)), size[::-1], interpolation=cv2.INTER_CUBIC)
    image = np.clip(ground + rough, 0, 255).astype(np.uint8)
    font = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX)[seed % 2]
    cv2.putText(image, text, place, font, 1.2, ink, 3)
    return image


def write_words(folder, names, texts, draw=word):
    """A folder of crops, and the path of its labels."""
    for seed, (name, text) in enumerate(zip(names, texts, strict=True)):
        write_image(folder / name, np.repeat(draw(text, seed=seed)[:, :, None], 3, axis=2))
    rows = "".join(f"{name}\t{text}\n" for name, text in zip(names, texts, strict=True))
    (folder / "labels.tsv").write_text(rows, "utf-8")
    return folder / "labels.tsv"


def parts_of(path, tmp_path, **options):
    """The numbers of the crops of each part, and how they were split."""
    crops = open_crops("auto", path)
    index = read_index(crops, path, cache=tmp_path / "cache")
    found = [
        choose(crops, path, index, SplitOptions(part, **options), cache=tmp_path / "cache")
        for part in PARTS
    ]
    numbers = [one.numbers.tolist() for one in found]
    assert sorted(number for one in numbers for number in one) == list(range(len(crops)))
    return numbers, found[0].how


@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=60),
    validation=st.sampled_from([0.0, 0.1, 0.3, 2.0]),
    test=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)
@settings(deadline=None)
def test_groups_are_not_divided_and_parts_are_about_as_large_as_asked(sizes, validation, test):
    rng = np.random.default_rng(len(sizes))
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = len(groups)
    wanted = {
        place: max(round(value * count), 1) if 0 < value < 1 else int(value)
        for place, value in ((1, validation), (2, test))
    }
    if sum(wanted.values()) >= count:
        return
    parts = divide(groups, validation=validation, test=test)
    assert np.array_equal(parts, divide(groups, validation=validation, test=test))
    owners = defaultdict(set)
    for group, part in zip(groups.tolist(), parts.tolist(), strict=True):
        owners[group].add(part)
    assert all(len(one) == 1 for one in owners.values())
    assert (parts == 0).any()
    for place, number in wanted.items():
        held = int((parts == place).sum())
        assert (held > 0) == (number > 0)
        assert held <= max(1.25 * number, min(sizes) if min(sizes) > number else 0, 1) or (
            held in sizes  # all free groups were larger: the smallest of them
        )


def test_parts_come_from_all_over_in_runs_of_neighbors():
    parts = divide(np.arange(3000), validation=0.1, test=0.1)
    assert np.bincount(parts).tolist() == [2400, 300, 300]
    for place in (1, 2):
        where = np.flatnonzero(parts == place)
        assert where.min() < 1000 and where.max() > 2000
        # Ten runs of thirty, of which some may meet.
        assert (np.diff(where) > 1).sum() < 10


def test_too_few_groups_and_too_few_crops():
    with pytest.raises(SourceError, match=r"form 2 groups .*expected 3 or more"):
        divide(np.array([0] * 9 + [1] * 9), validation=0.1, test=0.1)
    assert divide(np.array([0] * 9 + [1] * 9), validation=0.1, test=0).tolist().count(1) == 9
    with pytest.raises(SourceError, match="none of 300 crops is left for training"):
        in_order(300, validation=300.0, test=1000.0)


def test_in_order():
    parts = in_order(4468, validation=300.0, test=1000.0)
    assert np.flatnonzero(parts == 1).tolist() == list(range(3168, 3468))
    assert np.flatnonzero(parts == 2).tolist() == list(range(3468, 4468))


@pytest.mark.parametrize(
    "names",
    [
        [f"crops/{photo}_{n}.png" for photo in range(1000, 1012) for n in range(4)],
        [f"img_{photo}_word_{n}.jpg" for photo in range(12) for n in range(4)],
        [f"DSC{photo}-x{7 * n}-y{9 * n}-w{n}.png" for photo in range(12) for n in range(4)],
        [f"photos/{photo}/{n}.png" for photo in range(12) for n in range(4)],
        [f"photos/{photo}/word_{n}.png" for photo in range(12) for n in range(4)],
        [f"scan {photo} ({n}).png" for photo in range(12) for n in range(4)],
    ],
)
def test_photos_are_told_by_names(names):
    found = photos_by_name(names)
    assert found is not None
    assert found.of.tolist() == [number // 4 for number in range(48)]


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        ([f"images/word_{n}.png" for n in range(48)], ()),  # of ICDAR 2015
        ([f"{n:03}.png" for n in range(48)], ()),
        ([f"3f{n:02x}9a-{n * 77:05x}q.png" for n in range(48)], ()),
        # TextRecognitionDataGenerator writes text_number.jpg.
        (
            [f"{'abcdefgh'[n % 8]}_{n}.jpg" for n in range(48)],
            ["abcdefgh"[n % 8] for n in range(48)],
        ),
        ([], ()),
    ],
)
def test_names_that_tell_no_photo(names, texts):
    assert photos_by_name(names, texts) is None


def test_photos_by_a_pattern():
    names = ["a/p7-x.png", "a/p7-y.png", "b/p12-z.png"]
    assert photos_by_pattern(names, r"(p\d+)-", "set").of.tolist() == [0, 0, 1]
    with pytest.raises(SourceError, match=r"finds no photo in 'other\.png'"):
        photos_by_pattern([*names, "other.png"], r"(p\d+)-", "set")
    with pytest.raises(SourceError, match="have no names"):
        photos_by_pattern([], r"(p\d+)-", "set")
    with pytest.raises(SourceError, match="a group for the photo"):
        SplitOptions(by=r"p\d+")
    with pytest.raises(SourceError, match="not a regular expression"):
        SplitOptions(by="(p")


def changed(image, seed):
    """The same crop as another file of it: compressed, smaller, darker, noisy, cut closer."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    if kind == 0:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if kind == 1:
        return cv2.resize(image, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA)
    if kind == 2:
        return (image * 0.6 + 10).astype(np.uint8)
    if kind == 3:
        return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return image[1:-1, 2:-2]


def test_near_duplicates_stay_together_and_others_do_not():
    texts = [f"word{n % 20}" for n in range(60)]
    images = [
        word(text, seed=n, place=(4 + 11 * (n % 3), 36 + 5 * (n // 20)))
        for n, text in enumerate(texts)
    ]
    everything = images + [changed(image, n) for n, image in enumerate(images)]
    groups = alike(
        [f"{n}.png" for n in range(120)],
        texts * 2,
        [hash_picture(image) for image in everything],
        np.array([image.shape for image in everything]),
    )
    assert np.array_equal(groups[:60], groups[60:])
    # A text in another font, at another place, is another crop.
    assert len(np.unique(groups)) > 50
    # The same picture with another label is not compared.
    hashes = [hash_picture(images[0])] * 2
    assert alike(["a.png", "b.png"], ["one", "two"], hashes, np.full((2, 2), 9)).tolist() == [0, 1]


def test_copies_by_name_stay_together(monkeypatch):
    names = ["a.png", "b.png", "x/a.jpg", "b_aug1.png", "c.png", "a.png"]
    texts = ["one", "two", "one", "two", "one", "three"]
    groups = alike(names, texts, [None] * 6, np.ones((6, 2)))
    assert groups.tolist() == [0, 1, 0, 1, 2, 3]
    # word_1, word_2, ... are no copies of "word".
    monkeypatch.setattr(split, "_MAX_COPIES", 3)
    assert (
        alike([f"w_{n}.png" for n in range(4)], ["t"] * 4, [None] * 4, np.ones((4, 2))).max() == 3
    )
    # Of a frequent text only equal hashes are compared.
    monkeypatch.setattr(split, "_MAX_ALIKE", 2)
    hashes = [bytes(15) + bytes([n]) for n in (0, 1, 2, 0)]
    groups = alike([], ["t"] * 4, hashes, np.ones((4, 2)))
    assert groups.tolist() == [0, 1, 2, 0]


def test_a_folder_is_split_by_near_duplicates_once(tmp_path, monkeypatch):
    texts = [f"text{n // 2}" for n in range(60)]
    names = [f"{n:03}.png" for n in range(60)]

    def pairs(text, seed):
        image = word(text, seed=seed // 2)
        return changed(image, 2) if seed % 2 else image

    path = write_words(tmp_path, names, texts, draw=pairs)
    numbers, how = parts_of(path, tmp_path)
    assert "30 near-duplicates are kept together" in how
    assert how.endswith(": 48 train, 6 validation, 6 test")
    for part in numbers:
        assert {number ^ 1 for number in part} == set(part)
    # The pictures are decoded once; every later start takes what the cache has.
    monkeypatch.setattr(split, "hash_pictures", None)
    assert parts_of(path, tmp_path)[0] == numbers
    # With more crops than may be compared, none is decoded.
    monkeypatch.setattr(split, "MAX_COMPARED", 59)
    assert "no search for near-duplicates" in parts_of(path, tmp_path)[1]


def test_what_a_broken_picture_was_is_looked_at_again(tmp_path):
    path = write_words(tmp_path, [f"{n}.png" for n in range(20)], ["same"] * 20)
    data = (tmp_path / "7.png").read_bytes()
    (tmp_path / "7.png").write_bytes(b"broken")
    before, _ = parts_of(path, tmp_path)
    assert not list((tmp_path / "cache").glob("split-*"))
    (tmp_path / "7.png").write_bytes(data)
    parts_of(path, tmp_path)
    assert len(list((tmp_path / "cache").glob("split-*"))) == 1
    assert sum(map(len, before)) == 20


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_labels_may_name_the_photo(tmp_path, kind):
    mark = "," if kind == "csv" else "\t"
    rows = [mark.join(("filename", "photo", "words"))]
    rows += [mark.join((f"{n}.png", f"photo {n % 10}", f"a,{n}")) for n in range(50)]
    (tmp_path / f"labels.{kind}").write_text("\n".join(rows) + "\n", "utf-8")
    path = tmp_path if kind == "csv" else tmp_path / "labels.tsv"
    crops = open_crops("auto", path)
    assert (crops[3].photo, crops[3].text) == ("photo 3", "a,3")
    numbers, how = parts_of(path, tmp_path)
    assert "names (10)" in how and list(map(len, numbers)) == [40, 5, 5]
    assert not any({n % 10 for n in one} & {n % 10 for n in numbers[0]} for one in numbers[1:])


def test_an_lmdb_has_no_names(tmp_path):
    pytest.importorskip("lmdb")
    writer = LmdbWriter(tmp_path / "set")
    for n in range(40):
        data = encode_image(np.repeat(word(f"w{n}", seed=n)[:, :, None], 3, 2), suffix=".png")
        writer.add(n, data, f"w{n}")
    writer.commit()
    writer.close()
    numbers, how = parts_of(tmp_path / "set", tmp_path)
    assert list(map(len, numbers)) == [32, 4, 4]
    assert "runs of neighbors" in how


def test_a_run_trains_on_one_part_and_is_judged_by_the_others(tmp_path):
    names = [f"p{photo}_{n}.png" for photo in range(10) for n in range(4)]
    path = write_words(tmp_path, names, [f"w{n}" for n in range(40)])
    config = recognizer("mine", batch_size=4)
    config.data.cache = str(tmp_path / "cache")
    config.data.train.mine = source("auto", path=str(path), split={"part": "train"})
    config.eval.sets.mine = crops_of(config.data.train.mine, "validation")
    config.test.mine = crops_of(config.data.train.mine, "test")
    config.data.train.mine.split.test = 8.0  # reaches all three
    source_of = make_batches(config, seed=0, rows=slice(0, 4))
    assert "mine: 28 of 28 crops" in source_of.describe()
    assert "(10, such as 'p0'): 28 train, 4 validation, 8 test" in source_of.describe()
    sets, _, test = open_measured(config, InputOptions.from_config(config))
    trained = {
        source_of.real_sets()[0].crop_name(int(n)) for n in source_of.real_sets()[0].filtered.kept
    }
    judged = {crop.name for crop in [*sets["mine"], *test["mine"]]}
    assert len(trained) == 28 and len(judged) == 12
    photos = [{name.rpartition("_")[0] for name in one} for one in (trained, judged)]
    assert not photos[0] & photos[1]
    config.data.train.mine.split.by = "order"
    sets, _, test = open_measured(config, InputOptions.from_config(config))
    assert [crop.text for crop in test["mine"]] == [f"w{n}" for n in range(32, 40)]
    config.data.train.mine.split.test = 0.0
    with pytest.raises(
        SourceError, match=r"config\.test\.mine\.split: the test part of .* is empty"
    ):
        open_measured(config, InputOptions.from_config(config))
    config.data.train.mine.split.validation = 40.0
    with pytest.raises(SourceError, match=r"config\.data\.train\.mine\.split: none of 40 crops"):
        make_batches(config, seed=0, rows=slice(0, 4))
    with pytest.raises(OptionsError, match=r"split\.part is 'train' for words"):
        config.data.train.made = source("words", split={"part": "train"})
        InputOptions.from_config(config)
