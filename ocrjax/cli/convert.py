"""convert weights between .pth, .safetensors and Orbax checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights, save_weights

_FILES = (".pth", ".pt", ".safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "source", metavar="IN", help="a .pth or .safetensors file, an Orbax checkpoint, or a name"
    )
    parser.add_argument(
        "target", metavar="OUT", help="a .pth or .safetensors file; else an Orbax checkpoint"
    )


def run(arguments: argparse.Namespace) -> int:
    """Converts; the state dict passes unchanged between the two kinds of files."""
    from craftjax.convert import from_state_dict, to_state_dict
    from ocrcore.training.checkpoints import load_variables, save_variables

    source, target = Path(arguments.source), Path(arguments.target)
    if source.is_dir():
        state = to_state_dict(load_variables(source))
    else:
        state = load_weights(find_weights(arguments.source))
    if target.suffix in _FILES:
        save_weights(target, state)
    else:
        save_variables(target, from_state_dict(state))
    print(f"{target}: {len(state)} entries from {source}")
    return 0
