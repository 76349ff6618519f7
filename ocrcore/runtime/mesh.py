"""Devices of all hosts: one mesh, with the batch sharded over it and everything else replicated.

One process per host (or per GPU, as is usual under Slurm) runs the same program. The state is
replicated, the leading axis of the batch is sharded, and `jax.jit` inserts the collectives; see
`ocrcore.training.state.compile_step`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"


class MeshError(ValueError):
    """A batch or a set of processes does not fit the devices; the message says what would."""


def initialize_distributed(
    *,
    coordinator: str | None = None,
    process_count: int | None = None,
    process_id: int | None = None,
) -> bool:
    """Joins the processes of a run; call it before anything else uses jax.

    Uses the three arguments if they are given. Otherwise joins the processes of a Slurm step
    (`srun` with more than one task), and does nothing for a single process.

    Args:
        coordinator: `host:port` of process 0, the same in all processes.
        process_count: number of processes.
        process_id: index of this process, from 0.

    Returns:
        Whether there is more than one process.

    Raises:
        MeshError: some of the arguments are missing or invalid.
    """
    given = {"coordinator": coordinator, "process_count": process_count, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if not missing:
        assert coordinator and process_count is not None and process_id is not None
        if ":" not in coordinator:
            raise MeshError(f"coordinator is {coordinator!r}, expected host:port of process 0")
        if not 0 <= process_id < process_count:
            raise MeshError(
                f"process_id is {process_id}, expected 0 to {process_count - 1} "
                f"as process_count is {process_count}"
            )
        if process_count == 1:
            return False
        jax.distributed.initialize(
            coordinator, process_count, process_id, cluster_detection_method="deactivate"
        )
        return True
    if len(missing) < len(given):
        raise MeshError(
            f"missing {' and '.join(missing)}: a run on several hosts needs coordinator, "
            "process_count and process_id, or none of them under srun"
        )
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return False
    jax.distributed.initialize(local_device_ids=slurm_devices(os.environ))
    return True


def slurm_devices(environ: Mapping[str, str]) -> list[int] | None:
    """Returns the local device ids of this Slurm task; None lets jax decide.

    jax gives GPU k to task k of a node. That is wrong if a node runs one task for all its GPUs, and
    if Slurm makes only its own GPU visible to each task.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES") or None
    gpus = len(visible.split(",")) if visible else int(environ.get("SLURM_GPUS_ON_NODE", 0))
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    nodes = int(environ.get("SLURM_STEP_NUM_NODES", 1))
    if gpus == 1 or (gpus and tasks == nodes):
        return list(range(gpus))
    return None


def is_main() -> bool:
    """Returns whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def meet(place: str) -> None:
    """Waits for all processes; `place` must be the same in all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def from_main(values: np.ndarray) -> np.ndarray:
    """Broadcasts the main process's values; other processes pass any values of that shape."""
    if jax.process_count() == 1:
        return values
    return np.asarray(multihost_utils.broadcast_one_to_all(values))


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes a mesh with the single axis `data`.

    Args:
        devices: default all devices of all processes. A host's devices are adjacent, so that a
            host's rows of the batch are consecutive.
    """
    chosen = sorted(
        jax.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id)
    )
    return Mesh(np.array(chosen), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding with the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding with the leading axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def host_rows(batch_size: int, mesh: Mesh, *, field: str = "batch_size") -> slice:
    """Returns the rows of the global batch that this process loads.

    Args:
        batch_size: rows of the global batch.
        mesh: from `make_mesh`.
        field: name of the config field, for the message.

    Raises:
        MeshError: the batch size is not a multiple of the number of devices.
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise MeshError(
            f"config.{field} is {batch_size}, expected a multiple of {mesh.size}, the number of "
            f"devices; the next is {max(1, -(-batch_size // mesh.size)) * mesh.size}"
        )
    each = batch_size // mesh.size
    mine = [
        i for i, device in enumerate(mesh.devices) if device.process_index == jax.process_index()
    ]
    return slice(mine[0] * each, (mine[-1] + 1) * each)


def put_batch(batch: Any, mesh: Mesh, *, field: str = "batch_size") -> Any:
    """Makes global arrays, sharded over the devices, from each process's rows.

    The transfer is asynchronous, and a CPU device may read the memory in place: do not write to the
    arrays afterwards.

    Args:
        batch: a tree of NumPy arrays with this process's rows (`host_rows`) along the first axis.
        mesh: from `make_mesh`.
        field: name of the config field, for the message.

    Returns:
        The same tree of `jax.Array`.

    Raises:
        MeshError: the arrays differ in their number of rows, or it is not a multiple of the number
            of local devices.
    """
    sharding = batch_sharding(mesh)
    count = len(mesh.local_devices)
    rows = Counter(np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch))
    if len(rows) != 1 or () in rows:
        shapes = jax.tree.map(np.shape, batch)
        raise MeshError(f"arrays of a batch need the same number of rows, these have {shapes}")
    ((number,),) = rows
    if number < 1 or number % count:
        raise MeshError(
            f"this host's part of the batch has {number} rows, expected a multiple of {count}, its "
            f"number of devices: config.{field} must be a multiple of {mesh.size}"
        )
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch
    )


def describe_devices(mesh: Mesh) -> str:
    """Returns one line for the start of a run, like `4 x cpu in 1 process, jax 0.10.2`."""
    kinds = Counter(device.device_kind for device in mesh.devices)
    devices = " + ".join(f"{number} x {kind}" for kind, number in kinds.items())
    processes = len({device.process_index for device in mesh.devices})
    plural = "process" if processes == 1 else "processes"
    return f"{devices} in {processes} {plural}, jax {jax.__version__}"
