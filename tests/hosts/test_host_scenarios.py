"""Training on two and four hosts that are network namespaces: what happens when one is lost.

Needs Linux and root; takes minutes, so it has a command of its own:

    pytest -m slow tests/hosts -s

Outcomes and times are printed, and stand in docs/devices.md.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hosts_network import ROOT, Network, train_alone, unusable
from trees import assert_same

from ocrcore.images import write_image
from ocrcore.training.damage import read_tree

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(unusable() is not None, reason=str(unusable())),
]
AGAIN = "start the same command on all hosts again"


@pytest.fixture
def network(request):
    hosts = Network(getattr(request, "param", 2))
    yield hosts
    hosts.close()


def note(text):
    print(f"\n[hosts] {text}", flush=True)


def state_of(workdir, step=100):
    folder = workdir / "checkpoints" / str(step)
    return {item: read_tree(folder / item) for item in ("variables", "ema", "optimizer")}


def rows(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "loss", "grad_norm", "eval/cer")
    return [[row.get(name) for name in names] for row in found]


def finish(processes):
    """Exit statuses, and when the last one ended."""
    statuses = [process.finish() for process in processes]
    return statuses, time.monotonic()


def outputs(processes):
    return "\n-----\n".join(process.output for process in processes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """By number of hosts, the folder of a run that nothing has interrupted."""
    done = {}

    def folder(count):
        if count not in done:
            done[count] = tmp_path_factory.mktemp("straight") / str(count)
            hosts = Network(count)
            try:
                started = time.monotonic()
                processes = hosts.start_all(f"--workdir={done[count]}")
                statuses, end = finish(processes)
                assert statuses == [0] * count, outputs(processes)
                assert f"{count} x cpu in {count} processes" in processes[0].output
                note(f"{count} hosts, 100 steps: {end - started:.0f} s")
            finally:
                hosts.close()
        return done[count]

    return folder


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_equal_one_process(count, straight, tmp_path):
    alone = train_alone(tmp_path / "alone", devices=count)
    assert alone.finish() == 0, alone.output
    one, several = state_of(tmp_path / "alone"), state_of(straight(count))
    flat = [np.concatenate([np.ravel(x) for x in _leaves(tree)]) for tree in (one, several)]
    worst = float(np.max(np.abs(flat[0] - flat[1])))
    losses = np.array([(a[1], b[1]) for a, b in _losses(tmp_path / "alone", straight(count))])
    apart = float(np.max(np.abs(losses[:, 0] - losses[:, 1])))
    note(
        f"{count} hosts against one process with {count} devices after 100 steps: largest "
        f"difference of a number of the state {worst:.3g}, of the loss {apart:.3g}"
    )
    if count == 2:  # the sum of two numbers is the same in any order
        assert_same(one, several)
    # Four are added in another order, and training magnifies what that rounds.
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-4)


def _leaves(tree):
    if isinstance(tree, dict):
        return [leaf for name in sorted(tree) for leaf in _leaves(tree[name])]
    return [np.asarray(tree, np.float64)]


def _losses(*workdirs):
    found = [[row for row in rows(workdir) if row[1] is not None] for workdir in workdirs]
    return zip(*found, strict=True)


def test_a_run_survives_what_happens_to_its_hosts(straight, network, tmp_path):
    """One host late, then killed; its link cut; a slow folder and SIGTERM; then to the end."""
    workdir = tmp_path / "run"
    arguments = [f"--workdir={workdir}", "--host_timeout=20"]

    first = network.start(0, *arguments)
    waited = first.wait_for("waiting for process 1 of 2")
    time.sleep(max(0.0, 20 - waited))
    late = network.start(1, *arguments)
    first.wait_for("step 25/")
    note(f"host 1 came 20 s late: host 0 said so after {waited:.0f} s, and the run began")
    late.send(signal.SIGKILL)
    killed = time.monotonic()
    assert first.finish() == 1, first.output
    note(f"host 1 killed: host 0 ended with status 1 after {time.monotonic() - killed:.1f} s")
    assert "process 1 (host1) has ended without a word" in first.output
    assert AGAIN in first.output

    both = network.start_all(*arguments)
    both[0].wait_for("step 45/")
    both[0].send(signal.SIGKILL)
    killed = time.monotonic()
    assert both[1].finish() != 0, outputs(both)
    note(f"host 0 killed: host 1 ended after {time.monotonic() - killed:.1f} s")
    assert "process 0 (host0) has ended without a word" in both[1].output

    both = network.start_all(*arguments)
    both[0].wait_for("step 65/")
    network.cut(1)
    cut = time.monotonic()
    statuses, end = finish(both)
    network.mend(1)
    note(f"link of host 1 cut: both ended with status {statuses} after {end - cut:.1f} s")
    assert statuses == [1, 1] and end - cut < 60
    assert "process 1 (host1) has given no sign of life for 20 s" in both[0].output
    assert "process 0 (host0) has given no sign of life for 20 s" in both[1].output

    library = tmp_path / "slow_folder.so"
    source = Path(__file__).with_name("slow_folder.c")
    slow = {}
    if compiler := shutil.which("cc"):
        command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True)
        slow = {
            "LD_PRELOAD": str(library),
            "OCRJAX_SLOW_FOLDER": str(workdir),
            "OCRJAX_SLOW_MS": "50",
        }
    both = network.start_all(*arguments, env=slow)
    both[0].wait_for("step 85/")
    both[1].send(signal.SIGTERM)
    asked = time.monotonic()
    statuses, end = finish(both)
    note(
        f"SIGTERM to host 1{' with a slow folder' * bool(slow)}: statuses {statuses} after "
        f"{end - asked:.1f} s"
    )
    assert statuses == [0, 0], outputs(both)
    assert "stopped after step" in both[0].output

    both = network.start_all(*arguments, env=slow)
    statuses, _ = finish(both)
    assert statuses == [0, 0], outputs(both)
    assert_same(state_of(straight(2)), state_of(workdir))
    assert (straight(2) / "weights.pth").read_bytes() == (workdir / "weights.pth").read_bytes()
    wanted = {tuple(row) for row in rows(straight(2))}
    assert {tuple(row) for row in rows(workdir)} >= {row for row in wanted if row[3] is not None}
    note("the run that was interrupted four times ends bit-equal to the one that was not")


def test_who_never_comes_is_named(network, tmp_path):
    process = network.start(0, f"--workdir={tmp_path / 'run'}", "--host_wait=15")
    assert process.finish() == 1
    waited = time.monotonic() - process.started
    note(f"host 1 never came: status 1 after {waited:.0f} s (--host_wait=15)")
    assert "process 1 of 2 did not come within 15 s; there are 0 (host0)" in process.output
    process = network.start(1, f"--workdir={tmp_path / 'run'}", "--host_wait=15")
    assert process.finish() == 1
    assert "process 0 did not answer at host0:7700 within 15 s" in process.output


def refused(network, tmp_path, text, *arguments, labels="", **other):
    """Starts host 0, and host 1 with something different; both must name it."""
    first = network.start(0, f"--workdir={tmp_path / 'run'}", labels=labels)
    second = network.start(1, f"--workdir={tmp_path / 'run'}", *arguments, labels=labels, **other)
    statuses, _ = finish([first, second])
    assert statuses == [1, 1], outputs([first, second])
    for process in (first, second):
        assert text in process.output, process.output
    note(next(line for _, line in first.lines if text in line))


def test_another_config_is_refused(network, tmp_path):
    text = "config.optimizer.learning_rate is 0.01 in process 0 (host0); 0.02 in process 1 (host1)"
    refused(network, tmp_path, text, "--config.optimizer.learning_rate=0.02")


def test_another_version_is_refused(network, tmp_path):
    other = tmp_path / "checkout"
    for name in ("ocrcore", "crnnjax", "craftjax", "configs", "tests"):
        skipped = shutil.ignore_patterns("__pycache__", "golden")
        shutil.copytree(ROOT / name, other / name, ignore=skipped)
    changed = other / "crnnjax" / "losses.py"
    changed.write_text(changed.read_text() + "# another line\n")
    refused(network, tmp_path, "the hosts differ: code is ", root=other)


def test_other_data_is_refused(network, tmp_path):
    data, others = tmp_path / "data", tmp_path / "others"
    for folder, text in ((data, "ab"), (others, "abc")):
        for number in range(8):
            write_image(folder / f"{number}.png", np.full((32, 64, 3), 20 * number, np.uint8))
        lines = [f"{number}.png\t{text}\n" for number in range(8)]
        (folder / "labels.tsv").write_text("".join(lines))
    text = "the hosts differ: config.data.train.mine.labels.tsv is ["
    refused(network, tmp_path, text, labels=data / "labels.tsv", over=(others, data))


def test_folders_that_are_not_shared_are_refused(network, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "own").mkdir()
    text = "is not seen on host1 within 60 s: --workdir must be a folder that all hosts share"
    refused(network, tmp_path, text, over=(tmp_path / "own", tmp_path / "run"))


@pytest.mark.parametrize("network", [4], indirect=True)
def test_four_hosts_end_together_and_go_on(network, straight, tmp_path):
    arguments = [f"--workdir={tmp_path / 'run'}", "--host_timeout=20"]
    processes = network.start_all(*arguments)
    processes[0].wait_for("step 35/")
    processes[2].send(signal.SIGKILL)
    killed = time.monotonic()
    statuses, end = finish(processes)
    note(f"one of four hosts killed: the others ended after {end - killed:.1f} s: {statuses}")
    assert all(statuses) and end - killed < 60
    for number in (0, 1, 3):
        assert "process 2 (host2) has ended without a word" in processes[number].output
    processes = network.start_all(*arguments)
    statuses, _ = finish(processes)
    assert statuses == [0] * 4, outputs(processes)
    assert_same(state_of(straight(4)), state_of(tmp_path / "run"))
