"""Detectors as weights for EasyOCR's CRAFT, and the check that EasyOCR finds the same boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from craftjax.convert import to_state_dict
from craftjax.detector import Detector
from craftjax.models import width_of
from craftjax.options import DetectorOptions
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.progress import shown
from ocrcore.weights.pth import save_weights
from ocrjax.easyocr.rules import PUBLISHED, ExportError
from ocrjax.easyocr.runner import run_easyocr

# Arguments of `readtext` and `detect` of `easyocr.Reader`.
_READTEXT = ("text_threshold", "low_text", "link_threshold", "canvas_size", "mag_ratio")


def write_detector(
    folder: str | Path, variables: Mapping[str, Any], *, name: str, options: DetectorOptions
) -> Path:
    """Write a state dict that EasyOCR's CRAFT loads, and a README on how to use it.

    Args:
        folder: folder for `name.pth` and `README.txt`; created if needed.
        variables: variables of a `craftjax.models.CRAFT` of width 1.
        name: name of the file.
        options: thresholds and scaling for the README.

    Returns:
        The path of the weights.

    Raises:
        ExportError: a network of another width, an invalid file name, or the name of one of
            EasyOCR's own files.
    """
    width = width_of(variables)
    if width != 1:
        raise ExportError(
            f"this detector has the width {width:g}, but EasyOCR's CRAFT has the full width: for "
            "EasyOCR, train one with config.model.width = 1"
        )
    if not re.fullmatch(r"[\w-][\w. -]*", name):
        raise ExportError(
            f"the name {name!r}: expected a file name without a folder, made of letters, digits, "
            "spaces, _ - and . (--name NAME; the folder is --out DIR)"
        )
    if name in PUBLISHED:
        raise ExportError(
            f"the name {name!r} belongs to one of EasyOCR's own files, and EasyOCR deletes a file "
            "of that name with another md5: choose another name (--name NAME)"
        )
    path = Path(folder) / f"{name}.pth"
    save_weights(path, to_state_dict(variables))
    write_readme(path, options, checked=None)
    return path


def write_readme(path: Path, options: DetectorOptions, *, checked: str | None) -> None:
    """Write `README.txt` next to the weights: how to use them, and the result of a check."""
    values = asdict(options)
    arguments = ", ".join(f"{name}={values[name]!r}" for name in _READTEXT)
    path.with_name("README.txt").write_text(
        f"""{path.stem}: a text detector for EasyOCR, made by ocrjax.

EasyOCR has no setting for a custom detector, and it deletes a file that has the name of its own
detector and another md5. Create a Reader without a detector and set this one; EasyOCR itself needs
no changes:

    import easyocr
    from easyocr.detection import get_detector, get_textbox
    reader = easyocr.Reader(["en"], detector=False)
    reader.detector = get_detector("{path.name}", reader.device)
    reader.get_textbox = get_textbox
    print(reader.readtext("photo.jpg", {arguments}))

Use the actual path of {path.name}. This also works with recog_network="...".

{checked or "Not checked in EasyOCR yet: ocrjax export easyocr ... --check"}
""",
        encoding="utf-8",
    )


@dataclass(frozen=True, slots=True)
class Check:
    """Boxes of EasyOCR and of ocrjax.

    Attributes:
        names: names of the photos.
        counts: number of boxes in each photo, of ocrjax and of EasyOCR.
        lines: number of lines that EasyOCR makes of the boxes, by photo.
        distances: largest distance of a corner in pixels, by photo; infinite if the counts differ.
        versions: versions of easyocr and torch.
    """

    names: tuple[str, ...]
    counts: tuple[tuple[int, int], ...]
    lines: tuple[int, ...]
    distances: tuple[float, ...]
    versions: dict[str, str]

    def faults(self) -> list[str]:
        """Return why the export is not good; empty if all boxes agree within half a pixel.

        One photo in a hundred may differ, because a score may lie just at a threshold.
        """
        apart = [index for index, distance in enumerate(self.distances) if not distance <= 0.5]
        if len(apart) <= len(self.names) / 100:
            return []
        ours, theirs = self.counts[apart[0]]
        return [
            f"boxes differ on {len(apart)} of {len(self.names)} photos, such as "
            f"{self.names[apart[0]]}: ocrjax {ours}, EasyOCR {theirs}, "
            f"{self.distances[apart[0]]:.3g} px apart"
        ]

    def table(self) -> str:
        """Return a table with one line per photo."""
        width = max(len(name) for name in self.names)
        lines = [
            f"{len(self.names)} photos, EasyOCR {self.versions['easyocr']}, torch "
            f"{self.versions['torch']}",
            f"{'':{width}} ocrjax  EasyOCR  largest distance  lines in EasyOCR",
        ]
        for name, (ours, theirs), distance, count in zip(
            self.names, self.counts, self.distances, self.lines, strict=True
        ):
            lines.append(f"{name:{width}} {ours:6} {theirs:8} {distance:14.4f} px {count:18}")
        same = sum(distance <= 0.5 for distance in self.distances)
        lines.append(f"the same boxes on {same} of {len(self.names)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
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
    """Find boxes with the exported weights in a real `easyocr.Reader`, and with ocrjax.

    Args:
        path: path of the exported weights.
        detector: the detector in ocrjax, with the options to compare at.
        photos: names and RGB images.
        python: a Python interpreter with EasyOCR; None: this one.

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
    for index in shown(range(len(photos)), "finding words with ocrjax", unit="photo"):
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
