"""The GPU machine's measurements, rehearsed at toy size: a GPU minute is no place for a typo."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDERS = [str(BENCHMARKS), str(BENCHMARKS / "gpu")]
sys.path[:0] = FOLDERS
inputs, kit, networks, peer = (
    importlib.import_module(name) for name in ("inputs", "kit", "networks", "peer")
)
for folder in FOLDERS:
    sys.path.remove(folder)

QUICK = ("device", "loader_lmdb", "loader_lmdb_threads", "ctc", "forwards")
FILES = 8  # that come back from the machine


def measure(folder, *arguments):
    command = [sys.executable, str(BENCHMARKS / "gpu" / "measure.py"), "--toy", "--out", folder]
    done = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]
    results = json.loads((folder / "measure.json").read_text())
    for name, row in results.items():
        if isinstance(row, dict):
            assert "error" not in row, f"{name}: {row}"
    return results


def test_rows_run_at_toy_size(tmp_path):
    pytest.importorskip("lmdb")
    results = measure(tmp_path, "--without_torch", "--rows", *QUICK)
    assert set(results) == {"spent_s", "done", *QUICK}
    assert results["device"]["matmul_bf16_tflops"] > 0
    assert results["device"]["versions"]["jax"]
    for name in ("loader_lmdb", "loader_lmdb_threads"):
        assert results[name]["rows_per_s"] > 0
    assert results["loader_lmdb"]["processes"] == 2
    losses = [results["ctc"][name]["loss"] for name in ("optax", "ours", "own_gradient")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert len(results["forwards"]) == 4  # three sizes, and what the row took


@pytest.mark.slow
def test_every_row_runs_at_toy_size(tmp_path):
    pytest.importorskip("lmdb")
    results = measure(tmp_path)
    numbers = [row for name, row in results["numbers"].items() if name != "row_s"]
    assert len(numbers) == 2
    for row in numbers:
        assert all(row["float32_within"].values())
        assert all(row["bfloat16_within"].values())
        assert row["bfloat16"]["gradients"] > row["float32"]["gradients"]
    for network in ("detector", "recognizer"):
        row = results[f"{network}_step"]
        assert row["share_of_peak"] > 0
        assert np.isfinite(row["loss"])
        assert results[f"{network}_kernels"]["top"]
        assert (tmp_path / f"kernels_{network}.txt").stat().st_size < 16 << 20
        if importlib.util.find_spec("torch"):
            assert row["torch"]["loss"] == pytest.approx(row["loss"], rel=0.02)
    weak = results["weak"]
    assert weak["label_rounds"] == weak["steps"] / 2
    assert weak["extrapolated_min"] > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts]
    assert len(files) <= FILES


def test_a_row_that_fails_or_does_not_fit_leaves_the_others(tmp_path, capsys):
    rows = kit.Kit(tmp_path / "out.json", budget_s=1000)
    assert rows.row("fails", 1, lambda: 1 // 0) is None
    assert rows.row("long", 2000, dict) is None
    assert rows.row("works", 1, lambda: {"value": 3})["value"] == 3
    found = json.loads((tmp_path / "out.json").read_text())
    assert "ZeroDivisionError" in found["fails"]["error"]
    assert "measure()" in found["fails"]["traceback"]
    assert found["long"]["skipped"].startswith("needs 2000 s")
    assert found["works"]["value"] == 3
    assert "works" in capsys.readouterr().err


def test_operations_are_those_of_the_layers():
    case = networks.Case("recognizer", 2, 32, 100, 16)
    # VGG at 16 channels: outputs x kernels, by hand.
    convolutions = (
        32 * 100 * 9 * 1 * 2
        + 16 * 50 * 9 * 2 * 4
        + 8 * 25 * 9 * (4 * 8 + 8 * 8)
        + 4 * 25 * 9 * (8 * 16 + 16 * 16)
        + 1 * 24 * 4 * 16 * 16
    )
    steps, hidden = 24, 256
    lstm = 2 * 4 * hidden * (16 + hidden) + 2 * 4 * hidden * (hidden + hidden)
    linear = 2 * hidden * hidden * 2 + hidden * networks.CLASSES
    assert networks.count_flops(case) == 2 * 2 * (convolutions + steps * (lstm + linear))


def test_the_peer_answers_in_order_and_tells_its_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    print('noise')\n"
        "    print(json.dumps({'got': request['value']}), flush=True)\n"
        "    if request['value'] == 2: sys.exit(3)\n"
    )
    other = peer.Peer(script, tmp_path / "log")
    for value in (1, 2):
        other.ask(value=value)
    assert [other.answer(30)["got"] for _ in range(2)] == [1, 2]
    with pytest.raises(RuntimeError, match="the torch process ended with exit code 3"):
        other.answer(30)
    other.close()


def test_the_mirrors_loss_on_the_device_is_the_originals():
    torch = pytest.importorskip("torch")
    sys.path.insert(0, str(BENCHMARKS))
    torch_craft = importlib.import_module("torch_craft")
    sys.path.remove(str(BENCHMARKS))
    rng = np.random.default_rng(0)
    labels, scores, weight = (torch.from_numpy(rng.random((3, 24, 24), np.float32)) for _ in "abc")
    labels[0] = 0.05  # no text
    labels[1] = labels[1].clamp(min=0.2)
    labels[1, 0, :3] = 0.0  # less than enough of the rest
    labels[2] = (labels[2] > 0.9).float()
    for ratio in (0.3, 1.0, 3.0):
        found = torch_craft.loss_on_device(labels, scores, weight, ratio, 40)
        wanted = torch_craft.loss_v3(labels, scores, weight, ratio, 40)
        assert float(found) == pytest.approx(float(wanted), rel=1e-5)
