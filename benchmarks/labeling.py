"""Labeling words in bulk against one at a time: words per second, programs, share of an epoch.

Contestants, on the same words with the same network (full width):

* bulk: `craftjax.weak.labeling.Labeler`: eight widths, full batches;
* alone: each word at the size of its own crop, as EasyOCR's trainer scores them (in PyTorch, which
  does not compile, so compile time is reported separately).

Rounds alternate; medians. Words per second exclude compiling: each contestant has seen its words
once before. Both split the scores into characters.

The share of an epoch is computed from these rates and from the time of a training step, measured in
the same run: in bulk each usable word is labeled once per epoch. The original labels all words of a
page each time a crop of the page is drawn, which is as often; its wasted work is the words that the
crop leaves out. `kept` is the fraction of words that a crop of `configs/ic15.py` shows.

`host` is reading, cropping and splitting alone, with the scores from before: the time with an
infinitely fast device; by threads and by processes (`config.pseudo.workers`), whose startup is
reported separately. With processes, a part remains that only the main process can do: its CPU time
per word limits the words per second for any number of processes.

Command: python benchmarks/labeling.py --root DIR [--words 32] [--rounds 3] [--height 128]
    [--host_words 3000]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as craftjax.main

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from craftjax.augment import AugmentOptions, draw_transform, move
from craftjax.boxes import MAP_STRIDE
from craftjax.convert import from_state_dict
from craftjax.models import CRAFT
from craftjax.training import make_loss, make_train_step
from craftjax.weak.labeling import Labeler
from craftjax.weak.options import PseudoOptions
from craftjax.weak.pseudo_labels import label_word
from craftjax.weak.word_crops import crop_word
from ocrcore.data.readers.words import open_words
from ocrcore.layers import always
from ocrcore.pages import Sample
from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.text import visible_graphemes
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.state import create_state
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights


class Alone:
    """Labels one word at a time, at the size of its own crop."""

    def __init__(self, model: CRAFT, variables: Any, options: PseudoOptions) -> None:
        self.options, self.sizes = options, set[tuple[int, int]]()
        self._variables = jax.device_put(variables)
        self._apply = jax.jit(lambda variables, images: model.apply(variables, images)[0])

    def label(self, samples: list[Sample]) -> int:
        """Labels all words; returns their number."""
        count = 0
        for sample in samples:
            for word in sample.page.words:
                if not (word.care and word.text and visible_graphemes(word.text)):
                    continue
                crop = crop_word(sample.image, word.quad, text=word.text, options=self.options)
                if crop is None:
                    continue
                self.sizes.add(crop.image.shape[:2])
                scores = np.asarray(self._apply(self._variables, crop.image[None]))[0]
                height, width = (side // MAP_STRIDE for side in crop.image.shape[:2])
                region, affinity = np.moveaxis(scores[:height, :width], -1, 0)
                label_word(region, affinity, crop=crop, text=word.text, options=self.options)
                count += 1
        return count


def host_rates(labeler: Labeler, variables: Any, root: Path, words: int) -> dict[str, Any]:
    """Return words per second without the network, by threads and processes, reading the files."""
    folder = open_words(root)
    network, kept = labeler._apply, list[np.ndarray]()

    def keep(*arguments: Any) -> Any:
        kept.append(np.asarray(network(*arguments)))
        return kept[-1]

    pages, usable = 0, 0
    while usable < words and pages < len(folder):
        usable += sum(word.care and bool(word.text) for word in folder.page(pages).words)
        pages += 1
    labeler._apply = keep  # type: ignore[assignment]
    labeler.label(variables, pages, folder.__getitem__)
    rates: dict[str, Any] = {}
    for threads, workers in ((1, 0), (2, 0), (1, 1), (1, 2)):
        replay = iter(kept)
        labeler._apply = lambda *_, r=replay: next(r)
        labeler.threads, labeler.workers = threads, workers
        seconds, cpu, found = [], [], []
        for asked in (0, pages):  # first the startup alone
            start, own = time.perf_counter(), time.process_time()
            found = labeler.label(variables, asked, folder.__getitem__).words
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - own)
        name = f"{workers} workers" if workers else f"{threads} threads"
        rates[name] = {
            "words": len(found),
            "words_per_s": len(found) / (seconds[1] - seconds[0]),
            "start_s": seconds[0],
            "own_cpu_us_per_word": 1e6 * (cpu[1] - cpu[0]) / len(found),
        }
    return rates


def step_seconds(model: CRAFT, variables: Any, *, size: int, batch_size: int) -> float:
    """Return seconds of a training step as in `configs/ic15.py`, the second one of two."""
    mesh = make_mesh(jax.devices()[:1])
    options = OptimizerOptions(learning_rate=1e-4)
    optimizer, _ = make_optimizer(options, steps=2)
    loss = make_loss({"version": 2, "neg_rto": 0.3, "n_min_neg": 5000})
    model = model.clone(frozen=always)
    step = make_train_step(model, optimizer, mesh=mesh, loss=loss, options=options)
    state = create_state(variables, optimizer, mesh=mesh)
    maps = np.zeros((batch_size, size // 2, size // 2), np.float32)
    batch = {"image": np.zeros((batch_size, size, size, 3), np.uint8)}
    batch |= {"region": maps, "affinity": maps, "confidence": maps + 1}
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        state, metrics = step(state, put_batch(batch, mesh))
        jax.block_until_ready((state, metrics))
        seconds = time.perf_counter() - start
    return seconds


def kept_share(samples: list[Sample], *, draws: int = 200) -> float:
    """Return the fraction of words whose center is shown by a crop of the original's recipe."""
    rng, options = np.random.default_rng(0), AugmentOptions(crop="random_resize_crop", rotation=20)
    shown = total = 0
    for draw in range(draws):
        page = samples[draw % len(samples)].page
        matrix = draw_transform(rng, (page.height, page.width), (768, 768), options)
        quads = [word.quad for word in page.words if word.care]
        if quads:
            centers = move(np.stack(quads).mean(1), matrix)
            shown += int(((centers >= 0) & (centers < 768)).all(1).sum())
            total += len(quads)
    return shown / max(total, 1)


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with images/ and gt/")
    parser.add_argument("--words", type=int, default=32, help="minimum number, of whole pages")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--host_words", type=int, default=3000, help="words for `host`")
    parser.add_argument("--height", type=int, default=PseudoOptions().height, help="of word crops")
    parser.add_argument("--weights", default="craft_mlt_25k")
    parser.add_argument("--size", type=int, default=384, help="crop size in the training step")
    parser.add_argument("--batch", type=int, default=2, help="batch size of the training step")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/labeling.json"))
    args = parser.parse_args()

    folder = open_words(args.root)
    pages = [folder.page(index) for index in range(len(folder))]
    usable = [sum(word.care and bool(word.text) for word in page.words) for page in pages]
    samples: list[Sample] = []
    while sum(usable[: len(samples)]) < args.words:
        samples.append(folder[len(samples)])
    variables = from_state_dict(load_weights(find_weights(args.weights)))
    model, options = CRAFT(dtype=jnp.dtype(args.dtype)), PseudoOptions(height=args.height)
    bulk = Labeler(model, mesh=make_mesh(), options=options)
    alone = Alone(model, variables, options)

    def run_bulk() -> int:
        return len(bulk.label(variables, len(samples), samples.__getitem__).words)

    contestants = {"bulk": run_bulk, "alone": lambda: alone.label(samples)}
    first, seconds, counts = {}, {name: [] for name in contestants}, {}
    for rounds in range(args.rounds + 1):
        for name, label in contestants.items():
            start = time.perf_counter()
            counts[name] = label()
            took = time.perf_counter() - start
            if rounds:
                seconds[name].append(took)
            else:
                first[name] = took
    step = step_seconds(model, variables, size=args.size, batch_size=args.batch)

    per_page = sum(usable) / len(pages)
    result: dict[str, Any] = {"words": counts["bulk"], "step_s": step, "words_per_page": per_page}
    result["kept"] = kept_share([Sample(s.image, s.page) for s in samples])
    programs = {"bulk": bulk.programs, "alone": len(alone.sizes)}
    print(f"{counts['bulk']} words of {len(samples)} pages; a page has {per_page:.1f} on average")
    print("         words/s  programs  first round  share of an epoch")
    for name in contestants:
        rate = counts[name] / statistics.median(seconds[name])
        compiling = first[name] - statistics.median(seconds[name])
        labels = per_page * args.batch / rate  # seconds of labeling per step
        share = labels / (labels + step)
        result[name] = {
            "words_per_s": rate,
            "programs": programs[name],
            "first_round_s": first[name],
            "compiling_s": compiling,
            "share_of_pass": share,
        }
        print(f"{name:6} {rate:9.2f} {programs[name]:9} {first[name]:10.1f} s {share:16.1%}")
    ratio = result["bulk"]["words_per_s"] / result["alone"]["words_per_s"]
    result["ratio"] = ratio
    print(f"bulk / alone: {ratio:.2f}; a step of {args.batch} x {args.size}^2: {step:.2f} s")
    # Batches as on a GPU; above, a batch is a word.
    host = Labeler(model, mesh=make_mesh(), options=options, batch_size=64)
    result["host"] = host_rates(host, variables, args.root, args.host_words)
    print("host alone  words/s  start  CPU of main process per word")
    for name, one in result["host"].items():
        rate, own = one["words_per_s"], one["own_cpu_us_per_word"]
        print(f"{name:10} {rate:8.0f} {one['start_s']:5.1f} s {own:8.0f} us")
    print(f"a crop shows {result['kept']:.0%} of the words of its page")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
