"""Imports the projects that the benchmarks compare with; none of them is a dependency."""

from __future__ import annotations

import importlib.metadata
from types import ModuleType
from typing import Any

INSTALL = "pip install easyocr==1.7.2"

_library: Any = None  # torchvision's operators exist as long as the object that defines them


class PeerMissing(RuntimeError):
    """A project to compare with is not installed; the message says how to install it."""


def import_easyocr() -> ModuleType:
    """Import EasyOCR.

    EasyOCR imports torchvision, and a torchvision built for another torch (the CUDA build next to a
    CPU-only torch) fails because its compiled operators are missing. EasyOCR's detector uses none
    of them, so if only they are missing, their schemas are registered first.

    Raises:
        PeerMissing: EasyOCR or one of its dependencies is not installed.
    """
    global _library
    try:
        import torch

        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            _library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                _library.define(
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        import easyocr
    except ImportError as error:
        raise PeerMissing(f"EasyOCR cannot be imported ({error}); try `{INSTALL}`") from error
    return easyocr


def version(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
