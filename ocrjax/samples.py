"""Crops and photos to check an export with: given ones, or the run's evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from craftjax.evaluate import read_truth
from crnnjax.crop_index import open_crops
from crnnjax.input_pipeline import InputOptions
from crnnjax.report import open_sets
from crnnjax.resize import as_gray, read_gray
from ocrcore.data.readers.crops import Crop
from ocrcore.images import ImageError, find_images, read_image
from ocrcore.pages import ByteArray, LabelError, Sample
from ocrcore.training.run_folder import RunFolder


class SamplesError(ValueError):
    """There are no samples to check with; the message says which option gives them."""


def crop_sets(path: str | None, run: RunFolder) -> list[Sequence[Crop]]:
    """Return labeled crops: those of `--crops`, else those that chose the run's checkpoint."""
    if path is not None:
        place = Path(path)
        if not place.exists():
            raise SamplesError(f"--crops {path}: no such file or folder")
        kind = "tsv" if place.is_file() else "lmdb" if (place / "data.mdb").is_file() else "csv"
        return [open_crops(kind, place)]
    config = run.read_config()
    sections = (config.get("eval") or {}).get("sets")
    if not sections:
        raise SamplesError(f"{run.path}: has no crops to check with; name some: --crops PATH")
    config = {**config, "data": {**config["data"], "charset": str(run.charset)}}
    options = InputOptions.from_config(ConfigDict(config))
    return list(open_sets(sections, field="config.eval.sets", options=options).values())


def read_crops(
    sets: Sequence[Sequence[Crop]], count: int, log: Callable[[str], object]
) -> list[tuple[ByteArray, str]]:
    """Return gray crops with their texts, evenly spaced over all; unreadable ones are left out."""
    places = [(crops, index) for crops in sets for index in range(len(crops))]
    out = []
    for at in spread(len(places), count):
        crops, index = places[at]
        try:
            crop = crops[index]
            # From a file, the gray values that EasyOCR would read.
            gray = read_gray(crop.name) if crop.data is None else as_gray(crop.image())
            out.append((gray, crop.text))
        except (ImageError, LabelError) as error:
            log(f"left out: {error}")
    return out


def read_photos(
    paths: Sequence[str], config: Mapping[str, Any], source: Path, count: int
) -> list[tuple[str, ByteArray]]:
    """Return photos with their names, evenly spaced over all."""
    if paths:
        files = find_images(list(paths))
        return [(files[at].name, read_image(files[at])) for at in spread(len(files), count)]
    if not config.get("test"):
        raise SamplesError(f"{source}: has no photos to check with; name some: --photos PATH")
    truth = read_truth(config["test"])
    out = []
    for index in spread(len(truth), count):
        item = truth[index]
        if isinstance(item, Sample):
            out.append((f"page {index}", item.image))
        else:
            out.append((Path(str(item.path)).name, read_image(str(item.path))))
    return out


def spread(total: int, count: int) -> Sequence[int]:
    """Return `count` evenly spaced indices below `total`.

    Raises:
        SamplesError: a count below 1.
    """
    if count < 1:
        raise SamplesError(f"--count {count}: expected 1 or more")
    return [index * total // min(count, total) for index in range(min(count, total))]
