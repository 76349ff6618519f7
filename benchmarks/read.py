r"""Reads photos end to end, to words with texts: ours and other projects' in the same run.

    python benchmarks/read.py --images DIR --gt DIR \
        --python-of easyocr=A/bin/python --python-of rapidocr=B/bin/python

Every photo whose number (in its name) modulo 5 is 0 or 2 is read: 100 of the 250 test photos of
ICDAR 2015. Each reader runs in a process of its own (`reader_peers.py`, which documents the
settings) and takes its turn at each photo, one photo at a time, so that a busy spell of the machine
affects all of them. Nothing is tuned here: peers run with default settings, ours with the defaults
of `ocrjax.Reader`, which were chosen on other photos.

F is that of `ocrcore.evaluation.end_to_end`: intersection over union above 0.5, one to one, and
equal texts after folding to a-z and 0-9. Intervals are bootstrapped over photos, 95 %. Seconds are
measured from the path of a photo to its words, CPU seconds over all cores; the first photo is read
once before, untimed. Answers are cached in `--out`, one file per reader; only what is missing is
read again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from reader_peers import OURS, READERS

from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.end_to_end import evaluate_readings
from ocrcore.evaluation.statistics import bootstrap_hmean, paired_bootstrap
from ocrcore.files import write_json
from ocrcore.pages import Page, Word

CHOSEN = (0, 2)  # numbers of photos modulo 5
DEFAULT = ("ppocrv6_small", "english_g2", "easyocr", "rapidocr", "tesseract")
HEAD = (
    f"{'reader':14s}  photos  precision  recall      F  {'95 %':14s}  {'minus':22s}  "
    "s/photo  mean s  cpu s  peak MiB"
)


class Contestant:
    """A reader in a process of its own.

    Attributes:
        name: name of the reader.
        about: its description of itself.
        answers: its answers by the name of the photo.
    """

    def __init__(self, name: str, python: str, out: Path, *more: str) -> None:
        self.name, self.out = name, out / f"{name}.jsonl"
        worker = Path(__file__).with_name("reader_peers.py")
        self._process = subprocess.Popen(
            [python, str(worker), name, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.about = self._answer()
        self.answers: dict[str, dict[str, Any]] = {}
        if self.out.exists():
            lines = [json.loads(line) for line in self.out.read_text("utf-8").splitlines()]
            if lines and lines[0] == self.about:
                self.answers = {line["name"]: line for line in lines[1:]}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        kept = [self.about, *self.answers.values()]
        self.out.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self._warm = False

    def read(self, path: Path) -> None:
        """Read a photo, unless it was read before."""
        if path.name in self.answers:
            return
        if not self._warm:
            self._ask(path)
            self._warm = True
        answer = {"name": path.name, **self._ask(path)}
        self.answers[path.name] = answer
        with self.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(answer) + "\n")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, path: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path.absolute()}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit status {self._process.wait()}")
        return dict(json.loads(line))


def chosen(pages: Sequence[Page], most: int | None) -> list[Page]:
    """Return the photos to read, ordered by their numbers."""
    numbered = [(int(re.findall(r"\d+", Path(page.path or "").stem)[-1]), page) for page in pages]
    kept = [
        page for number, page in sorted(numbered, key=lambda one: one[0]) if number % 5 in CHOSEN
    ]
    return kept[:most]


def to_page(truth: Page, answer: dict[str, Any]) -> Page:
    """Convert a reader's answer to a page."""
    words = [Word(box, text) for box, text, _ in answer["words"]]
    return Page(truth.height, truth.width, tuple(words), truth.path)


def main() -> None:
    """Run the readers in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--gt", type=Path, required=True, help="folder of the label files")
    parser.add_argument(
        "--readers",
        default=",".join(DEFAULT),
        help=f"of {', '.join(READERS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--python-of", action="append", default=[], metavar="READER=PYTHON", help="its interpreter"
    )
    parser.add_argument("--fitted", help="output folder of `ocrjax fit`, for the reader `fitted`")
    parser.add_argument(
        "--against", default="easyocr", help="reader whose F is subtracted from ours"
    )
    parser.add_argument("--count", type=int, help="maximum number of photos")
    parser.add_argument("--all", action="store_true", help="all photos, whatever their numbers")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/read"), help="of answers")
    args = parser.parse_args()

    pythons = dict(entry.split("=", 1) for entry in args.python_of)
    truth = read_icdar_folder(args.images, args.gt)
    truth = truth[: args.count] if args.all else chosen(truth, args.count)
    readers = [
        Contestant(
            name,
            pythons.get(name, sys.executable),
            args.out,
            *([args.fitted] if name == "fitted" else []),
        )
        for name in args.readers.split(",")
    ]
    for reader in readers:
        print(f"{reader.name}: {json.dumps(reader.about)}", flush=True)
    for number, page in enumerate(truth, 1):
        assert page.path is not None
        for reader in readers:
            reader.read(Path(page.path))
        print(f"{number} of {len(truth)} photos", file=sys.stderr, flush=True)
    for reader in readers:
        reader.close()

    names = [Path(page.path or "").name for page in truth]
    evaluations = {
        reader.name: evaluate_readings(
            truth,
            [to_page(page, reader.answers[name]) for page, name in zip(truth, names, strict=True)],
        )
        for reader in readers
    }
    rows = []
    print(f"{os.cpu_count()} CPUs; minus: difference to {args.against}\n{HEAD}")
    for reader in readers:
        result, answers = evaluations[reader.name], [reader.answers[name] for name in names]
        interval = bootstrap_hmean(result)
        minus = None
        if reader.name in OURS and args.against in evaluations and reader.name != args.against:
            minus = paired_bootstrap(evaluations[args.against], result)
        row = {
            **reader.about,
            "photos": len(truth),
            "precision": result.precision,
            "recall": result.recall,
            "f": asdict(interval),
            f"minus_{args.against}": minus and asdict(minus),
            "seconds": median(answer["seconds"] for answer in answers),
            "mean_seconds": mean(answer["seconds"] for answer in answers),
            "cpu_seconds": mean(answer["cpu"] for answer in answers),
            "peak_mib": max(answer["peak_mib"] for answer in answers),
        }
        rows.append(row)
        apart = (
            "" if minus is None else f"{minus.value:+.3f} ({minus.low:+.3f} to {minus.high:+.3f})"
        )
        print(
            f"{reader.name:14s}  {len(truth):6d}  {result.precision:9.3f}  {result.recall:6.3f}  "
            f"{interval.value:.3f}  {interval.low:.3f} to {interval.high:.3f}  {apart or '':22s}  "
            f"{row['seconds']:7.2f}  {row['mean_seconds']:6.2f}  {row['cpu_seconds']:5.2f}  "
            f"{row['peak_mib']:8.0f}"
        )
    write_json(args.out.with_suffix(".json"), rows)


if __name__ == "__main__":
    main()
