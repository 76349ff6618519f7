"""Train text detectors and recognizers in JAX, and read photos with them.

    from ocrjax import Reader

    page = Reader().read("photo.jpg")

Names are imported when they are first used: `import ocrjax` alone loads neither jax nor NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from craftjax.detector import Detector
    from crnnjax.recognizer import Recognizer
    from ocrcore.pages import Page, Sample, Word
    from ocrjax.fitting.run import fit
    from ocrjax.reader import Reader

    __version__: str

__all__ = ["Detector", "Page", "Reader", "Recognizer", "Sample", "Word", "__version__", "fit"]

_HOMES = {
    "Detector": "craftjax.detector",
    "Page": "ocrcore.pages",
    "Reader": "ocrjax.reader",
    "Recognizer": "crnnjax.recognizer",
    "Sample": "ocrcore.pages",
    "Word": "ocrcore.pages",
    "fit": "ocrjax.fitting.run",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # later look-ups do not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed version, or that of pyproject.toml in a checkout that is not installed."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("ocrjax")
    except PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
