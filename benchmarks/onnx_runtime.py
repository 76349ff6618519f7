"""ONNX Runtime against JAX and PyTorch for our networks: time, CPU time, peak memory, file sizes.

Each contestant is a process of its own, pinned to as many CPUs as it may use; they take turns. The
models are exported first; int8 is calibrated with the pictures of docs/, which suffices for speed.
The inputs are noise. Accuracy by precision is printed by `ocrjax export onnx --check`. `--torch`
needs PyTorch, which is not among the extras; `craft_compact` has no network there.

Command: python benchmarks/onnx_runtime.py --threads 1 2 --rounds 7 --torch
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contest import HEAD, Answer, race, serve

# Weights, and height, width and number of pictures.
CASES: dict[str, tuple[str, tuple[int, int, int]]] = {
    "english_g2 1": ("english_g2", (64, 192, 1)),
    "english_g2 16": ("english_g2", (64, 192, 16)),
    "ppocrv6_small 1": ("ppocrv6_small", (48, 144, 1)),
    "ppocrv6_small 16": ("ppocrv6_small", (48, 144, 16)),
    "craft 1": ("craft_mlt_25k", (736, 1280, 1)),
    "craft_compact 1": ("craft_compact", (736, 1280, 1)),
}
KINDS = ("ours", "float32", "int8")
ROOT = Path(__file__).parents[1]


def _make(folder: Path, names: set[str]) -> None:
    """Export the models in all precisions."""
    from ocrjax.onnx.export import OnnxOptions, export_onnx

    for name in sorted(names):
        options = OnnxOptions(
            precisions=("float32", "float16", "int8"),
            charset="en95" if name == "ppocrv6_small" else None,
            calibrate=(str(ROOT / "docs"),),
        )
        from ocrcore.weights.named import find_weights

        export_onnx(find_weights(name), folder, name=name, options=options, log=lambda said: None)
        np.savez(folder / f"{name}.npz", **_state(name))
        for path in sorted(folder.glob(f"{name}*.onnx")):
            print(f"{path.name:32} {path.stat().st_size / 1e6:6.1f} MB")


def _state(name: str) -> Mapping[str, np.ndarray]:
    from ocrjax.weights import load_network, with_charset

    weights = load_network(name)
    if name == "ppocrv6_small":
        weights, _ = with_charset(weights, "en95")
    return weights.state


def _inputs(case: str) -> dict[str, np.ndarray]:
    name, (height, width, rows) = CASES[case]
    channels = 3 if name.startswith("craft") else 1
    shape = (rows, height, width, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if channels == 3:
        return {"images": images}
    return {"images": images, "widths": np.full(rows, width, np.int32)}


def _ours(case: str) -> Callable[[], Any]:
    import jax

    from craftjax import models as craft
    from crnnjax.models import CRNN, options_of
    from crnnjax.recognizer import load_recognizer
    from ocrcore.runtime.tuning import tune_process
    from ocrjax.weights import load_network

    tune_process()
    name = CASES[case][0]
    inputs = _inputs(case)
    if "widths" in inputs:
        charset = "en95" if name == "ppocrv6_small" else None
        variables = load_recognizer(name, charset=charset).variables
        apply = jax.jit(CRNN(**options_of(variables)).apply)
        placed = jax.device_put(variables)
        return lambda: np.asarray(apply(placed, inputs["images"], inputs["widths"]))
    variables = load_network(name).variables
    model = craft.make_network(**craft.options_of(variables))
    scores = jax.jit(lambda variables, images: model.apply(variables, images)[0])
    placed = jax.device_put(variables)
    return lambda: np.asarray(scores(placed, inputs["images"]))


def _onnx(case: str, kind: str, folder: Path, threads: int) -> Callable[[], Any]:
    import onnxruntime

    suffix = "" if kind == "float32" else f"_{kind}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / f"{CASES[case][0]}{suffix}.onnx"), options, providers=["CPUExecutionProvider"]
    )
    inputs = _inputs(case)
    return lambda: session.run(None, inputs)[0]


def _torch(case: str, folder: Path, threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    name = CASES[case][0]
    with np.load(folder / f"{name}.npz") as stored:
        state = dict(stored)
    images = _inputs(case)["images"]
    if name == "craft_mlt_25k":
        import torch_craft

        network: torch.nn.Module = torch_craft.make_network(state)
        tensor = torch_craft.make_batch({"image": images})["image"]
    else:
        import torch_crnn

        compact = name == "ppocrv6_small"
        make = torch_crnn.make_compact_network if compact else torch_crnn.make_network
        network = make(state)
        none = np.zeros(1, np.int32)
        tensor, *_ = torch_crnn.make_batch({"image": images, "label": none, "length": none})
    network.eval()

    def run() -> Any:
        with torch.inference_mode():
            return network(*((tensor, None) if name == "ppocrv6_small" else (tensor,))).numpy()

    return run


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch", action="store_true", help="also PyTorch")
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/onnx_runtime.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        if arguments.worker == "make":
            _make(arguments.folder, {CASES[case][0] for case in arguments.cases})
            return
        (case,), (threads,) = arguments.cases, arguments.threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        if arguments.worker == "ours":
            run = _ours(case)
        elif arguments.worker == "torch":
            run = _torch(case, arguments.folder, threads)
        else:
            run = _onnx(case, arguments.worker, arguments.folder, threads)
        serve(run, lambda found: {"largest": float(np.abs(found).max())})
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In its own process: contestants would inherit its peak memory.
        given = ["--worker", "make", "--folder", name, "--cases", *arguments.cases]
        subprocess.run([sys.executable, __file__, *given], check=True)
        for threads in arguments.threads:
            for case in arguments.cases:
                more = ("torch",) if arguments.torch and case != "craft_compact 1" else ()
                _race(case, threads, folder, (*KINDS, *more), arguments.rounds, found)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _race(
    case: str,
    threads: int,
    folder: Path,
    kinds: Sequence[str],
    rounds: int,
    found: dict[str, Any],
) -> None:
    def check(firsts: dict[str, Answer]) -> None:
        ours = firsts["ours"]["largest"]
        for kind in set(kinds) - {"int8"}:
            assert abs(ours - firsts[kind]["largest"]) < 1e-3 * max(1, ours), f"unequal: {firsts}"

    height, width, rows = CASES[case][1]
    print(
        f"\n{case}: {rows} of {width}x{height}, {threads} threads\n{HEAD}  share of cpu", flush=True
    )
    given = ["--cases", case, "--threads", str(threads), "--folder", str(folder)]
    result = race(
        __file__,
        {kind: (kind, False) for kind in kinds},
        rounds=rounds,
        arguments=given,
        check=check,
    )
    least = {kind: min(row["cpu"] for row in result.rounds[kind]) for kind in kinds}
    for kind in kinds:
        print(f"{result.row(kind)}  {least[kind] / least['ours']:7.2f}", flush=True)
        found[f"{case} {threads} {kind}"] = result.rounds[kind]


if __name__ == "__main__":
    main()
