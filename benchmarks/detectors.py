r"""Compares text detectors on labeled photos: ours and other projects' with default settings.

    python benchmarks/detectors.py --images DIR --gt DIR --peers rapidocr-onnxruntime,rapidocr \
        --python-of rapidocr-onnxruntime=A/bin/python --python-of rapidocr=B/bin/python

All are scored by the protocol `iou` (one found word for one true word). Data sets such as ICDAR
2015 label words. PP-OCR's detectors (`rapidocr*`) and `easyocr` find lines of text, so a line of
three words counts as one wrong word and three missed ones: their rows say how well they find words,
not how well they find text. "joined" is the fraction of the true words that share a found box with
another word (each by more than half). `rapidocr-words` is the only peer that splits lines into
words. Nothing is tuned: peers run with their default parameters (`peer_detectors.py`), ours with
those of the config at each threshold set.

The boxes of peers are cached next to the output, one file per peer, our score maps in `--scores`;
only what is missing is computed. Times come from a separate pass over `--timed` of the pictures,
in rounds over all detectors, from the path of a picture to its boxes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from detector_runs import Ours, add_arguments, at_thresholds
from peer_detectors import PEERS, read_results

from craftjax.detector import find_words
from ocrcore.evaluation.matching import Evaluation, evaluate
from ocrcore.evaluation.statistics import bootstrap_hmean, paired_bootstrap
from ocrcore.geometry import outlines, overlaps
from ocrcore.pages import Page
from ocrcore.runtime.tuning import tune_process

PROTOCOL = "iou"
ROUNDS = 3  # of timing, each with all detectors, so that a busy spell affects more than one
COLUMNS = (
    *("detector", "photos", "precision", "recall", "hmean", "95 %"),
    *("minus ours", "95 %", "joined", "s/photo"),
)


class PeerFailed(RuntimeError):
    """A peer failed to run; the message is the last line of its output."""


def run_peer(name: str, python: str, paths: Sequence[str], out: Path) -> dict[str, Any]:
    """Run a peer on the pictures that `out` lacks; return its description of itself."""
    worker = Path(__file__).with_name("peer_detectors.py")
    done = subprocess.run(
        [python, str(worker), name, "--out", str(out)],
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerFailed(lines[-1] if lines else f"exit status {done.returncode}")
    return read_results(out)[0]


def to_quads(boxes: Any) -> Any:
    """Convert a peer's boxes to `(N, 4, 2)`."""
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


def joined_share(truth: Sequence[Page], boxes: Sequence[Any]) -> float:
    """Return the fraction of the words that count that share a found box with another word."""
    joined = total = 0
    for page, found in zip(truth, boxes, strict=True):
        words, shapes = outlines([word.outline for word in page.words]), outlines(found)
        one = np.repeat(np.arange(len(words)), len(shapes))
        two = np.tile(np.arange(len(shapes)), len(words))
        inside = overlaps(words, one, shapes, two) > 0.5 * words.areas[one]
        one, two = one[inside], two[inside]
        several = np.bincount(two, minlength=len(shapes))[two] > 1
        hit = np.zeros(len(words), np.bool_)
        hit[one[several]] = True
        joined += int((hit & page.care).sum())
        total += int(page.care.sum())
    return joined / total if total else 0.0


def evaluate_boxes(truth: Sequence[Page], boxes: Sequence[Any]) -> Evaluation:
    """Score found boxes."""
    return evaluate(
        [[word.outline for word in page.words] for page in truth],
        [page.care for page in truth],
        boxes,
        protocol=PROTOCOL,
        names=[page.path for page in truth],
    )


def first(evaluation: Evaluation, number: int) -> Evaluation:
    """Return the evaluation of the first pictures only."""
    return Evaluation(evaluation.protocol, evaluation.images[:number])


def to_row(
    name: str, truth: Sequence[Page], boxes: Sequence[Any], ours: Evaluation | None
) -> tuple[dict[str, Any], Evaluation]:
    """Score boxes; return a table row as JSON values. Differences are to `ours`."""
    evaluation = evaluate_boxes(truth, boxes)
    row: dict[str, Any] = {
        "detector": name,
        "photos": len(evaluation.images),
        "precision": evaluation.precision,
        "recall": evaluation.recall,
        "hmean": asdict(bootstrap_hmean(evaluation)),
        "joined": joined_share(truth, boxes),
        "images": evaluation.to_dict()["images"],
    }
    if ours is not None:
        same = first(ours, len(evaluation.images))
        row["minus_ours"] = asdict(paired_bootstrap(same, evaluation))
    return row, evaluation


def format_row(row: dict[str, Any]) -> str:
    """Format a row as a line of the table."""
    hmean, minus, seconds = row["hmean"], row.get("minus_ours"), row.get("seconds")
    cells = [
        row["detector"],
        str(row["photos"]),
        f"{row['precision']:.4f}",
        f"{row['recall']:.4f}",
        f"{hmean['value']:.4f}",
        f"{hmean['low']:.4f} to {hmean['high']:.4f}",
        f"{minus['value']:+.4f}" if minus else "-",
        f"{minus['low']:+.4f} to {minus['high']:+.4f}" if minus else "-",
        f"{row['joined']:.1%}",
        f"{seconds:.2f}" if seconds else "-",
    ]
    return f"| {' | '.join(cells)} |"


def time_ours(ours: Ours, pages: Sequence[Page]) -> list[float]:
    """Return seconds from path to boxes for each page; programs are compiled before timing."""
    sizes = {(page.height, page.width): page for page in pages}
    for page in sizes.values():
        ours.detector.detect(page.path)
    seconds = []
    for page in pages:
        start = time.perf_counter()
        ours.detector.detect(page.path)
        seconds.append(time.perf_counter() - start)
    return seconds


def time_peer(name: str, python: str, paths: Sequence[str]) -> list[float]:
    """Return seconds from path to boxes for each picture."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "boxes.jsonl"
        run_peer(name, python, paths, out)
        return [value["seconds"] for value in read_results(out)[1].values()]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser, config="ic15.py")
    parser.add_argument("--peers", default="", help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--easyocr", type=int, default=0, help="pictures for EasyOCR (slow)")
    parser.add_argument(
        "--python-of", action="append", default=[], metavar="PEER=PYTHON", help="its interpreter"
    )
    parser.add_argument("--timed", type=int, default=5, help="pictures to time; 0: none")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/detectors.json"))
    args = parser.parse_args()
    tune_process()
    pythons = dict(item.split("=", 1) for item in args.python_of)
    peers = {name: sys.maxsize for name in args.peers.split(",") if name}
    if args.easyocr:
        peers["easyocr"] = args.easyocr
    unknown = sorted({*peers, *pythons} - set(PEERS))
    if unknown:
        parser.error(f"unknown peers {', '.join(unknown)}: expected some of {', '.join(PEERS)}")
    args.out.parent.mkdir(parents=True, exist_ok=True)

    ours = Ours(args)
    truth = ours.truth
    rows: list[dict[str, Any]] = []
    found_by_us: dict[str, list[Any]] = {key: [()] * len(truth) for key in ours.keys}
    for index, scores in ours.scores():
        for key in ours.keys:
            words = find_words(scores, at_thresholds(ours.options, key))
            found_by_us[key][index] = [word.quad for word in words]
    reference = None
    for key in ours.keys:
        row, evaluation = to_row(f"ours {key}", truth, found_by_us[key], reference)
        reference = reference or evaluation
        rows.append(row)
    interpreters, failed = {}, {}
    for name, number in peers.items():
        python = pythons.get(name) or pythons.get(PEERS[name][0]) or sys.executable
        pages = truth[:number]
        paths = [str(Path(str(page.path)).resolve()) for page in pages]
        out = args.out.with_name(f"{args.out.stem}.{name}.jsonl")
        try:
            about = run_peer(name, python, paths, out)
        except PeerFailed as error:
            failed[name] = str(error)
            continue
        found = read_results(out)[1]
        boxes = [to_quads(found[Path(path).name]["boxes"]) for path in paths]
        label = f"{name} {about['version']}"
        row, _ = to_row(label, pages, boxes, reference)
        rows.append({**row, "parameters": about["parameters"]})
        interpreters[label] = name, python

    timed = [truth[index * len(truth) // args.timed] for index in range(args.timed)]
    seconds: dict[str, list[float]] = {}
    if timed:
        names = [str(Path(str(page.path)).resolve()) for page in timed]
        for _ in range(ROUNDS):
            for label, (name, python) in interpreters.items():
                seconds.setdefault(label, []).extend(time_peer(name, python, names))
            # The thresholds only affect the last, short step.
            seconds.setdefault(rows[0]["detector"], []).extend(time_ours(ours, timed))
        for row in rows:
            if row["detector"] in seconds:
                row["seconds"] = median(seconds[row["detector"]])
    print(f"{len(truth)} photos; protocol {PROTOCOL}; {os.cpu_count()} cores\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    print("\n".join(map(format_row, rows)))
    if timed:
        print(f"\ns/photo: median of {len(timed)} photos, one at a time, in {ROUNDS} rounds")
    for name, reason in failed.items():
        print(f"\nnot run: {name}: {reason}")
    report = {
        "images": str(args.images),
        "protocol": PROTOCOL,
        "weights": str(args.weights),
        "options": asdict(ours.options),
        "cpus": os.cpu_count(),
        "rows": rows,
        "seconds": seconds,
        "not_run": failed,
    }
    args.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
