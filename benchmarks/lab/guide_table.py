r"""EasyOCR's table of CRAFT results next to ours, with the configs of its rows.

    python benchmarks/lab/guide_table.py --ic13 DIR --ic15 DIR --weights craft_mlt_25k

DIR holds pictures and labels as the competition's archives unpack, or in `images/` and `gt/`. A row
without a folder is "not measured".

EasyOCR's figures are those of `trainer/craft/README.md` for its own trained weights, which are not
published; for other weights, such as `craft_mlt_25k`, they are only for orientation. The protocol
is EasyOCR's (`iou`) on both data sets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

from detector_runs import CONFIGS, load_config

from craftjax.detector import Detector
from craftjax.evaluate import ScoreCache, evaluate_detector
from craftjax.options import DetectorOptions
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.statistics import bootstrap_hmean
from ocrcore.options import from_section
from ocrcore.pages import Page
from ocrcore.runtime.tuning import tune_process

HEAD = "| trained on | tested on | text threshold | who | precision | recall | hmean | 95 % |"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of EasyOCR's table; precision and recall are None if it states only the hmean."""

    trained_on: str
    tested_on: str
    text_threshold: float
    precision: float | None
    recall: float | None
    hmean: float


ROWS = (
    Row("SynthText", "ic13", 0.85, 0.801, 0.748, 0.773),
    Row("SynthText + IC15", "ic15", 0.85, 0.909, 0.794, 0.848),
    Row("SynthText + IC15", "ic15", 0.75, None, None, 0.856),
)


# Folders of pictures and labels in the archives, and the layout of the labels.
UNPACKED = {
    "ic13": ("Challenge2_Test_Task12_Images", "Challenge2_Test_Task1_GT", "box"),
    "ic15": ("ch4_test_images", "Challenge4_Test_Task1_GT", "quad"),
}


def read_folder(root: Path, name: str) -> list[Page]:
    """Read the pages below a folder in either layout.

    Raises:
        FileNotFoundError: the folder has neither.
    """
    # Folders with another name may hold either layout.
    places = (UNPACKED[name], ("images", "gt", "auto"))
    for images, labels, layout in places:
        if (root / images).is_dir() and (root / labels).is_dir():
            return read_icdar_folder(root / images, root / labels, layout=layout)
    tried = " or ".join(f"{images}/ with {labels}/" for images, labels, _ in places)
    raise FileNotFoundError(f"{root}: expected {tried} in it")


def measure(
    row: Row, truth: Sequence[Page], detector: Detector, scores: Path | None = None
) -> dict[str, Any]:
    """Evaluate the weights with the row's config and text threshold."""
    config = load_config(CONFIGS / f"{row.tested_on}.py")
    options = replace(
        from_section(DetectorOptions, config.detector, "config.detector"),
        text_threshold=row.text_threshold,
    )
    # The score cache of the evaluation command; both thresholds of a data set share it.
    root = scores or Path("exp") / config.name / "scores"
    cache = ScoreCache(root, fingerprint=detector.fingerprint, options=options)
    point = evaluate_detector(detector, truth, options=options, cache=cache)
    return {
        "photos": len(truth),
        "precision": point.evaluation.precision,
        "recall": point.evaluation.recall,
        "hmean": asdict(bootstrap_hmean(point.evaluation)),
        "options": asdict(options),
    }


def format_rows(row: Row, measured: dict[str, Any] | None, weights: str) -> list[str]:
    """Return two lines of the table: EasyOCR's and ours."""
    start = f"| {row.trained_on} | {row.tested_on.upper()} | {row.text_threshold} |"
    stated = ["-" if value is None else f"{value:.3f}" for value in (row.precision, row.recall)]
    lines = [f"{start} EasyOCR | {' | '.join(stated)} | {row.hmean:.3f} | - |"]
    start = f"| | {row.tested_on.upper()} | {row.text_threshold} | ours, {weights}"
    if measured is None:
        return [*lines, f"{start} |{f' {NOT_MEASURED} |' * 4}"]
    hmean = measured["hmean"]
    return [
        *lines,
        f"{start}, {measured['photos']} photos | {measured['precision']:.3f} "
        f"| {measured['recall']:.3f} | {hmean['value']:.3f} "
        f"| {hmean['low']:.3f} to {hmean['high']:.3f} |",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ic13", type=Path, help="folder of the ICDAR 2013 test set")
    parser.add_argument("--ic15", type=Path, help="folder of the ICDAR 2015 test set")
    parser.add_argument("--weights", default="craft_mlt_25k", help="a name, a file, a checkpoint")
    parser.add_argument(
        "--scores", type=Path, help="cached score maps; default exp/<config.name>/scores"
    )
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/guide_table.json"))
    args = parser.parse_args()
    tune_process()

    folders = {"ic13": args.ic13, "ic15": args.ic15}
    try:
        pages = {
            name: read_folder(root, name) for name, root in folders.items() if root is not None
        }
        detector = Detector.from_weights(args.weights) if pages else None
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"guide_table: {error}")
    rows = []
    print(HEAD + "\n|" + "---|" * (HEAD.count("|") - 1))
    for row in ROWS:
        measured = None
        if detector is not None and row.tested_on in pages:
            measured = measure(row, pages[row.tested_on], detector, args.scores)
        print("\n".join(format_rows(row, measured, Path(args.weights).name)), flush=True)
        rows.append({"easyocr": asdict(row), "ours": measured})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"weights": str(args.weights), "protocol": "iou", "rows": rows}
    args.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
