"""average weights (WiSE-FT): fine-tune with less forgetting."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.outputs import check_outputs
from ocrjax.cli.outputs import check_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="WEIGHTS",
        help="two or more: .pth or .safetensors files, names of weights, or run directories",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        type=float,
        help="share of each of the weights in the average (default: equal shares)",
    )
    parser.add_argument("--out", required=True, help="the .pth or .safetensors file to write")
    parser.add_argument("--force", action="store_true", help="replace existing files")


def run(arguments: argparse.Namespace) -> int:
    """Average weights; for a detector also print how to re-tune its thresholds."""
    out = Path(arguments.out)
    check_weights(out, arguments.sources, force=arguments.force)

    from ocrcore.weights.averaging import average_states
    from ocrcore.weights.named import find_weights
    from ocrjax.weights import belongings, read_state, save_state, write_belongings

    found = {source: read_state(source) for source in arguments.sources}
    if len(found) != len(arguments.sources):
        raise ValueError("the same weights are named twice: expected different ones")
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
