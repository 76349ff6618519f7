"""EasyOCR itself and ours with the same weights on real word crops: same texts, and speed.

Both read whole crops with `english_g2`. EasyOCR through `Reader.recognize`, once with default
settings (on a CPU its LSTM and linear layers then compute in int8) and once with `quantize=False`;
its answers and the logits of its first pass are cached (`--cache`), because they take a minute per
thousand crops. Ours with `resize="easyocr"`: from the same files, and from their RGB values, as a
program that cuts crops out of its own pictures would pass them. (OpenCV's gray reading of a PNG
file differs from its gray of the RGB values.) Every text of ocrjax that differs is printed, or
written to the JSON file, with details.

Speed: each contestant is a process that waits its turn and reads the same crops in each round, with
the files already in memory; rounds alternate. EasyOCR one by one with default settings and with
`quantize=False`, and in batches: on a CPU `recognize` reads one by one whatever its `batch_size`,
so its own `get_text` is called, once per width, which is the best case for it.

Command: python benchmarks/recognizer.py --labels A/labels.tsv B/labels.tsv --count 600
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contest import race, serve
from peers import import_easyocr, version

from crnnjax.metrics import score_texts
from ocrcore.data.readers.crops import Crop, read_labels_tsv
from ocrcore.runtime.tuning import tune_process
from ocrcore.weights.named import find_weights

HEIGHT = 64


def _reader(*, quantize: bool) -> Any:
    easyocr = import_easyocr()
    return easyocr.Reader(
        ["en"],
        gpu=False,
        detector=False,
        quantize=quantize,
        download_enabled=False,
        verbose=False,
        model_storage_directory=str(find_weights("english_g2").parent),
        user_network_directory=tempfile.mkdtemp(),
    )


def _gray(path: str) -> np.ndarray:
    from easyocr.utils import reformat_input

    return np.asarray(reformat_input(path)[1])


def _pick(paths: Sequence[Path], count: int) -> dict[str, list[Crop]]:
    """Picks crops spread evenly over each set."""
    sets = {}
    for path in paths:
        crops = read_labels_tsv(path)
        step = max(1.0, len(crops) / count)
        chosen = [crops[int(index * step)] for index in range(min(count, len(crops)))]
        sets[f"{path.parent.parent.name}/{path.parent.name}"] = chosen
    return sets


def _easyocr_answers(crops: Sequence[Crop], cache: Path) -> dict[str, Any]:
    """Return texts, confidences and logits of EasyOCR, cached or computed."""
    from torch import __version__ as torch_version

    seen = [(c.name, Path(c.name).stat().st_size, Path(c.name).stat().st_mtime_ns) for c in crops]
    of = (version("easyocr"), torch_version, version("opencv-python-headless"), seen)
    path = cache / f"easyocr_{hashlib.sha256(repr(of).encode()).hexdigest()[:12]}.npz"
    if path.exists():
        with np.load(path) as file:
            return dict(file)
    answers: dict[str, Any] = {}
    logits: list[np.ndarray] = []
    for name, quantize in (("fp32", False), ("int8", True)):
        reader = _reader(quantize=quantize)
        texts, sure = [], []
        first: list[np.ndarray] = []
        reader.recognizer.register_forward_hook(
            lambda module, inputs, output, first=first: first.append(output[0].numpy())
        )
        for done, crop in enumerate(crops, 1):
            first.clear()
            ((_, text, confidence),) = reader.recognize(_gray(crop.name))
            texts.append(text)
            sure.append(confidence)
            if not quantize:
                logits.append(first[0])
            if done % 200 == 0:
                print(f"EasyOCR {name}: {done} of {len(crops)}", flush=True)
        answers[f"{name}_texts"] = np.array(texts)
        answers[f"{name}_confidences"] = np.array(sure, np.float64)
    answers["logits"] = np.concatenate(logits)
    answers["steps"] = np.array([len(item) for item in logits])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **answers)
    return answers


def _agreement(sets: dict[str, list[Crop]], cache: Path) -> dict[str, Any]:
    from crnnjax.recognizer import Recognizer

    import_easyocr()
    crops = [crop for chosen in sets.values() for crop in chosen]
    answers = _easyocr_answers(crops, cache)
    files = [crop.name for crop in crops]
    colors = [crop.image() for crop in crops]
    ours = Recognizer.from_weights("english_g2")
    readings = {
        "ours": ours.recognize(files, resize="easyocr"),
        "ours, RGB": ours.recognize(colors, resize="easyocr"),
        "ours, buckets": ours.recognize(colors, resize="bucket"),
    }
    theirs = np.split(answers["logits"], np.cumsum(answers["steps"])[:-1])
    mine = ours.logits(files, resize="easyocr")
    apart = np.array([np.abs(a - b).max() for a, b in zip(mine, theirs, strict=True)])
    texts: dict[str, list[str]] = {
        "EasyOCR fp32": [str(text) for text in answers["fp32_texts"]],
        "EasyOCR int8": [str(text) for text in answers["int8_texts"]],
        **{name: [item.text for item in read] for name, read in readings.items()},
    }
    report: dict[str, Any] = {
        "crops": len(crops),
        "logits": {
            "largest difference": float(apart.max()),
            "median of each crop's largest": float(np.median(apart)),
            "within 1e-3": int((apart < 1e-3).sum()),
        },
        "identical to EasyOCR fp32": {},
        "accuracy": {},
    }
    print(f"\n{len(crops)} crops; logits differ by at most {apart.max():.2e}")
    right = texts["EasyOCR fp32"]
    for name, read in texts.items():
        same = sum(a == b for a, b in zip(read, right, strict=True))
        report["identical to EasyOCR fp32"][name] = same
        print(f"{name:22s} {same} of {len(crops)} texts as EasyOCR fp32 ({same / len(crops):.4%})")
    sure = np.array([item.confidence for item in readings["ours"]])
    off = float(np.abs(sure - answers["fp32_confidences"]).max())
    report["confidence, largest difference"] = off
    print(f"confidences differ by at most {off:.1e}")
    report["different"] = []
    for name in ("ours", "ours, RGB"):
        for index, crop in enumerate(crops):
            if texts[name][index] != right[index]:
                found = readings[name][index]
                row = {
                    "contestant": name,
                    "file": Path(crop.name).name,
                    "truth": crop.text,
                    "ours": found.text,
                    "easyocr": right[index],
                    "confidences": [found.confidence, float(answers["fp32_confidences"][index])],
                    "logits": float(apart[index]),
                }
                report["different"].append(row)
                if name == "ours":
                    print(f"  {row}")
    start = 0
    print(f"\n{'set':24s} {'contestant':22s} accuracy                    alphanumeric")
    for name, chosen in sets.items():
        part = slice(start, start + len(chosen))
        start += len(chosen)
        report["accuracy"][name] = {}
        for contestant, read in texts.items():
            scores = score_texts([crop.text for crop in chosen], read[part])
            report["accuracy"][name][contestant] = scores.to_dict()
            exact, loose = scores.accuracy(), scores.alnum_accuracy()
            print(
                f"{name:24s} {contestant:22s} {exact.value:.4f} ({exact.low:.4f} to "
                f"{exact.high:.4f})   {loose.value:.4f} ({loose.low:.4f} to {loose.high:.4f})"
            )
    return report


def _one_by_one(quantize: bool) -> Callable[[list[np.ndarray]], list[str]]:
    reader = _reader(quantize=quantize)
    return lambda grays: [reader.recognize(gray)[0][1] for gray in grays]


def _in_batches(quantize: bool) -> Callable[[list[np.ndarray]], list[str]]:
    reader = _reader(quantize=quantize)
    from easyocr.recognition import get_text
    from easyocr.utils import get_image_list

    def read(grays: list[np.ndarray]) -> list[str]:
        groups: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
        for index, gray in enumerate(grays):
            height, width = gray.shape
            images, wide = get_image_list([[0, width, 0, height]], [], gray, model_height=HEIGHT)
            groups[int(wide)].append((index, images[0][1]))
        texts = [""] * len(grays)
        for wide, images in groups.items():
            found = get_text(
                reader.character,
                HEIGHT,
                wide,
                reader.recognizer,
                reader.converter,
                images,
                batch_size=16,
                workers=0,
                device="cpu",
            )
            for index, text, _ in found:
                texts[index] = text
        return texts

    return read


def _ours(resize: str) -> Callable[[list[np.ndarray]], list[str]]:
    from crnnjax.recognizer import Recognizer

    recognizer = Recognizer.from_weights("english_g2")
    return lambda grays: [item.text for item in recognizer.recognize(grays, resize=resize)]


CONTESTANTS: dict[str, Callable[[], Callable[[list[np.ndarray]], list[str]]]] = {
    "ours, as EasyOCR scales": lambda: _ours("easyocr"),
    "ours, buckets": lambda: _ours("bucket"),
    "EasyOCR as it comes": lambda: _one_by_one(True),
    "EasyOCR fp32": lambda: _one_by_one(False),
    "EasyOCR in batches": lambda: _in_batches(True),
    "EasyOCR fp32 in batches": lambda: _in_batches(False),
}


def _worker(name: str, grays: Path) -> None:
    warnings.simplefilter("ignore")
    with np.load(grays) as file:
        crops = [file[key] for key in file]
    read = CONTESTANTS[name]()
    serve(lambda: read(crops), lambda texts: {"texts": texts})


def _speed(sets: dict[str, list[Crop]], count: int, rounds: int) -> dict[str, Any]:
    import_easyocr()
    crops = [crop for chosen in sets.values() for crop in chosen]
    crops = crops[:: max(1, math.ceil(len(crops) / count))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grays.npz"
        np.savez(file, *[_gray(crop.name) for crop in crops])
        found = race(
            __file__,
            {name: (name, False) for name in CONTESTANTS},
            rounds=rounds,
            arguments=["--grays", str(file)],
        )
    ours = found.median("ours, as EasyOCR scales")
    print(f"\n{len(crops)} crops per round, {rounds} rounds")
    print("contestant               ms/crop      cpu ms   first s   ours/it")
    for name in CONTESTANTS:
        median, cpu = found.median(name), found.median(name, "cpu")
        print(
            f"{name:24s} {median / len(crops) * 1e3:10.1f} {cpu / len(crops) * 1e3:8.1f} "
            f"{found.firsts[name]['first']:9.1f} {ours / median:9.2f}",
            flush=True,
        )
    first = {name: answer["first"] for name, answer in found.firsts.items()}
    return {"crops": len(crops), "rounds": found.rounds, "first": first}


def main() -> None:
    """Compare the texts, then the speed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", nargs="+", type=Path, help="labels.tsv of crops")
    parser.add_argument("--count", type=int, default=600, help="crops of each set")
    parser.add_argument("--timed", type=int, default=128, help="crops per round of the speed test")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("exp/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/recognizer.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--grays", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    tune_process()
    warnings.simplefilter("ignore")  # torch warns about quantization and unpinned memory
    if args.worker:
        _worker(args.worker, args.grays)
        return
    if not args.labels:
        parser.error("--labels is needed")
    sets = _pick(args.labels, args.count)
    report: dict[str, Any] = {"agreement": _agreement(sets, args.cache)}
    if args.rounds:
        report["speed"] = _speed(sets, args.timed, args.rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
