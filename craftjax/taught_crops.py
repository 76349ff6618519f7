"""Crops with a teacher's score maps, stored in a folder.

`00000012.png` is a crop. `00000012.maps.png` holds its region, affinity and zeros as red, green and
blue at half the size; a score of 1 is stored as 255. `taught.json` records what the crops depend
on. They are stored because a forward pass of the teacher takes as long as several training steps of
a small network.

Host code: no jax.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.data.mixing import SourceError
from ocrcore.files import write_bytes
from ocrcore.images import encode_image, read_image
from ocrcore.pages import ByteArray, FloatArray, Page, PageError, Sample

FACTS = "taught.json"
_MAPS = ".maps.png"


@dataclass(frozen=True, slots=True, eq=False)
class TaughtSample(Sample):
    """A crop without words, and its score maps.

    Attributes:
        maps: `(height // 2, width // 2, 3)` uint8: region, affinity, zeros; 255 is a score of 1.
    """

    maps: ByteArray

    def __post_init__(self) -> None:
        Sample.__post_init__(self)
        shape = (self.page.height // 2, self.page.width // 2, 3)
        if self.maps.dtype != np.uint8 or self.maps.shape != shape:
            raise PageError(f"maps {self.maps.dtype} {self.maps.shape}, expected uint8 {shape}")


class TaughtCrops(Sequence[TaughtSample]):
    """The crops of a folder, sorted by name.

    Args:
        folder: folder written by `write_crop`.

    Raises:
        SourceError: the folder does not exist or has no crops.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.names = sorted(path.name.removesuffix(_MAPS) for path in self.folder.glob(f"*{_MAPS}"))
        if not self.names:
            raise SourceError(
                f"{folder}: no crops with score maps in it; a training with config.distill.crops "
                "makes them"
            )

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the path of a crop."""
        return str(self.folder / f"{self.names[index]}.png")

    def __getitem__(self, index: int) -> TaughtSample:  # type: ignore[override]
        """Read a crop.

        Raises:
            IndexError: the index is not in `[0, len)`.
            ImageError: a file cannot be read.
            PageError: the maps do not match the crop's size.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"crop {index} of {len(self)}")
        image = read_image(self.name(index))
        maps = read_image(self.folder / f"{self.names[index]}{_MAPS}")
        height, width = image.shape[:2]
        page = Page(height, width, (), self.name(index))
        try:
            return TaughtSample(image, page, maps)
        except PageError as error:
            raise PageError(f"{self.name(index)}: {error}") from error


def has_crop(folder: Path, number: int) -> bool:
    """Return whether a crop is complete; its maps are written last."""
    return (folder / f"{number:08d}{_MAPS}").is_file()


def write_crop(folder: Path, number: int, image: ByteArray, maps: FloatArray) -> None:
    """Write a crop and its maps.

    Args:
        folder: an existing folder.
        number: number of the crop.
        image: `(H, W, 3)` uint8, RGB.
        maps: `(H // 2, W // 2, 2)`, region and affinity from 0 to 1.
    """
    levels = np.zeros((*maps.shape[:2], 3), np.uint8)
    levels[..., :2] = np.round(np.clip(maps, 0, 1) * 255)
    write_bytes(folder / f"{number:08d}.png", encode_image(image, suffix=".png"))
    write_bytes(folder / f"{number:08d}{_MAPS}", encode_image(levels, suffix=".png"))


def same_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a folder of crops made with other settings; record the settings in a new folder.

    Args:
        folder: folder of the crops.
        facts: all that the crops depend on, by name. `teacher` names the weights; `weights` is
            their fingerprint, which decides.

    Raises:
        SourceError: the settings differ, or a folder with crops has no record of them.
    """
    path, remedy = folder / FACTS, "give another config.distill.cache, or remove the folder"
    text = json.dumps(facts, indent=1, sort_keys=True, default=repr)
    if path.is_file():
        now = json.loads(text)
        try:
            known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise SourceError(f"{path}: not a record of crops ({error}): {remedy}") from error
        differ = {name for name in known | now if known.get(name) != now.get(name)}
        if others := sorted(differ - {"teacher", "weights"}):
            raise SourceError(
                f"{folder}: its crops were made with other settings or from other files: "
                f"{', '.join(others)} (compare {path}): {remedy}"
            )
        if "weights" in differ:
            raise SourceError(
                f"{folder}: its crops were scored by {known.get('teacher')!r} with other weights "
                f"than config.distill.teacher={facts['teacher']!r} has now: {remedy}"
            )
    elif any(folder.glob(f"*{_MAPS}")):
        raise SourceError(f"{folder}: crops, but no {FACTS} that says what they were made of")
    else:
        write_bytes(path, text.encode())
