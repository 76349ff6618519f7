"""What counts as a collapse of weak supervision: by the labels, and by an evaluation.

A teacher that learns from its own mistakes gets worse, and nothing in the loss tells.
`label_collapse` compares new labels with the first ones, which the start weights have made;
`hmean_collapse` compares an evaluation with the best one.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

# The mean region score of a crop above which there is nothing but text in it; the targets of a
# word's characters have .46.
_ALL_TEXT = 0.8

Stats = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What counts as a collapse: the section `config.pseudo.guard`.

    Attributes:
        confidence: least mean confidence of new labels, as a share of that of the first ones.
        mass: least mean region score of the crops, as a share of that of the first ones. It rises
            with training where the start weights see words faintly; above .8 the teacher takes
            everything for text, which is a collapse as well. 0 turns off both.
        equal: greatest share of words that are split without the scores.
        hmean: least hmean of an evaluation, as a share of the best one.

    Raises:
        ValueError: a share outside of [0, 1].
    """

    confidence: float = 0.8
    mass: float = 0.5
    equal: float = 0.5
    hmean: float = 0.5

    def __post_init__(self) -> None:
        for one in fields(self):
            if not 0 <= getattr(self, one.name) <= 1:
                raise ValueError(f"{one.name} is {getattr(self, one.name)!r}, expected 0 to 1")


def label_collapse(stats: Stats, first: Stats | None, options: GuardOptions) -> list[str]:
    """What is wrong with new labels; empty where nothing is.

    Args:
        stats: of `LabelSet.stats`.
        first: those of the first labels of the run; None for these themselves.
        options: thresholds.
    """
    if not stats["words"]:
        return ["no word could be labeled"]
    found = []
    if stats["equal"] > options.equal:
        found.append(
            f"{stats['equal']:.0%} of the words were split without the scores, which say too "
            f"little (guard.equal is {options.equal:g})"
        )
    if options.mass and stats["mass"] > _ALL_TEXT:
        found.append(
            f"the mean region score of words is {stats['mass']:.3f}: everything is taken for text, "
            "even between the characters"
        )
    if first is None or not first["words"]:
        return found
    if stats["confidence"] < options.confidence * first["confidence"]:
        found.append(
            f"the mean confidence is {stats['confidence']:.3f}, after {first['confidence']:.3f} of "
            f"the first labels (guard.confidence is {options.confidence:g})"
        )
    if stats["mass"] < options.mass * first["mass"]:
        found.append(
            f"the mean region score of words is {stats['mass']:.3f}, after {first['mass']:.3f} "
            f"(guard.mass is {options.mass:g})"
        )
    return found


def hmean_collapse(hmean: float, best: float, options: GuardOptions) -> list[str]:
    """What is wrong with an evaluation; empty where nothing is.

    Args:
        hmean: of this evaluation.
        best: the highest hmean before.
        options: thresholds.
    """
    if hmean >= options.hmean * best:
        return []
    return [f"hmean is {hmean:.4f}, after {best:.4f} at best (guard.hmean is {options.hmean:g})"]
