"""Work spread by Apache Beam over two processes; tests/in_beam/README.md says how."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocrcore.weights.named import WeightsNotFoundError, find_weights

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPTIONS = "--direct_num_workers=2 --direct_running_mode=multi_processing"
BEAM = ["--beam-runner=DirectRunner", f"--beam-options={OPTIONS}"]
SMALL = ["--preset", "plain", "--config", "height=96", "width=96", "words=(1, 4)"]
SMALL += ["font_size=(12, 16)", "--count", "12", "--records-per-file", "3"]


@pytest.fixture(scope="module")
def python():
    """An interpreter that has Apache Beam."""
    path = os.environ.get("BEAM_PYTHON")
    if not path:
        pytest.skip("no Apache Beam: tests/in_beam/setup.sh sets it up, BEAM_PYTHON names it")
    return str(Path(path).absolute())


def run(command, **environment):
    path = f"{ROOT}{os.pathsep}{HERE}"
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment}
    command = [str(part) for part in command]
    # Beam is known to wait for ever; so long it never takes.
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)


def synth(python, out, *arguments):
    done = run([python, "-m", "ocrjax", "synth", *SMALL, "--out", out, *arguments])
    return done.returncode, done.stdout + done.stderr


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"  # which holds numbers of processes
    }


@pytest.mark.parametrize("kind", ["icdar", "synthtext", "arrayrecord", "crops-csv", "crops-lmdb"])
def test_sets_are_those_of_one_run(python, tmp_path, kind):
    texts = tmp_path / "texts.txt"  # one text cannot be drawn: it is counted as in one run
    texts.write_text("alpha\nbeta\n\U0001f4a9\n", encoding="utf-8")
    common = ["--format", kind, "--words", texts]
    code, said = synth(python, tmp_path / "whole", *common)
    assert code == 0 and "(U+1F4A9)" in said, said
    # Every bundle is done once more, as after a worker that was lost.
    again = " --direct_runner_bundle_repeat=1" if kind == "icdar" else ""
    code, said = synth(python, tmp_path / "beam", *common, BEAM[0], BEAM[1] + again)
    assert code == 0 and "12 " in said and "(U+1F4A9)" in said, said
    assert files(tmp_path / "beam") == files(tmp_path / "whole")


def test_packing_is_that_of_one_run(python, tmp_path):
    root = tmp_path / "set"
    many = [*SMALL[:-4], "--count", "40", "--format", "icdar"]
    made = run([python, "-m", "ocrjax", "synth", *many, "--out", root])
    assert made.returncode == 0, made.stderr
    (root / "images" / "0000034.jpg").write_bytes(b"no picture")
    command = [python, "-m", "craftjax.main", f"--config={ROOT / 'configs' / 'custom.py'}"]
    command += [f"--config.data.root={root}", "--mode=pack"]
    packed = []
    for beam in ([], ["--beam_runner=DirectRunner", f"--beam_options={OPTIONS}"]):
        done = run([*command, *beam], HOME=str(tmp_path))
        # A tenth of the pictures is held out for evaluation.
        assert done.returncode == 0 and "35 samples" in done.stdout, done.stdout + done.stderr
        assert "1 left out (picture)" in done.stdout
        packed.append(files(root / "packed"))
        shutil.rmtree(root / "packed")
    assert len(packed[0]) == 6 and packed[0] == packed[1]


def test_reading_is_that_of_one_run(python, tmp_path):
    """With the published detector and recognizer; what cannot be read is said and left out."""
    try:
        weights = ["--detector", find_weights("craft_mlt_25k"), "--charset", "en95"]
        weights += ["--recognizer", find_weights("ppocrv6_small")]
    except WeightsNotFoundError as error:
        pytest.skip(str(error))
    (tmp_path / "in").mkdir()
    for name in ("example.jpg", "synth_plain.jpg", "example_words.jpg"):
        shutil.copy(ROOT / "docs" / name, tmp_path / "in")
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    results = []
    for name in ("one", "beam"):
        out = ["--json", tmp_path / f"{name}.jsonl", "--hocr", tmp_path / name]
        # Groups of two pages, as if there were thousands.
        code = (
            "import ocrjax.cli.read as r; r._TOGETHER = 2; from ocrjax.cli.main import main; main()"
        )
        command = [python, "-c", code, "read", tmp_path / "in", *out, *weights]
        done = run([*command, "--canvas-size", "640", *(BEAM if name == "beam" else [])])
        assert done.returncode == 1 and "skipped" in done.stderr, done.stderr
        assert "on 3 pages; 1 of 4 could not be read" in done.stdout
        results.append({k.partition("/")[2]: v for k, v in files(tmp_path).items() if "/" in k})
        results[-1]["json"] = (tmp_path / f"{name}.jsonl").read_bytes()
        shutil.rmtree(tmp_path / name)
    assert results[0] == results[1] and results[0]["json"].count(b"quad") > 10


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "DirectRunner: OSError: [Errno 5] Input/output error: 'a disk that fails once'"),
        ("kill", "DirectRunner: a worker process was killed, or memory was too small"),
        ("twice", ""),
    ],
)
def test_tasks_that_fail_or_come_twice(python, tmp_path, fault, message):
    whole, out = tmp_path / "whole", tmp_path / "set"
    make = "import faults, sys; from ocrcore.synth.make import make_set; "
    assert run([python, "-c", f"{make}make_set(faults.JOB, sys.argv[1])", whole]).returncode == 0
    command = [python, HERE / "faults.py", out]
    if message:
        done = run(command, FAULT=fault)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert "What was finished is kept: the same command goes on" in done.stderr
        noted = sorted((out / "synth-parts").glob("0*.json"))
        assert len(noted) < 6 and not (out / "synth.json").exists()
    done = run(command, FAULT=fault)
    assert done.returncode == 0, done.stderr
    assert files(out) == files(whole)


def test_a_full_disk(python, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.getuid() or run(mount).returncode:
        pytest.skip("only root may mount a small disk")
    common = ["--format", "arrayrecord"]
    try:
        code, said = synth(python, disk / "set", *common, *BEAM)
        assert code == 2 and "No space left on device" in said.splitlines()[-1], said
        assert "the same command goes on" in said
        assert not (disk / "set" / "synth.json").exists()
        run([*mount[:4], "remount,size=8m", *mount[5:]])
        code, said = synth(python, disk / "set", *common, *BEAM)
        assert code == 0, said
        assert synth(python, tmp_path / "whole", *common)[0] == 0
        assert files(disk / "set") == files(tmp_path / "whole")
    finally:
        run(["umount", str(disk)])


def test_what_beam_does_not_know(python, tmp_path):
    for arguments, message in (
        (["--beam-runner", "NoRunner"], "Unexpected pipeline runner: NoRunner"),
        (["--beam-options=--x"], "--beam-options has no effect without --beam-runner"),
        ([*BEAM, "--shard", "0/2"], "--shard has no effect with --beam-runner"),
        ([*BEAM, "--workers", "2"], "--workers has no effect with --beam-runner"),
    ):
        code, said = synth(python, tmp_path / "out", "--format", "icdar", *arguments)
        assert code == 2 and message in said, said
    assert not (tmp_path / "out").exists()
