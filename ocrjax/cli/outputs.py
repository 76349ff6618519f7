"""Where the commands write weights: checked before any are loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ocrcore.outputs import OutputError, check_outputs
from ocrcore.weights.named import WEIGHTS_SUFFIXES, find_weights

_SUFFIX = re.compile(r"\.[A-Za-z]\w*")  # 5 of "net-1.5" is none


def check_weights(
    target: Path, sources: Sequence[str], *, force: bool, checkpoint: bool = False
) -> None:
    """Checks that weights may be written to a place.

    Args:
        target: a file, or with `checkpoint` the folder of an Orbax checkpoint.
        sources: files, folders or names of the weights that are read.
        force: replace a file that is there; never a folder.
        checkpoint: whether a folder can be written.

    Raises:
        OutputError: an unknown suffix, or as of `check_outputs`.
        WeightsNotFoundError: of `sources`.
    """
    inputs = [find_weights(source) for source in sources]
    if target.suffix.lower() in WEIGHTS_SUFFIXES:
        check_outputs([target], inputs=inputs, force=force)
    elif checkpoint and not _SUFFIX.fullmatch(target.suffix):
        check_outputs([target], inputs=inputs, remedy="remove it or name a new folder")
    else:
        folder = ", or a name without a suffix for an Orbax checkpoint" if checkpoint else ""
        raise OutputError(
            f"{target}: expected a name that ends in {', '.join(WEIGHTS_SUFFIXES)}{folder}"
        )
