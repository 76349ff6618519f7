"""Writes what read_onnx.py finds and reads, for `npm test` to compare with.

    python test/expected.py --crops DIR --photos DIR

takes the models of models/, and writes expected/: pixels, texts, boxes. Needs onnxruntime, numpy
and OpenCV.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[1]
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
sys.path.insert(0, str(HERE.parents[1] / "ocrjax" / "onnx"))

import read_onnx  # noqa: E402


def spread(folder: Path, count: int) -> list[Path]:
    """As many pictures of a folder and those below it, from all over it."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if len(found) < count:
        raise SystemExit(f"{folder}: {len(found)} pictures, expected at least {count}")
    return [found[index] for index in np.linspace(0, len(found) - 1, count).astype(int)]


def main() -> None:
    """Read with the two models, and write the folder expected/."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--detector", default=HERE / "models" / "detector_float16.onnx", type=Path)
    parser.add_argument(
        "--recognizer", default=HERE / "models" / "recognizer_float16.onnx", type=Path
    )
    parser.add_argument("--crops", type=Path, required=True, help="folder of words, 100 are read")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, 10 are read")
    arguments = parser.parse_args()

    detector = read_onnx.Detector(arguments.detector)
    recognizer = read_onnx.Recognizer(arguments.recognizer)
    pixels: list[bytes] = []

    def keep(image: np.ndarray) -> dict[str, int]:
        first = sum(map(len, pixels))
        pixels.append(np.ascontiguousarray(image).tobytes())
        return {"first": first, "width": image.shape[1], "height": image.shape[0]}

    crops = [read_onnx.load(path) for path in spread(arguments.crops, 100)]
    readings = recognizer.read(crops)
    photos = []
    for path in spread(arguments.photos, 10):
        photo = read_onnx.load(path)
        found = detector.detect(photo)
        texts = recognizer.read([read_onnx.cut(photo, quad) for quad, _ in found])
        words = [
            {"quad": quad.tolist(), "score": score, "text": text}
            for (quad, score), (text, _) in zip(found, texts, strict=True)
        ]
        photos.append({**keep(photo), "name": path.name, "words": words})
    expected = {
        "detector": str(arguments.detector.resolve()),
        "recognizer": str(arguments.recognizer.resolve()),
        "crops": [
            {**keep(crop), "text": text, "confidence": confidence}
            for crop, (text, confidence) in zip(crops, readings, strict=True)
        ],
        "photos": photos,
    }
    folder = HERE / "expected"
    folder.mkdir(exist_ok=True)
    (folder / "pixels.bin").write_bytes(b"".join(pixels))
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    print(f"{folder}: {len(crops)} crops, {len(photos)} photos")


if __name__ == "__main__":
    main()
