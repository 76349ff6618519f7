"""Exports of a fit: EasyOCR networks, and folders with a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craftjax.options import load_operating_point, save_operating_point
from ocrcore.files import write_json, write_text
from ocrcore.weights.named import KNOWN_WEIGHTS
from ocrcore.weights.pth import save_weights
from ocrjax.easyocr.export import ExportOptions, export_network, verdict
from ocrjax.easyocr.rules import ExportError
from ocrjax.easyocr.runner import EasyOcrError
from ocrjax.fitting.options import FitOptions
from ocrjax.weights import load_network

_ORIGINS = {
    "craft_mlt_25k": (
        "apache-2.0",
        "The detector is, or was fine-tuned from, `craft_mlt_25k`, which EasyOCR distributes "
        "(https://github.com/JaidedAI/EasyOCR, Apache License 2.0); it is CRAFT of NAVER Corp. "
        "(https://github.com/clovaai/CRAFT-pytorch, MIT License).",
    ),
    "ppocrv6_small": (
        "apache-2.0",
        "The recognizer is, or was fine-tuned from, PP-OCRv6's small recognizer: PaddleOCR, "
        "https://github.com/PaddlePaddle/PaddleOCR, Apache License 2.0, "
        "https://www.apache.org/licenses/LICENSE-2.0.",
    ),
    "english_g2": (
        "apache-2.0",
        "The recognizer is, or was fine-tuned from, `english_g2` of EasyOCR "
        "(https://github.com/JaidedAI/EasyOCR, Apache License 2.0).",
    ),
    "craft_compact": (
        "apache-2.0",
        "The detector is, or was fine-tuned from, ocrjax's `craft_compact` (Apache License 2.0), "
        "which was trained from PP-OCRv6's small detector: PaddleOCR, "
        "https://github.com/PaddlePaddle/PaddleOCR, Apache License 2.0. Its training data include "
        "photos of ICDAR 2015 (CC BY 4.0).",
    ),
    "crnn_synth": (
        "apache-2.0",
        "The recognizer is, or was fine-tuned from, ocrjax's `crnn_synth`, Apache License 2.0.",
    ),
}
_TASKS = {"detector": "object-detection", "recognizer": "image-to-text"}


@dataclass(frozen=True, slots=True)
class PlugIn:
    """A network exported for EasyOCR.

    Attributes:
        folder: folder of its files; None if it was not exported.
        verdict: the result of the check in EasyOCR, or why there was none.
        good: whether EasyOCR's output matches; None without a check.
    """

    folder: Path | None
    verdict: str
    good: bool | None = None


def export_plug_ins(
    out: Path, options: FitOptions, log: Callable[[str], object]
) -> dict[str, PlugIn]:
    """Write `easyocr/detector` and `easyocr/recognizer`; check them if EasyOCR is available."""
    checks: dict[str, dict[str, Any]] = {
        "detector": {"photos": (str(out / "data" / "test" / "images"),)},
        "recognizer": {"crops": str(out / "data" / "crops" / "test" / "labels.tsv")},
    }
    sources = {
        "detector": out / "weights" / "detector.pth",
        "recognizer": out / "weights" / "recognizer" / "weights.pth",
    }
    found = {}
    for network, source in sources.items():
        name = options.name if network == "recognizer" else f"{options.name}_detector"
        folder = out / "easyocr" / network
        try:
            found[network] = _export(source, folder, name, options, checks[network], log)
        except (ExportError, EasyOcrError) as error:
            found[network] = PlugIn(None, f"EasyOCR cannot load it: {error}")
    return found


def _export(
    source: Path,
    folder: Path,
    name: str,
    options: FitOptions,
    check: Mapping[str, Any],
    log: Callable[[str], object],
) -> PlugIn:
    python = options.easyocr_python
    chosen = ExportOptions(check=bool(python), python=python or None, **(check if python else {}))
    export = export_network(source, folder, name=name, options=chosen, log=log)
    if not python:
        (flag, value), *_ = check.items()
        places = value if isinstance(value, str) else " ".join(value)
        return PlugIn(
            folder,
            "not checked in EasyOCR; to check: ocrjax export easyocr "
            f"{source} --name {name} --out {folder} --force --check --{flag} {places} "
            "--easyocr-python PATH",
        )
    checked = export.check()
    log(checked.table())
    return PlugIn(folder, verdict(checked), not checked.faults())


def write_cards(
    out: Path, options: FitOptions, judged: Mapping[str, Any], facts: Mapping[str, str]
) -> list[str]:
    """Write `model/detector` and `model/recognizer`, folders in the layout of model hubs.

    Args:
        out: the output folder.
        options: the user's options.
        judged: scores before and after, and gains, by the names of `ocrjax.fitting.judging.NAMES`.
        facts: by network, a line on how it was made.

    Returns:
        The files, relative to the output folder.
    """
    written = []
    weights = out / "weights"
    for network in _TASKS:
        folder = out / "model" / network
        beside = network == "detector"
        source = weights / "detector.pth" if beside else weights / "recognizer" / "weights.pth"
        loaded = load_network(source)
        save_weights(folder / "model.safetensors", loaded.state)
        if beside:
            point = load_operating_point(source.with_name(f"{source.name}.operating_point.json"))
            place = folder / "model.safetensors.operating_point.json"
            save_operating_point(place, point, measured={}, chosen="ocrjax fit")
            settings = json.loads(place.read_text(encoding="utf-8"))["options"]
            config = {"model_type": "craft", "library": "ocrjax", "detector": settings}
        else:
            place = folder / "charset.json"
            charset = json.loads((source.parent / "charset.json").read_text(encoding="utf-8"))
            write_json(place, charset)
            own = json.loads((source.parent / "config.json").read_text(encoding="utf-8"))
            config = {"model_type": "ctc_recognizer", "library": "ocrjax", **own}
        write_json(folder / "config.json", config)
        write_text(folder / "README.md", _card(network, options, judged, facts[network]))
        names = ("model.safetensors", "config.json", "README.md", place.name)
        written += [f"model/{network}/{name}" for name in names]
    return written


def _card(network: str, options: FitOptions, judged: Mapping[str, Any], fact: str) -> str:
    start = getattr(options, network)
    license_id, notice = _ORIGINS.get(
        start if start in KNOWN_WEIGHTS else "",
        (
            "other",
            f"The {network} is, or was fine-tuned from, `{Path(start).name}`; add the license of "
            "these weights here.",
        ),
    )
    metric = "hmean" if network == "detector" else "word_accuracy"
    rows = "\n".join(
        _row(name, judged) for name in (metric, "end_to_end") if name in judged["after"]
    )
    use = {
        "detector": 'reader = Reader(detector="model.safetensors")',
        "recognizer": 'reader = Reader(recognizer="model.safetensors")',
    }[network]
    return f"""---
license: {license_id}
library_name: ocrjax
pipeline_tag: {_TASKS[network]}
tags:
- ocr
- text-{"detection" if network == "detector" else "recognition"}
- jax
metrics:
- {"f1" if network == "detector" else "accuracy"}
---

# {options.name}: a text {network}

Made by `ocrjax fit` from labeled photos. The weights are {fact}

| on held-out test images | before | after |
|---|---|---|
{rows}

Figures in parentheses are 95 % confidence intervals.

```python
from ocrjax import Reader

{use}
print(reader.read("photo.jpg").text)
```

The other files of this folder belong to the weights: keep them next to `model.safetensors`.

## License of the pretrained weights

{notice}
"""


def _row(name: str, judged: Mapping[str, Any]) -> str:
    cells = []
    for when in ("before", "after"):
        one = judged[when].get(name)
        cells.append(f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" if one else "")
    titles = {"hmean": "hmean", "word_accuracy": "word accuracy", "end_to_end": "end-to-end F"}
    return f"| {titles[name]} | {' | '.join(cells)} |"
