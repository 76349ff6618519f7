from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ocrcore.synth import fonts, glyphs
from ocrcore.synth.config import preset
from ocrcore.synth.crops import CropSource
from ocrcore.synth.fonts import Font, FontError, bundled_fonts, draws_capitals, open_face
from ocrcore.synth.glyphs import render_run
from ocrcore.synth.pages import PageSource
from ocrcore.synth.text import TextConfig
from ocrcore.text import graphemes

FONTS = tuple(font for font in bundled_fonts() if not draws_capitals(font))
ROBOTO = next(font for font in FONTS if font.path.endswith("Roboto_400Regular.ttf"))
TEXTS = ("Wafy.g-j", "Type 24", "AV,To", "i", "Qj|.", "lo fig")


def ink_inside(mask, quad):
    """Share of the ink inside a quad, measured on a grid eight times as fine."""
    fine = 8
    zone = np.zeros((mask.shape[0] * fine, mask.shape[1] * fine), np.uint8)
    points = np.round((quad.astype(np.float64) * fine - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(zone, [points], 1, shift=4)
    share = cv2.resize(zone.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_AREA)
    return float((mask * share).sum() / mask.sum())


def alone(monkeypatch, cluster):
    """Makes every other glyph blank, and leaves its place and size."""
    real = glyphs._glyph

    def only(font, master, other):
        glyph = real(font, master, other)
        if other == cluster:
            return glyph
        return glyph._replace(ink=np.zeros_like(glyph.ink))

    monkeypatch.setattr(glyphs, "_glyph", only)


@pytest.mark.parametrize("char_box", ["word", "tight"])
@pytest.mark.parametrize(
    "options",
    [{}, {"spacing": 0.3}, {"spacing": -0.08}, {"vertical": True}, {"arc": 50}, {"arc": -70}],
    ids=str,
)
def test_every_quad_holds_its_characters_ink(monkeypatch, options, char_box):
    rng = np.random.default_rng(1)
    for text in TEXTS:
        for _ in range(4):
            font = FONTS[int(rng.integers(len(FONTS)))]
            size = float(rng.uniform(12, 60))
            drawn = dict(options)
            if len(text) < 4:
                drawn.pop("arc", None)
            run = render_run(text, font, size, char_box=char_box, **drawn)
            assert len(run.quads) == len(run.characters) == len(text.replace(" ", ""))
            for character, quad in zip(run.characters, run.quads, strict=True):
                with monkeypatch.context() as patch:
                    alone(patch, character)
                    one = render_run(text, font, size, char_box=char_box, **drawn)
                assert one.mask.shape == run.mask.shape
                same = run.characters.count(character)
                if same == 1:
                    inside = ink_inside(one.mask, quad)
                    assert inside > 0.95, (text, character, font, size, inside)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FONTS),
    st.floats(8, 90),
    st.floats(-0.05, 0.4),
    st.floats(-60, 60),
    st.booleans(),
)
def test_quads_are_convex_clockwise_and_in_reading_order(font, size, spacing, arc, vertical):
    run = render_run("Read ing", font, size, spacing=spacing, vertical=vertical,
                     arc=0.0 if vertical else arc)  # fmt: skip
    assert run.mask.dtype == np.uint8 and run.quads.dtype == np.float32
    assert run.words == ((0, 4, "Read"), (4, 7, "ing"))
    for quad in run.quads.astype(np.float64):
        edges = np.roll(quad, -1, axis=0) - quad
        following = np.roll(edges, -1, axis=0)
        turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
        assert (turns > 0).all()
    centers = run.quads.mean(1)
    along = centers[1:, 1 if vertical else 0] - centers[:-1, 1 if vertical else 0]
    assert (along > 0).all()
    height, width = run.mask.shape
    assert run.quads.min() > -1 and (run.quads.max((0, 1)) < (width + 1, height + 1)).all()
    for start, end, _ in run.words:
        quad, polygon = run.word_quad(start, end), run.word_polygon(start, end)
        assert polygon.shape == (4 * (end - start), 2)
        for point in run.quads[start:end].reshape(-1, 2):
            assert cv2.pointPolygonTest(quad.reshape(-1, 1, 2), point.tolist(), True) > -0.05
        first = run.quads[start]
        nearest = np.square(quad - first[0]).sum(1).argmin()
        assert nearest == 0 or arc


def test_neighbors_meet_and_share_top_and_bottom():
    quads = render_run("homing", ROBOTO, 40).quads
    assert np.ptp(quads[:, [0, 1], 1]) == 0 and np.ptp(quads[:, [2, 3], 1]) == 0
    gaps = quads[1:, 0, 0] - quads[:-1, 1, 0]
    assert gaps.max() <= 0.01
    tight = render_run("homing", ROBOTO, 40, char_box="tight").quads
    assert np.ptp(tight[:, 0, 1]) > 3


def test_ink_is_that_of_pillow():
    face = open_face(ROBOTO, 48)
    image = Image.new("L", (300, 80))
    ImageDraw.Draw(image).text((10, 60), "Hamburg", fill=255, font=face, anchor="ls")
    theirs = np.asarray(image)
    ours = render_run("Hamburg", ROBOTO, 48).mask
    rows, columns = np.nonzero(theirs)
    theirs = theirs[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rows, columns = np.nonzero(ours)
    ours = ours[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert abs(ours.shape[1] - theirs.shape[1]) <= 2 and abs(ours.shape[0] - theirs.shape[0]) <= 1
    assert abs(int(ours.sum()) / int(theirs.sum()) - 1) < 0.02


def test_kerning_is_honored():
    def width(text):
        return np.ptp(render_run(text, ROBOTO, 96).quads[..., 0])

    cells = [glyphs._advance(ROBOTO, c) * 96 for c in "To"]
    assert glyphs._kerning(ROBOTO, "T", "o") <= 0
    assert width("To") < sum(cells)


def test_size_scales_the_run():
    small, large = (render_run("Scale", ROBOTO, size) for size in (20.5, 41))
    ratio = np.ptp(large.quads[..., 0]) / np.ptp(small.quads[..., 0])
    assert ratio == pytest.approx(2, rel=0.06)
    assert large.mask.sum() / small.mask.sum() == pytest.approx(4, rel=0.1)


def test_caches_and_order_do_not_change_the_result():
    first = render_run("Order", ROBOTO, 33.3, arc=20)
    for cached in (glyphs._glyph, glyphs._advance, glyphs._kerning, open_face, graphemes):
        cached.cache_clear()
    render_run("Other", ROBOTO, 12)
    second = render_run("Order", ROBOTO, 33.3, arc=20)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.quads, second.quads)


def test_outline_surrounds_the_ink_and_fits_the_mask():
    run = render_run("Rim", ROBOTO, 40, stroke=4)
    assert run.stroke_mask is not None and (run.stroke_mask >= run.mask).all()
    assert run.stroke_mask.sum() > 1.3 * run.mask.sum()
    border = np.concatenate([run.stroke_mask[[0, -1]].ravel(), run.stroke_mask[:, [0, -1]].ravel()])
    assert border.max() < 16
    assert render_run("Rim", ROBOTO, 40).stroke_mask is None


def test_jitter_moves_characters_with_their_quads():
    def tops(seed):
        rng = np.random.default_rng(seed)
        return render_run("nnnn", ROBOTO, 64, jitter=0.1, rng=rng, char_box="tight").quads[:, 0, 1]

    assert np.ptp(tops(0)) > 2
    np.testing.assert_array_equal(tops(0), tops(0))
    with pytest.raises(ValueError, match="rng"):
        render_run("n", ROBOTO, 64, jitter=0.1)


def test_combining_marks_join_their_base():
    assert graphemes("e\u0301x") == ("é", "x")
    assert graphemes("x\u0323\u0302y") == ("x\u0323\u0302", "y")
    assert render_run("cafe\u0301", ROBOTO, 30).characters == ("c", "a", "f", "é")


def test_vertical_characters_stand_in_one_column():
    run = render_run("AB-C", ROBOTO, 32, vertical=True)
    assert run.vertical and np.ptp(run.quads[:, 0, 0]) == 0
    assert run.mask.shape[0] > 3 * run.mask.shape[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("漢", ROBOTO, 30), FontError, "漢"),
        (("", ROBOTO, 30), ValueError, "nothing to draw"),
        ((" \t", ROBOTO, 30), ValueError, "nothing to draw"),
        (("a", ROBOTO, 0), ValueError, "size 0"),
        (("a", ROBOTO, 1e9), ValueError, "size"),
        (("a", ROBOTO, float("nan")), ValueError, "size nan"),
        (("W" * 2000, ROBOTO, 1000), ValueError, "too long"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        render_run(*arguments)


@pytest.mark.parametrize(
    "options",
    [{"arc": 170}, {"arc": 200}, {"arc": 20, "vertical": True}, {"stroke": -1}, {"stroke": 99}],
    ids=str,
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"arc|stroke"):
        render_run("ab", ROBOTO, 30, **options)


ARABIC, HEBREW = "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd"
needs_raqm = pytest.mark.skipif(not fonts.HAS_RAQM, reason="Pillow has no Raqm here")


def dejavu():
    """A font with Arabic and Hebrew: matplotlib's."""
    return Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))


@needs_raqm
@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"{ARABIC} {HEBREW}", [HEBREW, ARABIC]),
        (f"{HEBREW} abc def 12", ["12", "abc", "def", HEBREW]),
        (f"abc {HEBREW} {ARABIC} def", ["abc", ARABIC, HEBREW, "def"]),
        (f"12 {HEBREW}", [HEBREW, "12"]),
        ("abc 12", ["abc", "12"]),
    ],
)
def test_words_stand_in_visual_order_and_are_listed_in_that_of_the_text(text, seen):
    run = render_run(text, dejavu(), 40)
    assert [word for _, _, word in run.words] == text.split()
    left = {word: run.quads[start:end, :, 0].min() for start, end, word in run.words}
    assert sorted(left, key=left.get) == seen
    for start, end, word in run.words:
        whole = word in (ARABIC, HEBREW)
        assert run.characters[start:end] == ((word,) if whole else tuple(word))


@needs_raqm
def test_letters_that_join_are_drawn_joined():
    run = render_run(ARABIC, dejavu(), 60)
    parts = cv2.connectedComponents((run.mask > 127).astype(np.uint8))[0] - 1
    assert parts == 3  # two strokes and a dot, of five letters
    (quad,) = run.quads
    ys, xs = np.nonzero(run.mask > 127)
    assert quad[:, 0].min() <= xs.min() and xs.max() <= quad[:, 0].max()
    assert quad[:, 1].min() <= ys.min() and ys.max() <= quad[:, 1].max()
    upright = render_run(ARABIC, dejavu(), 60, vertical=True)
    assert not upright.vertical and np.array_equal(upright.mask, run.mask)


@needs_raqm
def test_pages_label_words_in_one_piece_without_characters(tmp_path):
    folder = Path(dejavu().path).parent
    (tmp_path / "texts.txt").write_text(f"{ARABIC} {HEBREW}\nabc\n", encoding="utf-8")
    (tmp_path / "DejaVuSans.ttf").write_bytes((folder / "DejaVuSans.ttf").read_bytes())
    config = preset(
        "words",
        text=TextConfig(sources={"file": 1.0}, file=str(tmp_path / "texts.txt")),
        fonts=(str(tmp_path / "DejaVuSans.ttf"),),
        bundled_fonts=False,
    )
    words = [word for index in range(3) for word in PageSource(config, seed=0)[index].page.words]
    assert {word.text for word in words} == {ARABIC, HEBREW, "abc"}
    for word in words:
        assert len(word.characters) == (3 if word.text == "abc" else 0)
    crops = CropSource(config, seed=0, unit="line", height=32)
    lines = {crops[index].text for index in range(30)}
    assert {f"{ARABIC} {HEBREW}", "abc"} <= lines <= {f"{ARABIC} {HEBREW}", ARABIC, HEBREW, "abc"}
    assert all(crops[index].image.shape[1] > 32 for index in range(10))  # none is turned
