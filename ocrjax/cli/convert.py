"""convert weights of either network between .pth, .safetensors and Orbax checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "source",
        metavar="IN",
        help="a .pth, .safetensors or PP-OCR .onnx file, an Orbax checkpoint, or a name",
    )
    parser.add_argument(
        "target", metavar="OUT", help="a .pth or .safetensors file; else an Orbax checkpoint"
    )
    parser.add_argument(
        "--charset",
        help="of a recognizer: keep the classes of these characters alone, a name (en94) or file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Converts, and takes along what belongs to the weights."""
    from ocrcore.training.checkpoints import save_variables
    from ocrjax.weights import (
        FILES,
        belongings,
        load_network,
        save_state,
        with_charset,
        write_belongings,
    )

    weights, target, charset = load_network(arguments.source), Path(arguments.target), None
    if arguments.charset:
        weights, charset = with_charset(weights, arguments.charset)
    beside = belongings(weights.network, weights.path, target, charset=charset)
    if target.suffix in FILES:
        save_state(target, weights.network, weights.state)
    else:
        save_variables(target, weights.variables)
    print(f"{target}: a {weights.network}, {len(weights.state)} entries from {weights.path}")
    write_belongings(beside)
    return 0
