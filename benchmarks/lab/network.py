"""Forward pass of CRAFT: ours against EasyOCR's PyTorch, each as installed and with tcmalloc.

Each contestant is a process of its own that waits its turn, so that all of them see the same
machine: rounds go A B C A B C. Medians, ratios to ours and peak memory are printed and written as
JSON. Needs the weights, and EasyOCR for the comparison (`pip install easyocr`); tcmalloc is
Debian's libtcmalloc-minimal4.

Command: python benchmarks/lab/network.py --sizes 768 1280 --rounds 7
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # modules shared with benchmarks/

import numpy as np
from contest import HEAD, Answer, find_tcmalloc, race, serve


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def _ours(images: np.ndarray) -> Callable[[], np.ndarray]:
    import jax

    from craftjax.convert import from_state_dict
    from craftjax.models import CRAFT
    from ocrcore.runtime.tuning import tune_process
    from ocrcore.weights.named import find_weights
    from ocrcore.weights.pth import load_weights

    tune_process()  # as the commands of `ocrjax` do
    variables = jax.device_put(from_state_dict(load_weights(find_weights("craft_mlt_25k"))))
    apply = jax.jit(lambda variables, images: CRAFT().apply(variables, images)[0])
    return lambda: np.asarray(apply(variables, images))


def _torch(images: np.ndarray) -> Callable[[], np.ndarray]:
    from peers import import_easyocr

    import_easyocr()
    import torch
    from easyocr.craft import CRAFT
    from easyocr.detection import copyStateDict

    from craftjax.models import MEAN, STD
    from ocrcore.weights.named import find_weights

    network = CRAFT()
    state = torch.load(find_weights("craft_mlt_25k"), map_location="cpu", weights_only=True)
    network.load_state_dict(copyStateDict(state))
    network.eval()
    # EasyOCR normalizes on the host, outside the network; that is not timed here.
    normal = (images.astype(np.float32) / 255 - MEAN) / STD
    tensor = torch.from_numpy(normal.astype(np.float32).transpose(0, 3, 1, 2).copy())

    def run() -> np.ndarray:
        with torch.no_grad():
            return network(tensor)[0].numpy()

    return run


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _check(firsts: dict[str, Answer]) -> None:
    sums = [answer["sum"] for answer in firsts.values()]
    assert max(sums) - min(sums) < 1e-3 * max(sums), f"the networks' outputs differ: {firsts}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["768", "1280"], help="SIDE or HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", default="exp/benchmarks/network.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [_parse_size(text) for text in arguments.sizes]
    if arguments.worker:
        run = {"ours": _ours, "torch": _torch}[arguments.worker](_image(*sizes[0]))
        serve(run, lambda scores: {"sum": float(np.abs(scores).sum())})
        return
    contestants = {"ours": ("ours", False), "PyTorch": ("torch", False)}
    if find_tcmalloc():
        contestants["PyTorch, tcmalloc"] = ("torch", True)
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    report["sizes"] = {}
    print(f"size         {HEAD}  ours/it")
    for size in sizes:
        name = "x".join(map(str, size))
        found = race(
            __file__,
            contestants,
            rounds=arguments.rounds,
            arguments=["--sizes", name],
            check=_check,
        )
        for who in contestants:
            ratio = found.median("ours") / found.median(who)
            print(f"{name:11s}  {found.row(who)}  {ratio:7.2f}", flush=True)
        report["sizes"][name] = {"rounds": found.rounds, "first": found.firsts}
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
