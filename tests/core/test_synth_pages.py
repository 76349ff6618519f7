"""Pages: labels against ink, the same bytes everywhere, bad input."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrcore.images import ImageError, write_image
from ocrcore.pages import Sample, Word
from ocrcore.synth import glyphs
from ocrcore.synth.config import Chance, ConfigError, Effects, SynthConfig, preset
from ocrcore.synth.fonts import FontError, bundled_fonts, split_of
from ocrcore.synth.layout import word_mask
from ocrcore.synth.pages import PageSource, SynthError, in_reading_order
from ocrcore.synth.text import TextConfig, TextError
from ocrcore.synth.warps import mapped

SMALL = preset("scene", height=256, width=256, words=(4, 8), font_size=(9, 40))


def digest(sample: Sample) -> str:
    return hashlib.sha256(sample.image.tobytes() + sample.page.to_json().encode()).hexdigest()


def area(quad: np.ndarray) -> float:
    """Positive where clockwise on the screen."""
    x, y = quad.T.astype(np.float64)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def turns(quad: np.ndarray) -> np.ndarray:
    ahead = np.roll(quad, -1, 0).astype(np.float64) - quad
    return ahead[:, 0] * np.roll(ahead[:, 1], -1) - ahead[:, 1] * np.roll(ahead[:, 0], -1)


# Every letter of a word differs from the others, so that ink tells its character.
DISTINCT = ("quick", "Fjord", "glyph", "waltz", "VEXING", "MOUTH", "dark spine", "x", "By", "8.5")


def distinct_config(tmp_path: Path, **changes: object) -> SynthConfig:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(DISTINCT), encoding="utf-8")
    text = TextConfig(sources={"file": 1.0}, file=str(file))
    return preset("scene", **{"text": text, "height": 320, "width": 320, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        dict(rotationX=(0, 0), rotationY=(0, 0), rotationZ=(0, 0), on_planes=0.0, turned=0.0),
        dict(on_planes=0.0, rotationX=(-40, 40), rotationY=(-50, 50), rotationZ=(-180, 180)),
        dict(on_planes=1.0),
        dict(signs=0.0, arcs=Chance(1.0, 20, 90)),
        dict(signs=0.0, vertical=1.0, lines=0.0),
    ],
    ids=["flat", "turned", "planes", "arcs", "vertical"],
)
def test_character_quads_hold_their_ink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    cheap = dict(effects=Effects(), distractors=Chance(0.0), words=(5, 8))
    if not changes.get("on_planes"):
        cheap["ground"] = "plain"
    config = distinct_config(tmp_path, empty=0.0, font_size=(12, 60), **cheap, **changes)
    drawn = glyphs._glyph
    seen = 0
    for index in range(3):
        source = PageSource(config, seed=3)
        _, whole, _, _ = source.compose(index)
        letters = sorted({c for one in whole for w in one.item.words for c in w.characters})
        for letter in letters:
            # The same page, with the ink of this letter alone.
            def only(font, master, cluster, letter=letter):  # type: ignore[no-untyped-def]
                glyph = drawn(font, master, cluster)
                return glyph if cluster == letter else glyph._replace(ink=glyph.ink * 0)

            monkeypatch.setattr(glyphs, "_glyph", only)
            _, placed, _, _ = PageSource(config, seed=3).compose(index)
            monkeypatch.setattr(glyphs, "_glyph", drawn)
            assert len(placed) == len(whole)
            for one in placed:
                x0, y0, x1, y1 = one.window
                for word in one.item.words:
                    if letter not in word.characters:
                        continue
                    at = word.characters.index(letter)
                    quads = mapped(word.quads, one.matrix).astype(np.float32)
                    around = mapped(grown(word.quad), one.matrix).astype(np.float32)
                    region = word_mask(around, x0, y0, y1 - y0, x1 - x0)
                    ink = one.ink.astype(np.float64) * (region > 127)
                    inside = word_mask(quads[at], x0, y0, y1 - y0, x1 - x0) / 255
                    assert ink.sum() > 0
                    share = (ink * inside).sum() / ink.sum()
                    # Interpolation spreads the edges of thin strokes by up to half a pixel.
                    least = 0.95 if min(np.ptp(quads[at], axis=0)) > 12 else 0.9
                    assert share >= least, (index, letter, word.text, share)
                    seen += 1
    assert seen > 30


def grown(quad: np.ndarray) -> np.ndarray:
    """A word's quad with a little room around, which no other word's ink reaches."""
    middle = quad.mean(0)
    return middle + (quad - middle) * (1 + 4 / np.maximum(np.ptp(quad, axis=0), 8))


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["plain", "scene", "web", "words"]),
    seed=st.integers(0, 2**63),
    index=st.integers(0, 10**6 - 1),
)
def test_labels_are_sound(name: str, seed: int, index: int) -> None:
    sample = PageSource(preset(name, height=288, width=288, words=(3, 8)), seed)[index]
    page = sample.page
    lines = [word.line for word in page.words]
    assert lines == sorted(lines)
    assert sorted(set(lines)) == list(range(len(set(lines))))
    for word in page.words:
        assert word.text and word.characters
        assert "".join(c.text for c in word.characters) == word.text
        assert area(word.quad) > 0 and (turns(word.quad) > 0).all()
        points = np.concatenate([c.quad for c in word.characters])
        assert (points >= 0).all() and (points <= 288).all()
        for character in word.characters:
            assert area(character.quad) > 0 and (turns(character.quad) > -1e-2).all()
            for point in character.quad:
                distance = cv2.pointPolygonTest(word.quad, tuple(map(float, point)), True)
                assert distance > -0.1
                if word.polygon is not None:
                    inside = cv2.pointPolygonTest(word.polygon, tuple(map(float, point)), True)
                    assert inside > -1.5


@pytest.mark.parametrize("name", ["plain", "scene", "web"])
def test_words_do_not_overlap(name: str) -> None:
    source = PageSource(preset(name, height=320, width=320), seed=11)
    for index in range(6):
        words = source[index].page.words
        assert len(words) > 4
        masks = [word_mask(word.outline, 0, 0, 320, 320) > 127 for word in words]
        for i, one in enumerate(masks):
            for k, other in enumerate(masks[:i]):
                # Words of one line stand as near as their font has them: their borders may touch,
                # and of small ones two columns of pixels are much.
                most = 0.0
                if words[i].line == words[k].line:
                    most = max(0.1 * min(one.sum(), other.sum()), 2 * one.any(axis=1).sum())
                assert (one & other).sum() <= most


def test_same_page_in_any_order_and_process() -> None:
    forward = PageSource(SMALL, seed=5)
    hashes = [digest(forward[i]) for i in range(6)]
    backward = PageSource(SMALL, seed=5)
    assert [digest(backward[i]) for i in reversed(range(6))] == hashes[::-1]
    assert digest(PageSource(SMALL, seed=6)[0]) != hashes[0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_digest_of, [4, 1]) == [hashes[4], hashes[1]]


def _digest_of(index: int) -> str:
    return digest(PageSource(SMALL, seed=5)[index])


def test_source_is_a_sequence_of_the_page_size() -> None:
    source = PageSource(preset("plain", height=160, width=200, font_size=(8, 20)), length=3)
    assert len(source) == 3
    assert source[2].image.shape == (160, 200, 3)
    with pytest.raises(IndexError):
        source[3]
    with pytest.raises(IndexError):
        source[-1]


def test_empty_pages_have_no_words_but_things_on_them() -> None:
    sample = PageSource(replace(SMALL, empty=1.0), seed=1)[0]
    assert not sample.page.words
    assert sample.image.std() > 3


def test_small_smeared_hidden_and_faint_words_are_not_cared_for() -> None:
    base = replace(preset("plain"), words=(4, 6), font_size=(16, 24))
    assert any(word.care for word in PageSource(base)[0].page.words)
    for changes in (
        dict(legible_height=60.0),
        dict(legible_contrast=255.0),
        dict(effects=Effects(blur=Chance(1.0, 6, 6))),
    ):
        page = PageSource(replace(base, **changes))[0].page
        assert page.words and not any(word.care for word in page.words)


def test_text_is_seen() -> None:
    """Where a word that counts lies, the picture differs from the same page without text."""
    config, seen = replace(preset("plain"), words=(5, 8)), 0
    for index in range(3):
        source = PageSource(config, seed=2)
        image, placed, _, _ = source.compose(index)
        for one in placed:
            x0, y0, x1, y1 = one.window
            part = image[y0:y1, x0:x1].astype(int)
            ink, bare = one.ink > 200, one.ink == 0
            if ink.any():
                seen += 1
                assert np.abs(part[ink].mean(0) - part[bare].mean(0)).max() > 20
    assert seen >= 15


def test_reading_order_is_by_rows_then_by_columns() -> None:
    def word(x: float, y: float, line: int = 0) -> Word:
        quad = np.array([[x, y], [x + 40, y], [x + 40, y + 10], [x, y + 10]], np.float32)
        return Word(quad=quad, text=f"{x},{y}", line=line)

    groups = [[word(100, 3)], [word(0, 50, 0), word(0, 62, 1)], [word(0, 0)], [word(60, 200)]]
    ordered = in_reading_order(groups)
    assert [w.text for w in ordered] == ["0,0", "100,3", "0,50", "0,62", "60,200"]
    assert [w.line for w in ordered] == [0, 1, 2, 3, 4]
    assert in_reading_order([]) == ()


def test_splits_share_no_font() -> None:
    families = {
        split: {font.family for font in PageSource(preset("plain", split=split)).fonts}
        for split in ("train", "validation", "test")
    }
    assert not families["train"] & families["validation"]
    assert not families["train"] & families["test"]
    assert set.union(*families.values()) == {font.family for font in bundled_fonts()}


def picture_folder(tmp_path: Path, count: int = 30) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for i in range(count):
        write_image(folder / f"{i}.png", rng.integers(0, 255, (90, 120, 3), np.uint8))
    return folder


def test_user_pictures_are_split_and_bad_ones_named(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    bad, cut = folder / "bad.png", folder / "cut.png"
    bad.write_bytes(b"no picture")
    cut.write_bytes((folder / "0.png").read_bytes()[:200])
    config = replace(SMALL, backgrounds=(str(folder),), background_share=1.0)
    source = PageSource(config)
    assert str(bad) in source.problems
    sample = source[0]
    assert sample.page.words
    for split in ("train", "validation", "test"):
        names = {p.name for p in PageSource(replace(config, split=split)).pictures}
        assert names and all(split_of(name) == split for name in names)


def test_pictures_that_break_when_decoded_are_passed_over_then_refused(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path, 2)
    cut = folder / "2.jpg"
    _, data = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))
    cut.write_bytes(data.tobytes()[:40])
    config = replace(SMALL, backgrounds=(str(folder),), background_share=1.0)
    source = PageSource(config)
    pages = [digest(source[i]) for i in range(4)]
    assert pages == [digest(PageSource(config)[i]) for i in range(4)]
    only = PageSource(replace(config, backgrounds=(str(cut),)))
    with pytest.raises(ImageError, match=r"2\.jpg"):
        only[0]
    assert str(cut) in only.problems


def test_bad_configurations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="height is 0"):
        preset("plain", height=0)
    with pytest.raises(ConfigError, match="font_size"):
        preset("plain", height=40, width=40, font_size=(200, 300))
    with pytest.raises(ConfigError, match="unknown settings color"):
        preset("plain", color="red")
    with pytest.raises(ConfigError, match="preset 'street'"):
        preset("street")
    with pytest.raises(ConfigError, match="words is"):
        preset("plain", words=(5, 2))
    with pytest.raises(ConfigError, match="a tuple of strings"):
        preset("plain", backgrounds="pictures")
    with pytest.raises(ConfigError, match="probability is 2"):
        Chance(2.0)
    with pytest.raises(ImageError, match="no such file"):
        PageSource(preset("plain", backgrounds=(str(tmp_path / "none"),)))
    with pytest.raises(SynthError, match="no usable font"):
        PageSource(preset("plain", bundled_fonts=False))
    with pytest.raises(FontError):
        PageSource(preset("plain", without_weights=tuple(range(100, 1000, 100))))
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"\0\1\0\0 nonsense")
    assert str(broken) in PageSource(preset("plain", fonts=(str(broken),))).problems


def test_charset_that_no_font_draws_is_refused() -> None:
    charset = "\u1200\u1201\u1202"  # Ethiopic
    text = TextConfig(sources={"random": 1.0}, charset=charset)
    with pytest.raises(TextError, match=r"none of \d+ fonts draws"):
        PageSource(preset("plain", text=text))


def test_text_that_no_font_draws_is_counted_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\u1200\u1201", encoding="utf-8")
    source = PageSource(preset("plain", text=TextConfig(sources={"file": 1.0}, file=str(file))))
    with pytest.raises(SynthError, match="no font draws"):
        source[0]
    assert set(source.undrawable) == {"\u1200", "\u1201"}


def test_tiny_pages_have_text_too() -> None:
    source = PageSource(preset("scene", height=48, width=64, font_size=(8, 12), empty=0.0))
    assert all(source[index].page.words for index in range(20))


def test_source_survives_pickling_and_any_number_of_threads() -> None:
    source = PageSource(SMALL, seed=9)
    expected = digest(source[3])
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        assert digest(pickle.loads(pickle.dumps(source))[3]) == expected
    finally:
        cv2.setNumThreads(threads)


def test_text_without_room_is_an_error_not_a_blank_page(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("averyveryverylongword", encoding="utf-8")
    text = TextConfig(sources={"file": 1.0}, file=str(file))
    config = preset("plain", text=text, height=64, width=64, font_size=(40, 50))
    with pytest.raises(SynthError, match="no text found room"):
        PageSource(config)[0]
