"""Export of a network to ONNX files and a script that reads them; checked before writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from craftjax.detector import Detector, fit_of
from craftjax.options import DetectorOptions, describe_options, options_of
from craftjax.resize import resize_page
from crnnjax import ppocr
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer, load_recognizer
from crnnjax.resize import as_gray, bucket_width, level_crop, level_width, pad_crop, scale_crop
from ocrcore.files import write_bytes, write_json
from ocrcore.images import find_images, read_image
from ocrcore.options import from_section
from ocrcore.training.run_folder import RunFolder
from ocrjax.onnx.check import Check, check_detector, check_recognizer
from ocrjax.onnx.graph import OnnxError
from ocrjax.onnx.int8 import Inputs, quantize
from ocrjax.onnx.models import detector_model, rapidocr_model, recognizer_model
from ocrjax.samples import crop_sets, read_crops, read_photos, spread
from ocrjax.weights import load_network

PRECISIONS = ("float32", "float16", "int8")
READER = "read_onnx.py"
_CALIBRATE = {"recognizer": 60, "detector": 12}  # most calibration images
_CANVAS = 960  # longest side of calibration photos, in pixels: larger ones are not needed
# The last layers, which give the scores, stay float32.
_FLOAT = ("head.0", "head.2", "head.4", "head.6", "head.8")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxOptions:
    """What to write, and what to check it with.

    Attributes:
        precisions: some of `PRECISIONS`; one file is written for each.
        rapidocr: for a recognizer: also write a file that RapidOCR loads.
        charset: for a recognizer: name or file; None: that of the run or the weights.
        height: for a recognizer: height of its crops in pixels; None as for `charset`.
        calibrate: images and folders to calibrate int8 convolutions with.
        check: whether to compare with JAX.
        count: most samples to check with; None: 200 crops or 20 photos.
        crops: for a recognizer: crops to check with; None: the run's evaluation set.
        photos: for a detector: photos to check with; empty: the run's evaluation set.
    """

    precisions: tuple[str, ...] = ("float32",)
    rapidocr: bool = False
    charset: str | None = None
    height: int | None = None
    calibrate: tuple[str, ...] = ()
    check: bool = False
    count: int | None = None
    crops: str | None = None
    photos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export.

    Attributes:
        files: the files that were written; empty if the check found faults.
        check: the result of the check; None without one.
        notice: attribution of the weights, if their license requires it.
    """

    files: tuple[Path, ...]
    check: Check | None
    notice: str = ""


def file_names(name: str, options: OnnxOptions) -> list[str]:
    """Return the names of the files that an export writes."""
    models = [
        f"{name}.onnx" if one == "float32" else f"{name}_{one}.onnx" for one in options.precisions
    ]
    more = [f"{name}_rapidocr.onnx"] if options.rapidocr else []
    return [*models, *more, READER, *(["check.json"] if options.check else [])]


def export_onnx(
    source: str | Path,
    folder: str | Path,
    *,
    name: str,
    options: OnnxOptions,
    log: Callable[[str], object] = print,
) -> Exported:
    """Write a detector or a recognizer as ONNX, unless a check finds that outputs differ.

    Args:
        source: a run directory, an Orbax checkpoint, a .pth or .safetensors file, or the name of
            weights.
        folder: folder for the files; created if needed, files of the same names are replaced.
        name: base name of the files.
        options: what to write, and what to check it with.
        log: called with each human-readable message.

    Raises:
        OnnxError: options that do not fit together or do not fit the network.
        SamplesError: there are no samples to check with.
        ImportError: a package is missing; the message names the extra.
    """
    source, folder = Path(source), Path(folder)
    loaded = load_network(source)
    of = {"charset": "recognizer", "height": "recognizer", "crops": "recognizer"}
    for field, network in {**of, "rapidocr": "recognizer", "photos": "detector"}.items():
        if getattr(options, field) not in (None, False, ()) and network != loaded.network:
            raise OnnxError(f"--{field} has no effect: {source} is a {loaded.network}")
    if options.calibrate and "int8" not in options.precisions:
        raise OnnxError("--calibrate has no effect without --precision int8")
    if loaded.network == "detector":
        models, check = _detector(source, loaded.variables, options, log)
        notice = ""
    else:
        models, check, notice = _recognizer(source, options, log)
    if check is not None and check.faults:
        return Exported((), check)
    names = file_names(name, options)
    paths = [folder / one for one in names]
    for path, data in zip(paths, models, strict=False):
        write_bytes(path, data)
    write_bytes(folder / READER, Path(__file__).with_name(READER).read_bytes())
    if check is not None:
        write_json(folder / "check.json", check.to_dict())
    return Exported(tuple(paths), check, notice)


def _recognizer(
    source: Path, options: OnnxOptions, log: Callable[[str], object]
) -> tuple[list[bytes], Check | None, str]:
    loaded = load_recognizer(source, charset=options.charset, height=options.height)
    crops = []
    if options.check:
        sets = crop_sets(options.crops, RunFolder.of(source))
        crops = read_crops(sets, 200 if options.count is None else options.count, log)
    given: dict[str, Any] = {
        "charset": loaded.charset,
        "height": loaded.height,
        "options": loaded.options,
    }
    samples = [
        crop_inputs(image, loaded.height, loaded.options)
        for image in _pictures(options.calibrate, _CALIBRATE["recognizer"])
    ]
    models = {}
    for precision in options.precisions:
        half = precision == "float16"
        model = recognizer_model(loaded.variables, half=half, **given)
        if precision == "int8":
            model = quantize(model, samples)
        models[precision] = model.SerializeToString()
    more = []
    if options.rapidocr:
        more.append(rapidocr_model(loaded.variables, **given).SerializeToString())
    check = None
    if options.check:
        check = check_recognizer(models, Recognizer(loaded.variables, **given), crops)
    return [*models.values(), *more], check, ppocr.notice_of(loaded.variables)


def _detector(
    source: Path, variables: Any, options: OnnxOptions, log: Callable[[str], object]
) -> tuple[list[bytes], Check | None]:
    config = RunFolder.of(source).read_config()
    own = from_section(DetectorOptions, config.get("detector", {}), "config.detector")
    where = str(RunFolder.of(source).config) if config else "EasyOCR's"
    chosen, where = options_of(source, own, where)
    log(describe_options(chosen, where))
    photos = []
    if options.check:
        count = 20 if options.count is None else options.count
        photos = read_photos(options.photos, config, source, count)
    if "int8" in options.precisions and not options.calibrate:
        raise OnnxError("int8 of a detector needs photos to calibrate with: --calibrate PATH ...")
    models = {}
    for precision in options.precisions:
        model = detector_model(variables, chosen, half=precision == "float16")
        if precision == "int8":
            small = replace(chosen, canvas_size=min(chosen.canvas_size, _CANVAS))
            samples: list[Inputs] = []
            for image in _pictures(options.calibrate, _CALIBRATE["detector"]):
                fit = fit_of((image.shape[0], image.shape[1]), small)
                samples.append({"images": resize_page(image, fit)[None]})
            model = quantize(model, samples, keep=_FLOAT)
        models[precision] = model.SerializeToString()
    check = (
        check_detector(models, Detector(variables, options=chosen), photos)
        if options.check
        else None
    )
    return list(models.values()), check


def crop_inputs(image: np.ndarray, height: int, options: RecognizerOptions | None) -> Inputs:
    """Return the model inputs for one crop, RGB or gray, scaled and padded as in JAX."""
    gray = as_gray(image)
    true = max(level_width(gray.shape[0], gray.shape[1], height), height)
    scaled = level_crop(scale_crop(gray, height), height)
    padded = pad_crop(scaled, bucket_width(true, height))
    reads = options is not None and options.resize == "easyocr"
    width = -(-true // height) * height if reads else true
    return {"images": padded[None, :, :, None], "widths": np.array([width], np.int32)}


def _pictures(paths: Sequence[str], count: int) -> list[np.ndarray]:
    files = find_images(list(paths)) if paths else []
    return [read_image(files[at]) for at in spread(len(files), count)]
