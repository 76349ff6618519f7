from __future__ import annotations

import jax
import numpy as np
import pytest

from ocrcore.runtime import mesh as meshes
from ocrcore.runtime.facts import HostsError
from ocrcore.runtime.hosts import Roll
from ocrcore.runtime.mesh import MeshError, from_shares, host_rows, make_mesh, put_batch


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:4])


def test_mesh_takes_all_devices_in_order(mesh):
    assert make_mesh().size == len(jax.devices())
    assert make_mesh(jax.devices()[3::-1]) == mesh
    assert meshes.describe_devices(mesh) == f"4 x cpu in 1 process, jax {jax.__version__}"
    assert meshes.is_main()


def test_rows_are_spread_in_order(mesh):
    batch = {"image": np.arange(8 * 6, dtype=np.uint8).reshape(8, 2, 3), "n": np.arange(8)}
    got = put_batch(batch, mesh)
    assert got["image"].dtype == np.uint8
    np.testing.assert_array_equal(got["image"], batch["image"])
    for i, device in enumerate(mesh.devices):
        (shard,) = (s for s in got["n"].addressable_shards if s.device == device)
        np.testing.assert_array_equal(shard.data, [2 * i, 2 * i + 1])
    assert host_rows(8, mesh) == slice(0, 8)


def test_batches_that_do_not_fit_are_refused(mesh):
    with pytest.raises(
        MeshError, match=r"config.data.batch_size is 6, expected a multiple of 4.* next is 8"
    ):
        host_rows(6, mesh, field="data.batch_size")
    with pytest.raises(MeshError, match=r"batch_size is 0, .* next is 4"):
        host_rows(0, mesh)
    with pytest.raises(MeshError, match=r"has 6 rows, expected a multiple of 4"):
        put_batch({"x": np.zeros((6, 2))}, mesh)
    with pytest.raises(MeshError, match=r"same number of rows, these have .*\(4,\)"):
        put_batch({"x": np.zeros((8, 2)), "y": np.zeros(4)}, mesh)
    with pytest.raises(MeshError, match="same number of rows"):
        put_batch({"x": np.float32(1)}, mesh)


@pytest.fixture
def joined(monkeypatch):
    """What jax was asked to join; nothing is joined."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(meshes, "join", lambda *a, **k: Roll(["red", "blue"], 77, {}))
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return calls


def test_a_process_that_is_alone_joins_nothing(joined, monkeypatch):
    assert not meshes.initialize_distributed()
    assert not meshes.initialize_distributed(coordinator="a:1", process_count=1, process_id=0)
    monkeypatch.setenv("SLURM_NTASKS", "8")  # as in a batch script, outside of srun
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert not meshes.initialize_distributed()
    assert joined == []


def test_processes_join_by_flags_or_slurm(joined, monkeypatch):
    assert meshes.initialize_distributed(coordinator="a:1", process_count=2, process_id=1)
    ((place, options),) = joined
    assert place == ("a:77", 2, 1) and options["local_device_ids"] is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[3-4]")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert meshes.initialize_distributed()
    assert joined[1][0] == ("node3:77", 2, 1)


def test_half_of_the_flags_is_an_error():
    with pytest.raises(MeshError, match="missing coordinator and process_id"):
        meshes.initialize_distributed(process_count=2)
    with pytest.raises(MeshError, match="process_id is 2, expected 0 to 1"):
        meshes.initialize_distributed(coordinator="a:1", process_count=2, process_id=2)
    with pytest.raises(MeshError, match="coordinator is 'a', expected host:port"):
        meshes.initialize_distributed(coordinator="a", process_count=2, process_id=0)


@pytest.mark.parametrize(
    ("tasks", "nodes", "gpus", "visible", "expected"),
    [
        (2, 2, 8, None, list(range(8))),  # a task per node takes all its GPUs
        (16, 2, 8, None, [3]),  # a task per GPU: that of its number on the node
        (16, 2, 8, "5", [0]),  # a task per GPU that sees its own only
        (2, 2, 8, "0,1,2,3", [0, 1, 2, 3]),
        (2, 2, 0, None, None),  # no GPUs
    ],
)
def test_gpus_of_a_slurm_task(tasks, nodes, gpus, visible, expected):
    environ = {"SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NUM_NODES": str(nodes)}
    environ["SLURM_LOCALID"] = "3"
    if gpus:
        environ["SLURM_GPUS_ON_NODE"] = str(gpus)
    if visible:
        environ["CUDA_VISIBLE_DEVICES"] = visible
    assert meshes.slurm_devices(environ) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 5, 7, 8])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_shares_are_put_together_in_order(count, processes, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    shares = []
    for index in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(list(meshes.my_share(range(count))))
    assert from_shares(shares) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_of_other_lists_are_refused():
    with pytest.raises(MeshError, match="have done 1, 3 items, which are not shares of one list"):
        from_shares([[1], [2, 3, 4]])


def test_values_of_one_process_are_all():
    value = {"a": [1, 0.1, "ü"]}
    assert meshes.gather_json(value) == [value]


def test_processes_that_do_not_have_the_same_are_refused(monkeypatch):
    answers = [[["red", 1], ["blue", 2]], [{"pages": 3}, {"pages": 4}]]
    monkeypatch.setattr(meshes, "gather_json", lambda value: answers.pop(0))
    meshes.require_same({"pages": 3}, remedy="")  # it is alone
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    text = r"pages is 3 in process 0 \(red\); 4 in process 1 \(blue\)\. Copy them"
    with pytest.raises(HostsError, match=text):
        meshes.require_same({"pages": 3}, remedy="Copy them")
    answers.append([["red", 1], ["blue", 1]])
    meshes.require_same({"pages": 3}, remedy="Copy them")
    assert answers == []
