import pickle
import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.arrayrecord import (
    ArrayRecords,
    decode_record,
    decode_sample,
    encode_record,
)
from ocrcore.images import ImageError, encode_image
from ocrcore.pages import Character, LabelError, Page, Word
from ocrcore.synth.write import RecordWriter

IMAGE = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)
PNG = encode_image(IMAGE, suffix=".png")


def page(index=0):
    quad = np.array([[index / 3, 0.1], [9, 0], [9, 9], [0, 9]], np.float32)
    word = Word(quad=quad, text="aЖ", care=bool(index % 2), characters=(Character("a", quad),))
    return Page(height=12, width=20, words=(word,))


def write(folder, count=7, shard=3):
    writer = RecordWriter(folder, count=count, records_per_file=shard)
    for index in range(count):
        writer.add(index, PNG, page(index))
        if (index + 1) % shard == 0 or index + 1 == count:
            writer.commit()
    return folder


def test_written_shards_read_back_exactly(tmp_path):
    records = ArrayRecords(write(tmp_path))
    assert [p.name for p in records.paths] == [
        f"data-{n:05d}-of-00003.arrayrecord" for n in range(3)
    ]
    assert len(records) == 7
    for index in (6, 0, 3, 2):
        assert records[index].page == page(index)
        assert np.array_equal(records[index].image, IMAGE)
        assert records.encoded(index) == (PNG, page(index))
    with pytest.raises(IndexError):
        records[7]
    again = pickle.loads(pickle.dumps(records))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(again.__getitem__, list(range(7)) * 5))
    assert [sample.page for sample in found] == [page(index) for index in range(7)] * 5
    assert len(ArrayRecords([records.paths[2], records.paths[0]])) == 4


def test_grain_takes_it_as_a_source(tmp_path):
    grain = pytest.importorskip("grain")
    records = ArrayRecords(write(tmp_path))
    pages = [sample.page for sample in grain.MapDataset.source(records).shuffle(seed=0)]
    assert sorted(p.quads[0, 0, 0] for p in pages) == sorted(np.float32(k / 3) for k in range(7))


def test_a_shard_that_was_not_committed_leaves_nothing(tmp_path):
    writer = RecordWriter(tmp_path, count=4, records_per_file=2)
    writer.add(0, PNG, page())
    writer.close()
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(LabelError, match=r"none.*expected a \.arrayrecord file or a folder"):
        ArrayRecords(tmp_path / "none")
    with pytest.raises(LabelError, match="a folder with some"):
        ArrayRecords(tmp_path)
    path = tmp_path / "a.arrayrecord"
    for data in (b"", b"nonsense" * 9000):
        path.write_bytes(data)
        with pytest.raises(LabelError, match="no record in"):
            ArrayRecords(path)
    good = write(tmp_path / "good", count=1, shard=1) / "data-00000-of-00001.arrayrecord"
    raw = bytearray(good.read_bytes())
    where = raw.index(PNG[:8]) + 40
    raw[where] ^= 255
    path.write_bytes(raw)
    with pytest.raises(LabelError, match=r"a\.arrayrecord, record 0"):
        ArrayRecords(path)[0]


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        (b"", LabelError, "a record that begins with"),
        (b"nonsense", LabelError, "a record that begins with"),
        (struct.pack("<4sI", b"OJX1", 1 << 31) + b"{}", LabelError, "at most 2 bytes"),
        (struct.pack("<4sI", b"OJX1", 2) + b"{}", LabelError, "a page lacks height, width"),
        (struct.pack("<4sI", b"OJX1", 2) + b"\xff\xff", LabelError, "a page as JSON"),
        (struct.pack("<4sI", b"OJX1", 60000) + b"[" * 60000, LabelError, "a page as JSON"),
        (encode_record(PNG, Page(13, 20)), LabelError, r"an image of \(12, 20\)"),
        (encode_record(PNG, Page(20, 12)), LabelError, r"an image of \(12, 20\)"),
        (encode_record(PNG, Page(1 << 20, 1 << 20)), LabelError, "pixels"),
        (encode_record(b"", Page(12, 20)), ImageError, "not an image"),
        (encode_record(b"nonsense", Page(12, 20)), ImageError, "not an image"),
    ],
)
def test_records_that_cannot_be(record, error, message):
    with pytest.raises(error, match=f"^shard 3: .*{message}"):
        decode_sample(record, name="shard 3")


def test_a_picture_that_lies_about_its_size_is_not_decoded(monkeypatch):
    def boom(*_):
        raise AssertionError("decoded")

    record = encode_record(encode_image(np.zeros((600, 600, 3), np.uint8)), page())
    monkeypatch.setattr(cv2, "imdecode", boom)
    with pytest.raises(LabelError, match="an image of"):
        decode_sample(record)


@given(st.data())
def test_damaged_records_are_named_errors_or_samples(data):
    raw = bytearray(encode_record(PNG, page()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_sample(bytes(raw), name="r")
    except (LabelError, ImageError) as error:
        assert str(error).startswith("r: ")


def test_the_layout_is_what_the_documentation_says():
    record = encode_record(b"picture", Page(2, 3))
    assert record[:4] == b"OJX1"
    length = int.from_bytes(record[4:8], "little")
    assert record[8 : 8 + length] == b'{"height": 2, "width": 3, "words": []}'
    assert record[8 + length :] == b"picture"
    assert decode_record(record) == (b"picture", Page(2, 3))
