"""Settings that must stand before jax is imported, and what several tests share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Four devices on any machine, for what is sharded; everything else runs on the first.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
# Compiled programs are kept between runs: most of the suite's time would be compilation.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import cv2
import numpy as np
import pytest
from hypothesis import settings

from ocrcore.weights.named import WeightsNotFoundError, find_weights

cv2.setNumThreads(1)
# The same examples each time where a change is judged, others wherever one is made.
settings.register_profile("house", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("house")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """Arrays computed with the original."""
    with np.load(Path(__file__).parent / "golden" / "craft_golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def crnn_golden() -> dict[str, np.ndarray]:
    """Arrays computed with EasyOCR's recognizer and torch's CTC."""
    with np.load(Path(__file__).parent / "golden" / "crnn_golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def craft_weights() -> Path:
    """The file of `craft_mlt_25k`, where the `weights` extra is installed."""
    try:
        return find_weights("craft_mlt_25k")
    except WeightsNotFoundError:
        pytest.skip("the weights extra is not installed")


@pytest.fixture(scope="session")
def icdar2003() -> Path:
    """Real photos with their labels, where they lie beside the checkout."""
    folder = SHARED / "datasets" / "icdar2003"
    if not folder.is_dir():
        pytest.skip("the real photos are not here")
    return folder
