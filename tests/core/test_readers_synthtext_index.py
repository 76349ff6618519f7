import pickle
import threading

import numpy as np
import pytest
import scipy.io

from ocrcore.data.readers import synthtext_index
from ocrcore.data.readers.synthtext import SynthText
from ocrcore.data.readers.synthtext_index import IndexedSynthText
from ocrcore.files import default_cache
from ocrcore.images import ImageError, write_image
from ocrcore.pages import Character, LabelError, Page, Word
from ocrcore.synth.write import write_gt_mat


def word(text, left, line=0):
    quad = np.array([(0, 2), (5, 2), (5, 11.3), (0, 11.3)], np.float32)
    letters = tuple(Character(c, np.add(quad, (left + 5 * k, 0))) for k, c in enumerate(text))
    around = np.array([letters[0].quad[0], letters[-1].quad[1], letters[-1].quad[2], quad[3]])
    return Word(around, text, characters=letters, line=line)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "SynthText"
    pages = [
        Page(40, 60, (word("to", 3), word("Жé日", 20), word("a,b", 1, line=1)), "1/é.png"),
        Page(40, 60, (), "1/empty.png"),
        Page(40, 60, (word("x", 1 / 3),), "2/c.png"),
    ]
    for index, page in enumerate(pages):
        write_image(root / page.path, np.full((40, 60, 3), index, np.uint8))
    write_gt_mat(root / "gt.mat", pages)
    return root


def test_it_holds_what_the_file_holds(folder, tmp_path):
    found = IndexedSynthText(folder, cache=tmp_path / "cache")
    plain = SynthText(folder)
    assert len(found) == len(plain) == 3
    for index in range(3):
        sample = found[index]
        assert sample.page == plain[index] and (sample.image == index).all()
        assert found.name(index) == sample.page.path
    with pytest.raises(IndexError):
        found[3]
    assert pickle.loads(pickle.dumps(found))[0] == found[0]
    assert len(pickle.dumps(found)) < 1000


def test_it_is_made_once_and_anew_when_the_file_changes(folder, tmp_path, monkeypatch):
    made = []
    write = synthtext_index.write_index
    monkeypatch.setattr(
        synthtext_index, "write_index", lambda *args: (made.append(args), write(*args))
    )
    for _ in range(3):
        IndexedSynthText(folder, cache=tmp_path / "cache")
    assert len(made) == 1
    write_gt_mat(folder / "gt.mat", [Page(40, 60, (word("new", 4),), "2/c.png")])
    found = IndexedSynthText(folder, cache=tmp_path / "cache")
    assert len(made) == 2 and len(found) == 1 and found[0].page.words[0].text == "new"


def test_processes_may_index_at_the_same_time(folder, tmp_path):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(IndexedSynthText(folder, cache=tmp_path / "cache")[0])
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(one == found[0] for one in found)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing half done is left


def cells(values):
    out = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        out[0, index] = value
    return out


def test_faults_are_kept_for_the_picture_that_has_them(tmp_path):
    box = np.zeros((2, 4, 1))
    box[:, 1:3] += 5
    rows = [
        (["a.png"], ["a"], box, box),
        (["b.png"], ["a"], np.zeros((3, 4, 1)), box),
        (["c.png"], ["a"], box * np.nan, box),
        (["d.png"], ["ab"], box, box),
        (np.zeros((2, 2)), ["a"], box, box),
        (["../e.png"], ["a"], box, box),
        (["f.png"], ["a"], np.array("text"), box),
        (["g.png"], np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((2, 4, 0))),
        (["missing.png"], ["a"], box, box),
    ]
    values = {
        name: cells([np.array(row[k]) if isinstance(row[k], list) else row[k] for row in rows])
        for k, name in enumerate(("imnames", "txt", "charBB", "wordBB"))
    }
    scipy.io.savemat(tmp_path / "gt.mat", values, do_compression=True)
    for name in "abcdefg":
        write_image(tmp_path / f"{name}.png", np.zeros((9, 9, 3), np.uint8))
    found = IndexedSynthText(tmp_path, cache=tmp_path / "cache")
    assert [w.text for w in found[0].page.words] == ["a"] and found[7].page.words == ()
    for index, message, reason in (
        (1, r"b\.png.*boxes of shape \(3, 4, 1\)", "labels"),
        (2, r"c\.png.*coordinates within", "coordinates"),
        (3, r"d\.png.*as many as charBB has", "box count"),
        (4, "the path of an image below", "labels"),
        (5, r"\.\./e\.png.*the path of an image below", "labels"),
        (6, r"f\.png.*a text instead of boxes", "labels"),
    ):
        with pytest.raises(LabelError, match=message) as caught:
            found[index]
        assert caught.value.reason == reason
        assert isinstance(found.name(index), str)
    with pytest.raises(ImageError, match=r"missing\.png"):
        found[8]


def test_folders_that_cannot_be(folder, tmp_path, monkeypatch):
    with pytest.raises(LabelError, match=r"no gt\.mat"):
        IndexedSynthText(tmp_path, cache=tmp_path / "cache")
    path = tmp_path / "gt.mat"
    for content in (b"", b"nonsense" * 40):
        path.write_bytes(content)
        with pytest.raises(LabelError, match=r"gt\.mat"):
            IndexedSynthText(tmp_path, cache=tmp_path / "cache")
    scipy.io.savemat(path, {"imnames": cells(["a", "b"])})
    with pytest.raises(LabelError, match="no txt, charBB, wordBB"):
        IndexedSynthText(tmp_path, cache=tmp_path / "cache")
    names = ("imnames", "txt", "charBB")
    scipy.io.savemat(path, {**{k: cells(["a"]) for k in names}, "wordBB": cells(["a", "b"])})
    with pytest.raises(LabelError, match=r"wordBB: 2.*equal numbers"):
        IndexedSynthText(tmp_path, cache=tmp_path / "cache")
    found = IndexedSynthText(folder, cache=tmp_path / "cache")
    characters = found.location / "characters.bin"
    characters.write_bytes(characters.read_bytes()[:-32])
    with pytest.raises(LabelError, match="delete it"):
        IndexedSynthText(folder, cache=tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / "ocrjax"
