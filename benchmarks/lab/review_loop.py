"""A new user's loop: pictures are read, corrected in the review page, trained on. What is gained?

Some pictures of ICDAR 2013's born-digital set (ROOT has images/ and gt/; every n-th one of the
first 300 names) lose their labels. A reader predicts them as `ocrjax review --predict` does. A
script then goes through the review page in Chromium by the true labels: it accepts a right text,
types over a wrong one, and marks what no label covers as no word. Missed words are not drawn. The
saved labels are cut into crops as by `ocrjax convert-labels`, and
benchmarks/finetune_recognizer.py trains configs/finetune_recognizer.py on them. The words of the
pictures from the 301st name on are read before and after. With --control the same is done with the
uncorrected predictions.

A finished review is not repeated. The page counts the keys. How many keys a person presses in a
minute was not measured: --keys-a-minute is an assumption.

Command: python benchmarks/lab/review_loop.py --root DIR --forget LABELS.tsv
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # the Chromium driver of the tests

from browser import browser

from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.statistics import paired_wilson
from ocrcore.files import write_json
from ocrcore.geometry import outlines, overlaps
from ocrcore.pages import Page, Word
from ocrcore.runtime.tuning import tune_process
from ocrjax.labels.convert import read_pages
from ocrjax.labels.crops import cut_crops, write_crops
from ocrjax.reader import Reader
from ocrjax.review.prepare import predicted
from ocrjax.review.saving import save
from ocrjax.review.server import ReviewServer
from ocrjax.review.session import Session

TRAINED_ON, SHARED = 300, 0.5
SHORT = "steps=100", "eval.every=100", "checkpoint.every=50"
FINETUNE = Path(__file__).parents[1] / "finetune_recognizer.py"


# Page, quad and text of the current word, once the given number of words is done and it is drawn.
SHOWN = """
const one = now();
const title = one && `${pages[one.page].name}, word ${one.word + 1}`;
const ready = one && !one.done && $("where").textContent === title && field.value === offered();
const done = items.filter((other) => other.done).length;
return ready && done === arguments[0] ? [one.page, one.quad, field.value] : null;
"""


def true_word(quad: Any, page: Page) -> Word | None:
    """Return the labeled word with the largest IoU with a quad."""
    if not page.words:
        return None
    one, two = outlines(np.array([quad])), outlines([word.outline for word in page.words])
    every = np.arange(len(page.words))
    shared = overlaps(one, np.zeros_like(every), two, every)
    shares = shared / (one.areas + two.areas - shared)
    return page.words[int(shares.argmax())] if shares.max() >= SHARED else None


def correct(session: Session, truth: Sequence[Page]) -> Counter[str]:
    """Correct all words in the page by the true labels; return counts of the actions."""
    done: Counter[str] = Counter()
    with ReviewServer(session, lambda: "saved", title="loop") as server, browser() as page:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        page.call("POST", "/url", url=server.address)
        for number in range(len(session.items)):
            while (shown := page.run(SHOWN, number)) is None:
                time.sleep(0.01)
            word = true_word(shown[1], truth[shown[0]])
            if word is None:
                keys, what = ["F4"], "no word"
            elif not word.care or not word.text:
                keys, what = ["F2"], "don't care"
            elif word.text == shown[2]:
                keys, what = ["Enter"], "right"
            else:
                keys, what = [*word.text, "Enter"], "typed"
            page.press(*keys)
            done[what] += 1
        while not all(state["done"] for state in session.states()):
            time.sleep(0.02)
        server.shutdown()
    return done


def cut_all(pages: Sequence[Page], out: Path) -> int:
    """Write the words of pages as crops; return their number."""
    bad: list[Exception] = []
    return write_crops(cut_crops(pages, Counter(), bad), out, "ppocr-rec", bad)


def review(root: Path, out: Path, pictures: int) -> dict[str, Any]:
    """Predicts, corrects, saves and cuts into crops; returns the counts."""
    result = out / "review.json"
    if result.is_file():
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found
    pages = sorted(read_icdar_folder(root / "images", root / "gt"), key=lambda page: page.path)
    truth = pages[: TRAINED_ON : TRAINED_ON // pictures][:pictures]
    empty = [page.with_words(()) for page in truth]
    session = Session(empty, out / "labels.jsonl", lambda: predicted(empty, Reader()))
    before = session.pages
    done = correct(session, truth)
    print(save(session, out / "labels", [("train", len(empty), "icdar2015")]))
    saved, _ = read_pages(out / "labels")
    row = {
        "pictures": len(truth),
        "labels": sum(len(page.words) for page in truth),
        "words": len(session.items),
        "done": dict(done),
        "keys": session.keys,
        "crops": cut_all(saved, out / "corrected"),
        "crops_as_read": cut_all(before, out / "as_read"),
    }
    write_json(result, row)
    return row


def train(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Fine-tune on the crops, and read the words of the other pictures."""
    out = args.out / f"trained_{name}"
    command: list[object] = [sys.executable, FINETUNE, "--root", args.root]
    command += ["--train", args.out / name / "rec_gt.txt"]
    command += ["--forget", args.forget, "--out", out, "--own", 100_000, "--set", *SHORT]
    subprocess.run(list(map(str, command)), check=True)
    (file,) = (out / "borndigital").glob("*-*-*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Reviews, trains, and prints the gain per key and per hour."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the born-digital set")
    parser.add_argument(
        "--forget",
        type=Path,
        required=True,
        help="labels.tsv of other words, to measure forgetting",
    )
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument(
        "--control", action="store_true", help="also train on the uncorrected predictions"
    )
    parser.add_argument("--keys-a-minute", type=float, default=60.0, help="assumed, not measured")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/review_loop"))
    args = parser.parse_args()
    tune_process()
    row = review(args.root, args.out, args.pictures)
    print(json.dumps(row, indent=1))
    hours = row["keys"] / args.keys_a_minute / 60
    for name in ("corrected", "as_read")[: 1 + args.control]:
        found = train(args, name)
        for what in ("kept", "trained"):
            words = [np.array(found[key]["test"]["accuracy"], bool) for key in ("start", what)]
            gain = paired_wilson(*words)
            line = (
                f"{name}, {what} (share {found['share']:g}): {words[0].mean():.4f} -> "
                f"{words[1].mean():.4f} of {len(words[0]):,} words, {gain.value:+.4f} "
                f"({gain.low:+.4f} to {gain.high:+.4f})"
            )
            if name == "corrected":
                line += (
                    f"; {100_000 * gain.value / row['keys']:.2f} points per 1,000 keys; "
                    f"{100 * gain.value / hours:.2f} per hour at an assumed "
                    f"{args.keys_a_minute:g} keys per minute"
                )
            print(line)


if __name__ == "__main__":
    main()
