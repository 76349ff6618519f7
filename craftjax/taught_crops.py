"""Crops with the score maps that a teacher made for them, kept in a folder.

`00000012.png` is a crop, `00000012.maps.png` its region, affinity and zeros as red, green and blue,
at half the size, a score of 1 being 255. `taught.json` says what they were made of. Drawing a crop
again costs little; what the teacher thinks of it costs several steps of training a small network.

Host code: no jax.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ocrcore.data.mixing import SourceError
from ocrcore.files import write_bytes
from ocrcore.images import encode_image, read_image
from ocrcore.pages import ByteArray, FloatArray, Page, PageError, Sample

FACTS = "taught.json"
_MAPS = ".maps.png"


@dataclass(frozen=True, slots=True, eq=False)
class TaughtSample(Sample):
    """A crop, without words, and its maps.

    Attributes:
        maps: `(height // 2, width // 2, 3)` uint8: region, affinity, nothing; 255 is a score of 1.
    """

    maps: ByteArray

    def __post_init__(self) -> None:
        Sample.__post_init__(self)
        shape = (self.page.height // 2, self.page.width // 2, 3)
        if self.maps.dtype != np.uint8 or self.maps.shape != shape:
            raise PageError(f"maps {self.maps.dtype} {self.maps.shape}, expected uint8 {shape}")


class TaughtCrops(Sequence[TaughtSample]):
    """The crops of a folder, ordered by name.

    Args:
        folder: where `write_crop` put them.

    Raises:
        SourceError: no such folder, or none in it.
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
        """Returns the path of the crop of an index."""
        return str(self.folder / f"{self.names[index]}.png")

    def __getitem__(self, index: int) -> TaughtSample:  # type: ignore[override]
        """Reads the crop of an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            ImageError: a file that cannot be read.
            PageError: a crop and maps that do not belong together.
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
    """Whether a crop is there whole: its maps are written last."""
    return (folder / f"{number:08d}{_MAPS}").is_file()


def write_crop(folder: Path, number: int, image: ByteArray, maps: FloatArray) -> None:
    """Writes a crop.

    Args:
        folder: exists.
        number: of the crop.
        image: `(H, W, 3)` uint8, RGB.
        maps: `(H // 2, W // 2, 2)`, region and affinity from 0 to 1.
    """
    levels = np.zeros((*maps.shape[:2], 3), np.uint8)
    levels[..., :2] = np.round(np.clip(maps, 0, 1) * 255)
    write_bytes(folder / f"{number:08d}.png", encode_image(image, suffix=".png"))
    write_bytes(folder / f"{number:08d}{_MAPS}", encode_image(levels, suffix=".png"))


def same_facts(folder: Path, facts: object) -> None:
    """Refuses a folder of crops that were made of something else; notes it in a new one.

    Raises:
        SourceError: names what differs.
    """
    path = folder / FACTS
    text = json.dumps(facts, indent=1, sort_keys=True, default=repr)
    if path.is_file():
        known = path.read_text(encoding="utf-8")
        if known != text:
            raise SourceError(
                f"{folder}: its crops were made with other settings (compare {path}): give "
                "another config.distill.cache, or remove the folder"
            )
    elif any(folder.glob(f"*{_MAPS}")):
        raise SourceError(f"{folder}: crops, but no {FACTS} that says what they were made of")
    else:
        write_bytes(path, text.encode())
