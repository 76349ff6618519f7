import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnnjax.charset import Charset, writable_characters
from crnnjax.check import _decode_all
from crnnjax.crop_index import (
    Index,
    Rules,
    filter_crops,
    kind_of,
    open_crops,
    own_widths,
    read_index,
    reader_widths,
    steps_needed,
    width_needed,
)
from crnnjax.drawing import draw_batches
from crnnjax.input_pipeline import InputOptions, make_batches
from crnnjax.resize import easyocr_width, fixed_crop, turn_tall
from crnnjax.time_steps import time_steps
from ocrcore.data.mixing import SourceError, TooManyDropped
from ocrcore.data.prefetch import iterate
from ocrcore.data.readers.crops import Crop
from ocrcore.images import (
    ImageError,
    decode_gray,
    decode_image,
    encode_image,
    encoded_size,
    write_image,
)
from ocrcore.options import OptionsError
from ocrcore.pages import LabelError
from ocrcore.synth.write import LmdbWriter

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
KEYS = ("image", "width", "label", "length")
WORDS = {"kind": "words"}
# A tenth of what the network needs to learn, so that a test takes no time.
PAGES = {"kind": "pages", "preset": "plain", "page": {"height": 160, "width": 160, "words": (3, 5)}}


def picture(seed, width, height=24):
    """Noise whose mean gray tells its number."""
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    return (100 + seed % 40 + noise).astype(np.uint8)


def write_tsv(folder, texts, widths=None, name="labels.tsv"):
    lines = []
    for index, text in enumerate(texts):
        width = widths[index] if widths else 30 + 7 * index
        write_image(folder / f"{index}.png", picture(index, width))
        lines.append(f"{index}.png\t{text}\n")
    (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder / name


@pytest.fixture
def tsv(tmp_path):
    """A file of twenty crops, from 30 to 163 pixels wide and 24 high."""
    return write_tsv(tmp_path / "tsv", [f"word{index}" for index in range(20)])


def config(tmp_path, batch_size=4, train=None, **data):
    return {
        "batch_size": batch_size,
        "data": {"cache": str(tmp_path / "cache"), "train": train, **data},
    }


def mixed(tmp_path, tsv, batch_size=6, **data):
    train = {
        "real": {"kind": "tsv", "path": str(tsv), "augment": "strong", "resize": "any"},
        "words": {"kind": "words", "ratio": 2},
        "pages": {**PAGES, "ratio": 0.5},
    }
    return config(tmp_path, batch_size, train, window=4, **data)


def same(one, two):
    return all(np.array_equal(one[key], two[key]) for key in KEYS)


@pytest.mark.parametrize(
    ("mode", "height", "width"), [("fixed", 32, 100), ("pad", 64, 600), ("bucket", 32, None)]
)
def test_shapes_and_types(tmp_path, tsv, mode, height, width):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    settings = config(tmp_path, 4, train, mode=mode, height=height, max_length=9)
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    for step in range(3):
        batch = source[step]
        assert list(batch) == list(KEYS)
        columns = width or source.width(step)
        assert batch["image"].shape == (4, height, columns, 1)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].shape == (4, 9)
        assert all(batch[key].dtype == np.int32 for key in KEYS[1:])
        assert (batch["width"] <= columns).all() and batch["width"].min() >= 8
        if width:
            assert (batch["width"] == width).all()
        for name, label, length in zip(
            source.batch_names(step), batch["label"], batch["length"], strict=True
        ):
            assert source.charset.decode(label[:length]) == f"word{Path(name).stem}"
            assert not label[length:].any()
    assert "real: 20 of 20 crops" in source.describe()


def test_other_heights(tmp_path, tsv):
    """keras-ocr's inputs have 31 rows and 200 columns; buckets are of four columns."""
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    settings = config(tmp_path, 4, train, mode="fixed", height=31, widths=(200,))
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    assert source[0]["image"].shape == (4, 31, 200, 1)
    source.options.check_reading({"resize": "fixed", "width": 200})
    source = make_batches(config(tmp_path, 4, train, height=31), seed=0, rows=slice(0, 4))
    assert source.widths == (64, 96, 124, 156, 188, 248, 372)
    assert source[0]["image"].shape[1:3] == (31, source.width(0))


def test_fixed_crops_are_those_of_the_benchmark(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv), "resize": "bicubic"}}
    source = make_batches(config(tmp_path, 4, train, mode="fixed"), seed=0, rows=slice(0, 4))
    for name, image in zip(source.batch_names(0), source[0]["image"], strict=True):
        gray = decode_gray(Path(name).read_bytes())
        assert np.array_equal(image[:, :, 0], fixed_crop(gray, 32, 100))


def test_padded_crops_keep_their_aspect_and_repeat_their_last_column(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv), "resize": "bicubic"}}
    settings = config(tmp_path, 20, train, mode="pad", widths=(160,))
    source = make_batches(settings, seed=0, rows=slice(0, 20))
    for name, image in zip(source.batch_names(0), source[0]["image"][..., 0], strict=True):
        gray = decode_gray(Path(name).read_bytes())
        inner = min(-(-gray.shape[1] * 32 // 24), 160)
        assert np.array_equal(image[:, :inner], fixed_crop(gray, 32, inner))
        assert (image[:, inner:] == image[:, inner - 1 : inner]).all()


def test_rows_of_a_batch_are_of_like_width(tmp_path):
    widths = np.random.default_rng(0).integers(20, 300, 200).tolist()
    path = write_tsv(tmp_path, ["ab"] * 200, widths)
    train = {"real": {"kind": "tsv", "path": str(path)}}
    settings = config(tmp_path, 10, train, window=20, p_reader_pad=0, p_random_pad=0)
    source = make_batches(settings, seed=0, rows=slice(0, 10))
    seen, read, columns, buckets = Counter(), 0, 0, []
    for step in range(20):
        batch = source[step]
        seen.update(Path(name).stem for name in source.batch_names(step))
        read += int(batch["width"].sum())
        columns += batch["image"].shape[0] * batch["image"].shape[2]
        buckets.append(batch["image"].shape[2])
        # As the crop is at this height; the bucket is the least that all fit into.
        for name, width in zip(source.batch_names(step), batch["width"], strict=True):
            assert width == min(-(-widths[int(Path(name).stem)] * 32 // 24), 384)
        fitting = [w for w in source.widths if w >= batch["width"].max()]
        assert batch["image"].shape[2] == fitting[0]
    assert set(seen.values()) == {1} and len(seen) == 200  # one pass, each once
    assert set(buckets) <= set(source.widths) and len(set(buckets)) >= 4
    assert buckets != sorted(buckets) and buckets != sorted(buckets, reverse=True)
    assert read / columns > 0.8


def test_crops_are_padded_as_a_reader_does_it(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    settings = config(tmp_path, 4, train, p_reader_pad=1.0, p_random_pad=0.0)
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    for name, width in zip(source.batch_names(0), source[0]["width"], strict=True):
        size = encoded_size(Path(name).read_bytes())
        assert width == min(easyocr_width(*size, 32), 384)


def test_random_padding_stays_within_the_batch(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    settings = config(tmp_path, 4, train, p_reader_pad=0.0, p_random_pad=1.0)
    padded = make_batches(settings, seed=0, rows=slice(0, 4))
    settings["data"]["p_random_pad"] = 0.0
    plain = make_batches(settings, seed=0, rows=slice(0, 4))
    more = []
    for step in range(10):
        one, two = padded[step], plain[step]
        assert np.array_equal(one["image"], two["image"])
        assert (one["width"] >= two["width"]).all()
        assert (one["width"] <= one["image"].shape[2]).all()
        more.extend(one["width"] - two["width"])
    assert len(set(more)) > 10


def test_the_files_that_a_run_watches(tmp_path, tsv, monkeypatch):
    settings = mixed(tmp_path, tsv)
    source = make_batches(settings, seed=0, rows=slice(0, 6))
    assert source.places() == {"real": [tsv, tsv.parent]}
    monkeypatch.setattr("crnnjax.sources._LOOKED_AT", 19)
    assert source.places() == {"real": [tsv]}


def test_a_batch_depends_on_seed_and_step_alone(tmp_path, tsv):
    settings = mixed(tmp_path, tsv)
    source = make_batches(settings, seed=1, rows=slice(0, 6))
    late, early = source[9], source[2]
    again = make_batches(settings, seed=1, rows=slice(0, 6))
    assert same(again[2], early) and same(pickle.loads(pickle.dumps(again))[9], late)
    assert not np.array_equal(early["label"], late["label"])
    other = make_batches(settings, seed=2, rows=slice(0, 6))[2]
    assert not np.array_equal(other["label"], early["label"])


@pytest.mark.parametrize("mode", ["bucket", "fixed"])
def test_hosts_share_the_batch(tmp_path, tsv, mode):
    settings = mixed(tmp_path, tsv, 12, mode=mode)
    whole = make_batches(settings, seed=3, rows=slice(0, 12))
    first = make_batches(settings, seed=3, rows=slice(0, 5))
    second = make_batches(settings, seed=3, rows=slice(5, 12))
    for step in (0, 5):
        parts = [first[step], second[step]]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in KEYS}
        assert same(joined, whole[step])
        assert first.batch_names(step) + second.batch_names(step) == whole.batch_names(step)


def test_threads_change_nothing_and_a_resumed_run_goes_on(tmp_path, tsv):
    source = make_batches(mixed(tmp_path, tsv), seed=1, rows=slice(0, 6))
    expected = [source[step] for step in range(6)]
    batches = iterate(source, 0, threads=3)
    for step, batch in enumerate(islice(batches, 6)):
        assert same(batch, expected[step]), step
    batches.close()
    batches = iterate(source, 4)
    assert same(next(batches), expected[4])
    batches.close()


SCRIPT = """
import json, sys
from itertools import islice
import numpy as np
from crnnjax.input_pipeline import make_batches
from ocrcore.data.prefetch import iterate

if __name__ == "__main__":
    source = make_batches(json.loads(sys.argv[1]), seed=1, rows=slice(0, 6))
    batches = iterate(source, 1, threads=1, workers=2)
    found = list(islice(batches, 3))
    batches.close()
    arrays = {f"{key}{step}": array for step, b in enumerate(found, 1) for key, array in b.items()}
    np.savez(sys.argv[2], **arrays)
"""


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, tsv):
    settings = mixed(tmp_path, tsv)
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, json.dumps(settings), tmp_path / "found.npz"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    source = make_batches(settings, seed=1, rows=slice(0, 6))
    with np.load(tmp_path / "found.npz") as found:
        for step in (1, 2, 3):
            assert same({key: found[f"{key}{step}"] for key in KEYS}, source[step])


def own_crop(number):
    """A crop of a program's own data set; every fourth is filtered out."""
    if number % 4 == 3:
        return None
    data = encode_image(picture(number, 30 + 7 * number), suffix=".png")
    return Crop(f"crop {number}", f"word{number}", data)


def test_a_data_set_from_python(tmp_path, tsv):
    import grain

    train = {"own": {"kind": "python", "augment": "strong"}, "real": {"kind": "tsv"}}
    train["real"]["path"] = str(tsv)
    settings = config(tmp_path, 4, train, window=4)
    own = grain.MapDataset.source(range(20)).map(own_crop)
    options = {"seed": 1, "rows": slice(0, 4), "workdir": tmp_path / "run"}
    source = make_batches(settings, sources={"own": own}, **options)
    assert "own: 15 of 20 crops (labels: 5) (python), 50 % of the batches" in source.describe()
    assert "sample 3 of own: 'None'" in (tmp_path / "run" / "dropped.jsonl").read_text()
    expected = [source[step] for step in range(7)]
    names = {name for step in range(7) for name in source.batch_names(step)}
    assert {"sample 0 of own", str(tsv.parent / "0.png")} < names and "sample 3 of own" not in names
    # As from files: a list of the same, and resumed in the middle.
    again = make_batches(settings, sources={"own": [own_crop(n) for n in range(20)]}, **options)
    batches = iterate(again, 4, threads=2)
    assert all(same(next(batches), expected[step]) for step in (4, 5, 6))
    batches.close()


class Counted(list):
    """Says how often a crop was read."""

    read = 0

    def __getitem__(self, index):
        type(self).read += 1
        return super().__getitem__(index)


def test_workers_do_not_index_a_data_set_from_python(tmp_path):
    settings = config(tmp_path, 2, {"own": {"kind": "python"}})
    crops = Counted(own_crop(number) for number in (0, 1, 2, 4))
    source = make_batches(settings, seed=0, rows=slice(0, 2), sources={"own": crops})
    expected, before = source[1], Counted.read
    copied = pickle.loads(pickle.dumps(source))
    assert Counted.read == before and same(copied[1], expected)
    assert Counted.read == before + 2
    with pytest.raises(SourceError, match=r"sample 0 of own is a builtins\.int, expected"):
        make_batches(settings, seed=0, rows=slice(0, 2), sources={"own": [1]})


@pytest.mark.parametrize("mode", ["bucket", "fixed"])
def test_synthetic_words_are_of_the_charset_and_never_repeat(tmp_path, mode):
    train = {"words": WORDS, "lines": {"kind": "words", "text": {"sources": {"lines": 1.0}}}}
    settings = config(tmp_path, 32, train, charset="en36", mode=mode, max_length=12)
    source = make_batches(settings, seed=4, rows=slice(0, 32))
    assert "words: endless words, 50 % of the batches" in source.describe()
    batches = [source[step] for step in range(2)]
    assert len({image.tobytes() for batch in batches for image in batch["image"]}) == 64
    labels = [label[label > 0] for batch in batches for label in batch["label"]]
    assert {len(label) for label in labels} > {3, 4, 5, 6}
    assert max(label.max() for label in labels) <= 36
    for batch in batches:
        # CTC has room for every label in what is to be read of its row.
        ends = np.cumsum(batch["length"])
        flat = np.concatenate([label[label > 0] for label in batch["label"]])
        steps = time_steps(batch["width"], features="vgg")
        assert (steps_needed(flat, ends) <= steps).all()


def test_capitals_are_drawn_where_they_are_read_as_small_letters():
    en36 = Charset("en36", tuple("0123456789abcdefghijklmnopqrstuvwxyz"), True)
    assert set("aAzZ09") <= set(writable_characters(en36))
    assert writable_characters(Charset("x", ("a", "ß"))) == "aß"


def test_texts_of_a_file_that_are_left_out_are_said(tmp_path):
    (tmp_path / "texts.txt").write_text("alpha\nan alphabet\n\u0416\n", encoding="utf-8")
    file = {"sources": {"file": 1.0}, "file": str(tmp_path / "texts.txt"), "max_length": 6}
    train = {"w": {"kind": "words", "text": file}}
    source = make_batches(config(tmp_path, train=train), seed=0, rows=slice(0, 4))
    assert "endless words; 2 of 3 texts of " in (said := source.describe())
    assert "(1 longer than 6 characters, 1 with characters outside the charset)" in said


def test_pages_give_words_and_lines_of_like_width(tmp_path):
    train = {"pages": PAGES, "lines": {**PAGES, "unit": "line"}}
    settings = config(tmp_path, 12, train, charset="english_g2", window=4)
    source = make_batches(settings, seed=0, rows=slice(0, 12))
    batch = source[1]
    names = Counter(source.batch_names(1))
    assert {name.split(",")[0].split(" of ")[1] for name in names} == {"pages", "lines"}
    texts = [source.charset.decode(label[label > 0]) for label in batch["label"]]
    assert all(texts) and len(set(texts)) > 5


def test_batches_as_a_picture(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    source = make_batches(config(tmp_path, 4, train), seed=0, rows=slice(0, 4))
    sheet = draw_batches(source, range(2), rows=3)
    first = source[0]
    width = first["image"].shape[2]
    top = sheet.shape[0] - (3 * (32 + 4) - 4)  # of the crops, below the legend
    assert sheet.dtype == np.uint8 and 40 < top < 100
    sheet = sheet[top:]
    assert sheet.shape[1] == 2 * (max(width, source.width(1)) + 150) + 4
    read = first["width"][0]
    assert np.array_equal(sheet[:32, :read, 1], first["image"][0, :, :read, 0])
    assert (sheet[:32, read:width, 1] < first["image"][0, :, read:, 0]).all()
    assert sheet[:32, width : width + 150].min() < 100  # the label


def test_mixes_hold_their_ratios(tmp_path, tsv):
    other = write_tsv(tmp_path / "other", ["x"] * 7)
    train = {
        "one": {"kind": "tsv", "path": str(tsv), "start": 3, "stop": 9},
        "two": {"kind": "tsv", "path": str(other), "ratio": 4},
    }
    settings = config(tmp_path, 10, train, window=10)
    source = make_batches(settings, seed=0, rows=slice(0, 10))
    names = [name for step in range(100) for name in source.batch_names(step)]
    counts = Counter(Path(name).parent.name for name in names)
    assert counts == {"tsv": 200, "other": 800}
    # Each crop as often as the others, to one pass more or less.
    mine = Counter(Path(name).stem for name in names if "other" not in name)
    assert set(mine) == {"3", "4", "5", "6", "7", "8"} and set(mine.values()) <= {33, 34}


def test_lmdb_csv_and_tsv_give_the_same(tmp_path, tsv):
    pytest.importorskip("lmdb")
    crops = open_crops("tsv", tsv)
    (tmp_path / "lmdb").mkdir()
    writer = LmdbWriter(tmp_path / "lmdb")
    rows = ["filename,words"]
    for index, crop in enumerate(crops):
        data = Path(crop.name).read_bytes()
        writer.add(index, data, crop.text)
        (tmp_path / "csv").mkdir(exist_ok=True)
        (tmp_path / "csv" / f"{index}.png").write_bytes(data)
        rows.append(f"{index}.png,{crop.text}")
    writer.commit()
    writer.close()
    (tmp_path / "csv" / "labels.csv").write_text("\n".join(rows))
    moved = tsv.parent.rename(tmp_path / "pictures")
    lists = tmp_path / "lists" / "rec_gt.txt"
    lists.parent.mkdir()
    (moved / "labels.tsv").rename(lists)
    found = []
    for kind, path, more in (
        ("lmdb", tmp_path / "lmdb", {}),
        ("csv", tmp_path / "csv", {}),
        ("tsv", lists, {"root": str(moved)}),
    ):
        train = {"set": {"kind": kind, "path": str(path), **more}}
        found.append(make_batches(config(tmp_path, 4, train), seed=0, rows=slice(0, 4))[1])
        assert kind_of(path) == kind
    assert same(found[0], found[1]) and same(found[0], found[2])


def rules(characters="abcdefghijklmnopqrstuvwxyz", **more):
    return Rules(Charset("letters", tuple(characters)), 32, 384, **more)


def filtered(tmp_path, texts, widths=None, rule=None):
    path = write_tsv(tmp_path / "set", texts, widths)
    crops = open_crops("tsv", path)
    index = read_index(crops, path, cache=tmp_path / "cache")
    return filter_crops(index, rule or rules(), crops, name="set")


def test_filters_say_what_they_leave_out_and_why(tmp_path):
    texts = ["fine", "Abc", "a\\b", "x" * 26, "", "mississippi", "e\u0301a", "ok"]
    widths = [60, 60, 60, 300, 60, 24, 60, 60]
    found = filtered(tmp_path, texts, widths)
    assert found.kept.tolist() == [0, 7]
    assert found.counts == {
        "outside the charset": 3,
        "too long": 1,
        "empty": 1,
        "does not fit its width": 1,
    }
    assert found.outside == {"A": 1, "\\": 1, "é": 1}
    errors = {drop.index: drop.error for drop in found.drops}
    assert "1.png: 'Abc': 'A' outside the charset letters" in errors[1]
    assert "26 characters, more than max_length=25" in errors[3]
    assert "an empty label; set empty_labels" in errors[4]
    assert "CTC needs 14 time steps (11 characters, 3 of them after an equal one)" in errors[5]
    assert "a width of 60 pixels at a height of 32; the image has 24x24 pixels" in errors[5]
    summary = found.summary()
    assert summary.startswith("2 of 8 crops (empty: 1; too long: 1; outside the charset: 3;")
    assert "'A' 1" in summary and "'\\\\' 1" in summary


@given(
    st.lists(
        st.tuples(st.text(st.sampled_from("abcA\\é€\U0001f600"), max_size=9), st.integers(0, 90)),
        max_size=12,
    ),
    st.booleans(),
    st.integers(1, 8),
)
def test_filters_are_what_they_are_one_by_one(rows, empty, most):
    """The arrays give what a plain loop gives, whatever the widths of the code points."""
    points = "".join(text for text, _ in rows)
    codes = np.frombuffer(points.encode("utf-32-le"), np.uint32)
    codes = codes.astype(np.min_scalar_type(int(codes.max(initial=0))))
    index = Index(
        codes,
        np.cumsum([len(text) for text, _ in rows]).astype(np.int64),
        np.array([(20, width) for _, width in rows], np.int32).reshape(-1, 2),
        np.array([width == 0 for _, width in rows], np.uint8),
    )
    rule = rules("abcé€", empty=empty, max_length=most)
    expected = []
    for text, width in rows:
        known = set(text) <= set("abcé€")
        if width == 0 or not known or len(text) > most or not (text or empty):
            continue
        own = -(-width * 32 // 20)
        room = min(max(min(easyocr_width(20, width, 32), max(own * 3 // 2, 16)), own), 384)
        need = len(text) + sum(one == two for one, two in pairwise(text))
        expected.append(time_steps(room, features="vgg") >= need)
    crops = [Crop(f"{number}", text, b"") for number, (text, _) in enumerate(rows)]
    found = filter_crops(index, rule, crops, name="set")
    assert len(found.kept) == sum(expected)
    assert len(found.kept) + found.counts.total() == len(rows)
    assert len(found.drops) == found.counts.total()
    outside = Counter(c for t, w in rows if w for c in set(t) - set("abcé€") if len(t) <= most)
    assert found.outside == outside


def test_filters_by_request(tmp_path):
    found = filtered(tmp_path, ["", "a"], rule=rules(empty=True))
    assert found.kept.tolist() == [0, 1]
    folded = Charset("plates", tuple("0123456789ABC"), case_insensitive=True)
    found = filtered(tmp_path, ["a1", "AB", "d"], rule=Rules(folded, 32, 384))
    assert found.kept.tolist() == [0, 1]


def test_quoted_labels_are_noticed(tmp_path):
    folder = tmp_path / "csv"
    write_tsv(folder, ["a"] * 3)
    (folder / "labels.csv").write_text('filename,words\n0.png,"a, b"\n1.png,a "b"\n2.png,a,b\n')
    train = {"set": {"kind": "csv", "path": str(folder)}}
    source = make_batches(
        config(tmp_path, 3, train, charset="english_g2", max_length=10), seed=0, rows=slice(0, 3)
    )
    assert "1 labels have double quotes, which are part of the text" in source.describe()
    texts = {source.charset.decode(label[label > 0]) for label in source[0]["label"]}
    assert texts == {'"a, b"', 'a "b"', "a,b"}


@given(
    st.lists(st.text(st.sampled_from("aab"), max_size=6), max_size=8),
    st.sampled_from(["vgg", "resnet", "rcnn"]),
)
def test_steps_and_widths_that_labels_need(texts, features):
    charset = Charset("ab", ("a", "b"))
    ends = np.cumsum([len(text) for text in texts]).astype(np.int64)
    steps = steps_needed(charset.encode("".join(texts)), ends)
    assert steps.tolist() == [len(t) + sum(one == two for one, two in pairwise(t)) for t in texts]
    widths = width_needed(steps, features=features)
    for need, width in zip(steps.tolist(), widths.tolist(), strict=True):
        assert time_steps(width, features=features) >= need
        if width > 8:
            assert time_steps(width - 1, features=features) < need


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([32, 64]))
def test_widths_of_many_are_those_of_each(height, width, model_height):
    sizes = np.array([[height, width]])
    assert reader_widths(sizes, model_height)[0] == easyocr_width(height, width, model_height)
    assert own_widths(sizes, model_height)[0] == -(-width * model_height // height)


def test_the_index_is_made_once_and_missing_pictures_may_come_later(tmp_path, monkeypatch):
    path = write_tsv(tmp_path / "set", ["one", "two"])
    (tmp_path / "set" / "1.png").unlink()
    crops = open_crops("tsv", path)
    index = read_index(crops, path, cache=tmp_path / "cache")
    assert index.text(0) == "one" and index.sizes.tolist() == [[24, 30], [0, 0]]
    found = filter_crops(index, rules(), crops, name="set")
    assert found.counts == {"picture": 1}
    assert "1.png: No such file or directory" in found.drops[0].error
    monkeypatch.setattr("crnnjax.crop_index.index_crops", None)  # the cache suffices
    write_image(tmp_path / "set" / "1.png", picture(1, 50))
    again = read_index(crops, path, cache=tmp_path / "cache")
    assert again.sizes.tolist() == [[24, 30], [24, 50]]
    (one,) = (tmp_path / "cache").iterdir()
    np.save(one / "ends.npy", np.zeros(1, np.int64))
    with pytest.raises(LabelError, match=r"parts of different lengths.*delete it"):
        read_index(crops, path, cache=tmp_path / "cache")
    (one / "ends.npy").write_bytes(b"")
    with pytest.raises(LabelError, match="a complete index; delete it"):
        read_index(crops, path, cache=tmp_path / "cache")


def test_a_changed_label_file_is_read_anew(tmp_path):
    path = write_tsv(tmp_path / "set", ["one", "two"])
    assert read_index(open_crops("tsv", path), path, cache=tmp_path).text(1) == "two"
    write_tsv(tmp_path / "set", ["one", "three"])
    assert read_index(open_crops("tsv", path), path, cache=tmp_path).text(1) == "three"


def test_labels_beside_a_database_are_read_anew(tmp_path):
    path = tmp_path / "labels.csv"
    (tmp_path / "data.mdb").write_bytes(b"of another data set")
    for text in ("one", "three"):
        path.write_text(f"filename,words\n0.png,{text}\n")
        index = read_index(open_crops("csv", tmp_path), tmp_path, cache=tmp_path / "cache")
        assert index.text(0) == text


def test_check_decodes_every_crop(tmp_path):
    folder = tmp_path / "real"
    lines = ["filename,words"]
    folder.mkdir()
    for number in range(6):
        data = encode_image(picture(number, 60), suffix=".jpg")
        (folder / f"{number}.jpg").write_bytes(data[: len(data) // 2] if number > 3 else data)
        lines.append(f"{number}.jpg,word")
    (folder / "labels.csv").write_text("\n".join(lines))
    train = {"set": {"kind": "csv", "path": str(folder)}}
    source = make_batches(config(tmp_path, 2, train), seed=0, rows=slice(0, 2))
    assert "6 of 6 crops" in source.describe()  # by their headers
    said = []
    _decode_all(source, 0.5, said.append)
    assert "set: 2 of 6 crops are broken images" in said[0] and "4.jpg: not a" in said[0]
    with pytest.raises(SourceError, match=r"(?s)set: 2 of 6 crops.*4\.jpg.*max_dropped, 0\.01"):
        _decode_all(source, 0.01, said.append)


def test_an_lmdb_with_bad_records(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    folder = tmp_path / "lmdb"
    folder.mkdir()
    good = encode_image(picture(1, 60), suffix=".png")
    entries = {
        "num-samples": b"6",
        "image-000000001": good,
        "label-000000001": b"good",
        "image-000000002": b"no picture",
        "label-000000002": b"bad",
        "label-000000003": b"lost",
        "image-000000004": good,
        "label-000000004": b"\xff\xfe",
        "image-000000005": good[: len(good) // 2],
        "label-000000005": b"half",
        "image-000000006": good,
    }
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    train = {"set": {"kind": "lmdb", "path": str(folder)}}
    settings = config(tmp_path, 2, train, max_dropped=1.0, max_filtered=0.9)
    source = make_batches(settings, seed=0, rows=slice(0, 2), workdir=tmp_path / "run")
    assert "2 of 6 crops (picture: 1; labels: 3)" in source.describe()
    # The fifth has a header and half a picture: that is found when it is read.
    for step in range(4):
        assert set(source.batch_names(step)) == {f"{folder}:image-000000001"}
        assert source.charset.decode(source[step]["label"][0][:4]) == "good"
    lines = (tmp_path / "run" / "dropped.jsonl").read_text().splitlines()
    errors = {entry["index"]: entry["error"] for entry in map(json.loads, lines)}
    assert set(errors) == {1, 2, 3, 4, 5}
    assert "image-000000002: not an image" in errors[1]
    assert "no image-000000003" in errors[2] and "UTF-8" in errors[3]
    assert "image-000000005" in errors[4] and "no label-000000006" in errors[5]
    assert source.log.counts == {"picture": 2, "labels": 3}
    (folder / "data.mdb").write_bytes(b"nonsense" * 4000)
    with pytest.raises(LabelError, match="undamaged LMDB"):
        make_batches(settings, seed=0, rows=slice(0, 2))


def test_labels_for_detectors_are_refused(tmp_path):
    boxes = json.dumps([{"transcription": "a", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}])
    found = filtered(tmp_path, [boxes, "fine"])
    assert found.counts == {"detection labels": 1}
    assert "a list of boxes, which is a label for a detector" in found.drops[0].error


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["", ""], r"set: no crop can be used: 0 of 2 crops \(empty: 2\)"),
        (["A", "B"], "outside the charset: 2.*'A' 1, 'B' 1.*\n.*0.png: 'A': 'A' outside"),
        (["a", "B", "C", "D"], "a share of 0.75 is left out, more than config.data.max_filtered"),
    ],
)
def test_sets_of_which_too_little_is_left(tmp_path, texts, message):
    path = write_tsv(tmp_path / "set", texts)
    (tmp_path / "abc.txt").write_text("abc")
    train = {"set": {"kind": "tsv", "path": str(path)}}
    settings = config(tmp_path, 2, train, charset=str(tmp_path / "abc.txt"))
    with pytest.raises(SourceError, match=message):
        make_batches(settings, seed=0, rows=slice(0, 2))


def test_a_set_without_crops(tmp_path):
    (tmp_path / "labels.tsv").write_text("")
    train = {"set": {"kind": "tsv", "path": str(tmp_path / "labels.tsv")}}
    with pytest.raises(SourceError, match=r"train\.set: no crop from start=0.*there are 0"):
        make_batches(config(tmp_path, 2, train), seed=0, rows=slice(0, 2))
    train["set"]["path"] += "x"
    with pytest.raises(LabelError, match="a file of lines: path, tab, text"):
        make_batches(config(tmp_path, 2, train), seed=0, rows=slice(0, 2))


def test_crops_that_cannot_be_read_are_replaced_counted_and_named(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    settings = config(tmp_path, 5, train, max_dropped=0.5, window=2)
    source = make_batches(settings, seed=0, rows=slice(0, 5), workdir=tmp_path / "run")
    (tsv.parent / "3.png").unlink()
    (tsv.parent / "4.png").write_bytes(b"nonsense")
    for step in range(8):
        names = {Path(name).stem for name in source.batch_names(step)}
        assert not names & {"3", "4"}
        batch = source[step]
        texts = {source.charset.decode(label[label > 0]) for label in batch["label"]}
        assert texts == {f"word{name}" for name in names}
    assert source.log.counts == {"picture": 2}
    entries = map(json.loads, (tmp_path / "run" / "dropped.jsonl").read_text().splitlines())
    assert {Path(entry["name"]).stem for entry in entries} == {"3", "4"}
    for path in tsv.parent.glob("*.png"):
        path.unlink()
    with pytest.raises(TooManyDropped, match=r"none of .* crops for one row can be read"):
        source[20]


def test_too_many_bad_crops_stop_the_run(tmp_path, tsv):
    train = {"real": {"kind": "tsv", "path": str(tsv)}}
    source = make_batches(config(tmp_path, 5, train), seed=0, rows=slice(0, 5))
    for index in range(0, 20, 2):
        (tsv.parent / f"{index}.png").write_bytes(b"")
    with pytest.raises(TooManyDropped, match=r"more than the fraction of 0.05"):
        for _ in islice(iterate(source, 0), 50):
            pass


@pytest.mark.parametrize("mode", ["bucket", "fixed"])
def test_tall_crops_are_turned_as_the_recognizer_turns_them(tmp_path, mode):
    lying = cv2.resize(picture(3, 20, 5), (120, 32))
    upright = np.rot90(lying, -1)  # runs down
    write_image(tmp_path / "0.png", upright)
    (tmp_path / "labels.tsv").write_text("0.png\tdownwards\n")
    train = {"set": {"kind": "tsv", "path": str(tmp_path / "labels.tsv")}}

    def source(**data):
        settings = config(tmp_path, 1, train, mode=mode, p_reader_pad=0, p_random_pad=0, **data)
        return make_batches(settings, seed=0, rows=slice(0, 1))

    batch = source(turn_above=1.5)[0]
    gray = decode_gray(encode_image(lying, suffix=".png"))
    width = 120 if mode == "bucket" else 100
    assert batch["width"].tolist() == [width]
    expected = cv2.resize(gray, (width, 32))
    assert np.array_equal(batch["image"][0, :, :width, 0], expected)
    assert np.array_equal(turn_tall(upright, 1.5), lying)
    for image, above in ((upright, 0), (upright, 4), (lying, 1.5)):
        assert turn_tall(image, above) is image
    if mode == "bucket":
        with pytest.raises(SourceError, match="does not fit its width: 1"):
            source()


def test_a_recognizer_must_see_what_the_network_learns_from():
    def check(data, **recognizer):
        InputOptions(batch_size=1, train={}, **data).check_reading(recognizer)

    check({})
    check({"mode": "pad"}, resize="easyocr")
    check({"mode": "fixed", "widths": (128,)}, resize="fixed", width=128)
    check({"turn_above": 2.0}, turn_above=2.0)
    for data, recognizer, message in (
        ({"mode": "fixed"}, {}, "resize is 'bucket', expected 'fixed' with width=100"),
        (
            {"mode": "fixed", "widths": (128,)},
            {"resize": "fixed"},
            "'fixed' with width=100, expected 'fixed' with width=128",
        ),
        ({}, {"resize": "fixed"}, "expected 'bucket' or 'easyocr', because .*mode is 'bucket'"),
        ({"turn_above": 1.5}, {}, r"turn_above is 1\.5, but .* rotates crops from 0 on"),
        ({"turn_above": 2}, {"resize": "easyocr", "turn_above": 2}, "EasyOCR rotates none"),
    ):
        with pytest.raises(SourceError, match=message):
            check(data, **recognizer)


def test_empty_labels_on_request(tmp_path):
    path = write_tsv(tmp_path / "set", ["", "a"])
    train = {"set": {"kind": "tsv", "path": str(path)}}
    source = make_batches(config(tmp_path, 2, train, empty_labels=True), seed=0, rows=slice(0, 2))
    assert sorted(source[0]["length"].tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"mode": "wide"}, "mode is 'wide', expected one of bucket, fixed, pad"),
        ({"height": 30}, "height is 30, expected 31 to 512 pixels"),
        ({"widths": (64, 32)}, "ascending multiples of 4"),
        ({"widths": (30,)}, "ascending multiples of 4"),
        ({"widths": (64, 128), "mode": "fixed"}, "expected one for mode fixed"),
        ({"p_reader_pad": 2}, "p_reader_pad is 2, expected a share"),
        ({"turn_above": 0.5}, "turn_above is 0.5, expected 0, or 1 or more"),
        ({"features": "vit"}, "features is 'vit'"),
        ({"window": 0}, "window is 0"),
        ({"max_lenght": 3}, "config.data.max_lenght is not known: did you mean max_length"),
        ({"charset": "en37"}, "charset 'en37': expected one of en36"),
    ],
)
def test_settings_that_cannot_be(tmp_path, data, message):
    with pytest.raises(OptionsError, match=message):
        make_batches(config(tmp_path, 4, {"words": WORDS}, **data), seed=0, rows=slice(0, 4))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"kind": "jpg"},
            "kind is 'jpg', expected one of auto, lmdb, csv, tsv, doctr, trdg, words",
        ),
        ({"kind": "words", "path": "x"}, "expected an empty one: it has no files"),
        ({"kind": "csv"}, "expected a folder or a file"),
        ({"kind": "words", "ratio": 0}, "ratio is 0"),
        ({"kind": "words", "start": 3}, "which is endless"),
        ({"kind": "words", "resize": "nearest"}, "resize is 'nearest'"),
        ({"kind": "words", "words": {"height": 48}}, "words.height is 48, expected 32"),
        ({"kind": "words", "words": {"hight": 48}}, r"train\.x\.words\.hight .* mean height"),
        ({"kind": "words", "text": {"charset": "日本"}}, r"train\.x\.text: no word of the list"),
        ({"kind": "words", "augment": "heavy"}, "augment is 'heavy', expected one of none, light"),
        ({"kind": "words", "augment": {"p_blurr": 1}}, "did you mean p_blur"),
        ({"kind": "pages", "page": {"height": 1}}, r"train\.x: height is 1"),
        ({"kind": "python"}, r"call the training function with sources={'x': \.\.\.}"),
    ],
)
def test_data_sets_that_cannot_be(tmp_path, source, message):
    with pytest.raises((OptionsError, SourceError), match=message):
        make_batches(config(tmp_path, 4, {"x": source}), seed=0, rows=slice(0, 4))


def test_rows_steps_and_seeds_that_cannot_be(tmp_path):
    settings = config(tmp_path, 4, {"words": WORDS})
    for rows in (slice(0, 5), slice(2, 2), slice(0, 4, 2), slice(None)):
        with pytest.raises(SourceError, match="rows is"):
            make_batches(settings, seed=0, rows=rows)
    with pytest.raises(SourceError, match="seed is -1"):
        make_batches(settings, seed=-1, rows=slice(0, 4))
    with pytest.raises(IndexError, match=r"step -1"):
        make_batches(settings, seed=0, rows=slice(0, 4))[-1]
    with pytest.raises(OptionsError, match=r"config.data.train is missing"):
        make_batches({"batch_size": 1, "data": {}}, seed=0, rows=slice(0, 1))
    with pytest.raises(SourceError, match="no data set"):
        make_batches(config(tmp_path, 4, {}), seed=0, rows=slice(0, 4))


def test_settings_from_a_config_dict(tmp_path, tsv):
    ml_collections = pytest.importorskip("ml_collections")
    train = {"real": {"kind": "tsv", "path": str(tsv), "augment": {"p_blur": 0.5}}}
    settings = ml_collections.ConfigDict(config(tmp_path, 4, train, charset="english_g2"))
    settings.data.somebodys = "else"
    settings.model = ml_collections.ConfigDict({"features": "resnet", "hidden": 256})
    options = InputOptions.from_config(settings)
    assert options.features == "resnet" and options.train["real"].augment.p_blur == 0.5
    assert make_batches(settings, seed=0, rows=slice(1, 3))[0]["image"].shape[0] == 2


def test_gray_pictures_and_sizes_of_headers():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (20, 50, 3), np.uint8), (0, 0), 2)
    for suffix in (".png", ".jpg"):
        data = encode_image(image, suffix=suffix)
        gray = cv2.cvtColor(decode_image(data), cv2.COLOR_RGB2GRAY)
        assert encoded_size(data) == (20, 50)
        assert np.abs(decode_gray(data).astype(int) - gray).max() <= 3


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]))
def test_headers_of_any_bytes(data, start):
    try:
        height, width = encoded_size(start + data)
    except ImageError:
        return
    assert height > 0 and width > 0


@pytest.mark.slow
def test_real_crops_are_all_accounted_for(tmp_path):
    path = DATASETS / "icdar2015" / "rec_train" / "labels.tsv"
    if not path.is_file():
        pytest.skip("the real crops are not here")
    train = {"rec": {"kind": "tsv", "path": str(path)}}
    source = make_batches(config(tmp_path, 32, train), seed=0, rows=slice(0, 32))
    counts = "3,981 of 4,468 crops (outside the charset: 413; does not fit its width: 74)"
    assert f"rec: {counts}" in source.describe()
