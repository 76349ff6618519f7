import pickle
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from ocrcore.synth import fonts as module
from ocrcore.synth.fonts import (
    Font,
    FontError,
    bundled_fonts,
    draws_capitals,
    find_fonts,
    parse_name,
    select,
    split_of,
)
from ocrcore.synth.text import TextConfig, TextError, drawable_charset, pick_font
from ocrcore.synth.words import WordConfig, WordRenderer
from ocrcore.text import needs_shaping

FONTS = bundled_fonts()
FOLDER = Path(module.__file__).parent / "assets" / "fonts"


def test_bundled_set_is_small_varied_and_licensed():
    files = [Path(font.path) for font in FONTS]
    sizes = [path.stat().st_size for path in files]
    assert len(files) >= 30 and len({font.family for font in FONTS}) >= 20
    assert sum(sizes) < 4_000_000 and max(sizes) < 1_000_000
    assert {100, 300, 400, 700, 900} <= {font.weight for font in FONTS}
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    licenses = {path.stem for path in (FOLDER / "licenses").glob("*.txt")}
    for path in files:
        assert f"| {path.name} |" in listed
    packages = {line.split("/")[1].split()[0] for line in listed.splitlines() if "| @" in line}
    assert packages == licenses


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_has_several_bundled_families_and_scripts(split):
    chosen = select(FONTS, split=split)
    assert len({font.family for font in chosen}) >= 4
    assert any(font.covers("Привет łódź") for font in chosen)
    assert any(font.covers("Ελληνικά") for font in chosen)


def test_every_bundled_font_draws_letters_and_digits():
    small, others = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-"
    for font in FONTS:
        assert font.covers(others), font
        assert font.missing(small) == (set(small) if draws_capitals(font) else set()), font
        assert font.covers("A B\t")
        assert font.missing("A\u2fff漢\x07\u200b") == {"\u2fff", "漢", "\x07", "\u200b"}


def test_fonts_without_small_letters_are_told_by_their_glyphs():
    without = {
        Path(font.path).name.partition("-latin")[0] for font in FONTS if draws_capitals(font)
    }
    assert without == {"bangers", "bebas-neue", "cinzel", "permanent-marker"}
    (bangers,) = (font for font in FONTS if "bangers" in font.path)
    assert bangers.missing("Größe 5") == set("röße")
    assert bangers.covers("GROSSE 5")


@pytest.mark.parametrize("text", ["سلام", "नमस्ते", "ܫܠܡܐ"])
def test_scripts_that_no_bundled_font_has_are_refused_and_counted(text):
    assert all(font.missing(text) for font in FONTS)
    refused = Counter()
    assert pick_font(np.random.default_rng(0), text, FONTS, refused) is None
    assert set(refused) <= set(text) and any(map(needs_shaping, refused))
    with pytest.raises(TextError, match="written right to left or whose letters join"):
        drawable_charset(text, FONTS)


def test_without_raqm_no_font_draws_what_needs_shaping(monkeypatch):
    font = Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    assert font.covers("\u0633\u0644\u0627\u0645") == module.HAS_RAQM
    monkeypatch.setattr(module, "HAS_RAQM", False)
    module._drawn_by.cache_clear()
    assert font.missing("\u0633\u05e9 a") == {"\u0633", "\u05e9"}
    module._drawn_by.cache_clear()


def test_a_family_stays_in_one_split_and_splits_never_change():
    parts = [
        {font.family for font in select(FONTS, split=split)}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len({font.family for font in FONTS})
    assert [split_of(name) for name in ("Roboto", "Lobster", "Comfortaa")] == [
        "train",
        "validation",
        "test",
    ]
    assert split_of("ROBOTO") == split_of("roboto")
    shares = [split_of(f"name {i}") for i in range(4000)]
    assert 0.07 < shares.count("test") / 4000 < 0.13
    assert split_of("anything", validation=0, test=0) == "train"
    with pytest.raises(FontError, match="shares"):
        split_of("x", validation=0.5, test=0.5)


def test_fonts_are_values():
    font = FONTS[3]
    again = pickle.loads(pickle.dumps(font))
    assert again == font and hash(again) == hash(font)
    with pytest.raises(AttributeError):
        font.weight = 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Roboto", "Regular", ""), ("Roboto", 400, "normal")),
        (("Roboto", "Bold Italic", ""), ("Roboto", 700, "italic")),
        (("Roboto Thin", "Regular", ""), ("Roboto", 100, "normal")),
        (("Foo Semi Bold", "Oblique", ""), ("Foo", 600, "italic")),
        (("Foo", "ExtraLight", ""), ("Foo", 200, "normal")),
        (("Black Ops One", "Regular", ""), ("Black Ops One", 400, "normal")),
        (("Montserrat Thin", "Regular", "montserrat-latin-500-italic"),
         ("Montserrat", 500, "italic")),
        (("DejaVu Sans Condensed", "Book", ""), ("DejaVu Sans", 400, "normal")),
        (("Bold", "", ""), ("Bold", 400, "normal")),
    ],
)  # fmt: skip
def test_names_give_weight_and_slant(names, expected):
    assert parse_name(*names) == expected


def test_select():
    heavy = select(FONTS, without_weights=("thin", "ExtraLight", 300))
    assert heavy == tuple(font for font in FONTS if font.weight not in (100, 200, 300))
    assert len(heavy) < len(FONTS)
    assert {font.family for font in select(FONTS, families=["roboto"])} == {"Roboto"}
    with pytest.raises(FontError, match="feather"):
        select(FONTS, without_weights=("feather",))
    with pytest.raises(FontError, match="nowhere"):
        select(FONTS, families=["nowhere"])
    with pytest.raises(FontError, match=r"no font of \d+ is left"):
        select(FONTS, families=["Roboto"], split="test")


def collection(data: bytes, count: int) -> bytes:
    """A .ttc that holds the same font `count` times; its tables' offsets count from the start."""
    shift = 12 + 4 * count
    tables = struct.unpack(">H", data[4:6])[0]
    moved = bytearray(data)
    for i in range(tables):
        place = 12 + 16 * i + 8
        (offset,) = struct.unpack(">I", data[place : place + 4])
        moved[place : place + 4] = struct.pack(">I", offset + shift)
    head = b"ttcf" + struct.pack(">HHI", 1, 0, count) + struct.pack(">I", shift) * count
    return head + bytes(moved)


def test_find_fonts_names_what_is_unusable(tmp_path):
    good = (FOLDER / "Roboto_400Regular.ttf").read_bytes()
    web = (FOLDER / "lobster-latin-400-normal.woff2").read_bytes()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "good.TTF").write_bytes(good)
    (tmp_path / "web.woff2").write_bytes(web)
    (tmp_path / "both.ttc").write_bytes(collection(good, 2))
    (tmp_path / "empty.ttf").write_bytes(b"")
    (tmp_path / "text.otf").write_text("no font")
    (tmp_path / "cut.woff2").write_bytes(web[: len(web) // 2])
    (tmp_path / "many.ttc").write_bytes(b"ttcf" + struct.pack(">HHI", 1, 0, 2**31) + good)
    (tmp_path / "notes.txt").write_text("not looked at")
    fonts, problems = find_fonts([tmp_path, tmp_path / "gone"])
    found = [(Path(font.path).name, font.index) for font in fonts]
    assert found == [("both.ttc", 0), ("both.ttc", 1), ("good.TTF", 0), ("web.woff2", 0)]
    assert all(font.covers("Word") for font in fonts)
    names = {Path(path).name for path in problems}
    assert names == {"empty.ttf", "text.otf", "cut.woff2", "many.ttc", "gone"}
    assert "2147483648 faces" in problems[str(tmp_path / "many.ttc")]


def test_a_cut_font_never_crashes(tmp_path):
    good = (FOLDER / "Roboto_400Regular.ttf").read_bytes()
    for i, share in enumerate((0.2, 0.5, 0.8, 0.99)):
        (tmp_path / f"{i}.ttf").write_bytes(good[: int(len(good) * share)])
    fonts, problems = find_fonts([tmp_path])
    assert len(fonts) + len(problems) == 4
    for font in fonts:
        font.missing("The quick brown fox 0123456789")


def test_an_empty_folder_is_a_problem(tmp_path):
    assert find_fonts([tmp_path]) == ((), {str(tmp_path): "holds no .ttf .otf .ttc .woff2 file"})


def test_a_missing_file_is_named():
    with pytest.raises(FontError, match=r"gone\.ttf"):
        Font("gone.ttf").covers("a")


def test_fonts_of_capitals_write_labels_in_capitals_on_request():
    only = [font for font in FONTS if draws_capitals(font)]
    rng = np.random.default_rng(0)
    assert pick_font(rng, "Exit 4", only, config=TextConfig()) is None
    upper = TextConfig(capitals_fonts="upper")
    text, font = pick_font(rng, "Exit 4", only, config=upper)
    assert text == "EXIT 4" and font in only
    # Other fonts draw the text as it is; a charset without capitals allows none.
    seen = {pick_font(rng, "Exit 4", FONTS, config=upper)[0] for _ in range(200)}
    assert seen == {"Exit 4", "EXIT 4"}
    low = TextConfig(capitals_fonts="upper", charset="exit4")
    assert pick_font(rng, "exit 4", only, config=low) is None
    with pytest.raises(TextError, match="capitals_fonts is 'lower', expected one of skip, upper"):
        TextConfig(capitals_fonts="lower")
    renderer = WordRenderer(
        WordConfig(text=replace(upper, sources={"words": 1.0}), fonts=tuple(only)),
        seed=1,
        length=20,
    )
    labels = [renderer[index].text for index in range(20)]
    assert all(label == label.upper() for label in labels)
