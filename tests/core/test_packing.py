import importlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craftjax.input_pipeline import InputOptions, make_batches
from craftjax.packing import pack_all, pack_source
from craftjax.sources import Mix, SourceOptions, open_source
from ocrcore.data import packing
from ocrcore.data.mixing import SourceError
from ocrcore.data.packing import PackingError, pack
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.example import decode_example, encode_example
from ocrcore.data.readers.packed import PackedSamples, decode_packed, encode_packed
from ocrcore.data.readers.synthtext import synthtext_words
from ocrcore.data.readers.synthtext_index import IndexedSynthText
from ocrcore.data.shards import Shard, ShardError
from ocrcore.images import ImageError, image_size, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import Character, LabelError, Page, Word
from ocrcore.synth.write import write_gt_mat

SHARED = Path(__file__).parents[3] / "shared" / "datasets"
RNG = np.random.default_rng(0)


def picture(height=70, width=90):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def word(text, left, top, line=0):
    corners = np.array([(0, 0), (7, 0), (7, 12.3), (0, 12.3)], np.float32)
    quads = [np.add(corners, (left + 8 * k + 0.1, top)) for k in range(len(text))]
    around = np.array([quads[0][0], quads[-1][1], quads[-1][2], quads[0][3]])
    return Word(around, text, characters=tuple(map(Character, text, quads)), line=line)


@pytest.fixture
def synthtext(tmp_path):
    """SynthText as it unpacks: a picture that is none, one that is gone, labels that do not fit."""
    folder = tmp_path / "raw" / "SynthText"
    pages = []
    for index in range(14):
        words = (word("Hé日", 3 + index, 4), word("a,b", 40, 30.5, 1)) if index != 5 else ()
        pages.append(Page(70, 90, words, f"{index % 2}/ü {index}.jpg"))
        write_image(folder / pages[-1].path, picture())
    write_gt_mat(folder / "gt.mat", pages)
    (folder / pages[2].path).write_bytes(b"no picture")
    (folder / pages[3].path).unlink()
    half = (folder / pages[4].path).read_bytes()
    (folder / pages[4].path).write_bytes(half[: len(half) // 4])
    return folder


@pytest.fixture
def photos(tmp_path):
    """Photos with words and characters: one that is gray, turned and a PNG; two with faults."""
    folder = tmp_path / "raw" / "photos"
    for sub in ("images", "gt", "chars"):
        (folder / sub).mkdir(parents=True)
    for index in range(9):
        words = [word("Hi", 10, 20 + index), word("you", 50, 40)]
        name = f"img_{index}"
        image = picture()
        write_image(folder / "images" / f"{name}.{'png' if index == 1 else 'jpg'}", image)
        rows = [",".join(f"{v:g}" for v in w.quad.ravel()) + f",{w.text}" for w in words]
        rows.append("1,1,9,1,9,9,1,9,###")
        entries = [
            {"text": w.text, "chars": [[c.text, *c.quad.ravel().tolist()] for c in w.characters]}
            for w in words
        ]
        entries.append({"text": "###", "chars": []})
        if index == 4:
            entries.pop()
        if index == 6:
            rows[0] = "1,2,three,4"
        (folder / "gt" / f"gt_{name}.txt").write_text("\n".join(rows))
        (folder / "chars" / f"{name}.json").write_text(json.dumps(entries))
    gray = picture()[:, :, 0]
    exif = (
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    )
    data = cv2.imencode(".jpg", gray)[1].tobytes()
    (folder / "images" / "img_0.jpg").write_bytes(data[:2] + exif + data[2:])
    return folder


def config(tmp_path, form="raw", **train):
    data = {"size": 64, "cache": str(tmp_path / "cache"), "max_dropped": 0.9, "format": form}
    return {"batch_size": 3, "data": {**data, "train": train}}


def pack_config(settings, workers=0):
    return pack_all(InputOptions.from_config(settings), seed=1, workers=workers)


def mixed(tmp_path, synthtext, photos):
    return {
        "synth": {"kind": "synthtext", "path": str(synthtext)},
        "photos": {"kind": "icdar", "path": str(photos), "start": 1, "ratio": 2},
        "pages": {
            "kind": "pages",
            "preset": "plain",
            "page": {"height": 64, "width": 96, "words": (1, 2)},
            "stop": 4,
            "packed": str(tmp_path / "pages"),
        },
    }


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def test_the_same_samples_batches_names_and_drops(tmp_path, synthtext, photos):
    train = mixed(tmp_path, synthtext, photos)
    done = pack_config(config(tmp_path, **train))
    assert done["synth"].faults == {"picture": 2} and sum(done["synth"].records) == 12
    assert done["photos"].faults == {"box count": 1, "labels": 1}
    assert sum(done["pages"].records) == 4

    raw, packed = (
        make_batches(
            config(tmp_path, form, **train), seed=1, rows=slice(0, 3), workdir=tmp_path / form
        )
        for form in ("raw", "packed")
    )
    assert raw.mix.lengths == packed.mix.lengths == [14, 8, 4]
    known = "2 samples dropped (box count: 1, labels: 1) when it was packed"
    assert f"{photos / 'packed'}: {known}" in packed.describe() and known not in raw.describe()
    for step in range(12):
        one, two = raw.build(step), packed.build(step)
        assert one.chosen == two.chosen and one.drops == two.drops
        for sample in one.chosen:
            assert raw.mix.name(*sample) == packed.mix.name(*sample)
        assert all(np.array_equal(one.batch[key], two.batch[key]) for key in one.batch)
        raw[step], packed[step]
    dropped = [(tmp_path / form / "dropped.jsonl").read_text() for form in ("raw", "packed")]
    assert dropped[0] == dropped[1] and dropped[0].count("\n") >= 5
    for which, length in enumerate(raw.mix.lengths):
        start = raw.mix.options[which].start
        for index in range(start, start + length):
            one, two = (source.mix._read(which, index) for source in (raw, packed))
            assert one == two
    assert str(synthtext / "packed") in packed.describe()
    assert str(synthtext / "packed") not in raw.describe()
    again = pickle.loads(pickle.dumps(packed))
    with ThreadPoolExecutor(4) as pool:
        chosen = [built.chosen for built in pool.map(again.build, range(12))]
    assert chosen == [raw.build(step).chosen for step in range(12)]


def test_pictures_are_kept_byte_for_byte(tmp_path, photos):
    pack_source(SourceOptions("icdar", str(photos)), tmp_path / "out", name="photos")
    packed = PackedSamples(tmp_path / "out", root=photos)
    for index in (0, 1, 8):
        data, _, path = packed._packed(index)
        assert data == Path(path).read_bytes()
    assert packed[0].image.shape == (90, 70, 3)  # turned, as its EXIF block says
    moved = PackedSamples(tmp_path / "out", root="elsewhere")
    assert moved.name(1) == "elsewhere/images/img_1.png" == moved[1].page.path


def test_words_without_characters(tmp_path, photos):
    options = SourceOptions("icdar", str(photos), characters="", stop=3)
    pack_source(options, tmp_path / "out", name="photos")
    packed, raw = PackedSamples(tmp_path / "out", root=photos), open_source(options, seed=0)
    assert [packed[k] for k in range(3)] == [raw[k] for k in range(3)]
    words = packed[1].page.words
    assert [w.text for w in words] == ["Hi", "you", None] and [w.care for w in words][2] is False
    assert not any(w.characters for w in words)


def test_workers_write_the_same_bytes(tmp_path, synthtext):
    train = {"synth": {"kind": "synthtext", "path": str(synthtext)}}
    options = InputOptions.from_config(config(tmp_path, **train)).train["synth"]
    opened = partial(open_source, options, seed=0, cache=tmp_path / "cache")
    seen = []
    for workers in (0, 2):
        done = pack(
            opened,
            tmp_path / f"w{workers}",
            name="synth",
            root=synthtext,
            records_per_file=3,
            workers=workers,
            progress=lambda done, of: seen.append((done, of)),
        )
    assert files(tmp_path / "w0") == files(tmp_path / "w2")
    assert seen[0] == (0, 14) and seen[-1] == (14, 14) and done.records == (2, 2, 3, 3, 2)
    assert sorted(files(tmp_path / "w0"))[3:5] == [
        "packed-train.json",
        "synth-train.array_record-00000-of-00005",
    ]


def test_nothing_packed_is_an_error(tmp_path):
    for number in range(2):
        write_image(tmp_path / "images" / f"p{number}.png", picture())
    (tmp_path / "gt").mkdir()
    settings = config(tmp_path, photos={"kind": "words", "path": str(tmp_path), "holdout": 0.0})
    for _ in range(2):  # also where it was packed before
        with pytest.raises(PackingError, match=r"none of 2 samples .*p0\.png.*pack again"):
            pack_config(settings)


def test_few_files_take_few_workers(tmp_path, synthtext, monkeypatch):
    def pool(opened, workers, **options):
        raise Killed(workers)

    monkeypatch.setattr(packing, "worker_pool", pool)
    opened = partial(IndexedSynthText, synthtext, cache=tmp_path / "cache")
    for cpus, shard, workers in ((8, 1, 3), (2, 1, 2), (8, 2, 0), (1, 1, 0)):
        monkeypatch.setattr(packing.os, "cpu_count", lambda cpus=cpus: cpus)
        out = tmp_path / f"{cpus}-{shard}"
        if workers:
            with pytest.raises(Killed) as killed:
                pack(opened, out, name="synth", records_per_file=shard, workers=None)
            assert killed.value.args == (workers,)
        else:
            pack(opened, out, name="synth", records_per_file=shard, workers=None)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", range(0, 14, 3))
def test_a_killed_run_goes_on(tmp_path, photos, where, monkeypatch):
    opened = partial(PhotoFolder, photos / "images", photos / "gt", photos / "chars")
    arguments = {"name": "p", "root": photos, "records_per_file": 2}
    pack(opened, tmp_path / "whole", **arguments)
    calls = []
    write, writer = packing.write_json, packing.ArrayRecordWriter

    def killed(original, *args):
        calls.append(args)
        if len(calls) == where + 1:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_json", partial(killed, write))
        patch.setattr(packing, "ArrayRecordWriter", partial(killed, writer))
        with pytest.raises(Killed):
            pack(opened, tmp_path / "part", **arguments)
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_json", partial(killed, write))
        patch.setattr(packing, "ArrayRecordWriter", lambda *a: calls.append(a) or writer(*a))
        where = -1
        pack(opened, tmp_path / "part", **arguments)
    assert files(tmp_path / "part") == files(tmp_path / "whole")
    again = len(calls)
    pack(opened, tmp_path / "part", **arguments)  # finished: nothing is done
    assert len(calls) == again


def test_shares_together_are_one_run(tmp_path, photos, monkeypatch):
    opened = partial(PhotoFolder, photos / "images", photos / "gt", photos / "chars")
    arguments = {"name": "p", "root": photos, "records_per_file": 1}
    whole = pack(opened, tmp_path / "whole", **arguments)
    out, count = tmp_path / "shares", len(whole.records)
    with pytest.raises(ShardError, match="no shard has written here"):
        pack(opened, out, merge=2, **arguments)
    first = pack(opened, out, shard=Shard(0, 2), **arguments)
    assert len(first.records) == (count + 1) // 2
    with pytest.raises(ShardError, match=r"--shard 1/2 \(.*packing-train/1\.json: not there"):
        pack(opened, out, merge=2, **arguments)
    with pytest.raises(PackingError, match=r"something else here: shard was 1, now 2"):
        pack(opened, out, shard=Shard(1, 2), **arguments | {"records_per_file": 2})
    calls = []

    def spread(open_source, do, tasks):
        for task in [*tasks, *tasks]:  # a scheduler starts what seems lost once more
            calls.append(do(open_source(), task))

    second = pack(opened, out, shard=Shard(1, 2), spread=spread, **arguments)
    assert calls == [1] * 2 * (count // 2)
    assert (sum(first.records) + sum(second.records)) == sum(whole.records)
    path = out / f"p-train.array_record-00001-of-{count:05d}"
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    with pytest.raises(ShardError, match=r"--shard 1/2 \(.* bytes were written|written\)"):
        pack(opened, out, merge=2, **arguments)
    pack(opened, out, shard=Shard(1, 2), **arguments)
    (out / f"{path.name}.host-1-1.part").touch()  # of a killed process
    assert pack(opened, out, merge=2, **arguments) == whole
    assert files(out) == files(tmp_path / "whole")
    assert pack(opened, out, merge=2, **arguments) == whole  # it may be repeated


def test_a_full_disk_is_said_by_the_system(tmp_path, photos):
    resource = pytest.importorskip("resource")
    opened = partial(PhotoFolder, photos / "images", photos / "gt", photos / "chars")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))  # a file of records has 64 kB
    try:
        with pytest.raises(OSError, match="too large"):
            pack(opened, tmp_path / "out", name="p", root=photos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*(tmp_path / "out").glob("p-train*")]


def test_labels_that_were_mended_are_not_taken_for_packed(tmp_path, photos):
    folder = shutil.copytree(photos, tmp_path / "photos")
    opened = partial(PhotoFolder, folder / "images", folder / "gt", folder / "chars")
    pack(opened, tmp_path / "out", name="p", root=folder)
    for labels in (folder / "gt", folder / "chars"):
        path = sorted(labels.iterdir())[0]
        text = path.read_text()
        path.write_text(text + "\n")
        with pytest.raises(PackingError, match=r"something else here: content was \w+, now \w+"):
            pack(opened, tmp_path / "out", name="p", root=folder)
        path.write_text(text)
    pack(opened, tmp_path / "out", name="p", root=folder)


def test_a_gt_mat_that_was_mended_is_not_taken_for_packed(tmp_path, synthtext):
    options = SourceOptions("synthtext", path=str(synthtext))

    def packed():
        return pack_source(options, tmp_path / "out", name="s", cache=tmp_path / "cache")

    assert packed() == packed()
    pages = [Page(70, 90, (word("ab", 9, 9),), f"{k % 2}/ü {k}.jpg") for k in range(14)]
    write_gt_mat(synthtext / "gt.mat", pages)
    with pytest.raises(PackingError, match=r"something else here: content was \w+, now \w+"):
        packed()


@pytest.mark.slow
def test_a_process_killed_for_good_goes_on(tmp_path, synthtext):
    """SIGKILL with workers at it: none stays, and the same command finishes the set."""
    code = f"""
from functools import partial
from ocrcore.data.packing import DrawnPages, pack
from ocrcore.synth.config import preset
from ocrcore.synth.pages import PageSource

def opened():
    return DrawnPages(PageSource(preset("plain", height=64, width=64), 0, length=60))

if __name__ == "__main__":
    pack(opened, r"{tmp_path / "out"}", name="pages", stop=60, records_per_file=5, workers=2)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, script], env=environment)
    notes = tmp_path / "out" / "packing-train"
    while not list(notes.glob("[0-9]*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    before = len(list(notes.glob("[0-9]*.json")))
    time.sleep(1)
    assert before == len(list(notes.glob("[0-9]*.json")))  # nobody works any more
    assert 1 <= before < 12 and not (tmp_path / "out" / "packed-train.json").exists()
    subprocess.run([sys.executable, script], env=environment, check=True)
    assert len(PackedSamples(tmp_path / "out")) == 60
    assert not notes.exists() and not list((tmp_path / "out").glob("*.part"))


def test_the_command(tmp_path, photos):
    (tmp_path / "config.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    photos = {'kind': 'icdar', 'path': '', 'packed': ''}\n"
        "    data = {'size': 64, 'train': {'My_Photos': photos, 'drawn': {'kind': 'pages'}}}\n"
        "    return ConfigDict({'name': 'x', 'seed': 0, 'batch_size': 1, 'data': data})\n"
    )
    command = [sys.executable, "-m", "craftjax.main", "--mode=pack", "--workers=2"]
    command += [
        f"--config={tmp_path / 'config.py'}",
        f"--config.data.train.My_Photos.path={photos}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "My_Photos: 7 samples, " in done.stdout and "1 left out (box count)" in done.stdout
    assert "drawn: not packed (pages)" in done.stdout
    assert len(PackedSamples(photos / "packed", root=photos)) == 9
    assert not (tmp_path / "exp").exists()


def test_other_settings_are_refused(tmp_path, synthtext, photos):
    train = mixed(tmp_path, synthtext, photos)
    del train["synth"]
    with pytest.raises(SourceError, match=r"photos is not packed: .*--mode=pack"):
        make_batches(config(tmp_path, "packed", **train), seed=1, rows=slice(0, 3))
    pack_config(config(tmp_path, **train))

    def open_with(seed=1, **changes):
        changed = {name: {**train[name], **changes.get(name, {})} for name in train}
        make_batches(config(tmp_path, "packed", **changed), seed=seed, rows=slice(0, 3))

    open_with(photos={"start": 3}, pages={"start": 1, "stop": 3})
    with pytest.raises(SourceError, match=r"dont_care was \['###'\], is \[''\]"):
        open_with(photos={"dont_care": ("",)})
    with pytest.raises(SourceError, match=r"photos: samples from 0 to the end .* from 1 to 9"):
        open_with(photos={"start": 0})
    with pytest.raises(SourceError, match=r"pages: samples from 0 to the end .* from 0 to 4"):
        open_with(pages={"stop": None})
    with pytest.raises(SourceError, match="seed was 1, is 2"):
        open_with(seed=2)
    with pytest.raises(SourceError, match="preset was 'plain', is 'scene'"):
        open_with(pages={"preset": "scene"})
    with pytest.raises(OptionsError, match="format is 'tar', expected one of raw, packed"):
        make_batches(config(tmp_path, "tar", **train), seed=1, rows=slice(0, 3))
    with pytest.raises(PackingError, match=r"packed something else here: start was 1, now 0"):
        pack_config(config(tmp_path, photos={**train["photos"], "start": 0}))
    with pytest.raises(PackingError, match="synthetic pages are endless"):
        pack_config(config(tmp_path, pages={**train["pages"], "stop": None}))


def test_pages_without_a_folder_are_drawn(tmp_path):
    train = {"pages": {"kind": "pages", "preset": "plain", "page": {"height": 64, "width": 64}}}
    assert pack_config(config(tmp_path, **train)) == {"pages": None}
    source = make_batches(config(tmp_path, "packed", **train), seed=1, rows=slice(0, 3))
    assert "endless pages (pages)" in source.describe()


def test_a_part_can_be_packed(tmp_path, photos):
    options = SourceOptions("icdar", str(photos), stop=3)
    pack_source(options, photos / "packed", name="photos")
    mix = Mix({"photos": options}, seed=0, form="packed")
    assert mix.lengths == [3]
    with pytest.raises(SourceError, match="to the end are requested"):
        Mix({"photos": SourceOptions("icdar", str(photos))}, seed=0, form="packed")
    with pytest.raises(IndexError, match="only 0 to 2 were packed"):
        mix._samples[0][3]


def test_words_packed_before_there_were_orders_are_by_name(tmp_path, photos):
    options = SourceOptions("words", str(photos), split="all", packed=str(tmp_path / "out"))
    pack_source(options, tmp_path / "out", name="photos")
    note = tmp_path / "out" / "packed-train.json"
    content = json.loads(note.read_text())
    assert content["source"].pop("order") == "name"
    note.write_text(json.dumps(content))
    assert Mix({"photos": options}, seed=0, form="packed").lengths == [9]
    with pytest.raises(SourceError, match="order was 'name', is 'spread'"):
        Mix({"photos": replace(options, order="spread")}, seed=0, form="packed")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("packed-train.json", None, "no packed-train.json in it"),
        ("packed-train.json", "[1]", "what packing wrote"),
        ("packed-train.json", "{", "what packing wrote"),
        ("faults-train.jsonl", "{}\n", "what packing wrote"),
        ("faults-train.jsonl", "", "records and 0 faults"),
        ("p-train.array_record-00000-of-00001", None, "all files of the packed"),
        ("p-train.array_record-00000-of-00001", "rubbish", "ArrayRecord file"),
    ],
)
def test_damaged_sets_are_named(tmp_path, photos, name, content, message):
    pack_source(SourceOptions("icdar", str(photos)), tmp_path / "out", name="p")
    if content is None:
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_text(content)
    with pytest.raises(LabelError, match=message):
        PackedSamples(tmp_path / "out", root=photos)[0]


def test_a_damaged_record_is_dropped_and_named(tmp_path, photos):
    options = SourceOptions("icdar", str(photos), packed=str(tmp_path / "out"))
    pack_source(options, tmp_path / "out", name="p")
    shard = tmp_path / "out" / "p-train.array_record-00000-of-00001"
    data = shard.read_bytes()
    at = data.index(b"words/quad")
    shard.write_bytes(data[:at] + b"WORDS" + data[at + 5 :])
    mix = Mix({"photos": options}, seed=0, form="packed")
    dropped = [drop for position in range(mix.lengths[0]) for drop in mix.sample(position)[3]]
    name = f"{shard}, record 0"
    assert any(drop.name == name and drop.error.startswith(name) for drop in dropped)


def test_settings_that_cannot_be(tmp_path, photos):
    opened = partial(PhotoFolder, photos / "images", photos / "gt", photos / "chars")
    for changes, message in (
        ({"workers": -1}, "workers=-1"),
        ({"records_per_file": 0}, "records_per_file=0"),
        ({"name": "A b"}, "name 'A b'"),
        ({"start": 9}, "no samples from start=9"),
    ):
        with pytest.raises(PackingError, match=message):
            pack(opened, tmp_path / "out", **{"name": "p", **changes})
    assert not (tmp_path / "out").exists()


floats = st.floats(-1e6, 1e6, width=32)
quads = st.lists(floats, min_size=8, max_size=8).map(lambda v: np.reshape(v, (4, 2)))
texts = st.text(st.characters(exclude_categories=()), max_size=4)
words = st.builds(
    Word,
    quad=quads,
    text=st.none() | texts,
    polygon=st.none() | st.lists(st.tuples(floats, floats), min_size=3, max_size=6),
    care=st.booleans(),
    characters=st.lists(st.builds(Character, text=texts, quad=quads), max_size=3).map(tuple),
    line=st.none() | st.integers(0, 300),
)


@given(st.lists(words, max_size=4), st.binary(max_size=40), texts)
def test_records_read_back(words, image, path):
    page = Page(5, 5, tuple(words))
    record = encode_packed(image, page, path)
    assert decode_packed(record) == (image, page.words, path)


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_hostile_records_are_refused(noise, where, value):
    record = bytearray(encode_packed(b"abc", Page(5, 5, (word("ab", 1, 2),)), "a.png"))
    record[where % len(record)] = value
    for one in (noise, bytes(record), bytes(record[:where])):
        try:
            decode_packed(one, name="here")
        except LabelError as error:
            assert error.path == "here"


@pytest.mark.parametrize("key", ["words/line", "words/points", "characters/word"])
def test_fractions_are_no_numbers_of_things(key):
    features = decode_example(encode_packed(b"abc", Page(5, 5, (word("a", 1, 2),)), "a.png"))
    with pytest.raises(LabelError, match=f"{key} holds fractions"):
        decode_packed(encode_example({**features, key: np.array([np.inf], np.float32)}))


def test_examples_of_other_writers():
    """Numbers that are not packed, fields that are not known, keys that come twice."""
    numbers = b"\x08\x05\x08\x96\x01"  # 5, 150
    floats = b"\x0d\0\0\x80\x3f\x0d\0\0\0\x40"  # 1, 2
    entries = b""
    for key, field, values in ((b"n", 3, numbers), (b"f", 2, floats)):
        feature = bytes([field << 3 | 2, len(values)]) + values
        entry = b"\x0a\x01" + key + b"\x12" + bytes([len(feature)]) + feature + b"\x28\x07"
        entries += b"\x0a" + bytes([len(entry)]) + entry
    found = decode_example(b"\x0a" + bytes([len(entries)]) + entries + b"\x15\0\0\0\0")
    assert found["n"].tolist() == [5, 150] and found["f"].tolist() == [1, 2]
    values = np.array([0, -1, 2**62, 127, 128])
    assert (decode_example(encode_example({"x": values}))["x"] == values).all()
    for bad in (b"\x0a\x05", b"\x0f", b"\x0a\x80\x80", b"\x08" + b"\xff" * 11):
        with pytest.raises(LabelError, match=r"tf\.train\.Example"):
            decode_example(bad)


class Dying:
    """A source whose reader ends without a word."""

    def __len__(self):
        return 4

    def name(self, index):
        return f"{index}.png"

    def label_files(self, index):
        return ()

    def encoded(self, index):
        os._exit(9)


def test_a_worker_that_dies_is_noticed(tmp_path):
    with pytest.raises(
        PackingError, match=r"set --workers lower than 2\. The same command resumes"
    ):
        pack(Dying, tmp_path / "out", name="dying", records_per_file=2, workers=2)
    assert not (tmp_path / "out" / "packed-train.json").exists()


def test_a_page_that_cannot_be_drawn_stops_packing(tmp_path):
    class Broken:
        def __len__(self):
            return 3

        def name(self, index):
            return ""

        def encoded(self, index):
            raise ImageError("no background")

    with pytest.raises(ImageError, match="no background"):
        pack(Broken, tmp_path / "out", name="pages")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample is not here")
def test_the_sample_of_synthtext(tmp_path):
    pages = []
    for path in sorted((SHARED / "synthtext_sample" / "gt").glob("*.json")):
        (image,) = (SHARED / "synthtext_sample" / "images").glob(f"{path.stem}.*")
        labels = json.loads(path.read_text())
        words = synthtext_words(path.stem, labels["txt"], labels["charBB"], labels["wordBB"])
        pages.append(Page(*image_size(image), words, f"8/{image.name}"))
        (tmp_path / "raw" / "8").mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / "8" / image.name).symlink_to(image)
    write_gt_mat(tmp_path / "raw" / "gt.mat", pages)
    options = SourceOptions("synthtext", str(tmp_path / "raw"))
    pack_source(options, tmp_path / "out", name="synthtext", cache=tmp_path / "cache")
    packed = PackedSamples(tmp_path / "out", root=tmp_path / "raw")
    raw = open_source(options, seed=0, cache=tmp_path / "cache")
    assert len(packed) == len(raw) == 4
    for index, sample in enumerate(raw):
        assert packed[index] == sample and packed.name(index) == raw.name(index)
        assert len([c for w in sample.page.words for c in w.characters]) > 10


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real photos are not here")
def test_real_photos(tmp_path):
    root = SHARED / "icdar2015" / "det_train10"
    images = next(p for p in (root / "images", root) if p.is_dir() and list(p.glob("*.jpg")))
    options = SourceOptions("icdar", str(root), images=images.name, characters="")
    pack_source(options, tmp_path / "out", name="icdar2015")
    packed, raw = PackedSamples(tmp_path / "out", root=root), open_source(options, seed=0)
    assert len(packed) == len(raw) == 10
    for index in range(10):
        sample = packed[index]
        assert sample == raw[index] and packed.name(index) == raw.name(index)
        assert all((w.text is None) == (not w.care) for w in sample.page.words)


@pytest.fixture
def tfds(monkeypatch):
    module = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "data")
    monkeypatch.setattr(
        importlib.import_module("craftjax.tfds_builder").PackedBuilder, "workers", 0
    )
    return module


def build(tfds, name, tmp_path, raw=None, config=None):
    """Packs as `tfds build data/NAME` does; returns its folder."""
    module = importlib.import_module(f"{name}.{name}_dataset_builder")
    builder = module.Builder(data_dir=tmp_path / "tfds", config=config)
    download = tfds.download.DownloadConfig(manual_dir=raw)
    builder.download_and_prepare(download_config=download, download_dir=tmp_path)
    return Path(builder.data_path)


def same_samples(tfds, folder, raw, split="train"):
    """Compares what TensorFlow Datasets, our reader and the raw layout hold."""
    theirs = tfds.builder_from_directory(folder).as_data_source(split=split)
    ours = PackedSamples(folder, root=getattr(raw, "folder", ""), split=split)
    at = 0
    for index in range(len(raw)):
        try:
            expected = raw[index]
        except (LabelError, ImageError):
            with pytest.raises((LabelError, ImageError)):
                ours[index]
            continue
        assert ours[index].image.shape == expected.image.shape
        assert (ours[index].image == expected.image).all()
        assert ours[index].page.words == expected.page.words
        example = theirs[at]
        at += 1
        words = expected.page.words
        assert (example["image"] == expected.image).all()
        assert [t.decode() for t in example["words"]["text"]] == [w.text or "" for w in words]
        assert list(example["words"]["care"]) == [w.care for w in words]
        assert np.array_equal(np.reshape(example["words"]["quad"], (-1, 4, 2)), expected.page.quads)
        characters = [c for w in words for c in w.characters]
        assert [t.decode() for t in example["characters"]["text"]] == [c.text for c in characters]
        assert np.array_equal(
            np.reshape(example["characters"]["quad"], (-1, 4, 2)),
            np.reshape([c.quad for c in characters], (-1, 4, 2)),
        )
    assert at == len(theirs) > 0


def test_tfds_synthtext(tfds, tmp_path, synthtext):
    (synthtext / "1" / "ü 3.jpg").write_bytes((synthtext / "1" / "ü 7.jpg").read_bytes())
    for index in (2, 4):  # TensorFlow Datasets knows no pictures that are broken
        (synthtext / "0" / f"ü {index}.jpg").unlink()
    folder = build(tfds, "synthtext", tmp_path, synthtext.parent)
    assert folder == tmp_path / "tfds" / "synthtext" / "1.0.0"
    raw = open_source(SourceOptions("synthtext", str(synthtext)), seed=0, cache=tmp_path / "cache")
    same_samples(tfds, folder, raw)
    assert not list(folder.parent.glob("*.packing")) and "tensorflow" not in sys.modules
    settings = {"synth": {"kind": "synthtext", "path": str(synthtext)}}
    one = make_batches(config(tmp_path, **settings), seed=0, rows=slice(0, 3))
    settings["synth"]["packed"] = str(folder)
    two = make_batches(config(tmp_path, "packed", **settings), seed=0, rows=slice(0, 3))
    for step in range(5):
        made, again = one.build(step), two.build(step)
        assert made.chosen == again.chosen
        for sample in made.chosen:
            assert one.mix.name(*sample) == two.mix.name(*sample)
        assert all(np.array_equal(made.batch[key], again.batch[key]) for key in made.batch)


def test_tfds_synthetic_pages(tfds, tmp_path):
    module = importlib.import_module("synthetic_pages.synthetic_pages_dataset_builder")
    settings = module.PagesConfig(name="few", preset="plain", pages=2, seed=3)
    folder = build(tfds, "synthetic_pages", tmp_path, config=settings)
    options = SourceOptions("pages", preset="plain", seed=3, stop=2)
    drawn = open_source(options, seed=0)
    same_samples(tfds, folder, [drawn[0], drawn[1]])


def test_tfds_icdar2015(tfds, tmp_path):
    root = SHARED / "icdar2015" / "det_train10"
    if not root.is_dir():
        pytest.skip("the real photos are not here")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "ch4_training_images").symlink_to(root / "images")
    (raw / "ch4_training_localization_transcription_gt").symlink_to(root / "gt")
    (raw / "ch4_test_images").symlink_to(root / "images")
    (raw / "Challenge4_Test_Task1_GT").symlink_to(root / "gt")
    folder = build(tfds, "icdar2015", tmp_path, raw)
    photos = PhotoFolder(root / "images", root / "gt", None)
    for split in ("train", "test"):
        same_samples(tfds, folder, photos, split)
    info = tfds.builder_from_directory(folder).info
    assert info.name == "icdar2015" and {k: v.num_examples for k, v in info.splits.items()} == {
        "train": 10,
        "test": 10,
    }


def test_tfds_goes_on_where_it_was_killed(tfds, tmp_path, photos, monkeypatch):
    calls = []
    original = packing.encode_packed

    def killed(*args):
        calls.append(args)
        if len(calls) == 40:
            raise Killed
        return original(*args)

    monkeypatch.setattr(packing, "encode_packed", killed)
    monkeypatch.setattr(packing, "_LEAST", 1)
    raw = tmp_path / "raw" / "icdar"
    for sub in ("ch4_training_images", "ch4_training_localization_transcription_gt"):
        (raw / sub).mkdir(parents=True)
    for index in range(50):
        write_image(raw / "ch4_training_images" / f"img_{index}.png", picture(8, 8))
        label = raw / "ch4_training_localization_transcription_gt" / f"gt_img_{index}.txt"
        label.write_text("1,1,5,1,5,5,1,5,a")
    with pytest.raises(Killed):
        build(tfds, "icdar2015", tmp_path, raw)
    folder = build(tfds, "icdar2015", tmp_path, raw)
    assert len(calls) == 51 and len(PackedSamples(folder)) == 50
    assert len(tfds.builder_from_directory(folder).as_data_source(split="train")) == 50


def test_tfds_writes_nothing_else(tfds, tmp_path):
    module = importlib.import_module("icdar2015.icdar2015_dataset_builder")
    with pytest.raises(PackingError, match="tfrecord, expected array_record"):
        module.Builder(data_dir=tmp_path, file_format="tfrecord")
    with pytest.raises(FileNotFoundError, match="expected ch4_training_images or"):
        build(tfds, "icdar2015", tmp_path, tmp_path)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "craftjax.tfds_builder", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ocrjax\[tfds\]'"):
        importlib.import_module("craftjax.tfds_builder")
