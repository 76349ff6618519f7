import builtins
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.crops import LmdbCrops, import_lmdb, read_labels_csv, read_labels_tsv
from ocrcore.data.readers.synthtext import picture_path
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
        ({"num-samples": b"999999999"}, "999999999.*at most the number of records, 1"),
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
    with pytest.raises(ValueError, match="expected one line, not empty"):
        CsvWriter(tmp_path, suffix=".png").add(0, b"", text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,text\n1.png,a\n", "labels.csv:1: 'name,text': expected the header"),
        (b"", "expected the header"),
        (b"filename;words\n1.png;a\n", "'filename;words': .*exactly so: commas .* no quotes"),
        (b'"filename","words"\n"1.png","a"\n', "commas between the fields, and no quotes"),
        (b"Filename, Words\n1.png, a\n", "no quotes, spaces or capitals"),
        (b",filename,words\n0,1.png,a\n", "the header filename,words and only these two columns"),
        ("filename,words\n1.png,\u0416\n".encode("utf-16"), r"labels\.csv: 'UTF-16 .*save it as"),
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


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("id\tpath\ttext", "expected two columns, path and text, not 3"),
        ("annotation_id\tannotator\timage\ttranscription", "not 4: remove the others"),
        ("0\timg/1.png\tHello", "not 3"),
        ("words\tfile name", "the path first, then a tab and the text"),
    ],
)
def test_columns_that_are_not_path_and_text(tmp_path, first, message):
    path = tmp_path / "list.tsv"
    path.write_text(f"{first}\n")
    with pytest.raises(LabelError, match=rf"list\.tsv:1: .*{message}"):
        read_labels_tsv(path)


def test_names_of_columns_are_passed_over(tmp_path, caplog):
    path = tmp_path / "list.tsv"
    for header in ("# File Name\t# Corresponding label", "image_path\ttext", "path\tgt"):
        path.write_text(f"{header}\n1.png\tone\n")
        assert [crop.text for crop in read_labels_tsv(path)] == ["one"]
        assert "is skipped as a line of column names" in caplog.messages[-1]
    caplog.clear()
    path.write_text("path\ttext\n")  # a picture without a suffix
    write_image(tmp_path / "1.png", IMAGE)
    (tmp_path / "1.png").rename(tmp_path / "path")
    assert [crop.text for crop in read_labels_tsv(path)] == ["text"]
    assert not caplog.messages


def test_paths_of_windows_are_read_where_they_exist(tmp_path):
    write_image(tmp_path / "images" / "1.png", IMAGE)
    (tmp_path / "list.tsv").write_text(".\\images\\1.png\tone\r\n.\\images\\2.png\ttwo\r\n")
    first, second = read_labels_tsv(tmp_path / "list.tsv")
    assert np.array_equal(first.image(), IMAGE) and first.text == "one"
    assert second.name.endswith(".\\images\\2.png")
    (tmp_path / "labels.csv").write_text("filename,words\nimages\\1.png,one\n")
    assert np.array_equal(read_labels_csv(tmp_path)[0].image(), IMAGE)


@pytest.mark.parametrize("name", ["/etc/1.png", "../1.png", "a/../../1.png", "..\\1.png"])
def test_paths_stay_in_the_folder_unless_they_may_leave_it(tmp_path, name):
    folder = tmp_path / "set"
    write_image(tmp_path / "1.png", IMAGE)
    folder.mkdir()
    (folder / "labels.csv").write_text(f"filename,words\n{name},one\n")
    (folder / "list.tsv").write_text(f"{name}\tone\n")
    for read, path in ((read_labels_csv, folder), (read_labels_tsv, folder / "list.tsv")):
        with pytest.raises(LabelError, match=r":[12]: .*stays below .*outside=True"):
            read(path)
        assert read(path, outside=True)[0].name == str(folder / name.replace("\\", "/"))
    with pytest.raises(LabelError, match="below this folder"):
        picture_path(folder, name.replace("\\", "/"))


def test_links_and_absolute_paths_within_the_folder_are_fine(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "set"
    write_image(elsewhere / "a..b.png", IMAGE)
    folder.mkdir()
    (folder / "img").symlink_to(elsewhere)
    (folder / "list.tsv").write_text(f"img/a..b.png\tone\n{folder}/img/a..b.png\ttwo\n")
    for crop in read_labels_tsv(folder / "list.tsv"):
        assert np.array_equal(crop.image(), IMAGE)
    assert picture_path(folder, "img/a..b.png") == folder / "img" / "a..b.png"


def test_a_labels_csv_in_other_letters_is_named(tmp_path):
    (tmp_path / "Labels.CSV").write_text("filename,words\n")
    with pytest.raises(LabelError, match=r"Labels\.CSV exists: rename it to labels\.csv"):
        read_labels_csv(tmp_path)


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
    assert "not used, because labels.csv exists" in nested and "more/labels.csv" in nested
    assert pictures.startswith("1 images next to") and pictures.endswith("b.png")
    caplog.clear()
    assert [crop.text for crop in read_labels_csv(tmp_path / "more")] == ["two"]
    assert not caplog.messages
