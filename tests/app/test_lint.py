"""`ocrjax lint`: each planted fault is found where it is and no other, and a copy is repaired."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from craftjax.detector import Detection
from crnnjax.charset import named
from ocrcore.data.readers.words import open_words
from ocrcore.evaluation.label_errors import Reading
from ocrcore.images import encode_image, read_image
from ocrcore.outputs import OutputError
from ocrcore.pages import LabelError, Page, Word
from ocrjax.cli.main import _parse
from ocrjax.labels import doubts
from ocrjax.labels.convert import write_labels
from ocrjax.labels.findings import KINDS, Finding
from ocrjax.labels.lint import Lint, LintOptions, Part, lint, open_parts
from ocrjax.labels.lint_crops import find_crops, lint_crops
from ocrjax.labels.lint_report import (
    drawings,
    rare_characters,
    sheet,
    table,
    to_json,
    write_lint,
)
from ocrjax.labels.repair import CHANGES, repaired, write_repaired
from ocrjax.labels.text_faults import cleaned, text_faults
from ocrjax.labels.word_faults import word_faults

WIDE, HIGH = 160, 120
SOUND = [
    "10,10,70,10,70,26,10,26,word",
    "10,40,90,40,90,56,10,56,other",
    "10,70,60,70,60,86,10,86,third",
]
PAGES = 100  # so that no fault is one of the whole data set


def picture(seed, size=(HIGH, WIDE)):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)


@dataclass
class Planted:
    """A data set, and the faults that were planted: kind, file and line."""

    root: Path
    expected: set[tuple[str, str, int]]


def write_set(root, pages, *, first=0):
    """Pictures with the lines of their label files, by name."""
    for folder in ("images", "gt"):
        (root / folder).mkdir(parents=True)
    for number, (name, lines) in enumerate(pages.items(), first):
        data = encode_image(picture(number), suffix=".png")
        (root / "images" / f"{name}.png").write_bytes(data)
        (root / "gt" / f"gt_{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


WORDS = {
    "zero area": "10,100,70,100,70,100,10,100,line",
    "self-crossing": "10,100,70,116,70,100,10,116,cross",
    "anticlockwise": "10,100,10,116,70,116,70,100,against",
    "concave or too thin": "10,96,70,96,30,100,10,118,dented",
    "lies on its side": "70,96,70,116,10,116,10,96,aside",
    "upside down": "70,116,10,116,10,96,70,96,head",
    "outside the picture": "200,100,260,100,260,116,200,116,beside",
    "reaches outside": "120,96,180,96,180,112,120,112,beyond",
    "labeled twice": SOUND[0],
    "overlapping labels": "12,10,72,10,72,26,12,26,again",
    "too much text": "100,96,120,96,120,116,100,116,muchtoolong",
    "too little text": "5,100,150,100,150,110,5,110,abc",
    "wrong encoding": "10,96,70,96,70,112,10,112,caf\u00c3\u00a9",
    "markup": "10,96,70,96,70,112,10,112,R&amp;B",
    "lost characters": "10,96,70,96,70,112,10,112,caf\ufffd",
    "control character": "10,96,70,96,70,112,10,112,wo\x07rd",
    "zero-width character": "10,96,70,96,70,112,10,112,wo\u200brd",
    "not NFC": "10,96,70,96,70,112,10,112,cafe\u0301",
    "full-width character": "10,96,70,96,70,112,10,112,\uff11\uff12\uff13",
    "mixed scripts": "10,96,70,96,70,112,10,112,\u0420aris",
    "unusual space": "10,96,70,96,70,112,10,112,two  words",
    "broken line": "10,96,seventy,96,70,112,10,112,word",
    "no text": "10,96,70,96,70,112,10,112,",
    "too small": "10,100,70,100,70,105,10,105,lower",
    "stacked letters": "140,5,150,5,150,65,140,65,upright",
}
"""A fourth line of a page by its fault."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    pages = {f"p{number:02}": list(SOUND) for number in range(PAGES)}
    expected = set()
    names = iter(pages)

    for kind, line in WORDS.items():
        name = next(names)
        pages[name].append(line)
        expected.add((kind, f"gt_{name}.txt", 4))
    shares = next(names)
    pages[shares] = ["0.1,0.1,0.5,0.1,0.5,0.3,0.1,0.3,one", "0.1,0.5,0.5,0.5,0.5,0.7,0.1,0.7,two"]
    expected.add(("relative coordinates", f"gt_{shares}.txt", 0))
    write_set(root, pages)
    images, labels = root / "images", root / "gt"

    broken, cut, double, two, lost, twin, turned, tested = (next(names) for _ in range(8))
    (images / f"{broken}.png").write_bytes(b"no picture")
    expected.add(("broken picture", f"{broken}.png", 0))
    data = (images / f"{cut}.png").read_bytes()
    (images / f"{cut}.png").write_bytes(data[: len(data) // 2])
    expected.add(("broken picture", f"{cut}.png", 0))
    (images / f"{double}.jpg").write_bytes(encode_image(picture(1000), suffix=".jpg"))
    expected.add(("duplicate picture name", f"{double}.png", 0))
    (labels / f"{two}.txt").write_text(SOUND[0])
    expected.add(("broken labels", f"{two}.txt", 0))
    (labels / f"gt_{lost}.txt").unlink()
    expected.add(("picture without labels", f"{lost}.png", 0))
    (labels / "gt_lonely.txt").write_text(SOUND[0])
    expected.add(("labels without picture", "gt_lonely.txt", 0))
    (images / "inside").mkdir()
    (images / "inside/a.png").write_bytes(encode_image(picture(1001), suffix=".png"))
    expected.add(("not used", "a.png", 0))
    (images / "scan.pcx").write_bytes(b"")
    Image.fromarray(read_image(images / f"{twin}.png")).save(images / "twin.png")
    (labels / "gt_twin.txt").write_text("\n".join(SOUND))
    expected.add(("near-duplicates", f"{twin}.png", 0))
    # Stored lying on its side; the labels are those of the stored pixels.
    exif = Image.Exif()
    exif[0x0112] = 6
    (images / f"{turned}.png").unlink()
    Image.fromarray(picture(1002, (WIDE, HIGH))).save(images / f"{turned}.jpg", exif=exif)
    rows = ["10,10,26,10,26,70,10,70,word", "40,10,56,10,56,90,40,90,other"]
    (labels / f"gt_{turned}.txt").write_text("\n".join(rows))
    expected.add(("EXIF rotation ignored", f"gt_{turned}.txt", 0))
    expected.add(("whole data set", "gt", 0))  # all pictures that EXIF turns are labeled so
    write_set(root / "test", {f"t{number}": list(SOUND) for number in range(3)}, first=2000)
    (root / "test/images/t0.png").write_bytes((images / f"{tested}.png").read_bytes())
    expected.add(("near-duplicate in test set", f"{tested}.png", 0))
    return Planted(root, expected)


def look(root, options=None, **more):
    parts, doubles = open_parts(root, **more)
    found = lint(parts, options)
    found.findings += doubles
    found.sort()
    return found


def places(found):
    return {(one.kind, Path(one.path).name, one.line) for one in found.findings}


@pytest.fixture(scope="module")
def found(planted) -> Lint:
    return look(planted.root)


def test_all_that_was_planted_is_found_and_nothing_else(planted, found):
    assert places(found) == planted.expected
    assert len({kind for kind, *_ in planted.expected}) == 36
    assert len(found.findings) == len(planted.expected)
    assert found.faulty
    assert found.counts["broken picture"] == 2
    assert list(found.counts) == [kind for kind in KINDS if kind in found.counts]


def test_a_sound_set_has_no_fault(tmp_path):
    write_set(tmp_path, {f"p{number}": SOUND for number in range(5)})
    found = look(tmp_path)
    assert found.findings == [] and not found.faulty
    assert table(found) == ["no faults found"]
    assert rare_characters(found) == ""  # each occurs five times


def test_where_and_what(planted, found):
    one = next(one for one in found.findings if one.kind == "broken line")
    label = planted.root / "gt" / one.path.rpartition("/")[2]
    assert str(one).startswith(f"{label}:4: 'seventy': expected a coordinate")
    assert one.severity == "error"
    small = next(one for one in found.findings if one.kind == "too small")
    assert (small.severity, small.word, small.value) == ("hint", 3, "lower")
    assert small.quad == ((10.0, 100.0), (70.0, 100.0), (70.0, 105.0), (10.0, 105.0))
    assert any("broken line" in row and "seventy" in row for row in table(found))


def test_repaired_copy(planted, found, tmp_path):
    before = digests(planted.root)
    out = tmp_path / "out"
    done, lost = write_repaired(found, out)
    assert digests(planted.root) == before
    assert lost == []
    again = look(out)
    assert {one.kind for one in again.findings} == {
        *("concave or too thin", "lies on its side", "upside down", "overlapping labels"),
        *("too much text", "too little text", "lost characters", "no text", "too small"),
        *("stacked letters", "near-duplicates"),
    }
    rows = (out / CHANGES).read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(done) and rows[0] == "fault\tplace\tvalue\tchange"
    assert any(row.startswith("self-crossing\t") and "gt_p01.txt:4" in row for row in rows)
    # Pictures that are read, without the twin of the test set.
    assert len(open_words(out)) == len(found.parts[0].pages) - 1
    texts = {word.text for page in again.parts[0].pages for word in page.words}
    assert {"caf\u00e9", "R&B", "word", "123", "Paris", "two words"} <= texts
    labels = {path.stem: path.read_text() for path in (out / "gt").iterdir()}
    assert "10,100,70,100,70,116,10,116,cross" in labels["gt_p01"]
    assert "10,100,70,100,70,116,10,116,against" in labels["gt_p02"]
    assert "120,96,160,96,160,112,120,112,beyond" in labels["gt_p07"]
    assert labels["gt_p08"].splitlines() == SOUND


def test_repairs_of_whole_pages(found):
    pages = {Path(page.path).stem: page for page in repaired(found)[0]["train"]}
    shares = next(one for one in found.findings if one.kind == "relative coordinates")
    quad = pages[Path(shares.picture).stem].words[0].quad
    np.testing.assert_allclose(quad, [(16, 12), (80, 12), (80, 36), (16, 36)], atol=1e-4)
    stored = next(one for one in found.findings if one.kind == "EXIF rotation ignored")
    page = pages[Path(stored.picture).stem]
    # Turned by a quarter clockwise: (x, y) of a picture 160 high lies at (160 - y, x).
    assert (page.height, page.width) == (HIGH, WIDE)
    assert page.words[0].quad.tolist() == [[90, 10], [150, 10], [150, 26], [90, 26]]


def digests(root):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("every", [False, True])
def test_boxes_of_width_and_height(tmp_path, every):
    sound = "10,10,70,26,word\n100,90,150,110,other"
    wrong = "10,10,60,16,word\n100,90,50,20,other"
    mild = "10,10,60,16,word"  # ends behind its begin by chance
    pages = {f"p{n}": [wrong] if n == 0 or (every and n < 5) else [sound] for n in range(10)}
    if every:
        pages = {name: [wrong if n < 5 else mild] for n, name in enumerate(pages)}
    write_set(tmp_path / "in", pages)
    found = look(tmp_path / "in")
    kind = "x, y, width, height"
    assert found.counts[kind] == (10 if every else 1)
    assert {one.kind for one in found.findings} <= {kind, "whole data set"}
    write_repaired(found, tmp_path / "out")
    texts = [path.read_text() for path in (tmp_path / "out/gt").iterdir()]
    assert [text.startswith('10 10 70 26 "word"') for text in texts] == [True] * 10
    assert look(tmp_path / "out").findings == []


def test_first_corners_are_moved_where_many_are_wrong(tmp_path):
    aside = "70,10,70,26,10,26,10,10,aside"
    write_set(tmp_path / "in", {f"p{n}": [aside, SOUND[1]] for n in range(5)})
    found = look(tmp_path / "in")
    assert found.counts == {"whole data set": 1, "lies on its side": 5}
    write_repaired(found, tmp_path / "out")
    assert look(tmp_path / "out").findings == []


def test_charset_and_canvas(tmp_path):
    write_set(tmp_path, {"p": ["10,10,70,10,70,26,10,26,5€"]})
    options = LintOptions(charset=named("en95"))
    small = replace(options, detector=replace(options.detector, canvas_size=40))
    one, two = look(tmp_path, options).findings[0], look(tmp_path, small)
    assert one.kind == "outside the charset" and "'€' (U+20AC)" in one.why
    assert "4.0 pixels high" in next(f.why for f in two.findings if f.kind == "too small")
    assert not look(tmp_path).findings


def test_labels_without_any_text_are_one_warning(tmp_path):
    write_set(tmp_path, {f"p{n}": ["10,10,70,10,70,26,10,26"] for n in range(3)})
    found = look(tmp_path)
    assert found.counts == {"whole data set": 1}
    assert "0 words have text" in found.findings[0].why


def test_files_of_tools_keep_their_format(tmp_path):
    write_set(tmp_path / "in", {f"p{n}": SOUND for n in range(3)})
    pages = [page for part in look(tmp_path / "in").parts for page in part.pages]
    quad = np.array([(10, 100), (10, 116), (70, 116), (70, 100)], np.float32)
    curve = np.array([(80, 100), (90, 96), (100, 100), (100, 110), (80, 110)], np.float32)
    box = np.array([(80, 96), (100, 96), (100, 110), (80, 110)], np.float32)
    words = Word(quad, "against"), Word(box, "curve", polygon=curve)
    pages[1] = pages[1].with_words((*pages[1].words, *words))
    write_labels(pages, tmp_path / "tool", "label-studio")
    found = look(tmp_path / "tool")
    assert found.counts == {"anticlockwise": 1, "whole data set": 1}
    assert found.findings[0].place.endswith("tasks.json: p1.png, word 4")
    write_repaired(found, tmp_path / "out")
    write_repaired(found, tmp_path / "paddle", target="ppocr")
    assert (tmp_path / "paddle/Label.txt").read_text().startswith("paddle/p0.png\t")
    assert json.loads((tmp_path / "out/tasks.json").read_text())
    again = look(tmp_path / "out")
    assert again.findings == []
    assert again.parts[0].pages[1].words[4].polygon.tolist() == curve.tolist()


@pytest.mark.parametrize(
    ("text", "kinds", "meant"),
    [
        ("sound", [], "sound"),
        ("caf\u00e9 & Bar", [], "caf\u00e9 & Bar"),
        ("\u00c2\u00a35", ["wrong encoding"], "\u00a35"),
        ("&#233;t&eacute;", ["markup"], "\u00e9t\u00e9"),
        ("\u041c\u0410K", ["mixed scripts"], "\u041c\u0410\u041a"),
        ("k\u03a9", [], "k\u03a9"),  # an ohm looks like no Latin letter
        ("\u041c\u043e\u0441\u043a\u0432\u0430 TV", [], "\u041c\u043e\u0441\u043a\u0432\u0430 TV"),
        ("\u4f60\u597d\uff01", [], "\u4f60\u597d\uff01"),
        ("\u7b2c\uff12", ["full-width character"], "\u7b2c2"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            [],
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("no\xadne\xa0", ["unusual space", "zero-width character"], "none"),
        ("\ue000", ["lost characters"], "\ue000"),
        ("\u0600\u0661\u0662", [], "\u0600\u0661\u0662"),  # the sign is seen
    ],
)
def test_texts(text, kinds, meant):
    assert [kind for kind, _ in text_faults(text)] == kinds
    assert cleaned(text) == meant
    assert text_faults(meant) == [] or kinds == ["lost characters"]


def test_words_that_do_not_count_are_passed_over():
    quad = np.array([(10, 100), (10, 116), (70, 116), (70, 100)], np.float32)
    page = Page(HIGH, WIDE, (Word(quad, care=False), Word(quad, "wo\u200brd", care=False)))
    assert word_faults(page, scale=1.0) == []
    assert word_faults(Page(HIGH, WIDE, ()), scale=1.0) == []


_COORDINATE = st.one_of(st.integers(-20, 200), st.floats(-1e6, 1e6, width=32))
_POINT = st.tuples(_COORDINATE, _COORDINATE)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(_POINT, min_size=4, max_size=4),
            st.none() | st.lists(_POINT, min_size=3, max_size=6),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        ),
        max_size=4,
    )
)
def test_any_words_are_judged_and_repaired(words):
    made = [Word(quad, text, polygon=polygon) for quad, polygon, text in words]
    page = Page(HIGH, WIDE, tuple(made), "p.png")
    findings = [
        Finding(fault.kind, "gt_p.txt", fault.why, picture="p.png", part="train", word=fault.word)
        for fault in word_faults(page, scale=1.0)
    ]
    part = Part("train", None, [page])
    kept = repaired(Lint([part], findings))[0]["train"][0]
    assert len(kept.words) <= len(made)
    assert not {"zero area", "labeled twice", "outside the picture"} & {
        fault.kind for fault in word_faults(kept, scale=1.0)
    }


def test_drawings(found):
    drawn = list(drawings(found))
    assert {one.kind for one, _ in drawn} >= {"self-crossing", "EXIF rotation ignored"}
    assert len(drawn) == 30
    image = sheet(drawn)
    assert image.ndim == 3 and image.std() > 10
    values = json.loads(json.dumps(to_json(found)))
    assert values["counts"] == found.counts
    assert values["findings"][0]["severity"] == "error"
    assert values["characters"]["r"] > 100


def test_labels_that_networks_contradict(tmp_path, monkeypatch):
    write_set(tmp_path, {"p": [*SOUND[:2], "10,70,60,70,60,86,10,86,###"]})
    found = look(tmp_path)
    page = found.parts[0].pages[0]
    lacking = Word(np.array([(100, 90), (150, 90), (150, 110), (100, 110)], np.float32), score=0.9)
    seen = page.with_words((lacking,))

    class Scores:
        def valid(self, border):
            return np.ones((HIGH // 2, WIDE // 2, 2), np.float32)

    class Detector:
        def stream(self, images):
            yield Detection(0, seen, Scores())

    def read_labels(recognizer, crops, labels):
        assert labels == ["word", "other", None, None] and len(crops) == 4
        sure = Reading("word", -0.01, -0.01), Reading("wrong", -0.02, -40.0)
        return [*sure, Reading("ignored", -3.0), Reading("lacking", -0.01)]

    reader = SimpleNamespace(detector=Detector(), recognizer=SimpleNamespace(height=32))
    monkeypatch.setattr(doubts, "read_labels", read_labels)
    suspects = doubts.find_doubts(found, reader)
    assert [one.kind for one in suspects] == ["text", "unlabeled", "ignored"]
    assert found.counts == {"contradicted": 1, "word without a label": 1}
    assert found.faulty and found.findings[0].why.startswith("reads 'wrong' (98% sure)")
    assert [one.severity for one in found.findings] == ["warning", "hint"]
    files = write_lint(tmp_path / "report", "set", found, suspects)
    assert "Suspected label errors" in files[0].read_text(encoding="utf-8")


def run(*arguments):
    parsed = _parse(["ocrjax", "lint", *map(str, arguments)])
    return parsed.run(parsed)


def test_command(planted, tmp_path, capsys):
    report, out = tmp_path / "report", tmp_path / "out"
    assert run(planted.root, "--report", report, "--fix", out, "--pictures", "link") == 1
    said = capsys.readouterr().out
    assert "labels read as quad" in said and "self-crossing" in said
    assert "kind='words'" in said and "layout='quad'" in said
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "<h3>Faults</h3>" in page and "anticlockwise" in page and "<h3>Left out</h3>" not in page
    assert json.loads((report / "findings.json").read_text())["parts"][1]["name"] == "test"
    assert read_image(report / "worst.jpg").shape[1] > 400
    assert next((out / "images").iterdir()).is_symlink()
    with pytest.raises(OutputError, match="--force"):
        run(planted.root, "--report", report)
    with pytest.raises(OutputError, match="name a new folder"):
        run(planted.root, "--fix", out)
    with pytest.raises(OutputError, match="lies in"):
        run(planted.root, "--fix", planted.root / "fixed")
    with pytest.raises(ValueError, match="--to has no effect without --fix"):
        run(planted.root, "--to", "cvat")
    with pytest.raises(LabelError):
        run(tmp_path / "nothing")


def test_crops(tmp_path, capsys, monkeypatch):
    data, out = tmp_path / "in", tmp_path / "out"
    rows = {
        "a.png": "sound",
        "b.png": "wo\u200brd",
        "c.png": "two  words",
        "d.png": "",
        "e.png": "broken",
        "f.png": "sound",
        "g.png": "other",
        "h.png": "tall",
        "i.png": "fine",
        "j.png": "&nbsp;",
    }
    data.mkdir()
    for number, name in enumerate(rows):
        size = (90, 20) if name == "h.png" else (24, 90)
        same = 0 if name in "f.png g.png" else number
        (data / name).write_bytes(encode_image(picture(same, size), suffix=".png"))
    (data / "e.png").write_bytes(b"no picture")
    lines = ["filename,words", *(f"{name},{text}" for name, text in rows.items())]
    (data / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    before = digests(data)
    assert run(data, "--fix", out, "--report", tmp_path / "report") == 1
    assert digests(data) == before
    values = json.loads((tmp_path / "report/findings.json").read_text())
    assert {(one["kind"], Path(one["path"]).name) for one in values["findings"]} == {
        ("zero-width character", "b.png"),
        ("unusual space", "c.png"),
        ("no text", "d.png"),
        ("broken picture", "e.png"),
        ("near-duplicates", "f.png"),
        ("overlapping labels", "g.png"),
        ("stacked letters", "h.png"),
        ("markup", "j.png"),
    }
    assert "labels read as csv: 10 crops, 7 usable for training" in capsys.readouterr().out
    kind, crops = find_crops(out)
    texts = ["sound", "word", "two words", "sound", "other", "tall", "fine"]
    assert kind == "csv" and [crop.text for crop in crops] == texts
    assert lint_crops(crops)[0].counts.keys() == {
        *("overlapping labels", "near-duplicates", "stacked letters"),
    }

    def read_labels(recognizer, images, labels):
        wrong = Reading("wrong", -0.01, -30.0)
        return [wrong if label == "fine" else Reading(label, -0.1, -0.1) for label in labels]

    monkeypatch.setattr(doubts, "read_labels", read_labels)
    found, kept = lint_crops(crops)
    suspects = doubts.find_crop_doubts(found, kept, SimpleNamespace(recognizer=None))
    assert [one.label for one in suspects] == ["fine"] and found.counts["contradicted"] == 1
    with pytest.raises(ValueError, match="--canvas-size has no effect on crops"):
        run(data, "--canvas-size", 640)
    (tmp_path / "none").mkdir()
    assert find_crops(tmp_path / "none") is None


def test_a_sound_set_by_the_command(tmp_path, capsys):
    write_set(tmp_path, {f"p{number}": SOUND for number in range(5)})
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.endswith("no faults found\n")


def test_a_format_that_is_not_written_needs_another(tmp_path):
    write_set(tmp_path / "in", {"p": SOUND})
    hocr = (
        "<html><body><div class='ocr_page' title='image \"p.png\"; bbox 0 0 160 120'>"
        "<span class='ocrx_word' title='bbox 10 10 70 26'>word</span></div></body></html>"
    )
    (tmp_path / "hocr").mkdir()
    (tmp_path / "hocr/p.hocr").write_text(hocr)
    (tmp_path / "in/images/p.png").rename(tmp_path / "hocr/p.png")
    with pytest.raises(ValueError, match="name another format with --to"):
        run(tmp_path / "hocr", "--fix", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "hocr", "--fix", tmp_path / "out", "--to", "cvat") == 0
    assert open_words(tmp_path / "out", kind="cvat")[0].page.words[0].text == "word"


def test_a_copy_of_nothing_is_refused(tmp_path, capsys):
    write_set(tmp_path / "in", {"p": SOUND})
    (tmp_path / "in/gt/gt_p.txt").unlink()
    with pytest.raises(ValueError, match="no usable image is left"):
        run(tmp_path / "in", "--fix", tmp_path / "out")
    assert "picture without labels" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_an_unclear_layout_is_a_finding(tmp_path):
    write_set(tmp_path, {"p": ["0 0.5 0.5 0.2 0.1"]})  # of YOLO
    found = look(tmp_path)
    assert found.findings[0].severity == "error"
    assert found.findings[0].kind == "ambiguous layout" and found.faulty
