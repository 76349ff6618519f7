"""Checks of where a command writes weights, made before any are loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ocrcore.outputs import OutputError, check_outputs
from ocrcore.weights.named import WEIGHTS_SUFFIXES, find_weights

_SUFFIX = re.compile(r"\.[A-Za-z]\w*")  # the ".5" of "net-1.5" is not a suffix


def check_weights(
    target: Path, sources: Sequence[str], *, force: bool, checkpoint: bool = False
) -> None:
    """Check that weights may be written to a path.

    Args:
        target: a file, or with `checkpoint` also the folder of an Orbax checkpoint.
        sources: files, folders or names of the weights to read.
        force: replace an existing file; never a folder.
        checkpoint: whether `target` may be a folder.

    Raises:
        OutputError: an unknown suffix, or what `check_outputs` refuses.
        WeightsNotFoundError: one of `sources` does not exist.
    """
    inputs = [find_weights(source) for source in sources]
    if target.suffix.lower() in WEIGHTS_SUFFIXES:
        check_outputs([target], inputs=inputs, force=force)
    elif checkpoint and not _SUFFIX.fullmatch(target.suffix):
        check_outputs([target], inputs=inputs, remedy="remove it or name a new folder")
    else:
        folder = ", or without a suffix for an Orbax checkpoint" if checkpoint else ""
        raise OutputError(
            f"{target}: expected a name that ends in {', '.join(WEIGHTS_SUFFIXES)}{folder}"
        )
