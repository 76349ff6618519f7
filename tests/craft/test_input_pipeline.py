import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from craftjax.augment import move
from craftjax.boxes import find_boxes, scale_boxes
from craftjax.input_pipeline import InputOptions, make_batches, make_item
from craftjax.sources import Mix, SourceOptions
from craftjax.targets import confidence_map, draw_targets
from ocrcore.data.mixing import Drop, DropLog, SourceError, TooManyDropped
from ocrcore.data.prefetch import iterate
from ocrcore.data.readers.arrayrecord import encode_record
from ocrcore.images import encode_image, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import Character, Page, Sample, Word
from ocrcore.synth.write import write_gt_mat

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
KEYS = ("image", "region", "affinity", "confidence")
STILL = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def characters(text, left, top, width=8, height=12):
    quad = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    return tuple(
        Character(letter, np.add(quad, (left + index * width, top)))
        for index, letter in enumerate(text)
    )


def word(text, left, top, *, known=True, care=True):
    letters = characters(text, left, top)
    quad = np.array(
        [letters[0].quad[0], letters[-1].quad[1], letters[-1].quad[2], letters[0].quad[3]]
    )
    return Word(quad, text if care else None, care=care, characters=letters if known else ())


def picture(seed, size=(96, 128)):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.fixture
def synthtext(tmp_path):
    """A folder with `gt.mat` of twelve pictures."""
    folder = tmp_path / "SynthText"
    pages = []
    for index in range(12):
        name = f"{index % 3}/{index}.png"
        write_image(folder / name, picture(index))
        words = (word("to", 20, 10 + 3 * index), word("be", 70, 60))
        pages.append(Page(96, 128, words, name))
    write_gt_mat(folder / "gt.mat", pages)
    return folder


@pytest.fixture
def photos(tmp_path):
    """A folder of pictures, labels and characters."""
    folder = tmp_path / "photos"
    for index in range(5):
        write_photo(folder, f"p{index}", [word("Hi", 10, 20), word("you", 50, 40)])
    return folder


def write_photo(folder, name, words, chars=None):
    write_image(folder / "images" / f"{name}.png", picture(len(name)))
    rows = [",".join(str(v) for v in w.quad.ravel()) + f",{w.text or '###'}" for w in words]
    for sub in ("gt", "chars"):
        (folder / sub).mkdir(exist_ok=True)
    (folder / "gt" / f"gt_{name}.txt").write_text("\n".join(rows))
    if chars is None:
        chars = [
            {
                "text": w.text or "###",
                "chars": [[c.text, *c.quad[0].tolist(), *c.quad[2].tolist()] for c in w.characters],
            }
            for w in words
        ]
    (folder / "chars" / f"{name}.json").write_text(json.dumps(chars))


def config(tmp_path, batch_size=4, **train):
    """An experiment's config; `train` holds the data sets."""
    return {
        "batch_size": batch_size,
        "data": {"size": 64, "cache": str(tmp_path / "cache"), "train": train},
    }


def mixed(tmp_path, synthtext, photos, batch_size=4):
    return config(
        tmp_path,
        batch_size,
        synth={"kind": "synthtext", "path": str(synthtext), "augment": {"rotation": 20}},
        photos={
            "kind": "icdar",
            "path": str(photos),
            "ratio": 2,
            "augment": {"crop": "words", "rotation": 5, "scale": (0.8, 1.2)},
        },
    )


def same(one, two):
    return all(np.array_equal(one[key], two[key]) for key in KEYS)


def test_shapes_and_types(tmp_path, synthtext):
    settings = config(tmp_path, synth={"kind": "synthtext", "path": str(synthtext)})
    settings["data"]["size"] = (64, 96)
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    batch = source[0]
    assert list(batch) == list(KEYS)
    assert batch["image"].shape == (4, 64, 96, 3) and batch["image"].dtype == np.uint8
    for key in KEYS[1:]:
        assert batch[key].shape == (4, 32, 48) and batch[key].dtype == np.float32
    assert 0.9 < batch["region"].max() <= 1 and 0.5 < batch["affinity"].max() <= 1
    assert len(source.batch_names(0)) == 4
    assert all(Path(name).is_file() for name in source.batch_names(0))
    assert "synth: 12 samples" in source.describe() and "100 %" in source.describe()


def test_the_files_that_a_run_watches(tmp_path, synthtext, photos):
    settings = mixed(tmp_path, synthtext, photos)
    settings["data"]["train"]["words"] = {"kind": "words", "path": str(photos)}
    settings["data"]["train"]["pages"] = {"kind": "pages"}
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    assert source.mix.places() == {
        "synth": [synthtext / "gt.mat"],
        "photos": [photos / "images", photos / "gt", photos / "chars"],
        "words": [photos / "images", photos / "gt"],
    }


def test_a_batch_depends_on_seed_and_step_alone(tmp_path, synthtext, photos):
    settings = mixed(tmp_path, synthtext, photos)
    source = make_batches(settings, seed=1, rows=slice(0, 4))
    late, early = source[5], source[2]
    again = make_batches(settings, seed=1, rows=slice(0, 4))
    assert same(again[2], early) and same(again[5], late) and not same(early, late)
    assert not same(make_batches(settings, seed=2, rows=slice(0, 4))[2], early)


def test_threads_change_nothing_and_a_resumed_run_goes_on(tmp_path, synthtext, photos):
    settings = mixed(tmp_path, synthtext, photos)
    source = make_batches(settings, seed=1, rows=slice(0, 4))
    before = cv2.getNumThreads()
    expected = [source[step] for step in range(6)]
    for threads in (1, 3):
        batches = iterate(source, 0, threads=threads)
        for step, batch in enumerate(islice(batches, 6)):
            assert same(batch, expected[step]), (threads, step)
        batches.close()
    batches = iterate(source, 4, threads=2)
    assert same(next(batches), expected[4]) and same(next(batches), expected[5])
    batches.close()
    assert cv2.getNumThreads() == before


SCRIPT = """
import json, sys
from itertools import islice
import numpy as np
from craftjax.input_pipeline import make_batches
from ocrcore.data.prefetch import iterate

if __name__ == "__main__":
    source = make_batches(json.loads(sys.argv[1]), seed=1, rows=slice(0, 4), workdir=sys.argv[2])
    batches = iterate(source, 1, threads=1, workers=2)
    found = list(islice(batches, 3))
    batches.close()
    assert all(type(array) is np.ndarray for batch in found for array in batch.values())
    arrays = {f"{key}{step}": array for step, b in enumerate(found, 1) for key, array in b.items()}
    np.savez(sys.argv[3], **arrays)
"""


def test_workers_change_nothing_and_end_in_order(tmp_path, synthtext, photos):
    write_photo(photos, "bad", [word("Hi", 10, 20)], chars=[])
    settings = mixed(tmp_path, synthtext, photos)
    settings["data"]["max_dropped"] = 1.0
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, json.dumps(settings), tmp_path / "run", tmp_path / "found.npz"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    # Python may count batches that were under way; it removes them.
    told = [line for line in done.stderr.splitlines() if "resource_tracker" not in line]
    assert [line for line in told if "warnings.warn(" not in line] == []
    source = make_batches(settings, seed=1, rows=slice(0, 4), workdir=tmp_path / "here")
    with np.load(tmp_path / "found.npz") as found:
        for step in (1, 2, 3):
            assert same({key: found[f"{key}{step}"] for key in KEYS}, source[step])
    # What the workers dropped is known here.
    here, there = ((tmp_path / name / "dropped.jsonl").read_text() for name in ("here", "run"))
    assert here == there and "bad.json" in here


def own_sample(number):
    """A sample of a program's own data set; every fourth is filtered out."""
    if number % 4 == 3:
        return None
    words = (word("to", 20, 10 + 3 * number), word("be", 70, 60))
    return Sample(picture(number), Page(96, 128, words))


OWN = {"kind": "python", "augment": {"rotation": 20}}


@pytest.mark.parametrize("grains", [False, True])
def test_a_data_set_from_python(tmp_path, photos, grains):
    import grain

    numbers = grain.MapDataset.source(range(12)).map(lambda number: 2 * number // 2)
    own = numbers.map(own_sample) if grains else [own_sample(number) for number in range(12)]
    photo_set = {"kind": "icdar", "path": str(photos)}
    settings = config(tmp_path, own=OWN, photos=photo_set)
    settings["data"]["max_dropped"] = 1.0
    options = {"seed": 1, "rows": slice(0, 4), "sources": {"own": own}}
    source = make_batches(settings, **options)
    assert "own: 12 samples (python), 50 % of the batches" in source.describe()
    expected = [source[step] for step in range(7)]
    names = {name for step in range(7) for name in source.batch_names(step)}
    assert names > {f"sample {n} of own" for n in range(12) if n % 4 != 3}
    assert not any(f"sample {n} of own" in names for n in (3, 7, 11))
    assert source.log.counts == {"filtered out": 3}
    # As if the samples came from files, and resumed in the middle.
    batches = iterate(make_batches(settings, **options), 4, threads=2)
    assert all(same(next(batches), expected[step]) for step in (4, 5, 6))
    batches.close()


def test_data_sets_from_python_that_cannot_be(tmp_path):
    import grain

    endless = grain.MapDataset.source([own_sample(0)]).repeat()
    for train, sources, message in (
        ({"own": OWN}, {}, r"own is a data set from Python, but none was given"),
        ({"own": OWN}, {"mine": [1]}, r"sources has 'mine', but config\.data\.train\.mine\.kind"),
        ({"own": OWN | {"path": "x"}}, {"own": [1]}, "path is 'x' for python, expected an empty"),
        ({"own": OWN}, {"own": []}, r"own: no samples from start=0 .* there are 0"),
        ({"own": OWN}, {"own": endless}, r"sources\['own'\] is endless"),
    ):
        with pytest.raises((OptionsError, SourceError), match=message):
            make_batches(config(tmp_path, **train), seed=0, rows=slice(0, 4), sources=sources)
    source = make_batches(
        config(tmp_path, own=OWN), seed=0, rows=slice(0, 4), sources={"own": [{"image": 1}]}
    )
    with pytest.raises(SourceError, match=r"sample 0 of own is a builtins\.dict, expected ocrcore"):
        source[0]


OWN_SCRIPT = """
import json, sys
from itertools import islice
import grain
import numpy as np
from craftjax.input_pipeline import make_batches
from ocrcore.data.prefetch import iterate
from ocrcore.pages import Character, Page, Sample, Word

def own_sample(number):
    quad = np.array([(20, 20), (40, 20), (40, 40), (20, 40)], np.float32)
    words = (Word(quad, "a", characters=(Character("a", quad),)),)
    return Sample(np.full((64, 64, 3), 10 * number, np.uint8), Page(64, 64, words))

if __name__ == "__main__":
    own = grain.MapDataset.source(range(9)).map(lambda number: own_sample(number))
    options = {"seed": 1, "rows": slice(0, 4), "sources": {"own": own}}
    source = make_batches(json.loads(sys.argv[1]), **options)
    batches = iterate(source, 1, threads=1, workers=2)
    for step, batch in enumerate(islice(batches, 3), 1):
        assert all(np.array_equal(array, source[step][key]) for key, array in batch.items()), step
    batches.close()
    print("same")
"""


def test_workers_take_a_data_set_from_python(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(OWN_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, json.dumps(config(tmp_path, own=OWN))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == "same\n", done.stderr


def test_hosts_share_the_batch(tmp_path, synthtext, photos):
    settings = mixed(tmp_path, synthtext, photos, batch_size=6)
    whole = make_batches(settings, seed=3, rows=slice(0, 6))
    first = make_batches(settings, seed=3, rows=slice(0, 2))
    second = make_batches(settings, seed=3, rows=slice(2, 6))
    for step in (0, 7):
        parts = [first[step], second[step]]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in KEYS}
        assert same(joined, whole[step])
        assert first.batch_names(step) + second.batch_names(step) == whole.batch_names(step)


def test_mixes_hold_their_ratios_and_use_every_sample(tmp_path, synthtext, photos):
    options = {
        "synth": SourceOptions("synthtext", str(synthtext), ratio=1),
        "photos": SourceOptions("icdar", str(photos), ratio=5, start=1, stop=4),
        "pages": SourceOptions("pages", preset="plain", ratio=0.003),
    }
    mix = Mix(options, seed=0, cache=tmp_path / "cache")
    assert sum(mix.shares) == 1000 and mix.shares[2] == 1 and mix.shares[0] in (166, 167)
    picks = [mix.pick(position) for position in range(3000)]
    for which in range(3):
        places = [place for one, place in picks if one == which]
        assert places == list(range(3 * mix.shares[which]))
    early = Counter(which for which, _ in picks[:200])
    assert 20 < early[0] < 50  # mixed, not one after the other
    indices = [mix.index(1, place) for place in range(9)]
    assert [sorted(indices[a : a + 3]) for a in (0, 3, 6)] == [[1, 2, 3]] * 3
    orders = {tuple(mix.index(0, 12 * turn + k) for k in range(12)) for turn in range(4)}
    assert len(orders) == 4 and all(sorted(order) == list(range(12)) for order in orders)
    other = Mix(options, seed=1, cache=tmp_path / "cache")
    assert [other.index(0, k) for k in range(12)] not in [list(order) for order in orders]


def test_boxes_that_are_cut_from_the_targets_lie_on_the_words():
    augment = SourceOptions("pages", augment=_still(crop="whole")).augment
    options = InputOptions(1, {}, size=(128, 128))
    rng, off = np.random.default_rng(0), []
    for _ in range(200):
        scale, place = rng.uniform(0.6, 4), rng.uniform(20, 40, 2)
        placed = np.array([[scale, 0, place[0]], [0, scale, place[1]], [0, 0, 1]])
        one = word("ab", 0, 0)
        characters = [replace(c, quad=move(c.quad, placed)) for c in one.characters]
        one = replace(one, quad=move(one.quad, placed), characters=tuple(characters))
        sample = Sample(np.full((128, 128, 3), 9, np.uint8), Page(128, 128, (one,)))
        item = make_item(rng, sample, augment, options)
        found = scale_boxes(find_boxes(item.region, item.affinity), 1.0).quads
        if len(found) == 1:
            off.append(found[0].mean(0) - one.quad.mean(0))
    assert len(off) > 190
    assert np.abs(np.mean(off, axis=0)).max() < 0.2


def test_words_without_characters_and_dont_care_are_masked():
    words = (
        word("ab", 20, 20),
        word("cd", 60, 20, known=False),
        word("ef", 20, 70),
        word("gh", 60, 70, care=False),
    )
    sample = Sample(np.full((128, 128, 3), 9, np.uint8), Page(128, 128, words))
    options = InputOptions(1, {}, size=(128, 128))
    augment = SourceOptions("pages", augment=_still(crop="whole")).augment
    item = make_item(np.random.default_rng(0), sample, augment, options)
    expected = draw_targets(
        [np.stack([c.quad for c in words[i].characters]) / 2 + 0.25 for i in (0, 2)], (64, 64)
    )
    assert np.allclose(item.region, expected.region, atol=1e-6)
    assert np.allclose(item.affinity, expected.affinity, atol=1e-6)
    quads = [words[i].quad / 2 for i in (1, 3)]
    assert np.array_equal(item.confidence, confidence_map((64, 64), quads, [0, 0]))
    assert item.confidence.min() == 0 and item.confidence[13, 13] == 1
    assert np.array_equal(item.image, sample.image)


def _still(**options):
    from craftjax.augment import AugmentOptions

    return AugmentOptions(**STILL, **options)


def test_pixels_beside_the_picture_do_not_count():
    sample = Sample(np.full((64, 128, 3), 9, np.uint8), Page(64, 128, (word("ab", 20, 20),)))
    options = InputOptions(1, {}, size=(128, 128))
    item = make_item(np.random.default_rng(0), sample, _still(crop="whole"), options)
    assert (item.confidence[15:49].min(), item.confidence[17:47].min()) == (0, 1)
    assert item.confidence[:15].max() == item.confidence[49:].max() == 0


@pytest.mark.parametrize("crop", ["random_resize_crop_synth", "random_resize_crop", "words"])
def test_pictures_and_maps_agree(tmp_path, crop):
    """Each character is a blob of its own brightness, and its peak stands on that blob."""
    rng = np.random.default_rng(5)
    image = np.zeros((300, 400, 3), np.uint8)
    words = []
    for column in range(6):
        for row in range(4):
            left, top = 20 + 62 * column, 25 + 68 * row
            words.append(word("a", left, top))
            cv2.ellipse(image, ((left + 3.5, top + 5.5), (10, 14), 0), (255, 255, 255), -1)
    sample = Sample(image, Page(300, 400, tuple(words)))
    options = InputOptions(1, {}, size=(256, 256), enlarge_region=1.0)
    found = 0
    for _ in range(8):
        item = make_item(rng, sample, _still(crop=crop, rotation=20), options)
        small = cv2.resize(item.image[:, :, 0], (128, 128), interpolation=cv2.INTER_AREA)
        count, labels, stats, centers = cv2.connectedComponentsWithStats((small > 127).astype("u1"))
        for label in range(1, count):
            x, y, width, height, _ = stats[label]
            if x < 2 or y < 2 or x + width > 126 or y + height > 126:
                continue
            part = np.where(labels == label, item.region, 0)
            peak = np.array(np.unravel_index(part.argmax(), part.shape))[::-1]
            assert np.abs(peak - centers[label]).max() <= 1, (crop, label)
            assert part.max() > 0.8
            found += 1
    assert found > 5


def bad_photos(folder):
    """Adds one photo for each reason to be dropped; returns the reasons by name."""
    good = [word("Hi", 10, 20)]
    write_photo(folder, "x_broken", good)
    (folder / "images" / "x_broken.png").write_bytes(b"no picture")
    write_photo(folder, "x_none", [word("Hi", 10, 20, known=False)])
    write_photo(folder, "x_count", good, chars=[{"text": "Hi", "chars": [["H", 1, 1, 9, 9]]}])
    write_photo(
        folder, "x_nan", good, chars=[{"text": "Hi", "chars": [["H", 1, 1, float("nan"), 9]] * 2}]
    )
    write_photo(folder, "x_other", good, chars=[{"text": "Ho", "chars": []}])
    write_photo(folder, "x_unlabeled", good)
    (folder / "gt" / "gt_x_unlabeled.txt").unlink()
    return {
        "x_broken": "picture",
        "x_none": "no characters",
        "x_count": "box count",
        "x_nan": "coordinates",
        "x_other": "labels",
        "x_unlabeled": "labels",
    }


def test_bad_samples_are_replaced_counted_and_named(tmp_path, photos):
    reasons = bad_photos(photos)
    settings = config(tmp_path, photos={"kind": "icdar", "path": str(photos)})
    settings["data"]["max_dropped"] = 0.9
    source = make_batches(settings, seed=0, rows=slice(0, 4), workdir=tmp_path / "run")
    batches = [source[step] for step in range(8)]
    assert source.log.counts == Counter(reasons.values())
    assert "6 samples dropped (labels: 2" in source.log.summary()
    assert source.log.summary() in source.describe()
    lines = (tmp_path / "run" / "dropped.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert {Path(entry["name"]).stem: entry["reason"] for entry in entries} == reasons
    assert all(entry["source"] == "photos" and entry["error"] for entry in entries)
    names = [name for step in range(8) for name in source.batch_names(step)]
    assert {Path(name).stem for name in names} == {f"p{index}" for index in range(5)}
    # Also when the steps come in another order; nothing is named twice.
    again = make_batches(settings, seed=0, rows=slice(0, 4), workdir=tmp_path / "run")
    assert again.log.counts == source.log.counts  # known from the start of a run that goes on
    assert "6 samples dropped (labels: 2" in again.describe()
    for step in reversed(range(8)):
        assert same(again[step], batches[step])
    assert (tmp_path / "run" / "dropped.jsonl").read_text().splitlines() == lines
    assert again.log.counts == source.log.counts


def test_too_many_bad_samples_stop_the_run(tmp_path, photos):
    bad_photos(photos)
    settings = config(tmp_path, photos={"kind": "icdar", "path": str(photos)})
    settings["data"]["max_dropped"] = 0.2
    source = make_batches(settings, seed=0, rows=slice(0, 4), workdir=tmp_path / "run")
    with pytest.raises(TooManyDropped, match=r"could not be used.*0\.2.*max_dropped.*picture: 1"):
        for _ in iterate(source, 0):
            pass
    for path in (photos / "images").glob("p*"):
        path.unlink()
    for workdir, get in (("a", lambda s: s[0]), ("b", lambda s: next(iterate(s, 0)))):
        source = make_batches(settings, seed=0, rows=slice(0, 4), workdir=tmp_path / workdir)
        with pytest.raises(TooManyDropped, match=r"in a row.*\n6 samples dropped"):
            get(source)
        assert len((tmp_path / workdir / "dropped.jsonl").read_text().splitlines()) == 6


def test_few_bad_samples_never_stop_a_run(tmp_path):
    log = DropLog(None, most=0.0)
    drop = Drop("a", 1, "1.png", "picture", "broken")
    log.add([drop] * 10, used=1)
    with pytest.raises(TooManyDropped, match=r"(?s)11 of 12 samples.*; the first: "):
        log.add([drop], used=0)
    assert log.counts == {"picture": 1}


def test_crops_without_characters_are_no_bad_data(tmp_path):
    folder = tmp_path / "photos"
    write_photo(folder, "p", [word("Hi", 1, 1)])
    augment = {"crop": "random_resize_crop", "area": (0.03, 0.05)}
    settings = config(tmp_path, photos={"kind": "icdar", "path": str(folder), "augment": augment})
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    peaks = np.concatenate([source[step]["region"].max((1, 2)) for step in range(5)])
    assert (peaks == 0).sum() > 10 and not source.log.counts


def test_characters_that_cannot_be_drawn_are_told(tmp_path):
    folder = tmp_path / "photos"
    flat = [word("Hi", 20, 20), word("you", 60, 50)]
    chars = [
        {"chars": [[c.text, *c.quad.ravel().tolist()] for c in one.characters]} for one in flat
    ]
    chars[0]["chars"][0][1:] = [20, 20, 28, 20, 28, 20, 20, 20]
    write_photo(folder, "p", flat, chars=chars)
    settings = config(tmp_path, photos={"kind": "icdar", "path": str(folder)})
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    assert source.log.summary() == "no sample dropped"
    source[0]
    flat = source.log.undrawn["flat"]
    assert flat > 0
    told = f"; characters not drawn (counted at every use): flat: {flat}"
    assert source.log.summary().startswith("no sample dropped" + told)


def test_records_and_pages_may_be_empty_on_purpose(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    pages = [
        Page(96, 128, (word("ab", 20, 20),)),
        Page(96, 128),
        Page(96, 128, (word("ab", 20, 20, known=False),)),
    ]
    path = tmp_path / "a.arrayrecord"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for index, page in enumerate(pages):
        writer.write(encode_record(encode_image(picture(index), suffix=".png"), page))
    nan = encode_record(b"", pages[0]).replace(b"20.0", b" NaN")
    writer.write(nan)
    writer.close()
    settings = config(tmp_path, records={"kind": "arrayrecord", "path": str(path)})
    settings["data"]["max_dropped"] = 1.0
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    names = {name for step in range(3) for name in source.batch_names(step)}
    source[0], source[1]
    assert names == {f"{path}, record 0", f"{path}, record 1"}
    assert source.log.counts == {"no characters": 1, "coordinates": 1}


def test_synthetic_pages_never_repeat(tmp_path):
    page = {"height": 64, "width": 64, "words": (1, 2), "font_size": (10, 16)}
    train = {"kind": "pages", "preset": "plain", "page": page, "augment": {"crop": "whole"}}
    source = make_batches(config(tmp_path, pages=train), seed=4, rows=slice(0, 4))
    batches = [source[step] for step in range(2)]
    images = {image.tobytes() for batch in batches for image in batch["image"]}
    assert len(images) == 8
    assert source.batch_names(1)[0] == "page 4 of pages, seed 4"
    assert "pages: endless pages" in source.describe()


def test_settings_from_a_config_dict(tmp_path, photos):
    ml_collections = pytest.importorskip("ml_collections")
    train = {"kind": "icdar", "path": str(photos), "augment": {"rotation": 7.0}}
    settings = ml_collections.ConfigDict(config(tmp_path, photos=train))
    settings.data.root = "somebody else's"
    options = InputOptions.from_config(settings)
    assert options.size == (64, 64) and options.train["photos"].augment.rotation == 7
    assert make_batches(settings, seed=0, rows=slice(2, 4))[0]["image"].shape == (2, 64, 64, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratoi": 1}, r"config\.data\.train\.photos\.ratoi is not known: did you mean ratio\?"),
        ({"augment": {"rotate": 5}}, r"photos\.augment\.rotate .* did you mean rotation"),
        ({"augment": {"flip": 2}}, r"photos\.augment\.flip is 2, expected 0 to 1"),
        ({"augment": {"flip": "2"}}, r"photos\.augment\.flip is '2', expected float"),
        ({"kind": "coco"}, r"photos\.kind is 'coco', expected one of synthtext, icdar"),
        ({"kind": "python", "path": ""}, r"photos is a data set from Python, but none was given"),
        ({"path": ""}, "path is '' for icdar, expected a folder"),
        ({"ratio": 0}, "ratio is 0, expected a positive number"),
        ({"start": 9}, r"photos: no samples from start=9 to stop=None: there are 5"),
        ({"start": 2, "stop": 2}, "expected start < stop"),
    ],
)
def test_settings_of_a_data_set_that_cannot_be(tmp_path, photos, change, message):
    train = {"kind": "icdar", "path": str(photos), **change}
    with pytest.raises((OptionsError, SourceError), match=message):
        make_batches(config(tmp_path, photos=train), seed=0, rows=slice(0, 4))


def test_other_settings_that_cannot_be(tmp_path, photos):
    train = {"photos": {"kind": "icdar", "path": str(photos)}}
    good = config(tmp_path, **train)
    for change, message in (
        ({"size": 100}, r"size is \(100, 100\), expected .* multiples of 32"),
        ({"max_dropped": 5}, "max_dropped is 5"),
        ({"train": {}}, "no data set to train on"),
        ({"max_droped": 0.1}, r"max_droped is not known: did you mean max_dropped"),
    ):
        with pytest.raises((OptionsError, SourceError), match=message):
            make_batches({**good, "data": {**good["data"], **change}}, seed=0, rows=slice(0, 4))
    for settings, message in (
        ({"data": good["data"]}, r"config\.batch_size is missing"),
        ({"batch_size": 1, "data": {}}, r"config\.data\.train is missing"),
        ({**good, "batch_size": 0}, r"config\.batch_size is 0, expected 1 or more"),
    ):
        with pytest.raises(OptionsError, match=message):
            make_batches(settings, seed=0, rows=slice(0, 1))
    with pytest.raises(SourceError, match=r"rows is slice\(0, 5, None\), expected rows within"):
        make_batches(good, seed=0, rows=slice(0, 5))
    with pytest.raises(SourceError, match="rows is"):
        make_batches(good, seed=0, rows=slice(None))
    source = make_batches(good, seed=0, rows=slice(0, 4))
    with pytest.raises(IndexError, match="step -1"):
        source[-1]
    with pytest.raises(SourceError, match="threads=0"):
        iterate(source, 0, threads=0)


def test_real_pictures(tmp_path, icdar2003):
    train = {
        "kind": "icdar",
        "path": str(icdar2003),
        "augment": {"crop": "random_resize_crop", "rotation": 20},
    }
    source = make_batches(config(tmp_path, 8, photos=train), seed=0, rows=slice(0, 8))
    batches = [source[step] for step in range(3)]
    assert not source.log.counts and not source.log.undrawn
    assert np.mean([batch["region"].max() for batch in batches]) > 0.9
    assert "150 samples" in source.describe()
    samples = [source.mix._samples[0][index] for index in range(0, 150, 10)]
    assert all(all(w.characters for w in sample.page.words) for sample in samples)


def test_real_synthtext(tmp_path):
    from ocrcore.data.readers.synthtext import synthtext_words
    from ocrcore.images import image_size

    files = sorted((DATASETS / "synthtext_sample" / "gt").glob("*.json"))
    if not files:
        pytest.skip("the SynthText samples are not here")
    folder = tmp_path / "SynthText"
    (folder / "images").mkdir(parents=True)
    pages = []
    for file in files:
        name = f"images/{file.stem}.png"
        (folder / name).symlink_to(DATASETS / "synthtext_sample" / name)
        labels = json.loads(file.read_text(encoding="utf-8"))
        words = synthtext_words(name, labels["txt"], labels["charBB"], labels["wordBB"])
        pages.append(Page(*image_size(folder / name), words, name))
    write_gt_mat(folder / "gt.mat", pages)
    settings = config(tmp_path, synth={"kind": "synthtext", "path": str(folder)})
    settings["data"]["size"] = 384
    source = make_batches(settings, seed=0, rows=slice(0, 4))
    batch = source[0]
    assert len({Path(name).name for name in source.batch_names(0)}) == 4
    assert (batch["region"].max((1, 2)) > 0.9).sum() >= 2 and not source.log.counts
    assert (batch["confidence"] == 1).all()
