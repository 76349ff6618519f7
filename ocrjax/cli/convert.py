"""convert weights of either network between .pth, .safetensors and Orbax checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.outputs import check_outputs
from ocrcore.weights.named import WEIGHTS_SUFFIXES
from ocrjax.cli.outputs import check_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source",
        metavar="IN",
        help="a .pth, .safetensors or PP-OCR .onnx file, an Orbax checkpoint, or the name "
        "of weights",
    )
    parser.add_argument(
        "target",
        metavar="OUT",
        help="a .pth or .safetensors file; a path without a suffix writes an Orbax checkpoint",
    )
    parser.add_argument(
        "--charset",
        help="for a recognizer: keep only the classes of these characters; the name of a charset "
        "(en94) or a file",
    )
    parser.add_argument(
        "--float16",
        action="store_true",
        help="store the weights in half the space; computations stay in float32",
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")


def run(arguments: argparse.Namespace) -> int:
    """Convert the weights, with the files that belong to them."""
    source, target, force = arguments.source, Path(arguments.target), arguments.force
    file = target.suffix.lower() in WEIGHTS_SUFFIXES
    check_weights(target, [source], force=force, checkpoint=True)
    if arguments.float16 and not file:
        raise ValueError(f"--float16: {target} is a checkpoint, which is float32; name a file")

    from ocrcore.training.checkpoints import save_variables
    from ocrjax.weights import (
        belongings,
        halved,
        load_network,
        save_state,
        with_charset,
        write_belongings,
    )

    weights, charset = load_network(source), None
    if arguments.charset:
        weights, charset = with_charset(weights, arguments.charset)
    beside = belongings(weights.network, weights.path, target, charset=charset)
    check_outputs(beside, inputs=[weights.path], force=force)
    if file:
        state = halved(weights.state) if arguments.float16 else weights.state
        save_state(target, weights.network, state)
    else:
        save_variables(target, weights.variables)
    print(f"{target}: a {weights.network}, {len(weights.state)} entries from {weights.path}")
    write_belongings(beside)
    return 0
