"""Change of a trained network's charset: output rows are copied character by character."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from crnnjax.charset import Charset

# Spread of new rows relative to that of the old ones.
_SPREAD = 0.01


class Mapped(NamedTuple):
    """Variables for another charset.

    Attributes:
        variables: variables of the network with the new charset's classes.
        kept: characters whose rows were copied.
        new: characters that the old network could not read.
        lost: characters that only the old network could read.
    """

    variables: dict[str, Any]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    lost: tuple[str, ...]

    def describe(self) -> str:
        """Return a line for the log."""
        parts = [f"{len(self.kept)} characters keep their output rows"]
        for what, characters in (("new", self.new), ("dropped", self.lost)):
            if characters:
                shown = "".join(characters[:40]) + ("..." if len(characters) > 40 else "")
                parts.append(f"{len(characters)} are {what}: {shown!r}")
        return ", ".join(parts)


def map_classes(
    variables: Mapping[str, Any], *, old: Charset, new: Charset, seed: int = 0
) -> Mapped:
    """Change the classes of a network to those of another charset.

    The blank and every character that the old charset reads (in either case if it is
    case-insensitive) keep their rows. The row of a new character starts as the mean of all old
    characters' rows with a little noise, so that it takes almost no probability from the others and
    nothing is forgotten.

    Args:
        variables: variables of the old network; not changed.
        old: its charset.
        new: the new charset.
        seed: seed of the noise.

    Raises:
        ValueError: the old charset has another number of classes than the network.
    """
    head = variables["params"]["Prediction"]
    kernel, bias = np.asarray(head["kernel"]), np.asarray(head["bias"])
    if len(bias) != old.num_classes:
        raise ValueError(
            f"the network has {len(bias)} classes, but charset {old.name!r} makes "
            f"{old.num_classes} ({len(old.characters)} characters and the blank)"
        )
    source = old.classes_of([ord(character) for character in new.characters])
    known = source > 0
    rng = np.random.default_rng([seed, len(source)])
    noise = rng.standard_normal((len(kernel), len(source))) * _SPREAD * kernel[:, 1:].std()
    kernels = np.where(known, kernel[:, source], kernel[:, 1:].mean(1, keepdims=True) + noise)
    biases = np.where(known, bias[source], bias[1:].mean())
    prediction = {
        "kernel": np.concatenate([kernel[:, :1], kernels], axis=1).astype(np.float32),
        "bias": np.concatenate([bias[:1], biases]).astype(np.float32),
    }
    params = {**variables["params"], "Prediction": prediction}
    pairs = list(zip(new.characters, known.tolist(), strict=True))
    return Mapped(
        {**variables, "params": params},
        tuple(character for character, yes in pairs if yes),
        tuple(character for character, yes in pairs if not yes),
        tuple(sorted(set(old.characters) - {old.characters[k - 1] for k in source[known]})),
    )
