from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ocrcore.data.readers import label_files
from ocrcore.data.readers.icdar import read_icdar, read_icdar_folder, write_icdar
from ocrcore.data.readers.label_lines import LAYOUTS
from ocrcore.pages import LabelError, Page, Word

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"


@pytest.fixture
def label(tmp_path):
    """Writes a label file and returns its path."""

    def write(content, name="gt_a.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def found(words):
    return [(word.quad.reshape(-1).tolist(), word.text, word.care) for word in words]


SQUARE = [0, 0, 9, 0, 9, 5, 0, 5]


class TestQuad:
    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ("0,0,9,0,9,5,0,5,Hello", "Hello"),
            ("0,0,9,0,9,5,0,5,Hello, you", "Hello, you"),
            ("0,0,9,0,9,5,0,5,1,234", "1,234"),
            ("0,0,9,0,9,5,0,5,", ""),
            ("0,0,9,0,9,5,0,5", None),
            ("\ufeff0,0,9,0,9,5,0,5,a", "a"),
            ("  0, 0 ,9,0.0,+9,5.,0,5e0, a b ", "a b"),
            ('0,0,9,0,9,5,0,5,"a"', '"a"'),
            ("0,0,9,0,9,5,0,5,a\u2028b\x85c", "a\u2028b\x85c"),
            ("0,0,9,0,9,5,0,5,\u97d3\U0001f600", "\u97d3\U0001f600"),
        ],
    )
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
    def test_lines(self, label, line, text, end):
        path = label(line + end + "\n \n")
        if text != '"a"':  # one line does not tell
            assert found(read_icdar(path)) == [(SQUARE, text, True)]
        assert found(read_icdar(path, layout="quad")) == [(SQUARE, text, True)]

    def test_dont_care(self, label):
        path = label("0,0,9,0,9,5,0,5,###\n0,0,9,0,9,5,0,5,\n0,0,9,0,9,5,0,5,####\n")
        assert [(w.text, w.care) for w in read_icdar(path)] == [
            (None, False),
            ("", True),
            ("####", True),
        ]
        marks = read_icdar(path, dont_care=("###", ""))
        assert [w.care for w in marks] == [False, False, True]
        assert [w.care for w in read_icdar(path, dont_care="####")] == [True, True, False]

    def test_corners_stay_as_written(self, label):
        rows = [
            [0, 5, 9, 5, 9, 0, 0, 0],  # anticlockwise
            [0, 0, 9, 5, 9, 0, 0, 5],  # crossed
            [3, 3, 3, 3, 3, 3, 3, 3],  # a point
            [-20, -9, 60, -9, 60, -2, -20, -2],  # outside
        ]
        path = label("".join(",".join(map(str, row)) + ",x\n" for row in rows))
        assert [quad for quad, _, _ in found(read_icdar(path))] == rows

    def test_fractions_are_kept(self, label):
        path = label("0.5,0.25,9,0,9,5,0,5,x\n")
        assert read_icdar(path)[0].quad[0].tolist() == [0.5, 0.25]


class TestBox:
    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ('158 128 412 182 "Footpath"', "Footpath"),
            ('158, 128, 412, 182, "Footpath"', "Footpath"),
            ("158,128,412,182,Footpath", "Footpath"),
            ("158,128,412,182,a, b", "a, b"),
            ('158 128 412 182 "say "hi""', 'say "hi"'),
            (r'158 128 412 182 "a\"b\\c"', r'a"b\c'),
            ('158 128 412 182 "', '"'),
            ('158 128 412 182 "a b c"', "a b c"),
            ("158\t128\t412\t182\t2012", "2012"),
            ("158,128,412,182,2012", "2012"),
            ('158 128 412 182 ""', ""),
            ("158,128,412,182,", ""),
            ("158 128 412 182", None),
            ("158.0 128 412 182.0 x", "x"),
        ],
    )
    def test_lines(self, label, line, text):
        expected = [([158, 128, 412, 128, 412, 182, 158, 182], text, True)]
        assert found(read_icdar(label(line))) == expected
        assert found(read_icdar(label(line), layout="box")) == expected

    def test_dont_care(self, label):
        words = read_icdar(label('0 0 9 9 "###"\n0 0 9 9 "a"\n'))
        assert [(w.text, w.care) for w in words] == [(None, False), ("a", True)]

    def test_sides_in_the_wrong_order(self, label):
        with pytest.raises(LabelError, match=r"gt_a.txt:1: '50 60 20 10 x'.*width and height"):
            read_icdar(label("50 60 20 10 x"))


class TestLayout:
    def test_the_majority_decides(self, label):
        quad, box = "0,0,9,0,9,5,0,5,a\n", "0,0,9,5,1,2,3,4,b\n"
        assert read_icdar(label(quad + box))[1].text == "b"
        plain = "0,0,9,5,a\n"
        words = read_icdar(label(plain * 2 + box))
        assert [word.text for word in words] == ["a", "a", "1,2,3,4,b"]
        with pytest.raises(LabelError, match=":2:"):
            read_icdar(label(quad + plain + quad))

    def test_a_lost_coordinate_does_not_become_text(self, label):
        with pytest.raises(LabelError, match=r"'a'.*eight coordinates"):
            read_icdar(label("0,0,9,0,9,5,0,a\n"))

    def test_named_layout(self, label):
        path = label("0,0,9,5,9,5,0,5,a\n")
        assert read_icdar(path, layout="box")[0].text == "9,5,0,5,a"

    def test_unknown_layout(self, label):
        with pytest.raises(ValueError, match="'yolo', expected one of auto, quad, box, polygon"):
            read_icdar(label(""), layout="yolo")
        with pytest.raises(ValueError, match="'polygon:2', expected one of"):
            read_icdar(label(""), layout="polygon:2")

    def test_polygons_by_mark(self, label):
        path = label("0,0,5,-1,10,0,10,5,5,4,0,5,####7,5\n1,1,9,1,9,4,1,4,####\n1,1,9,1,9,4\n")
        curved, straight, triangle = read_icdar(path, layout="polygon")
        assert curved.text == "7,5"
        assert curved.polygon.tolist() == [[0, 0], [5, -1], [10, 0], [10, 5], [5, 4], [0, 5]]
        assert curved.quad == pytest.approx(
            np.array([(0, -1), (10, -1), (10, 5), (0, 5)]), abs=1e-4
        )
        assert (straight.text, straight.polygon) == ("", None)
        assert straight.quad.reshape(-1).tolist() == [1, 1, 9, 1, 9, 4, 1, 4]
        assert (triangle.text, len(triangle.polygon)) == (None, 3)

    def test_polygons_by_number(self, label):
        path = label("0,0,5,0,10,0,10,5,0,5,12,34\n0,0,5,0,10,0,10,5,0,5,###\n")
        words = read_icdar(path, layout="polygon:5")
        assert [(w.text, w.care, len(w.polygon)) for w in words] == [
            ("12,34", True, 5),
            (None, False, 5),
        ]

    @pytest.mark.parametrize("turn", range(0, 360, 30))
    def test_the_quad_of_a_polygon_starts_where_it_reads(self, label, turn):
        angle = np.deg2rad(turn)
        matrix = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        corners = np.array([(0, 0), (40, 0), (40, 10), (0, 10)]) @ matrix + 100
        points = np.insert(corners, 1, corners[:2].mean(axis=0), axis=0)
        line = ",".join(f"{value:.4f}" for value in points.reshape(-1))
        (word,) = read_icdar(label(line), layout="polygon:5")
        assert word.quad == pytest.approx(corners, abs=0.01)


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("0,0,9,0,9,5,0,x,a", "x"),
            ("0,0,9,0,9,5,0,,a", ""),
            ("0,0,9,0,9,5,0", "0,0,9,0,9,5,0"),
            ("0,0,nan,0,9,5,0,5,a", "nan"),
            ("0,0,9,inf,9,5,0,5,a", "inf"),
            ("0,0,9,1e300,9,5,0,5,a", "1e300"),
            ("0,0,9,1e999,9,5,0,5,a", "1e999"),
            ("0,0,9,-2000000,9,5,0,5,a", "-2000000"),
            ("0,0,9,0x10,9,5,0,5,a", "0x10"),
            ("0,0,9,1_0,9,5,0,5,a", "1_0"),
            ("0,0,9,\u0663,9,5,0,5,a", "\u0663"),
            ("hello", "hello"),
            ("0;0;9;0;9;5;0;5;a", "0;0;9;0;9;5;0;5;a"),
        ],
    )
    def test_malformed_lines_are_named(self, label, line, value):
        path = label(f"0,0,9,0,9,5,0,5,good\n\n{line}\r\n0,0,9,0,9,5,0,5,good\n")
        with pytest.raises(LabelError) as caught:
            read_icdar(path)
        error = caught.value
        assert (error.path, error.line, error.value) == (str(path), 3, value)
        assert str(error).startswith(f"{path}:3: {value!r}: expected ")
        bad = []
        assert len(read_icdar(path, bad=bad)) == 2
        assert [(e.line, e.value) for e in bad] == [(3, value)]

    def test_other_encodings(self, label):
        content = "0,0,9,0,9,5,0,5,good\n0,0,9,0,9,5,0,5,caf\u00e9\n".encode("latin-1")
        with pytest.raises(LabelError, match=r":2: .*caf.*UTF-8, but byte 0xe9"):
            read_icdar(label(content))
        bad = []
        assert [w.text for w in read_icdar(label(content), bad=bad)] == ["good"]
        assert len(bad) == 1
        # In GBK the first of these is UTF-8 by chance, for another letter.
        content = (
            "0,0,9,0,9,5,0,5,\u7968\n0,0,9,0,9,5,0,5,\u53d1\u7968\n0,0,9,0,9,5,0,5,a\n".encode(
                "gbk"
            )
        )
        bad = []
        assert [w.text for w in read_icdar(label(content), bad=bad)] == ["a"]
        assert [e.line for e in bad] == [1, 2]
        line = "0,0,9,0,9,5,0,5,\u97d3"
        for encoding in ("utf-8-sig", "utf-16", "utf-32"):
            assert found(read_icdar(label(line.encode(encoding)))) == [(SQUARE, "\u97d3", True)]
        for wrong in (line.encode("utf-16-le"), line.encode("utf-16-be")):
            bad = []
            assert read_icdar(label(wrong), bad=bad) == []
            assert [e.line for e in bad] == [0] and "save it as UTF-8" in str(bad[0])
        with pytest.raises(LabelError, match=r"UTF-16, damaged at byte \d+.*save it as UTF-8"):
            read_icdar(label(line.encode("utf-16")[:-1]))

    def test_long_values_are_shortened(self, label):
        with pytest.raises(LabelError) as caught:
            read_icdar(label("0,0,9,0,9,5,0," + "z" * 100_000))
        assert len(str(caught.value)) < 500

    def test_long_lines_take_no_time(self, label):
        """Patterns that try every split of a run of digits or blanks would hang here."""
        for line in ("0,0,9,0,9,5,0," + "9" * 300_000 + "x", "0" + " " * 300_000 + "x"):
            with pytest.raises(LabelError):
                read_icdar(label(line))

    def test_huge_files_are_refused(self, label, monkeypatch):
        monkeypatch.setattr(label_files, "MAX_BYTES", 10)
        with pytest.raises(LabelError, match="11 bytes"):
            read_icdar(label(b"x" * 11))

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.txt"):
            read_icdar(tmp_path / "none.txt")

    @given(st.binary(max_size=80) | st.text('0123456789,. \n"#-e\ufeff', max_size=80))
    def test_any_bytes_are_words_or_label_errors(self, tmp_path_factory, content):
        path = tmp_path_factory.getbasetemp() / "any.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for layout in (*LAYOUTS, "polygon:5"):
            bad = []
            words = read_icdar(path, layout=layout, bad=bad)
            assert all(isinstance(word, Word) for word in words)
            lines = content.splitlines() if isinstance(content, bytes) else content.split("\n")
            assert len(words) + len(bad) <= len(lines)


class TestWriter:
    @given(
        hnp.arrays(np.float32, (4, 2), elements=st.floats(-1e6, 1e6, width=32)),
        st.none() | st.text(max_size=8),
        st.booleans(),
    )
    def test_round_trip(self, tmp_path_factory, quad, text, care):
        path = tmp_path_factory.getbasetemp() / "round.txt"
        page = Page(9, 9, [Word(quad, text if care else None, care=care), Word(quad, "last")])
        try:
            write_icdar(path, page)
        except ValueError:
            assert text is not None
            assert text != text.strip() or set(text) & set("\r\n") or text == "###"
        else:
            assert read_icdar(path, layout="quad") == list(page.words)

    def test_what_it_looks_like(self, tmp_path):
        quad = [(0, 0), (9.5, 0), (9, 5), (0, 5)]
        words = [Word(quad, "a, b"), Word(quad, "x", care=False), Word(quad), Word(quad, "")]
        path = tmp_path / "new" / "gt_a.txt"
        write_icdar(path, Page(9, 9, words))
        start = "0,0,9.5,0,9,5,0,5"
        assert path.read_bytes().decode() == f"{start},a, b\n{start},###\n{start}\n{start},\n"
        assert [p.name for p in path.parent.iterdir()] == ["gt_a.txt"]
        write_icdar(path, Page(9, 9))
        assert read_icdar(path) == []

    @pytest.mark.parametrize("text", ["a\nb", "a\rb", " a", "a\t", "###"])
    def test_texts_that_would_not_read_back(self, tmp_path, text):
        page = Page(9, 9, [Word(np.zeros((4, 2)), text)])
        with pytest.raises(ValueError, match="word 0"):
            write_icdar(tmp_path / "a.txt", page)
        assert not list(tmp_path.iterdir())

    def test_polygons_are_refused(self, tmp_path):
        word = Word(np.zeros((4, 2)), polygon=[(0, 0), (1, 1), (2, 0)])
        with pytest.raises(ValueError, match="word 0 has a polygon"):
            write_icdar(tmp_path / "a.txt", Page(9, 9, [word]))


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        def make(pictures, labels):
            for name, size in pictures.items():
                path = tmp_path / "images" / name
                path.parent.mkdir(exist_ok=True)
                Image.new("RGB", size).save(path)
            for name, content in labels.items():
                path = tmp_path / "gt" / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
            return tmp_path / "images", tmp_path / "gt"

        return make

    def test_pairs_in_the_order_of_names(self, folder):
        line = "0,0,9,0,9,5,0,5,"
        images, labels = folder(
            {"img_10.jpg": (30, 20), "img_2.PNG": (8, 9), "b.png": (3, 3), "c.png": (4, 4)},
            {"gt_img_10.txt": line + "ten", "img_2.txt": line + "two", "res_b.txt": line + "b"}
            | {"c.txt": "", "notes.md": "?"},
        )
        pages = read_icdar_folder(images, labels)
        assert [Path(p.path).name for p in pages] == ["b.png", "c.png", "img_10.jpg", "img_2.PNG"]
        assert [(p.height, p.width) for p in pages] == [(3, 3), (4, 4), (20, 30), (9, 8)]
        assert [[w.text for w in p.words] for p in pages] == [["b"], [], ["ten"], ["two"]]

    def test_pictures_and_labels_in_one_folder(self, tmp_path):
        Image.new("L", (5, 4)).save(tmp_path / "a.png")
        (tmp_path / "a.txt").write_text("0,0,9,9,x")
        (page,) = read_icdar_folder(tmp_path, tmp_path)
        assert page.words[0].text == "x"

    def test_one_without_the_other(self, folder):
        images, labels = folder(
            {"a.png": (3, 3), "b.png": (3, 3)}, {"a.txt": "", "gt_c.txt": "", "d.txt": ""}
        )
        with pytest.raises(LabelError, match=r"d\.txt.*\(2 such files.*missing_image='skip'"):
            read_icdar_folder(images, labels)
        with pytest.raises(LabelError, match=r"b\.png.*gt_b\.txt, b\.txt or res_b\.txt"):
            read_icdar_folder(images, labels, missing_image="skip")
        skipped = read_icdar_folder(images, labels, missing_image="skip", missing_label="skip")
        assert len(skipped) == 1
        empty = read_icdar_folder(images, labels, missing_image="skip", missing_label="empty")
        assert [len(page.words) for page in empty] == [0, 0]

    def test_two_of_one_name(self, folder):
        images, labels = folder({"a.png": (3, 3)}, {"a.txt": "", "gt_a.txt": ""})
        with pytest.raises(LabelError, match=r"one label file for a.png, .*gt_a\.txt"):
            read_icdar_folder(images, labels)
        images, labels = folder({"a.jpg": (3, 3)}, {})
        with pytest.raises(LabelError, match="one image of this name"):
            read_icdar_folder(images, labels)

    def test_options_are_passed_on(self, folder):
        images, labels = folder({"a.png": (3, 3)}, {"a.txt": "0,0,9,5,5,5,0,5,?\nx\n"})
        bad = []
        (page,) = read_icdar_folder(images, labels, layout="box", dont_care=("5,5,0,5,?",), bad=bad)
        assert (page.words[0].care, len(bad)) == (False, 1)
        (page,) = read_icdar_folder(images, labels, layout="polygon:3", bad=bad)
        assert page.words[0].text == "0,5,?"

    def test_mistakes_are_named(self, folder, tmp_path):
        images, labels = folder({"a.png": (3, 3)}, {"a.txt": ""})
        with pytest.raises(LabelError, match=r"none.*a folder"):
            read_icdar_folder(tmp_path / "none", labels)
        with pytest.raises(LabelError, match="no image"):
            read_icdar_folder(labels, labels)
        with pytest.raises(ValueError, match="missing_label='drop'"):
            read_icdar_folder(images, labels, missing_label="drop")
        with pytest.raises(ValueError, match="missing_image='empty'"):
            read_icdar_folder(images, labels, missing_image="empty")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("icdar2015/det_dev", 250),
        ("icdar2015/det_train10", 10),
        ("icdar2003", 150),
        ("borndigital", 410),
    ],
)
def test_real_labels(name, count):
    root = DATASETS / name
    if not root.is_dir():
        pytest.skip("the data set is not here")
    pages = read_icdar_folder(root / "images", root / "gt")
    assert len(pages) == count
    # The same, field by field.
    for page in pages:
        stem = Path(page.path).stem
        lines = (root / "gt" / f"gt_{stem}.txt").read_text("utf-8-sig").strip("\n").split("\n")
        rows = [line.strip().split(",") for line in lines if line.strip()]
        assert [w.quad.reshape(-1).tolist() for w in page.words] == [
            [float(field) for field in row[:8]] for row in rows
        ]
        assert ["###" if not w.care else w.text for w in page.words] == [
            ",".join(row[8:]).strip() for row in rows
        ]
