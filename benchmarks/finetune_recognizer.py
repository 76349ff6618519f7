"""Fine-tunes a recognizer on your own crops: what is gained and forgotten, by number of crops.

Each run trains configs/finetune_recognizer.py on some crops of a data set. A third of them (at most
300) is held out to choose the share of the trained weights. The result is evaluated on two sets
that were used neither to train nor to choose: a test set of the same kind, and crops of another
kind, which show what is forgotten. Start weights, trained weights and the kept average read the
same crops, so that differences have paired intervals.

Data sets: "borndigital" (ROOT has images/ and gt/; words are cut out of the pictures; pictures from
the 301st by name are the test set, and no picture is in both parts; if ROOT has crops/, it holds
the words already cut), "rec_train" (ROOT has labels.tsv; the last 1,000 of its lines are the test
set, the 300 before line 3,469 choose). The charset is ASCII plus further characters in the training
labels.

With --choose, words are drawn one by one from the training words, whatever picture they are from:
"random", "doubt" (those that the start weights are least sure of), or "unsure" (at random from the
less sure half). --recipe trains by another config with other start weights. --train trains on other
crops (a file of paths and texts), of which a third, at most 300, choose.

A finished run is a JSON file in --out and is not repeated; a stopped one is resumed.

Command: python benchmarks/finetune_recognizer.py --data borndigital --root DIR --forget LABELS.tsv
    --own 10 30 100 300 1000 3000 --seeds 0 1 2 [--wrong 0.1] [--set optimizer.learning_rate=1e-3]
    --table only prints existing results.
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import runpy
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from crnnjax.charset import Charset
from crnnjax.config import crops
from crnnjax.evaluate import read_set
from crnnjax.recognizer import Recognizer
from ocrcore.data.readers.crops import Crop, read_labels_tsv
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.doubt import least_sure
from ocrcore.evaluation.statistics import paired_wilson, wilson
from ocrcore.files import write_json, write_text
from ocrcore.images import read_image, write_image
from ocrcore.runtime.tuning import tune_process
from ocrcore.training.averaging import average_variables
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.averaging import load_flat

CONFIG = Path(__file__).parents[1] / "configs" / "finetune_recognizer.py"
Right = NDArray[np.bool_]
CHOICES = ("random", "doubt", "unsure")


def cut_words(root: Path, out: Path) -> Path:
    """Cut the labeled words out of pictures; return the file of their labels."""
    labels = out / "labels.tsv"
    if labels.is_file():
        return labels
    lines = ["filename\tphoto\twords"]
    for page in sorted(read_icdar_folder(root / "images", root / "gt"), key=lambda page: page.path):
        picture, stem = read_image(page.path), Path(page.path).stem
        for number, word in enumerate(page.words):
            corners = np.asarray(word.outline)
            (x0, y0), (x1, y1) = corners.min(0), corners.max(0) + 1
            crop = picture[max(int(y0), 0) : int(y1), max(int(x0), 0) : int(x1)]
            if word.care and word.text and crop.size:
                write_image(out / f"{stem}_{number}.png", crop)
                lines.append(f"{stem}_{number}.png\t{stem}\t{word.text}")
    write_text(labels, "\n".join(lines) + "\n")
    return labels


def open_data(data: str, root: Path, out: Path) -> tuple[list[list[Crop]], list[Crop], list[Crop]]:
    """Return groups of crops to train on (a picture, or neighbors), crops to choose by, the test.

    If there are no crops to choose by, they are taken from the groups.
    """
    if data == "rec_train":
        listed = read_labels_tsv(root / "labels.tsv")
        return neighbors(listed[:3168]), listed[3168:3468], listed[-1000:]
    cut = root / "crops"
    listed = read_labels_tsv(cut_words(root, cut if cut.is_dir() else out / "crops"))
    pictures: dict[str, list[Crop]] = {}
    for crop in listed:
        pictures.setdefault(Path(crop.name).stem.rpartition("_")[0], []).append(crop)
    names = [path.stem for path in sorted((root / "images").iterdir(), key=lambda path: path.name)]
    found = [pictures.get(name, []) for name in names]
    return found[:300], [], [crop for group in found[300:] for crop in group]


def neighbors(listed: list[Crop]) -> list[list[Crop]]:
    """Group crops that are neighbors in their file, because they may be from one picture."""
    return [listed[start : start + 24] for start in range(0, len(listed), 24)]


def spread(listed: list[Crop], count: int) -> list[Crop]:
    """Return some of the crops, evenly spread; all for 0."""
    step = max(1, len(listed) // count) if count else 1
    return listed[::step][: count or None]


def draw(
    groups: Sequence[Sequence[Crop]], count: int, seed: int, *, choose: bool
) -> tuple[list[Crop], list[Crop]]:
    """Draw crops to train on and (a third of them) to choose by, from different groups."""
    count = min(count, sum(map(len, groups)))
    wanted = min(300, count // 3) if choose else 0
    kept_back: list[Crop] = []
    own: list[Crop] = []
    for index in np.random.default_rng(seed).permutation(len(groups)):
        if len(kept_back) < wanted:
            kept_back += groups[index][: wanted - len(kept_back)]
        else:
            own += groups[index]
    return own[: count - wanted], kept_back


def order(groups: Sequence[Sequence[Crop]], sure: Sequence[float], how: str) -> list[list[Crop]]:
    """Return groups of one crop to draw from: all, or the half read with the least confidence."""
    pool = [crop for group in groups for crop in group]
    chosen = range(len(pool)) if how == "random" else least_sure(sure, len(pool) // 2)
    return [[pool[index]] for index in chosen]


def spoil(listed: Sequence[Crop], share: float, seed: int) -> list[Crop]:
    """Gives a fraction of the crops the texts of others."""
    rng = np.random.default_rng([seed, 1])
    wrong = np.flatnonzero(rng.random(len(listed)) < share)
    texts = [crop.text for crop in listed]
    for index, other in zip(wrong, np.roll(wrong, 1), strict=True):
        texts[index] = listed[other].text
    return [Crop(crop.name, text) for crop, text in zip(listed, texts, strict=True)]


def write_labels(path: Path, listed: Iterable[Crop]) -> str:
    """Write a label file with absolute paths."""
    rows = [f"{Path(crop.name).resolve()}\t{crop.text}" for crop in listed]
    write_text(path, "\n".join(rows) + "\n")
    return str(path)


def write_charset(path: Path, listed: Iterable[Crop]) -> None:
    """Write a charset of ASCII and further characters of the labels."""
    known = string.punctuation + string.digits + string.ascii_letters
    seen = {one for crop in listed for one in crop.text if not one.isspace()}
    text = known + "".join(sorted(seen - set(known)))
    Charset("own", tuple(text))
    write_text(path, text + "\n")


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse `SECTION.FIELD=VALUE` arguments."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def make_config(
    recipe: Path,
    folder: Path,
    parts: Mapping[str, Sequence[Crop]],
    changes: Mapping[str, Any],
    seed: int,
) -> ConfigDict:
    """Make the config of a run on its crops."""
    config: ConfigDict = runpy.run_path(str(recipe))["get_config"]()
    config.seed = seed
    mine = config.data.train.mine
    mine.update(kind="tsv", outside=True)
    config.data.labels = write_labels(folder / "train.tsv", parts["train"])
    mine.split.part = ""
    for name, sets in (("choose", config.eval.sets), ("test", config.test)):
        path = write_labels(folder / f"{name}.tsv", parts[name])
        sets.mine = crops("tsv", path=path, outside=True)
    config.data.charset = str(folder.parent / "charset.txt")
    config.update_from_flattened_dict(dict(changes))
    return config


def read(recognizer: Recognizer, sets: Mapping[str, Sequence[Crop]]) -> dict[str, Any]:
    """Return for each set whether words are read correctly: exactly, and by letters and digits."""
    found = {}
    for name, listed in sets.items():
        scores = read_set(recognizer, listed, name=name).scores
        found[name] = {
            "accuracy": scores.right().astype(int).tolist(),
            "alnum_accuracy": scores.right(alnum=True).astype(int).tolist(),
        }
    return found


def title(args: argparse.Namespace, own: int, seed: int) -> str:
    """Return the name of a run and its result."""
    changes = settings(args.set)
    told = "".join(f"-{name.rpartition('.')[2]}{value}" for name, value in changes.items())
    wrong = f"-wrong{args.wrong:g}" if args.wrong else ""
    told = "".join(one if one.isalnum() or one in "-._" else "" for one in told)
    chosen = f"-{args.choose}" if args.choose else ""
    return f"{args.data}-{own}{chosen}{wrong}{told}-{seed}"


def confidences(args: argparse.Namespace, groups: Sequence[Sequence[Crop]]) -> list[float]:
    """Return the start weights' confidence for each training crop, cached in a file."""
    file = args.out / "start" / "confidences.json"
    if not file.is_file():
        config = runpy.run_path(str(args.recipe))["get_config"]()
        reader = Recognizer.from_weights(args.start or config.init_weights)
        result = read_set(reader, [crop for group in groups for crop in group], name="the pool")
        assert not result.unreadable
        print(f"the pool: {result.scores.to_dict()}")
        write_json(file, [reading.confidence for reading in result.readings])
    found: list[float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def run(
    args: argparse.Namespace, own: int, seed: int, data: tuple[Any, Any, Any], measured: Any
) -> None:
    """Train once, and write the result."""
    from crnnjax.report import make_recognizer
    from crnnjax.training import train

    changes, name = settings(args.set), title(args, own, seed)
    result = args.out / f"{name}.json"
    if result.is_file():
        return
    groups, choose, _ = data
    if args.choose:
        sure = [] if args.choose == "random" else confidences(args, groups)
        groups = order(groups, sure, args.choose)
        if args.choose == "doubt":
            groups = groups[:own]
    own_crops, kept_back = draw(groups, own, seed, choose=not choose)
    own_crops = spoil(own_crops, args.wrong, seed)
    kept_back = spoil(choose[:own] or kept_back, args.wrong, seed + 1)
    folder = args.out / name
    # The run's own test is irrelevant: all sets are read below.
    parts = {"train": own_crops, "choose": kept_back, "test": kept_back[:10]}
    config = make_config(args.recipe, folder, parts, {**changes, **args.unnamed}, seed)
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.monotonic()
    if train(config, folder) is None:
        raise SystemExit("stopped; the same command resumes")
    after = resource.getrusage(resource.RUSAGE_SELF)
    average = json.loads((folder / "average.json").read_text(encoding="utf-8"))
    start = load_flat(RunFolder(folder).start)
    last = load_variables(folder / "checkpoints" / str(average["step"]))
    reader, shares = make_recognizer(config, start, Charset.load(folder / "charset.json")), {}
    for share in {1.0, average["share"]} - {0.0}:
        shares[share] = read(
            reader.with_variables(average_variables(start, last, share)), args.sets
        )
    shares[0.0] = measured(reader.with_variables(start))
    row = {
        "data": args.data,
        "own": own,
        "train_crops": len(own_crops),
        "choose_crops": len(kept_back),
        "wrong": args.wrong,
        "choose": args.choose,
        "seed": seed,
        "set": changes,
        "steps": config.steps,
        "cpu_s": (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime),
        "wall_s": time.monotonic() - begin,
        "share": average["share"],
        "average": average,
        "start": shares[0.0],
        "kept": shares[average["share"]],
        "trained": shares[1.0],
    }
    write_json(result, row)
    print_rows([row])


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each run and measured set."""
    for row in rows:
        changes = " ".join(f"{name}={value}" for name, value in row["set"].items())
        wrong = f" {row['wrong']:.0%} wrong" if row["wrong"] else ""
        chosen = f" by {row['choose']}" if row.get("choose") else ""
        title = f"{row['data']} {row['own']}{chosen}{wrong} seed {row['seed']} {changes}".rstrip()
        print(f"{title}; {row['steps']} steps, {row['cpu_s'] / 60:.1f} min of a core")
        for name in row["start"]:
            for score in ("accuracy", "alnum_accuracy"):
                words = {
                    what: np.array(row[what][name][score], np.bool_)
                    for what in ("start", "kept", "trained")
                }
                cells = []
                for what in words:
                    one = wilson(int(words[what].sum()), len(words[what]))
                    cell = f"{what} {one.value:.4f} ({one.low:.4f} to {one.high:.4f})"
                    if what != "start":
                        gain = paired_wilson(words["start"], words[what])
                        cell += f" {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
                    cells.append(cell)
                print(f"  {name:6} {score:14} share {row['share']:g}: {'; '.join(cells)}")


def main() -> None:
    """Train the missing runs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", choices=("borndigital", "rec_train"), default="borndigital")
    parser.add_argument("--root", type=Path, help="folder of the data set")
    parser.add_argument("--forget", type=Path, help="labels.tsv of words of another kind")
    parser.add_argument("--forget-count", type=int, default=500, help="how many, evenly spread")
    parser.add_argument("--test-count", type=int, default=0, help="test crops, 0 for all")
    parser.add_argument("--own", type=int, nargs="+", default=[3093], help="numbers of own crops")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--wrong", type=float, default=0.0, help="fraction of wrong labels")
    parser.add_argument("--train", type=Path, help="labels of crops to train on, not ROOT's own")
    parser.add_argument("--choose", choices=CHOICES, default="", help="how to choose the words")
    parser.add_argument("--recipe", type=Path, default=CONFIG, help="config of a recognizer")
    parser.add_argument("--set", nargs="*", default=[], help="fields of the config, NAME=VALUE")
    parser.add_argument("--start", help="weights to start from instead of the config's")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/finetune_recognizer"))
    parser.add_argument("--table", action="store_true", help="only print existing results")
    args = parser.parse_args()
    if not args.table:
        if not args.root or not args.forget:
            parser.error("--root and --forget are required")
        tune_process(one_arena=True)
        args.out = args.out / args.data
        # Settings that are not part of the names of results.
        args.unnamed = {"init_weights": args.start} if args.start else {}
        data = open_data(args.data, args.root, args.out)
        if args.train:
            data = neighbors(read_labels_tsv(args.train)), [], data[2]
        args.sets = {
            "test": spread(data[2], args.test_count),
            "forget": spread(read_labels_tsv(args.forget), args.forget_count),
        }
        write_charset(args.out / "charset.txt", [crop for group in data[0] for crop in group])
        starts = args.out / "start" / f"{args.test_count}-{args.forget_count}.json"

        def measured(reader: Recognizer) -> Any:
            if not starts.is_file():
                write_json(starts, read(reader, args.sets))
            return json.loads(starts.read_text(encoding="utf-8"))

        for own in args.own:
            for seed in args.seeds:
                run(args, own, seed, data, measured)
    files = sorted(args.out.parent.glob(f"{args.out.name}/*-*-*.json"))
    print_rows([json.loads(path.read_text(encoding="utf-8")) for path in files])


if __name__ == "__main__":
    main()
