import builtins
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.crops import LmdbCrops, import_lmdb, read_labels_csv, read_labels_tsv
from ocrcore.images import encode_image, write_image
from ocrcore.pages import LabelError
from ocrcore.synth.write import CsvWriter, LmdbWriter

TEXTS = ["plain", "a,b", '"quoted"', 'x "y", z', "0123", "Жé日", "'", "null"]
IMAGE = np.full((8, 20, 3), 90, np.uint8)


def put(folder, entries):
    lmdb = pytest.importorskip("lmdb")
    folder.mkdir()
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    return folder


def test_an_lmdb_of_the_benchmark(tmp_path):
    data = encode_image(IMAGE, suffix=".png")
    entries = {"num-samples": b"2", "image-000000001": data, "label-000000001": b" one\n"}
    folder = put(tmp_path / "set", entries | {"image-000000002": data, "label-000000002": b"two"})
    crops = LmdbCrops(folder)
    assert len(crops) == 2
    assert [crop.text for crop in crops] == ["one", "two"]
    assert np.array_equal(crops[0].image(), IMAGE)
    again = pickle.loads(pickle.dumps(crops))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(again.__getitem__, [1, 0] * 20)) == [crops[1], crops[0]] * 20
    with pytest.raises(IndexError):
        crops[2]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "num-samples: b''"),
        ({"num-samples": b"-3"}, "number of up to nine digits"),
        ({"num-samples": b"9" * 30}, "number of up to nine digits"),
        ({"num-samples": b"999999999"}, "999999999.*more than there are records, 1"),
        ({"num-samples": b"1"}, "no image-000000001"),
        ({"num-samples": b"1", "image-000000001": b"x"}, "no label-000000001"),
        (
            {"num-samples": b"1", "image-000000001": b"x", "label-000000001": b"\xff"},
            "label-000000001.*UTF-8",
        ),
        (
            {"num-samples": b"1", "image-000000001": b"x", "label-000000001": b"a" * 70000},
            "70000 bytes",
        ),
    ],
)
def test_an_lmdb_that_cannot_be(tmp_path, entries, message):
    with pytest.raises(LabelError, match=message):
        LmdbCrops(put(tmp_path / "set", entries))[0]


def test_folders_that_are_no_lmdb(tmp_path):
    pytest.importorskip("lmdb")
    with pytest.raises(LabelError, match=r"a folder with a data\.mdb"):
        LmdbCrops(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "data.mdb").write_bytes(b"nonsense" * 2000)
    with pytest.raises(LabelError, match="undamaged LMDB"):
        LmdbCrops(tmp_path)


def test_without_lmdb_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name == "lmdb":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ocrjax\[lmdb\]'"):
        import_lmdb()


def test_written_lmdbs_read_back_and_grow(tmp_path):
    pytest.importorskip("lmdb")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, 50000, np.uint8).tobytes() for _ in TEXTS]
    writer = LmdbWriter(tmp_path, map_size=1 << 16)
    for index, (text, data) in enumerate(zip(TEXTS, pictures, strict=True)):
        writer.add(index, data, text)
        if index in (2, 5):
            writer.commit()
    writer.close()  # the last two were not committed
    assert [crop.text for crop in LmdbCrops(tmp_path)] == TEXTS[:6]
    writer = LmdbWriter(tmp_path, done=6)
    for index in (6, 7):
        writer.add(index, pictures[index], TEXTS[index])
    writer.commit()
    writer.close()
    assert [(c.text, c.data) for c in LmdbCrops(tmp_path)] == list(
        zip(TEXTS, pictures, strict=True)
    )


def test_written_csv_folders_read_back(tmp_path):
    writer = CsvWriter(tmp_path, suffix=".png")
    for index, text in enumerate(TEXTS):
        writer.add(index, encode_image(IMAGE, suffix=".png"), text)
        if index in (3, 7):
            writer.commit()
    crops = read_labels_csv(tmp_path)
    assert [crop.text for crop in crops] == TEXTS
    assert crops[4].name == str(tmp_path / "0000004" / "0000004.png")
    assert np.array_equal(crops[4].image(), IMAGE)
    assert [crop.text for crop in read_labels_csv(tmp_path / "0000000")] == TEXTS[:4]


@pytest.mark.parametrize("text", ["", " a", "a ", "a\nb", "a\rb"])
def test_texts_that_would_not_read_back_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="expected one line without blanks"):
        CsvWriter(tmp_path, suffix=".png").add(0, b"", text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,text\n1.png,a\n", "labels.csv:1: 'name,text': expected the header"),
        (b"", "expected the header"),
        (b"filename,words\n\n1.png\n", "labels.csv:3: '1.png': expected a file name, a comma"),
        (b"filename,words\n,a\n", "labels.csv:2"),
        (b"filename,words\n1.png,\xff\n", "labels.csv:2.*UTF-8"),
        (b"filename,words\n1.png," + b"a" * 70000, "labels.csv:2.*a long line"),
    ],
)
def test_csv_files_that_cannot_be(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(LabelError, match=message):
        read_labels_csv(tmp_path)


def test_csv_with_a_byte_order_mark_and_other_line_ends(tmp_path):
    (tmp_path / "labels.csv").write_bytes(
        b"\xef\xbb\xbffilename,words\r\n1.png, a b \r\n2.png,\r\n"
    )
    assert [crop.text for crop in read_labels_csv(tmp_path)] == ["a b", ""]
    with pytest.raises(LabelError, match=r"a folder with a labels\.csv"):
        read_labels_csv(tmp_path / "none")


def test_tab_separated_labels(tmp_path):
    write_image(tmp_path / "img" / "1.png", IMAGE)
    (tmp_path / "labels.tsv").write_text('img/1.png\t"a, b"\n\nimg/2.png\tc\td\n', encoding="utf-8")
    crops = read_labels_tsv(tmp_path / "labels.tsv")
    assert [crop.text for crop in crops] == ['"a, b"', "c\td"]
    assert np.array_equal(crops[0].image(), IMAGE)
    (tmp_path / "labels.tsv").write_text("img/1.png one\n")
    with pytest.raises(LabelError, match=r"labels\.tsv:1: 'img/1.png one'"):
        read_labels_tsv(tmp_path / "labels.tsv")


@given(st.binary(max_size=200))
def test_any_bytes_are_labels_or_a_named_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tsv") / "labels.tsv"
    path.write_bytes(content)
    try:
        crops = read_labels_tsv(path)
    except LabelError as error:
        assert str(path) in str(error)
    else:
        assert all(crop.text == crop.text.strip() for crop in crops)


def test_what_is_not_used_beside_a_csv_is_said(tmp_path, caplog):
    for name in ("a.png", "b.png", "more/c.png"):
        write_image(tmp_path / name, IMAGE)
    (tmp_path / "labels.csv").write_text("filename,words\na.png,one\n")
    (tmp_path / "more" / "labels.csv").write_text("filename,words\nc.png,two\n")
    assert [crop.text for crop in read_labels_csv(tmp_path)] == ["one"]
    nested, pictures = caplog.messages
    assert "not used, because labels.csv is there" in nested and "more/labels.csv" in nested
    assert pictures.startswith("1 pictures beside") and pictures.endswith("b.png")
    caplog.clear()
    assert [crop.text for crop in read_labels_csv(tmp_path / "more")] == ["two"]
    assert not caplog.messages
