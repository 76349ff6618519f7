"""The weights that come with the package, and `ocrjax read --fast`, which uses them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from craftjax.detector import Detector
from crnnjax.recognizer import Recognizer
from ocrcore.weights import named
from ocrcore.weights.named import KNOWN_WEIGHTS, WeightsNotFoundError, find_weights
from ocrcore.weights.pth import load_weights
from ocrjax.cli.main import main

PHOTO = Path(__file__).parents[2] / "docs" / "photo.jpg"
LARGEST = {"craft_compact": 6, "crnn_synth": 8}


@pytest.fixture
def nothing_else(monkeypatch):
    """A machine without the extra `weights` and without EasyOCR's folder."""
    real = named.importlib.util.find_spec

    def find_spec(name, package=None):
        return real(name, package) if name not in ("rapidocr", "easyocr_en_models") else None

    monkeypatch.setattr(named.importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(named, "easyocr_model_folder", lambda: Path("/nonexistent"))


@pytest.mark.parametrize("name", LARGEST)
def test_small_float16_files_with_the_recorded_checksum(name, nothing_else):
    path = find_weights(name)
    assert path.stat().st_size <= LARGEST[name] * 10**6
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert md5 == KNOWN_WEIGHTS[name].md5
    floats = [array for array in load_weights(path).values() if array.dtype.kind == "f"]
    assert floats and {array.dtype for array in floats} == {np.dtype(np.float16)}
    about = (path.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"`{name}`" in about and "CC BY 4.0" in about


def test_a_photo_is_read_with_nothing_else_installed(nothing_else, monkeypatch, capsys, tmp_path):
    command = ["ocrjax", "read", str(PHOTO), "--fast", "--backend", "jax"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    out, err = capsys.readouterr()
    assert "recognizer: crnn_synth, which comes with ocrjax" in err
    assert "esplanade station" in out


def test_the_message_names_what_comes_with_the_package(nothing_else):
    with pytest.raises(WeightsNotFoundError, match="use 'craft_compact', which comes with ocrjax"):
        Detector.from_weights("craft_mlt_25k")
    with pytest.raises(WeightsNotFoundError, match="use 'crnn_synth', which comes with ocrjax"):
        Recognizer.from_weights("ppocrv6_small")
