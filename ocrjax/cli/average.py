"""average weights (WiSE-FT): fine-tune with less forgetting."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ocrcore.outputs import check_outputs
from ocrjax.cli.outputs import check_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="WEIGHTS",
        help="two or more: .pth or .safetensors files, names, folders of runs",
    )
    parser.add_argument(
        "--shares", nargs="+", type=float, help="of each in the average; default: equal ones"
    )
    parser.add_argument("--out", required=True, help="a .pth or .safetensors file")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Averages, and says how a detector's thresholds are tuned."""
    out = Path(arguments.out)
    check_weights(out, arguments.sources, force=arguments.force)

    from ocrcore.weights.named import find_weights
    from ocrjax.weights import belongings, read_state, save_state, write_belongings

    found = {source: read_state(source) for source in arguments.sources}
    if len(found) != len(arguments.sources):
        raise ValueError("the same weights are named twice, expected different ones")
    average = average_states(
        {source: state for source, (_, state) in found.items()}, arguments.shares
    )
    network, _ = found[arguments.sources[0]]
    beside = {}
    if network == "recognizer":
        beside = belongings(network, find_weights(arguments.sources[0]), out)
        check_outputs(beside, force=arguments.force)
    save_state(out, network, average)
    print(f"{out}: {len(average)} entries from {len(found)} weights")
    write_belongings(beside)
    if network == "detector":
        print("Re-tune the thresholds of the averaged weights:")
        print(f"  python -m craftjax.main --config=CONFIG --mode=sweep --weights={out}")
    return 0


def average_states(
    states: Mapping[str, Mapping[str, np.ndarray]], shares: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """Averages networks that have been trained from the same start (WiSE-FT, arXiv:2109.01903).

    Args:
        states: state dicts of the same network, by where they come from.
        shares: of each; they are divided by their sum. None: all equal.

    Returns:
        A state dict with the first one's types; what counts (integers) is the last one's.

    Raises:
        ValueError: fewer than two, other shares than states, shares out of range, or another
            network; the entry is named.
    """
    names = list(states)
    if len(names) < 2:
        raise ValueError(f"{len(names)} weights, expected two or more to average")
    weights = np.asarray([1.0] * len(names) if shares is None else shares, np.float64)
    if len(weights) != len(names):
        raise ValueError(f"{len(weights)} shares for {len(names)} weights, expected one for each")
    # A sum that is not finite would make every share 0.
    if not (weights >= 0).all() or not 0 < (total := sum(weights.tolist())) < math.inf:
        raise ValueError(
            f"shares are {weights.tolist()}, expected positive numbers with a finite sum"
        )
    weights /= total
    first = states[names[0]]
    for name in names[1:]:
        for key in {**first, **states[name]}:
            pair = (first, states[name])
            found = [one[key].shape if key in one else "missing" for one in pair]
            if found[0] != found[1]:
                raise ValueError(
                    f"{key} is {found[0]} in {names[0]} and {found[1]} in {name}, expected the "
                    "same network"
                )
    out = {}
    for key, array in first.items():
        parts = [states[name][key] for name in names]
        if np.issubdtype(array.dtype, np.integer):
            out[key] = parts[-1]
            continue
        mean = sum(w * part.astype(np.float64) for w, part in zip(weights, parts, strict=True))
        out[key] = np.asarray(mean).astype(array.dtype)
    return out
