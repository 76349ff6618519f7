"""Script for the interpreter with EasyOCR: reads crops or finds boxes with a real `easyocr.Reader`.

`ocrjax.easyocr.runner` runs it in that interpreter, which need not have ocrjax, and passes it a
folder with `job.json` and `job.npz`; it writes `result.json` and `result.npz` there. Nothing is
downloaded.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_LIBRARY: list[Any] = []  # torchvision's operators live as long as the object that defines them


def import_easyocr() -> tuple[Any, Any]:
    """Import EasyOCR, even if torchvision was built for another torch version.

    Such a torchvision lacks its compiled operators; EasyOCR uses none, so their schemas suffice.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _LIBRARY.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in ("nms", "qnms"):
            _LIBRARY[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import easyocr

    return easyocr, torch


def recognize(
    easyocr: Any, torch: Any, job: dict[str, Any], images: list[Any]
) -> tuple[Any, dict[str, Any]]:
    """Read whole crops in each of the ways in which EasyOCR may do it.

    Returns:
        Texts and confidences by way; and arrays: network inputs as gray values and logits, for as
        many of the first crops as a memory bound allows.
    """

    def reader(quantize: bool) -> Any:
        return easyocr.Reader(
            job["languages"],
            gpu=False,
            model_storage_directory=job["models"],
            user_network_directory=job["networks"],
            recog_network=job["name"],
            download_enabled=False,
            detector=False,
            verbose=False,
            quantize=quantize,
        )

    def read(reader: Any, images: list[Any], **options: Any) -> list[list[Any]]:
        # One box, the whole crop, so that only the recognizer is compared.
        out = [reader.recognize(image, **options)[0] for image in images]
        return [[text for _, text, _ in out], [float(confidence) for _, _, confidence in out]]

    exact = reader(False)
    inputs: list[Any] = []
    logits: list[Any] = []
    kept = [0]

    def keep(module: Any, arguments: Any, output: Any) -> None:
        kept[0] += output.numel() * 4 + arguments[0].numel()
        if kept[0] <= job["max_bytes"]:
            gray = torch.round((arguments[0][0, 0] * 0.5 + 0.5) * 255)
            inputs.append(gray.numpy().astype(np.uint8))
            logits.append(output[0].numpy().copy())

    hook = exact.recognizer.register_forward_hook(keep)
    texts, confidences = read(exact, images, contrast_ths=0)
    hook.remove()
    ways = {"plain": [texts, confidences]}
    # EasyOCR reads crops with a confidence below .1 again, with more contrast.
    again = [index for index, confidence in enumerate(confidences) if confidence < 0.1]
    second = read(exact, [images[index] for index in again])
    ways["contrast"] = [list(texts), list(confidences)]
    for place, index in enumerate(again):
        for kind in (0, 1):
            ways["contrast"][kind][index] = second[kind][place]
    ways["page"] = pages(easyocr, exact, images, job["page"])
    ways["int8"] = read(reader(True), images)
    arrays: dict[str, Any] = {
        "sizes": np.array([x.shape for x in inputs]),
        "steps": [len(x) for x in logits],
    }
    if inputs:
        arrays["inputs"] = np.concatenate([x.ravel() for x in inputs])
        arrays["logits"] = np.concatenate(logits)
    return ways, arrays


def pages(easyocr: Any, reader: Any, images: list[Any], count: int) -> list[list[Any]]:
    """Read `count` crops at a time, padded to the widest, as EasyOCR does on a GPU."""
    from easyocr.recognition import get_text
    from easyocr.utils import get_image_list

    height = easyocr.easyocr.imgH
    texts: list[Any] = []
    confidences: list[Any] = []
    for start in range(0, len(images), count):
        crops: list[Any] = []
        width = 0
        for image in images[start : start + count]:
            box = [0, image.shape[1], 0, image.shape[0]]
            found, wide = get_image_list([box], [], image, model_height=height)
            crops += found
            width = max(width, int(wide))
        found = get_text(
            reader.character,
            height,
            width,
            reader.recognizer,
            reader.converter,
            crops,
            batch_size=count,
            contrast_ths=0,
            workers=0,
            device="cpu",
        )
        texts += [text for _, text, _ in found]
        confidences += [float(confidence) for _, _, confidence in found]
    return [texts, confidences]


def detect(
    easyocr: Any, torch: Any, job: dict[str, Any], images: list[Any]
) -> tuple[Any, dict[str, Any]]:
    """Find boxes in photos with a detector that is set in a Reader as README.txt describes.

    Returns:
        The number of lines that the Reader gives for each photo; and the boxes computed from the
        score maps, before the Reader rounds them and joins words to lines.
    """
    from easyocr import detection

    reader = easyocr.Reader(
        ["en"],
        gpu=False,
        model_storage_directory=job["models"],
        user_network_directory=job["networks"],
        download_enabled=False,
        detector=False,
        recognizer=False,
        verbose=False,
    )
    reader.detector = detection.get_detector(job["weights"], reader.device)
    reader.get_textbox = detection.get_textbox
    cut, found = detection.test_net, []

    def keep(*arguments: Any) -> Any:
        boxes, polygons = cut(*arguments)
        found.append(np.array(boxes[0], np.float32).reshape(-1, 4, 2))
        return boxes, polygons

    detection.test_net = keep
    lines = []
    for image in images:
        level, free = reader.detect(image, **job["options"])
        lines.append(len(level[0]) + len(free[0]))
    return lines, {f"boxes{index}": boxes for index, boxes in enumerate(found)}


def main(folder: Path) -> None:
    """Run the job of `job.json` in the folder."""
    warnings.filterwarnings("ignore")
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(str(folder / "job.npz")) as file:
        images = [file[f"image{index}"] for index in range(job["images"])]
    easyocr, torch = import_easyocr()
    task = {"recognize": recognize, "detect": detect}[job["task"]]
    found, arrays = task(easyocr, torch, job, images)
    np.savez(str(folder / "result.npz"), **arrays)
    result = {"found": found, "easyocr": easyocr.__version__, "torch": torch.__version__}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
