import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.synthtext import SynthText, synthtext_words
from ocrcore.images import image_size, write_image
from ocrcore.pages import Character, LabelError, Page, Word
from ocrcore.synth.write import write_gt_mat

SAMPLES = Path(__file__).parents[3] / "shared" / "datasets" / "synthtext_sample"


def boxes(count, start=0.0):
    """`(2, 4, count)`: boxes of 4 x 8 pixels in a row, each at another place."""
    left = start + 5.0 * np.arange(count)
    x = np.stack([left, left + 4, left + 4, left])
    y = np.tile(np.array([[1.0], [1], [9], [9]]), count)
    return np.stack([x, y])


def test_words_own_their_characters_in_order():
    words = synthtext_words("p.jpg", ["to  be\n or ", "x"], boxes(7), boxes(4, 50))
    assert [w.text for w in words] == ["to", "be", "or", "x"]
    assert [w.line for w in words] == [0, 0, 1, 2]
    assert ["".join(c.text for c in w.characters) for w in words] == ["to", "be", "or", "x"]
    assert words[1].characters[0].quad.tolist() == [[10, 1], [14, 1], [14, 9], [10, 9]]
    assert words[3].quad[0].tolist() == [65, 1]
    assert all(w.care for w in words)


def test_one_word_may_come_without_its_last_axis():
    (word,) = synthtext_words("p.jpg", ["I"], boxes(1)[:, :, 0], boxes(1)[:, :, 0])
    assert word.text == "I" and len(word.characters) == 1
    assert synthtext_words("p.jpg", [], np.zeros((2, 4, 0)), np.zeros((0, 0))) == ()


@pytest.mark.parametrize(
    ("texts", "characters", "words", "message"),
    [
        (["to be"], boxes(4), boxes(3), r"2 words \(to be\).*expected as many as wordBB has: 3"),
        (["to be"], boxes(5), boxes(2), "4 characters.*charBB has: 5"),
        (["to be"], boxes(3), boxes(2), "4 characters.*charBB has: 3"),
        (["a"], boxes(1) * np.nan, boxes(1), "charBB number 0.*nan.*coordinates within"),
        (["a"], boxes(1), boxes(1) * 1e9, "wordBB number 0"),
        (["a"], boxes(1), np.zeros((4, 2, 1)), r"wordBB of shape \(4, 2, 1\).*\(2, 4, N\)"),
        (["a"], boxes(1), np.zeros(3), r"wordBB of shape \(3,\)"),
        (["a"], "no", boxes(1), "charBB"),
    ],
)
def test_labels_that_cannot_be_name_the_picture(texts, characters, words, message):
    with pytest.raises(LabelError, match=message) as caught:
        synthtext_words("8/p.jpg", texts, characters, words)
    assert caught.value.path == "8/p.jpg"


def test_the_real_samples():
    files = sorted((SAMPLES / "gt").glob("*.json"))
    if not files:
        pytest.skip("the SynthText samples are not here")
    assert len(files) == 4
    for file in files:
        labels = json.loads(file.read_text(encoding="utf-8"))
        words = synthtext_words(file.name, labels["txt"], labels["charBB"], labels["wordBB"])
        assert [w.text for w in words] == " ".join(labels["txt"]).split()
        height, width = image_size(SAMPLES / "images" / f"{file.stem}.png")
        for word in words:
            assert "".join(c.text for c in word.characters) == word.text
            # The characters lie in their word: their boxes' middle does, to a pixel.
            low, high = word.quad.min(0) - 1, word.quad.max(0) + 1
            middle = np.stack([c.quad for c in word.characters]).mean((0, 1))
            assert (low <= middle).all() and (middle <= high).all(), (file.name, word.text)
            assert (high > 0).all() and (low < (width, height)).all()


def page(words, path="images/1.png"):
    return Page(height=40, width=60, words=tuple(words), path=path)


def word(texts, line, at=0.0):
    rows = boxes(len(texts), at).transpose(2, 1, 0).astype(np.float32)
    characters = tuple(Character(text=t, quad=q) for t, q in zip(texts, rows, strict=True))
    quad = np.array([rows[0][0], rows[-1][1], rows[-1][2], rows[0][3]])
    return Word(quad=quad, text="".join(texts), characters=characters, line=line)


def test_a_written_set_reads_back(tmp_path):
    pages = [
        page([word("to", 0), word("Жé日", 0, 20.3), word("a,b", 1, 1 / 3)]),
        page([], "images/2.png"),
        page([word(["e\u0301", "x"], 0)], "images/3.png"),  # one character, two code points
    ]
    for one in pages:
        write_image(tmp_path / one.path, np.zeros((40, 60, 3), np.uint8))
    write_gt_mat(tmp_path / "gt.mat", pages)
    found = SynthText(tmp_path)
    assert len(found) == 3
    for index, one in enumerate(pages):
        assert found[index].words == one.words
        assert (found[index].height, found[index].width) == (40, 60)
        assert found[index].path == str(tmp_path / one.path)
    with pytest.raises(IndexError):
        found[3]
    assert pickle.loads(pickle.dumps(found))[0] == found[0]
    first = (tmp_path / "gt.mat").read_bytes()
    write_gt_mat(tmp_path / "gt.mat", pages)
    assert (tmp_path / "gt.mat").read_bytes() == first


def test_the_file_is_what_easyocr_reads(tmp_path):
    write_gt_mat(tmp_path / "gt.mat", [page([word("to", 0), word("be", 0, 20)]), page([], "b.png")])
    gt = scipy.io.loadmat(tmp_path / "gt.mat")
    assert gt["imnames"][0][0][0] == "images/1.png"
    assert gt["charBB"][0][0].transpose(2, 1, 0).shape == (4, 4, 2)
    assert gt["wordBB"][0][0].shape == (2, 4, 2) and gt["charBB"][0][0].dtype == np.float32
    assert [text.strip() for text in gt["txt"][0][0]] == ["to be"]
    assert gt["charBB"][0][1].transpose(2, 1, 0).shape == (0, 4, 2) and not gt["txt"][0][1].size


def test_pages_that_gt_mat_cannot_hold(tmp_path):
    quad = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    for bad in (Word(quad, "a"), Word(quad), word("a b", 0)):
        with pytest.raises(ValueError, match=r"1\.png: word .*expected those of a text"):
            write_gt_mat(tmp_path / "gt.mat", [page([bad])])
    with pytest.raises(ValueError, match="no path"):
        write_gt_mat(tmp_path / "gt.mat", [page([], None)])
    assert not (tmp_path / "gt.mat").exists()


def test_files_that_are_no_gt_mat(tmp_path):
    with pytest.raises(LabelError, match=r"no gt\.mat"):
        SynthText(tmp_path)
    path = tmp_path / "gt.mat"
    for data in (b"", b"nonsense" * 50):
        path.write_bytes(data)
        with pytest.raises(LabelError, match=r"gt\.mat"):
            SynthText(tmp_path)
    scipy.io.savemat(path, {"imnames": np.zeros((1, 2), object)})
    with pytest.raises(LabelError, match="no txt, charBB, wordBB"):
        SynthText(tmp_path)
    cells = {k: np.zeros((1, 2), object) for k in ("imnames", "txt", "charBB")}
    scipy.io.savemat(path, {**cells, "wordBB": np.zeros((1, 3), object)})
    with pytest.raises(LabelError, match=r"wordBB: 3.*equal numbers"):
        SynthText(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", ""])
def test_pictures_outside_the_folder_are_refused(tmp_path, name):
    write_gt_mat(tmp_path / "gt.mat", [page([], name)])
    with pytest.raises(LabelError, match="below this folder"):
        SynthText(tmp_path)[0]


@given(data=st.data())
def test_a_damaged_file_is_an_error_or_read(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("mat") / "gt.mat"
    write_gt_mat(path, [page([word("to", 0)])])
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]))
    try:
        found = SynthText(path.parent)
        if len(found):
            found[0]
    except ValueError:  # LabelError and ImageError
        pass
