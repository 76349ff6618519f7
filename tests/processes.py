"""Commands in processes of their own, for tests that stop and kill them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def launch(module, config, workdir, *arguments, devices=4):
    """Starts `python -m module` in a group of its own; warnings are errors there, too."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    # ml_collections loads configs by a deprecated call.
    warnings = ("-W", "error", "-W", "ignore:the load_module() method:DeprecationWarning")
    return subprocess.Popen(
        [
            *(sys.executable, *warnings, "-m", module),
            *(f"--config={config}", f"--workdir={workdir}", *arguments),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Waits for the end, of processes that it has started, too: exit status, output, errors."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(process, start):
    """Reads the output up to a line that begins so."""
    while not (got := process.stdout.readline()).startswith(start):
        assert got, process.stderr.read()
