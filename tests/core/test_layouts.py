"""The layout of label files, told by whole folders, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.data.readers.icdar import read_icdar
from ocrcore.data.readers.label_lines import LAYOUTS, LineError, read_line
from ocrcore.data.readers.layouts import find_layout, joined_lines, named_layout

QUAD = "28,26,144,26,144,65,28,65"
OTHER = "218,96,300,98,300,135,218,133"
CURVE = "28,26,57,20,86,18,115,20,144,26,144,65,115,59,86,57,57,59,28,65"


def words(*lines, layout="auto", dont_care=("###",)):
    """Name of the layout that is found, and the texts with "-" for those that do not count."""
    found = named_layout(layout) or find_layout(lines)
    read = [read_line(line, found, dont_care=dont_care) for line in lines]
    return found.name, [word.text if word.care else "-" for word in read]


def test_a_column_before_the_text():
    lines = [f"{QUAD},Latin,Chicken", f"{OTHER},None,###", f"{QUAD},Symbols,12,5"]
    assert words(*lines) == ("mlt", ["Chicken", "-", "12,5"])
    layout = find_layout(lines)
    assert [read_line(line, layout, dont_care=()).language for line in lines[:2]] == ["Latin", None]
    lines = [f'{QUAD},0,"創于"', f'{OTHER},1,"1989"', f'{QUAD},0,"###"', f'{QUAD},1,"a,"b""']
    assert words(*lines) == ("rctw", ["創于", "1989", "-", 'a,"b"'])
    flags = "0010000100"
    found = [None if flag == "0" else "-" for flag in flags]
    assert words(*[f"{QUAD},{flag}" for flag in flags]) == ("td500", found)


def test_texts_that_look_like_columns_stay_what_they_are():
    texts = ["0", "1", "12,5", "1,234", '"Hi"', "Latin", "0,99", "'a'", "####", "Fish, Chips", "x"]
    assert words(*[f"{QUAD},{text}" for text in texts]) == ("quad", texts)
    digits = [str(number) for number in range(10)]
    assert words(*[f"{QUAD},{digit}" for digit in digits]) == ("quad", digits)
    prices = ["1,50", "12,80", "3,20", "Total"]
    assert words(*[f"{QUAD},{price}" for price in prices]) == ("quad", prices)


def test_polygons():
    lines = [f"{CURVE},Chicken", f"{CURVE},2012", f"{CURVE},1,234", f"{QUAD},Rice"]
    assert words(*lines) == ("polygon", ["Chicken", "2012", "1,234", "Rice"])
    word = read_line(lines[2], find_layout(lines), dont_care=())
    assert word.polygon.shape == (10, 2)
    assert word.quad == pytest.approx(np.array([(28, 18), (144, 18), (144, 65), (28, 65)]), abs=0.1)
    assert words(*[f"{CURVE},####{text}" for text in ("a", "7,5", "###")])[1] == ["a", "7,5", "-"]
    assert words(*[f'{CURVE},"{text}"' for text in ("a", "7,5", "###")]) == (
        "quoted",
        ["a", "7,5", "-"],
    )
    few = [*[f"{QUAD},a"] * 3, "218,96,259,93,300,96,300,135,259,132,218,135,Kottu"]
    assert words(*few) == ("polygon", ["a", "a", "a", "Kottu"])


def test_lines_that_differ_are_read_as_what_they_are():
    lines = ['28.0 26.0 144.0 65.0 "Chicken"', f'{QUAD},"Rice"', f'{CURVE},"###"']
    assert words(*lines) == ("quoted", ["Chicken", "Rice", "-"])
    assert words('9 9 20 20 "a"', f"{QUAD},a", f'{QUAD},"Hi"')[1] == ['"a"', "a", '"Hi"']


def test_lists():
    text = r"x: [[28 144 144 28]], y: [[26 26 65 65]], ornt: [u'h'], transcriptions: [u'caf\xe9']"
    hard = "x: [[1 9 9]], y: [[1 1 9]], ornt: [u'#'], transcriptions: [u'#']"
    wrapped = [(1, text[:15]), (2, text[15:]), (4, hard)]
    assert list(joined_lines(wrapped)) == [(1, f"{text[:15]} {text[15:]}"), (4, hard)]
    assert words(text, hard) == ("total-text", ["café", "-"])
    for line in (
        "x: [[1 2]], y: [[1 2]]",
        "x: [[1 2 3]], y: [[1 2]]",
        "x: [[1 2 a]], y: [[1 2 3]]",
    ):
        with pytest.raises(LineError):
            words(line, layout="total-text")
    with pytest.raises(LineError, match="Total-Text's lists"):
        words(f"{QUAD},a", layout="total-text")


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ([f"{QUAD},{flag}" for flag in "011"], ("td500", "quad")),
        ([f'{QUAD},"a"', f'{QUAD},"b"'], ("quoted", "quad")),
        ([f"{QUAD},a", f'{QUAD},"b,c"', f"{QUAD},d"], ("quoted", "quad")),
        ([f"{QUAD},Latin,a", f"{QUAD},b", f"{QUAD},c"], ("mlt", "quad")),
        ([f"{QUAD},{flag},{flag}{flag}" for flag in "01010101"], ("rctw", "quad")),
        ([f"{QUAD},en,a", f"{QUAD},en,b", f"{QUAD},en,c", f"{QUAD},en,###"], ("quad",)),
        ([f"{QUAD},a,en", f"{QUAD},b,en", f"{QUAD},c,en", f"{QUAD},###,en"], ("quad",)),
        ([f"{QUAD},{text},0.9{i}" for i, text in enumerate("abcd")], ("quad",)),
        ([f"{number},{QUAD},word{number}" for number in range(5)], ("quad",)),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_the_option_that_decides(lines, options):
    with pytest.raises(LineError) as caught:
        find_layout(lines)
    for option in options:
        assert f"layout={option}" in caught.value.expected
        words(*lines[:1], layout=option)


def test_an_ambiguous_line_is_refused():
    lines = [f"{CURVE},a", f"{QUAD},b", f"{QUAD},c", "15,12,59,15,59,28,15,25,12,14"]
    layout = find_layout(lines)
    with pytest.raises(LineError, match="layout=polygon or layout=quad decides"):
        read_line(lines[3], layout, dont_care=())
    assert words(lines[3], layout="quad") == ("quad", ["12,14"])
    assert words(lines[3], layout="polygon:5") == ("polygon", [None])


def test_forms_that_are_not_read_are_named():
    with pytest.raises(LineError, match="MSRA-TD500's own form"):
        find_layout(["0 0 28 26 116 39 0.01", "1 1 218 96 80 30 -9"])
    with pytest.raises(LineError, match="YOLO"):
        find_layout(["0 0.5 0.5 0.2 0.1", "1 0.25 0.5 0.2 0.1"])


def test_boxes_with_an_angle():
    # Turned about their center, by radians: MSRA-TD500's own form, as DB's converters read it.
    layout = find_layout(["0 0 28 26 116 39 0.01", "1 1 10 20 40 20 1.5707963"])
    assert layout.name == "msra-td500"
    word = read_line("1 1 10 20 40 20 1.5707963267948966", layout, dont_care=())
    assert (word.text, word.care) == (None, False)
    np.testing.assert_allclose(word.quad, [(40, 10), (40, 50), (20, 50), (20, 10)], atol=1e-4)
    with pytest.raises(LineError, match="seven numbers"):
        read_line("0 0 28 26 116 39", layout, dont_care=())


def test_offsets_from_the_corner_of_a_box():
    # Yuliang-Liu/Curve-Text-Detector, data/README.md at 2126a66: 32 numbers, a box and 14 points.
    above = [(10 * i, 0) for i in range(7)]
    points = [*above, *[(x, 20) for x, _ in reversed(above)]]
    line = ",".join(map(str, (100, 50, 160, 70, *(value for point in points for value in point))))
    layout = find_layout([line, line])
    assert layout.name == "ctw1500"
    word = read_line(line, layout, dont_care=())
    np.testing.assert_array_equal(word.polygon, np.add(points, (100, 50)))
    with pytest.raises(LineError, match="32 numbers"):
        read_line(line + ",7", layout, dont_care=())


@pytest.mark.parametrize(
    ("layout", "line", "text"),
    [
        ("quad", f'{QUAD},"Latin,a"', '"Latin,a"'),
        ("quad", QUAD.replace(",", "\t") + "\ta,b", "a,b"),
        ("quad", QUAD.replace(",", " ") + " a b", "a b"),
        ("quad", f"{QUAD}\t12,5", "12,5"),
        ("box", '9 9 20 20 "a"', "a"),
        ("quoted", f'{QUAD},"a"', "a"),
        ("quoted", f'{QUAD},"say ""hi"""', 'say "hi"'),
        ("quoted", f"{QUAD},a", "a"),
        ("mlt", f"{QUAD},Hindi,", ""),
        ("rctw", f"{QUAD},1,a", "a"),
        ("td500", f"{QUAD},0", None),
        ("polygon", f"{CURVE},a", "a"),
        ("polygon", f"{CURVE},####12,5", "12,5"),
        ("polygon:4", f"{QUAD},12,5", "12,5"),
    ],
)
def test_named_layouts(layout, line, text):
    assert words(line, layout=layout)[1] == [text]


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        ("mlt", f"{QUAD},Chicken"),
        ("mlt", f"{QUAD},Klingon,a"),
        ("rctw", f"{QUAD},2,a"),
        ("td500", f"{QUAD},a"),
        ("td500", QUAD),
        ("polygon:6", f"{CURVE[:20]},a"),
    ],
)
def test_lines_of_another_layout_are_errors(layout, line):
    with pytest.raises(LineError):
        words(line, layout=layout)


def test_every_name_is_known_and_says_what_it_reads(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("")
    for name in LAYOUTS:
        assert read_icdar(path, layout=name) == []
        found = named_layout(name)
        assert str(found or find_layout([])).startswith(name if found else "quad: x1,y1")
