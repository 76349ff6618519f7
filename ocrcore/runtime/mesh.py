"""Devices of all hosts: one mesh, with the batch sharded over it and everything else replicated.

One process per host (or per GPU, as is usual under Slurm) runs the same program. The state is
replicated, the leading axis of the batch is sharded, and `jax.jit` inserts the collectives; see
`ocrcore.training.state.compile_step`.
"""

from __future__ import annotations

import json
import os
import platform
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ocrcore.runtime.facts import refuse_differences
from ocrcore.runtime.hosts import TIMEOUT, WAIT, Place, join, slurm_place

T = TypeVar("T")
AXIS = "data"
SAME_DATA = (
    "All hosts need the same files: name a folder that all share, or bring their copies up to date"
)
"""The remedy where data differs."""
_CONNECT = 60  # seconds: all processes are there already


class MeshError(ValueError):
    """A batch or a set of processes does not fit the devices; the message says what would."""


def initialize_distributed(
    *,
    coordinator: str | None = None,
    process_count: int | None = None,
    process_id: int | None = None,
    facts: Mapping[str, Any] | None = None,
    wait: float = WAIT,
    timeout: float = TIMEOUT,
    log: Callable[[str], object] = print,
) -> bool:
    """Join the processes of a run; call it before anything else uses jax.

    Uses the first three arguments if they are given. Otherwise joins the processes of a Slurm step
    (`srun` with more than one task), and does nothing for a single process. jax starts once all
    processes have come and have the same facts; `ocrcore.runtime.hosts` watches them from then on.

    Args:
        coordinator: `host:port` of process 0, the same in all processes. jax takes another port
            there, and more between the processes.
        process_count: number of processes.
        process_id: index of this process, from 0.
        facts: what must be the same in all, as of `ocrcore.runtime.facts.facts_of`.
        wait: seconds to wait for the others.
        timeout: seconds without a sign of life after which a host is given up.
        log: called with a line about who is waited for.

    Returns:
        Whether there is more than one process.

    Raises:
        MeshError: some of the arguments are missing or invalid.
        HostsError: processes that do not come in time, or do not fit together.
    """
    place, devices = _place(coordinator, process_count, process_id), None
    if place is None:
        place, devices = slurm_place(os.environ), slurm_devices(os.environ)
    if place is None or place.count == 1:
        return False
    roll = join(place, facts or {}, wait=wait, timeout=timeout, log=log)
    jax.distributed.initialize(
        f"{place.coordinator.rpartition(':')[0]}:{roll.port}",
        place.count,
        place.process,
        local_device_ids=devices,
        cluster_detection_method="deactivate",
        initialization_timeout=_CONNECT,
        # Ours comes first, and says more; this one is for a watch that is lost itself.
        heartbeat_timeout_seconds=max(100, 3 * int(timeout)),
        shutdown_timeout_seconds=_CONNECT,
    )
    return True


def _place(
    coordinator: str | None, process_count: int | None, process_id: int | None
) -> Place | None:
    """The place that the arguments give; None where they give none."""
    given = {"coordinator": coordinator, "process_count": process_count, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise MeshError(
            f"missing {' and '.join(missing)}: a run on several hosts needs coordinator, "
            "process_count and process_id, or none of them under srun"
        )
    assert coordinator and process_count is not None and process_id is not None
    if ":" not in coordinator:
        raise MeshError(f"coordinator is {coordinator!r}, expected host:port of process 0")
    if not 0 <= process_id < process_count:
        raise MeshError(
            f"process_id is {process_id}, expected 0 to {process_count - 1} "
            f"as process_count is {process_count}"
        )
    return Place(coordinator, process_count, process_id)


def slurm_devices(environ: Mapping[str, str]) -> list[int] | None:
    """Return the local device ids of this Slurm task; None for all that it sees.

    One of several tasks of a node takes the GPU of its number there, unless Slurm makes only its
    own GPU visible to it.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES") or None
    gpus = len(visible.split(",")) if visible else int(environ.get("SLURM_GPUS_ON_NODE", 0))
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    nodes = int(environ.get("SLURM_STEP_NUM_NODES", 1))
    if gpus == 1 or tasks == nodes:
        return list(range(gpus)) or None
    return [int(environ.get("SLURM_LOCALID", 0))]


def is_main() -> bool:
    """Return whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def meet(place: str) -> None:
    """Wait for all processes; `place` must be the same in all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def my_share(items: Sequence[T]) -> Sequence[T]:
    """This process's share of some work: every `process_count`-th item."""
    return items[jax.process_index() :: jax.process_count()]


def from_shares(shares: Sequence[Sequence[T]]) -> list[T]:
    """Put the items of all shares in order again; the reverse of `my_share`.

    Args:
        shares: of all processes in order.

    Raises:
        MeshError: they are not the shares of one list.
    """
    total = sum(map(len, shares))
    out = list[T]()
    for index in range(total):
        share, place = shares[index % len(shares)], index // len(shares)
        if place >= len(share):
            raise MeshError(
                f"the processes have done {', '.join(str(len(one)) for one in shares)} items, "
                "which are not shares of one list: do all hosts see the same data?"
            )
        out.append(share[place])
    return out


def gather_json(value: Any) -> list[Any]:
    """The values of all processes in order, in all of them.

    Args:
        value: plain JSON values; floats come back bit for bit.
    """
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(data), np.int32)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(np.asarray(rows), sizes, strict=True)
    ]


def require_same(facts: Mapping[str, Any], *, remedy: str) -> None:
    """Sees to it that all processes have the same; all must call it.

    Args:
        facts: plain JSON values by name, which may have names within.
        remedy: what to do where they differ, as the end of the message.

    Raises:
        HostsError: names what differs, and who has which value; in all processes.
    """
    if jax.process_count() == 1:
        return
    digest = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    found = gather_json([platform.node(), digest])
    if len({digest for _, digest in found}) > 1:
        refuse_differences(gather_json(facts), [host for host, _ in found], remedy=remedy)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make a mesh with the single axis `data`.

    Args:
        devices: default all devices of all processes. A host's devices are adjacent, so that a
            host's rows of the batch are consecutive.
    """
    chosen = sorted(
        jax.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id)
    )
    return Mesh(np.array(chosen), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding with the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding with the leading axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def host_rows(batch_size: int, mesh: Mesh, *, field: str = "batch_size") -> slice:
    """Return the rows of the global batch that this process loads.

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
    """Make global arrays, sharded over the devices, from each process's rows.

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
    """Return one line for the start of a run, like `4 x cpu in 1 process, jax 0.10.2`."""
    kinds = Counter(device.device_kind for device in mesh.devices)
    devices = " + ".join(f"{number} x {kind}" for kind, number in kinds.items())
    processes = len({device.process_index for device in mesh.devices})
    plural = "process" if processes == 1 else "processes"
    return f"{devices} in {processes} {plural}, jax {jax.__version__}"
