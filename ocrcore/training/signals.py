"""Stopping on request: SIGTERM, SIGINT, SIGHUP, or a cluster notice, agreed among all hosts.

SIGHUP is sent when the terminal is closed or its connection breaks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ocrcore.data.processes import STOP_SIGNALS
from ocrcore.runtime.mesh import batch_sharding, replicated

_ALWAYS = (signal.SIGTERM, signal.SIGINT)
# On several hosts `reached` reads an answer that is this many steps old, so that it never waits.
_LAG = 2


class StopSignal:
    """Catches requests to stop while it is entered; the loop calls `reached` after each step.

    Example:
        with StopSignal(mesh) as stop:
            for step in range(first, last):
                ...
                if stop.reached(step + 1):
                    save and return

    The first signal sets a flag, a second SIGINT interrupts at once. A SIGHUP that is ignored, as
    under `nohup`, stays ignored. Old handlers are restored at the end. Python delivers signals to
    the main thread only; in other threads nothing is caught. Enter it after
    `initialize_distributed`, which installs its own handler.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._several = len({device.process_index for device in mesh.devices}) > 1
        self._old: dict[signal.Signals, Any] = {}
        self._answers: deque[jax.Array] = deque()
        self._sum = jax.jit(jnp.sum, out_shardings=replicated(mesh))
        self.requested = False

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number in _ALWAYS or signal.getsignal(number) != signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            # None is a handler that was not installed from Python; it cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._old = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        name = signal.Signals(number).name
        # print() is not safe here: the signal may have interrupted another print().
        with suppress(OSError):  # after SIGHUP the terminal may be gone
            os.write(
                2, f"\n{name}: stopping after this step; Ctrl-C again stops at once\n".encode()
            )

    def reached(self, step: int) -> bool:
        """Return whether to stop now; all hosts must call it after each step and get one answer.

        On one host it is the flag. On several hosts the flags are summed by a tiny program whose
        result is read two steps later, so this never waits for the devices.

        Args:
            step: number of updates so far.
        """
        # Preemption notices of the cluster; jax returns True on all hosts at the same step.
        if multihost_utils.reached_preemption_sync_point(step):
            return True
        if not self._several:
            return self.requested
        flags = np.full(len(self._mesh.local_devices), self.requested, np.int32)
        flag = jax.make_array_from_process_local_data(batch_sharding(self._mesh), flags)
        self._answers.append(self._sum(flag))
        return len(self._answers) > _LAG and bool(np.asarray(self._answers.popleft()))
