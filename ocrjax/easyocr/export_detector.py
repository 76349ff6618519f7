"""Detectors as weights of EasyOCR's CRAFT, and the proof that a Reader finds the same boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from craftjax.convert import to_state_dict
from craftjax.detector import Detector
from craftjax.models import options_of
from craftjax.options import DetectorOptions
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.progress import shown
from ocrcore.weights.pth import save_weights
from ocrjax.easyocr.rules import PUBLISHED, ExportError
from ocrjax.easyocr.runner import run_easyocr

# What a Reader's `readtext` and `detect` take.
_READTEXT = ("text_threshold", "low_text", "link_threshold", "canvas_size", "mag_ratio")


def write_detector(
    folder: str | Path, variables: Mapping[str, Any], *, name: str, options: DetectorOptions
) -> Path:
    """Writes a bare state dict that EasyOCR's CRAFT loads, and how to use it.

    Args:
        folder: takes `name.pth` and `README.txt`; made as needed.
        variables: of `craftjax.models.CRAFT`, of width 1.
        name: of the file.
        options: thresholds and scaling to read with.

    Returns:
        The path of the weights.

    Raises:
        ExportError: a network of another width, no name of a file, or one of EasyOCR's own files.
    """
    features, width = options_of(variables).values()
    if features != "vgg":
        raise ExportError(
            "this is the compact detector, and EasyOCR's module is CRAFT's (VGG): it cannot load "
            "it. ocrjax export onnx writes it for ONNX Runtime; a Reader takes the boxes that it "
            "finds by recognize(image, horizontal_list, free_list)"
        )
    if width != 1:
        raise ExportError(
            f"this detector is of width {width:g}, and EasyOCR's CRAFT has the full width: train "
            "one with config.model.width = 1 for EasyOCR"
        )
    if not re.fullmatch(r"[\w-][\w. -]*", name):
        raise ExportError(
            f"the name {name!r}: expected that of a file without its folder, of letters, digits, "
            "blanks, _ - and . (--name NAME, --out DIR)"
        )
    if name in PUBLISHED:
        raise ExportError(
            f"the name {name!r} is that of a file of EasyOCR's own, which deletes one whose md5 is "
            "another: choose another (--name NAME)"
        )
    path = Path(folder) / f"{name}.pth"
    save_weights(path, to_state_dict(variables))
    write_readme(path, options, checked=None)
    return path


def write_readme(path: Path, options: DetectorOptions, *, checked: str | None) -> None:
    """Writes `README.txt` beside the weights: how to use them, and what a check found."""
    values = asdict(options)
    arguments = ", ".join(f"{name}={values[name]!r}" for name in _READTEXT)
    path.with_name("README.txt").write_text(
        f"""{path.stem}: a text detector for EasyOCR, made by ocrjax.

EasyOCR has no setting for a detector of one's own, and a file of its own name with another md5 it
deletes. A Reader without detector takes this one; nothing in EasyOCR has to be changed:

    import easyocr
    from easyocr.detection import get_detector, get_textbox
    reader = easyocr.Reader(["en"], detector=False)
    reader.detector = get_detector("{path.name}", reader.device)
    reader.get_textbox = get_textbox
    print(reader.readtext("photo.jpg", {arguments}))

Give the path of {path.name} where it lies. Works with recog_network="..." too.

{checked or "Not checked in EasyOCR yet: ocrjax export easyocr ... --check"}
""",
        encoding="utf-8",
    )


@dataclass(frozen=True, slots=True)
class Check:
    """Boxes of EasyOCR and of this package.

    Attributes:
        names: of the photos.
        counts: number of boxes by photo, of this package and of EasyOCR.
        lines: lines that a Reader makes of them.
        distances: the largest distance of a corner in pixels; infinite if the numbers differ.
        versions: of easyocr and torch.
    """

    names: tuple[str, ...]
    counts: tuple[tuple[int, int], ...]
    lines: tuple[int, ...]
    distances: tuple[float, ...]
    versions: dict[str, str]

    def faults(self) -> list[str]:
        """Why the export is not good; empty if it is: all boxes within half a pixel.

        One photo in a hundred may differ, where a score lies on a threshold.
        """
        apart = [index for index, distance in enumerate(self.distances) if not distance <= 0.5]
        if len(apart) <= len(self.names) / 100:
            return []
        ours, theirs = self.counts[apart[0]]
        return [
            f"boxes differ on {len(apart)} of {len(self.names)} photos, such as "
            f"{self.names[apart[0]]}: {ours} ours, {theirs} EasyOCR's, "
            f"{self.distances[apart[0]]:.3g} px apart"
        ]

    def table(self) -> str:
        """One line a photo."""
        width = max(len(name) for name in self.names)
        lines = [
            f"{len(self.names)} photos, EasyOCR {self.versions['easyocr']}, torch "
            f"{self.versions['torch']}",
            f"{'':{width}}   ours  EasyOCR  largest distance  lines of a Reader",
        ]
        for name, (ours, theirs), distance, count in zip(
            self.names, self.counts, self.distances, self.lines, strict=True
        ):
            lines.append(f"{name:{width}} {ours:6} {theirs:8} {distance:14.4f} px {count:18}")
        same = sum(distance <= 0.5 for distance in self.distances)
        lines.append(f"the same boxes on {same} of {len(self.names)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        photos = [
            {"name": name, "boxes": counts, "distance": distance}
            for name, counts, distance in zip(self.names, self.counts, self.distances, strict=True)
        ]
        return {**self.versions, "faults": self.faults(), "photos": photos}


def check_detector(
    path: str | Path,
    detector: Detector,
    photos: Sequence[tuple[str, ByteArray]],
    *,
    python: str | Path | None = None,
) -> Check:
    """Finds boxes with the weights in a real `easyocr.Reader`, and with ours.

    Args:
        path: of the weights as written.
        detector: ours, with the options to compare at.
        photos: names and pictures, RGB.
        python: an interpreter that has EasyOCR; default this one.

    Raises:
        EasyOcrError: EasyOCR cannot be run, or cannot load the weights.
        ExportError: there are no photos.
    """
    if not photos:
        raise ExportError("no photos to check with")
    options = replace(detector.options, pad="exact", border="keep", tile=False, polygons=False)
    path = Path(path).resolve()
    job = {
        "task": "detect",
        "weights": str(path),
        "models": str(path.parent),
        "networks": str(path.parent),
        "options": {name: getattr(options, name) for name in _READTEXT},
    }
    result, arrays = run_easyocr(job, [image for _, image in photos], python=python)
    counts, distances = [], []
    for index in shown(range(len(photos)), "finding the same with ours", unit="photo"):
        image = photos[index][1]
        page = detector.detect(image, **asdict(options))
        theirs = arrays[f"boxes{index}"]
        counts.append((len(page.words), len(theirs)))
        distances.append(_distance(page.quads, theirs))
    return Check(
        tuple(name for name, _ in photos),
        tuple(counts),
        tuple(int(count) for count in result["found"]),
        tuple(distances),
        {name: str(result[name]) for name in ("easyocr", "torch")},
    )


def _distance(ours: FloatArray, theirs: FloatArray) -> float:
    if len(ours) != len(theirs):
        return float("inf")
    return float(np.abs(ours - theirs).max(initial=0))
