"""average weights (WiSE-FT): fine-tune with less forgetting."""

from __future__ import annotations

import argparse
from pathlib import Path

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

    from ocrcore.weights.averaging import average_states
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
