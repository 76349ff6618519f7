"""What a newcomer types first: imports, `ocrjax --version`, one picture or many."""

from __future__ import annotations

import ast
import ctypes
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import ocrjax
from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from craftjax.options import DetectorOptions
from crnnjax.charset import named
from crnnjax.models import CRNN
from crnnjax.models import init_variables as crnn_variables
from ocrcore.images import ImageError, one_or_many, write_image
from ocrcore.pages import Page, Sample, Word
from ocrjax.cli.main import _parse, _run

ROOT = Path(__file__).parents[2]
CROP = np.random.default_rng(0).integers(0, 256, (32, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def detector():
    options = DetectorOptions(canvas_size=64)
    return ocrjax.Detector(craft_variables(CRAFT(width=0.125)), options=options)


@pytest.fixture(scope="module")
def recognizer():
    variables = crnn_variables(CRNN(37, channels=16, hidden=8))
    return ocrjax.Recognizer(variables, charset=named("en36"), height=32)


def python(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_nothing_until_a_name_is_used():
    code = """
import sys, ocrjax
assert set(ocrjax.__all__) <= set(dir(ocrjax))
ocrjax.__version__
heavy = {'jax', 'flax', 'cv2', 'numpy', 'PIL'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from ocrjax import Page, Sample, Word
assert not {'jax', 'cv2'} & set(sys.modules)
from ocrjax import Detector, Reader, Recognizer
assert 'jax' in sys.modules
"""
    python(code)


def test_names_are_those_of_their_homes():
    assert (ocrjax.Page, ocrjax.Sample, ocrjax.Word) == (Page, Sample, Word)
    assert ocrjax.Detector.__module__ == "craftjax.detector"
    assert ocrjax.Recognizer.__module__ == "crnnjax.recognizer"
    assert {*ocrjax._HOMES, "__version__"} == set(ocrjax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Reader9'"):
        _ = ocrjax.Reader9


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ocrjax.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {f"{home}.{name}" for name, home in ocrjax._HOMES.items()}


def test_version(monkeypatch, capsys):
    assert ocrjax.__version__[0].isdigit()
    with pytest.raises(SystemExit) as ended:
        _parse(["ocrjax", "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ocrjax {ocrjax.__version__}\n"

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    stated = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{ocrjax._version()}"' in stated  # of a checkout that is not installed


def test_python_m_ocrjax():
    done = subprocess.run(
        [sys.executable, "-m", "ocrjax", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"ocrjax {ocrjax.__version__}\n"


def test_one_or_many(tmp_path):
    array, picture = np.zeros((4, 5, 3), np.uint8), Image.new("L", (5, 4))
    for one in ("word.png", Path("word.png"), array, array[:, :, 0], picture):
        listed, single = one_or_many(one)
        assert single and len(listed) == 1 and listed[0] is one
    for many in (["word.png"], (array, picture), iter([array]), np.zeros((2, 4, 5, 3), np.uint8)):
        listed, single = one_or_many(many)
        assert not single and isinstance(listed, list) and listed
    assert one_or_many([]) == ([], False)


def test_detect_gives_one_for_one_and_a_list_for_many(detector, tmp_path):
    path = tmp_path / "a.png"
    write_image(path, CROP)
    alone = [
        detector.detect(one) for one in (str(path), path, CROP, CROP[:, :, 0], Image.open(path))
    ]
    assert all(isinstance(page, Page) for page in alone)
    assert [page.path for page in alone[:3]] == [str(path), str(path), None]
    assert detector.detect(iter([path, CROP])) == [alone[1], alone[2]]
    assert detector.detect((str(path),)) == [alone[0]]
    assert detector.detect([]) == []
    with pytest.raises(ImageError, match=r"gone\.png"):
        detector.detect("gone.png")


def test_recognize_gives_one_for_one_and_a_list_for_many(recognizer, tmp_path):
    path = tmp_path / "a.png"
    write_image(path, CROP)
    wanted = recognizer.recognize(CROP)
    assert isinstance(wanted.text, str) and 0 <= wanted.confidence <= 1
    for one in (str(path), path, Image.open(path)):
        assert recognizer.recognize(one) == wanted
    assert recognizer.recognize(crop for crop in (CROP, CROP)) == [wanted] * 2
    assert recognizer.recognize([str(path)]) == [wanted]
    assert len(recognizer.logits(str(path))) == 1
    with pytest.raises(ImageError, match=r"gone\.png"):  # not the letters g, o, n, e
        recognizer.recognize("gone.png")


def test_an_unknown_option_is_refused(detector, recognizer):
    with pytest.raises(TypeError, match="canvas_szie"):
        detector.detect(CROP, canvas_szie=64)
    with pytest.raises(TypeError, match="decodr"):
        recognizer.recognize(CROP, decodr="beam")


def test_constructing_changes_no_global_state(monkeypatch):
    opened = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, *_: opened.append(name))
    settings, environment = dict(jax.config.values), dict(os.environ)
    options = DetectorOptions(canvas_size=64)
    ocrjax.Detector(craft_variables(CRAFT(width=0.125)), options=options).detect(CROP)
    variables = crnn_variables(CRNN(37, channels=16, hidden=8))
    ocrjax.Recognizer(variables, charset=named("en36"), height=32).recognize(CROP)
    assert dict(jax.config.values) == settings
    assert dict(os.environ) == environment
    assert opened == []


def test_commands_tune_the_process(detector, tmp_path, monkeypatch):
    from craftjax.convert import to_state_dict
    from ocrcore.runtime import tuning
    from ocrcore.weights.pth import save_weights

    tuned = []
    monkeypatch.setattr(tuning, "tune_process", lambda **options: tuned.append(options))
    save_weights(tmp_path / "net.pth", to_state_dict(detector._variables))
    write_image(tmp_path / "a.png", CROP)
    weights = f"--weights={tmp_path}/net.pth"
    assert _run(_parse(["ocrjax", "detect", f"{tmp_path}/a.png", weights])) == 0
    assert tuned == [{}]


def test_tuning_keeps_programs_and_memory(tmp_path):
    code = """
import ctypes, jax
from ocrcore.runtime.tuning import tune_process
calls = []
class Library:
    def mallopt(self, *setting):
        calls.append(setting)
        return 1
ctypes.CDLL = lambda name: Library()
tune_process()
usual = len(calls)
tune_process(one_arena=True)
print(jax.config.values['jax_compilation_cache_dir'], usual, len(calls) - usual)
"""
    found = python(code, XDG_CACHE_HOME=str(tmp_path))
    counts = "2 3" if sys.platform.startswith("linux") else "0 0"
    assert found == f"{tmp_path / 'ocrjax' / 'jax'} {counts}"
    off = python(
        code,
        XDG_CACHE_HOME=str(tmp_path),
        OCRJAX_COMPILE_CACHE="off",
        OCRJAX_REUSE_MEMORY="off",
    )
    assert off == "None 0 0"


def test_memory_is_tuned_before_the_backend_starts_threads(monkeypatch):
    """Threads that have an arena already keep it, and map large buffers at each call."""
    from ocrcore.runtime import tuning

    order = []
    monkeypatch.setattr(tuning, "enable_compile_cache", lambda: None)
    monkeypatch.setattr(tuning, "reuse_freed_memory", lambda **options: order.append(options))
    monkeypatch.setattr(tuning, "restore_allocator", lambda: order.append("restored"))
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: order.append(name) or name)
        tuning.tune_process(one_arena=True)
    assert order == [{"one_arena": True}, "cpu", {"one_arena": True}, "gpu", "restored"]
