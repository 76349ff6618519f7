import importlib.util
import json
import string
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnnjax.charset import NAMED, Charset, CharsetError, named, normalized

PRINTED = string.printable[:-6]


def test_named_charsets_are_those_of_the_models():
    assert named("en36").num_classes == 37 and named("en36").case_insensitive
    assert named("en94").num_classes == 95 and "".join(named("en94").characters) == PRINTED
    english = named("english_g2")
    assert english.num_classes == 97
    assert "".join(english.characters[40:44]) == "}~ €" and english.characters[44] == "A"
    assert named("cyrillic_g2").num_classes == 208 and named("latin_g2").num_classes == 352
    assert len({named(name).digest for name in NAMED}) == len(NAMED)


def test_charsets_of_an_installed_easyocr(tmp_path, monkeypatch):
    package = tmp_path / "easyocr"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nothing is imported')")
    models = {"gen1": {"old_g1": {"characters": "aba"}}, "gen2": {"new_g2": {"characters": "xy"}}}
    (package / "config.py").write_text(f"import os\nrecognition_models = {models}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert named("easyocr:new_g2").characters == ("x", "y")
    assert named("easyocr:old_g1").encode("ab").tolist() == [3, 2]
    with pytest.raises(CharsetError, match="this EasyOCR has old_g1, new_g2"):
        named("easyocr:other")
    (package / "config.py").write_text("models = 1")
    with pytest.raises(CharsetError, match=r"config\.py: found no model with a charset"):
        named("easyocr:new_g2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CharsetError, match="EasyOCR is not installed: pip install easyocr"):
        named("easyocr:new_g2")


def test_named_charsets_equal_those_of_easyocr():
    if importlib.util.find_spec("easyocr") is None:
        pytest.skip("EasyOCR is not installed")
    for name in ("english_g2", "latin_g2", "cyrillic_g2"):
        assert named(f"easyocr:{name}").digest == named(name).digest
    assert named("easyocr:devanagari_g1").num_classes == 188


def test_classes_count_from_one_and_the_blank_is_nothing():
    charset = Charset("abc", ("a", "b", "c"))
    assert charset.encode("cab").tolist() == [3, 1, 2]
    assert charset.encode("cab").dtype == np.int32
    assert charset.encode("").tolist() == []
    assert charset.decode([3, 1, 1, 0, 2]) == "caab"
    for wrong in (4, -1):
        with pytest.raises(IndexError, match=f"class {wrong}: expected 0 to 3"):
            charset.decode([wrong])


@given(st.text(st.sampled_from(NAMED["cyrillic_g2"])))
def test_encoding_and_decoding_are_inverse(text):
    charset = named("cyrillic_g2")
    assert charset.decode(charset.encode(text)) == normalized(text) == charset.fold(text)
    assert charset.missing(text) == set()


@given(st.text())
def test_any_text_is_encoded_or_its_characters_are_named(text):
    charset = named("english_g2")
    outside = charset.missing(text)
    assert outside == set(unicodedata.normalize("NFC", text)) - set(charset.characters)
    if not outside:
        assert charset.decode(charset.encode(text)) == unicodedata.normalize("NFC", text)
        return
    with pytest.raises(CharsetError, match="outside the charset english_g2") as caught:
        charset.encode(text)
    assert all(f"U+{ord(c):04X}" in str(caught.value) for c in outside)


def test_accents_in_two_code_points_are_one_character():
    charset = Charset("accents", ("é", "e"))
    assert charset.encode("e\u0301e").tolist() == [1, 2]


@pytest.mark.parametrize("characters", ["^]-\\", "[]^", "-+*", "\\d.", "a-z"])
@given(text=st.text(st.sampled_from("^]-\\[+*.d09amz|$()"), max_size=12))
def test_no_character_means_anything_but_itself(characters, text):
    charset = Charset("signs", tuple(characters))
    assert charset.missing(text) == set(text) - set(characters)


def test_capitals_and_small_letters():
    plates = Charset("plates", tuple("0123456789ABC"), case_insensitive=True)
    assert plates.decode(plates.encode("a1B")) == "A1B" == plates.fold("a1B")
    assert plates.missing("aé") == {"é"}
    both = Charset("both", tuple("Aa"), case_insensitive=True)
    assert both.decode(both.encode("Aa")) == "aa"
    assert Charset("plain", tuple("ABC")).missing("a") == {"a"}
    # Letters whose other case is two code points are left as they are.
    assert Charset("sharp", ("ß", "İ"), case_insensitive=True).encode("ßİ").tolist() == [1, 2]
    assert Charset("k", ("k",), case_insensitive=True).missing("\u212a") == set()


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ((), "has 0 characters"),
        (("a", "b", "a"), r"'a' \(U\+0061\) more than once"),
        (("ab",), "'ab' has 2 code points"),
        (("\u212b",), r"U\+212B\) never occurs .*NFC.*write .*U\+00C5"),
        (
            (*"\u0915\u0916\u093c", "\u0958", "\u0959"),
            r"U\+0958.*U\+0959\) never occur .*: leave out",
        ),
        (("a",) * 100_001, "expected 1 to 100000"),
    ],
)
def test_charsets_that_cannot_be(characters, message):
    with pytest.raises(CharsetError, match=message):
        Charset("bad", characters)


def test_the_charset_of_a_model_is_taken_as_it_is():
    charset = Charset("old", ("a", "b", "a", "\u212b"), as_is=True)
    assert charset.encode("ab").tolist() == [3, 2]
    assert charset.decode([1, 3, 4]) == "aa\u212b"


def test_saved_charsets_load_and_must_not_be_edited(tmp_path):
    path = tmp_path / "run" / "charset.json"
    charset = Charset("signs", tuple(" +-*\\]^'\"#€\u2028"), case_insensitive=True)
    charset.save(path)
    assert Charset.load(path) == charset == named(str(path))
    assert Charset.load(path).digest == charset.digest
    assert not named(str(path), case_insensitive=False).case_insensitive
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, "characters": value["characters"][::-1]}))
    with pytest.raises(CharsetError, match=r"charset\.json.*do not fit the digest"):
        Charset.load(path)
    for wrong in ("[]", "{}", "nonsense", '{"name": 1', "[" * 100_000):
        path.write_text(wrong)
        with pytest.raises(CharsetError, match=r"charset\.json: not a saved charset"):
            Charset.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(CharsetError, match="not UTF-8"):
        Charset.load(path)


def test_charsets_of_files(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffab #\r\n0\n".encode())
    charset = named(str(path))
    assert (charset.name, charset.characters) == ("mine", ("a", "b", " ", "#", "0"))
    path.write_text("aba")
    with pytest.raises(CharsetError, match="charset mine: 'a'"):
        named(str(path))
    with pytest.raises(
        CharsetError, match=r"charset 'en37': expected one of en36, en94.* or a file"
    ):
        named("en37")


def test_no_characters():
    with pytest.raises(CharsetError, match="charset own has 0 characters"):
        Charset("own", ())


def test_the_order_is_part_of_the_digest_and_the_name_is_not():
    one, two = Charset("x", ("a", "b")), Charset("x", ("b", "a"))
    assert one.digest != two.digest and one.digest == Charset("y", ("a", "b")).digest
    assert one.digest != Charset("x", ("a", "b"), case_insensitive=True).digest
