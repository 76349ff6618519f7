"""The rules of the house, read off the source: who may import whom, and what the wheel holds."""

from __future__ import annotations

import ast
import fnmatch
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("craftjax", "crnnjax", "ocrcore", "ocrjax")
DEVICE = {"jax", "jaxlib", "flax", "optax", "orbax"}
# The only places that may import jax; everything else runs on the host.
DEVICE_CODE = (
    "craftjax/check.py",
    "craftjax/convert.py",
    "craftjax/detector.py",
    "craftjax/distillation.py",
    "craftjax/evaluate.py",
    "craftjax/lcnet.py",
    "craftjax/losses.py",
    "craftjax/main.py",
    "craftjax/models.py",
    "craftjax/ppocr.py",
    "craftjax/report.py",
    "craftjax/training.py",
    "craftjax/tune.py",
    "craftjax/weak/labeling.py",
    "craftjax/weak/supervision.py",
    "crnnjax/check.py",
    "crnnjax/convert.py",
    "crnnjax/decoding.py",
    "crnnjax/evaluate.py",
    "crnnjax/features.py",
    "crnnjax/label_readings.py",
    "crnnjax/lightsvtr.py",
    "crnnjax/losses.py",
    "crnnjax/lstm.py",
    "crnnjax/main.py",
    "crnnjax/models.py",
    "crnnjax/ppocr.py",
    "crnnjax/recognizer.py",
    "crnnjax/report.py",
    "crnnjax/training.py",
    "ocrcore/layers.py",
    "ocrcore/lcnet.py",
    "ocrcore/runtime/",
    "ocrcore/training/",
    "ocrjax/__main__.py",
    "ocrjax/cli/",
    "ocrjax/easyocr/doctor.py",
    "ocrjax/easyocr/doctor_weights.py",
    "ocrjax/easyocr/export",
    "ocrjax/fitting/average.py",
    "ocrjax/fitting/crops.py",
    "ocrjax/fitting/detector_run.py",
    "ocrjax/fitting/dry_run.py",
    "ocrjax/fitting/exports.py",
    "ocrjax/fitting/judging.py",
    "ocrjax/fitting/recognizer_run.py",
    "ocrjax/fitting/reporting.py",
    "ocrjax/fitting/run.py",
    "ocrjax/fitting/work.py",
    "ocrjax/labels/doubts.py",
    "ocrjax/onnx/",
    "ocrjax/reader.py",
    "ocrjax/samples.py",
    "ocrjax/weights.py",
)


def sources() -> dict[str, Path]:
    return {
        path.relative_to(ROOT).as_posix(): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too, but not for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_imports_go_down():
    """ocrjax -> craftjax, crnnjax -> ocrcore; the two networks never import each other."""
    above = {
        "ocrcore": {"craftjax", "crnnjax", "ocrjax"},
        "craftjax": {"crnnjax", "ocrjax"},
        "crnnjax": {"craftjax", "ocrjax"},
        "ocrjax": set(),
    }
    wrong = {
        name: found
        for name, path in sources().items()
        if (found := tops(path) & above[name.partition("/")[0]])
    }
    assert wrong == {}


def test_host_code_imports_no_jax():
    """Directly or through modules of this project."""
    files = sources()
    reached: dict[str, set[str]] = {}

    def modules(name: str) -> list[str]:
        out = []
        for module in imports(files[name]):
            stem = module.replace(".", "/")
            out += [c for c in (f"{stem}.py", f"{stem}/__init__.py") if c in files]
        return out

    def device(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        if name not in reached:
            found = tops(files[name]) & DEVICE
            for other in modules(name):
                if other not in seen:
                    found = found | device(other, seen | {name})
            reached[name] = found
        return reached[name]

    users = {name: device(name) for name in files if not name.startswith(DEVICE_CODE)}
    assert {name: found for name, found in users.items() if found} == {}


def test_nothing_imports_data():
    everything = [*sources().values(), *(ROOT / "configs").glob("*.py")]
    assert [path for path in everything if "data" in tops(path)] == []


def test_importing_is_quick_and_quiet():
    code = (
        "import sys, craftjax, crnnjax, ocrcore, ocrjax, ocrjax.cli.main;"
        "loaded = {'jax', 'flax', 'torch', 'tensorflow'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_an_installed_wheel_detects_from_an_empty_folder(tmp_path):
    """The wheel holds all that a command needs at run time, and needs no checkout."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    source = tmp_path / "source"  # a copy, because building leaves things behind
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        tmp_path,
        source,
    ]
    done = subprocess.run(build, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    files = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == {name for name in names if name.startswith(PACKAGES) and "-info/" not in name}
    for kind in ("/fonts/*.ttf", "/words/*", "/fonts/licenses/*"):
        assert fnmatch.filter(files, "ocrcore/synth/assets" + kind), kind
    others = {name.split("/", 1)[1] for name in names if name not in files}
    licenses = {name for name in files if "/licenses/" in name or name.endswith("LICENSE.md")}
    assert {f"licenses/{name}" for name in {"LICENSE", *licenses}} <= others
    # The dependencies come from this environment; the packages themselves from the wheel alone.
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        site,
        wheel,
    ]
    done = subprocess.run(install, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    folder = tmp_path / "empty"
    folder.mkdir()
    code = """
import numpy as np, sys
from ocrcore.images import write_image
from craftjax.convert import to_state_dict
from craftjax.models import CRAFT, init_variables
from ocrcore.weights.pth import save_weights
import craftjax, ocrjax
assert sys.prefix in craftjax.__file__ and sys.prefix in ocrjax.__file__, craftjax.__file__
save_weights("net.pth", to_state_dict(init_variables(CRAFT(width=0.125))))
write_image("in/a.png", np.full((64, 64, 3), 200, np.uint8))
sys.argv = ["ocrjax", "detect", "in", "--weights", "net.pth", "--overlay", "out"]
from ocrjax.cli.main import main
main()
"""
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "a.png").exists()
