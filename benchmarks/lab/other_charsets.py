"""PP-OCRv6's small recognizer on other charsets: synthetic words before and after training.

Four charsets. Letters and digits of license plates, German words and Greek words: the weights have
rows for these characters. Russian words: the weights lack these letters, so their rows are new. The
recipe is that of configs/finetune_recognizer.py, trained on synthetic words of the charset only.

A finished case is a JSON file in --out and is not repeated; an interrupted one is resumed.

Command: python benchmarks/lab/other_charsets.py --steps 300
"""

from __future__ import annotations

import argparse
import json
import resource
import runpy
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnnjax.config import crops, source
from ocrcore.files import write_json, write_text
from ocrcore.runtime.tuning import tune_process

CONFIG = Path(__file__).parents[2] / "configs" / "finetune_recognizer.py"
ASCII = string.digits + string.ascii_letters + string.punctuation
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰΆΈΉΊΌΎΏ"
RUSSIAN = "".join(map(chr, range(0x410, 0x450))) + "Ёё"
WORDS = {"sources": {"words": 1.0}, "frequency_power": 0.5, "punctuation": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plates": (
        string.digits + "ABEKMHOPCTYX",
        {"sources": {"plates": 1.0}, "plates": ("A000AA00", "A000AA000", "AA00000", "0000AA00")},
    ),
    "german": (ASCII + "ÄÖÜäöüß", {**WORDS, "languages": ("de",)}),
    "greek": (GREEK, {**WORDS, "languages": ("el",)}),
    "russian": (RUSSIAN, {**WORDS, "languages": ("ru",)}),
}
LOOK = {"p_perspective": 0.3, "p_blur": 0.3, "p_noise": 0.3}


def run(
    case: str, args: argparse.Namespace, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Train on one charset; return the scores of the start weights and of the trained ones."""
    from crnnjax.charset import Charset
    from crnnjax.evaluate import read_set
    from crnnjax.input_pipeline import InputOptions
    from crnnjax.recognizer import read_weights
    from crnnjax.report import make_recognizer, open_sets
    from crnnjax.training import train
    from ocrcore.training.checkpoints import load_variables
    from ocrcore.weights.averaging import load_flat

    characters, text = CASES[case]
    folder = args.out / f"{case}-{args.steps}"
    charset = args.out / f"{case}.txt"
    write_text(charset, characters + "\n")
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.seed, config.steps = args.seed, args.steps
    config.data.charset = str(charset)
    config.init_weights = args.start
    del config.data.train.mine, config.eval.sets.mine, config.eval.probe.synthetic, config.test.mine
    look = {"text": text, "words": LOOK}
    config.data.train.words = source("words", augment="light", **look)
    config.eval.sets.words = crops("words", count=300, seed=1, **look)
    config.test.words = crops("words", count=500, seed=2, **look)
    config.eval.every = config.checkpoint.every = args.steps
    if args.unfrozen:
        config.optimizer.update(freeze=(), rates=(("FeatureExtraction", 0.1),))
    config.update_from_flattened_dict(dict(changes or {}))
    before = resource.getrusage(resource.RUSAGE_SELF)
    if train(config, folder) is None:
        raise SystemExit("stopped; run the same command again to resume")
    after = resource.getrusage(resource.RUSAGE_SELF)
    known = Charset(case, tuple(characters))
    test = open_sets(config.test, field="config.test", options=InputOptions.from_config(config))
    first = make_recognizer(config, load_flat(folder / "average" / "start.safetensors"), known)
    scores = {
        "before": read_set(first, test["words"]).scores,
        "after": read_set(first.with_variables(load_variables(folder)), test["words"]).scores,
    }
    old = read_weights(args.start)[2]
    there = set(old.characters if old else "")
    return {
        "case": case,
        "steps": args.steps,
        "new": "".join(one for one in characters if one not in there),
        "cpu_s": (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime),
        **{when: one.to_dict() for when, one in scores.items()},
    }


def main() -> None:
    """Train the cases without a result, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", default="ppocrv6_small", help="weights to start from")
    parser.add_argument(
        "--unfrozen", action="store_true", help="also train the convolutions, slowly"
    )
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/other_charsets"))
    args = parser.parse_args()
    tune_process(one_arena=True)
    print(
        "charset  new rows  steps   core minutes  before  after (accuracy of 500 synthetic words)"
    )
    for case in args.cases:
        path = args.out / f"{case}-{args.steps}.json"
        if not path.is_file():
            write_json(path, run(case, args))
        row = json.loads(path.read_text(encoding="utf-8"))
        cells = [
            f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
            for one in (row["before"]["accuracy"], row["after"]["accuracy"])
        ]
        minutes = f"{row['cpu_s'] / 60:.1f}"
        print(f"{case:8} {len(row['new']):8} {row['steps']:6} {minutes:>14}  {'  '.join(cells)}")


if __name__ == "__main__":
    main()
