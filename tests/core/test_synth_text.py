import pickle
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrcore.synth.fonts import bundled_fonts
from ocrcore.synth.text import (
    DEFAULT_SOURCES,
    LANGUAGES,
    TextConfig,
    TextError,
    drawable_charset,
    pick_font,
    sample_text,
)
from ocrcore.text import graphemes

FONTS = bundled_fonts()


def texts(config, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return [sample_text(rng, config) for _ in range(count)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 20))
def test_texts_keep_their_lengths_and_have_no_loose_spaces(seed, shortest, more):
    config = TextConfig(min_length=shortest, max_length=shortest + more)
    for text in texts(config, 20, seed):
        assert shortest <= len(graphemes(text)) <= shortest + more
        assert text == " ".join(text.split())


@pytest.mark.parametrize("source", sorted(DEFAULT_SOURCES))
def test_every_source_gives_varied_texts_again_and_again(source):
    config = TextConfig(sources={source: 1})
    assert texts(config) == texts(pickle.loads(pickle.dumps(config)))
    assert texts(config) != texts(config, seed=1)
    assert len(set(texts(config))) > 40


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_words(language):
    config = TextConfig(sources={"words": 1, "lines": 1}, languages=(language,))
    assert len(set(texts(config))) > 60


def test_frequent_words_come_more_often():
    def share(power):
        config = TextConfig(sources={"words": 1}, frequency_power=power, cases={"lower": 1},
                            punctuation=0)  # fmt: skip
        return Counter(texts(config, 1000))["the"]

    assert share(1.0) > 20 > share(0.5) >= 1
    assert share(0.0) < 5


def test_cases():
    def made(case):
        return texts(TextConfig(sources={"words": 1}, cases={case: 1}, punctuation=0))

    assert all(text == text.upper() for text in made("upper"))
    assert all(text == text.lower() for text in made("lower"))
    assert all(text[0].isupper() for text in made("title"))
    assert any(text[0].islower() and text != text.lower() for text in made("mixed"))


@pytest.mark.parametrize(
    "charset", [string.digits + string.ascii_lowercase, string.ascii_uppercase, "abc", "0123456789"]
)
def test_a_charset_is_kept(charset):
    sources = dict(DEFAULT_SOURCES)
    if not set(charset) & set("abcABC"):
        del sources["words"], sources["lines"]
    for text in texts(TextConfig(charset=charset, sources=sources)):
        assert set(text) <= set(charset) | {" "}


def test_weight_zero_is_never_drawn():
    config = TextConfig(sources={"numbers": 0, "characters": 1, "random": 0}, characters="é")
    assert set(texts(config)) == {"é"}


def test_plates_follow_their_templates():
    for text in texts(TextConfig(sources={"plates": 1}, plates=("a-AA00",))):
        assert text[:2] == "a-" and text[2:4].isupper() and text[4:].isdigit()


def test_a_file_of_texts(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(
        "\ufeffone\r\n\n  two   words \nfar too long a text for this\ncafe\u0301\n".encode()
    )
    config = TextConfig(sources={"file": 1}, file=str(file), max_length=10)
    assert set(texts(config)) == {"one", "two words", "café"}


def test_bad_files_are_named(tmp_path):
    file = tmp_path / "bad.txt"
    file.write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(TextError, match=r"bad\.txt:2: not UTF-8"):
        TextConfig(sources={"file": 1}, file=str(file))
    file.write_bytes("good\n".encode("utf-16"))
    with pytest.raises(TextError, match=r"bad\.txt: UTF-16 .*save it as UTF-8"):
        TextConfig(sources={"file": 1}, file=str(file))
    with pytest.raises(TextError, match=r"gone\.txt: cannot be read"):
        TextConfig(sources={"file": 1}, file=str(tmp_path / "gone.txt"))
    short = tmp_path / "short.txt"
    short.write_text("ab\n")
    with pytest.raises(TextError, match="none of its 1 texts"):
        TextConfig(sources={"file": 1}, file=str(short), min_length=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": {"poems": 1}}, "poems"),
        ({"sources": {"words": 0}}, "not all 0"),
        ({"sources": {"words": -1, "lines": 2}}, ">= 0"),
        ({"sources": {"words": float("nan")}}, "not all 0"),
        ({"sources": {}}, "not all 0"),
        ({"cases": {"camel": 1}}, "camel"),
        ({"languages": ("xx",)}, "xx"),
        ({"languages": ()}, "empty"),
        ({"min_length": 3, "max_length": 2}, "min_length is 3"),
        ({"punctuation": 2}, "probability"),
        ({"charset": ""}, "empty"),
        ({"charset": "漢", "languages": ("en",)}, "no word"),
        ({"charset": "ab", "characters": "xy"}, "none of them"),
        ({"sources": {"file": 1}}, "no file"),
        ({"sources": {"plates": 1}, "plates": ()}, "plates"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(TextError, match=message):
        TextConfig(**options)


def test_a_charset_that_no_source_can_write_ends_in_an_error():
    config = TextConfig(sources={"dates": 1}, charset="abc")
    with pytest.raises(TextError, match="none of 200 texts"):
        sample_text(np.random.default_rng(0), config)


def test_undrawable_text_is_counted_by_character():
    rng = np.random.default_rng(0)
    refused = Counter()
    assert not any(font.covers("漢") for font in FONTS)
    assert pick_font(rng, "a漢漢字", FONTS, refused) is None
    assert refused == {"漢": 1, "字": 1}
    text, font = pick_font(rng, "plain", FONTS, refused)
    assert text == "plain" and font in FONTS
    accented = {pick_font(rng, "Žluťoučký", FONTS)[1] for _ in range(100)}
    assert accented == {font for font in FONTS if font.covers("Žluťoučký")} and len(accented) > 3
    latin = [font for font in FONTS if not font.covers("Ж")]
    greek = [font for font in FONTS if font.covers("α") and not font.covers("Ж")]
    assert latin and greek
    refused.clear()
    only = [next(f for f in FONTS if f.family == "Caveat"), greek[0]]
    assert pick_font(rng, "Жα", only, refused) is None
    assert sum(refused.values()) == 1


def test_charset_of_fonts():
    assert drawable_charset("ab漢 c", FONTS) == ("ab c", "漢")
    with pytest.raises(TextError, match="漢字"):
        drawable_charset("漢字 ", FONTS)
