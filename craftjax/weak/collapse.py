"""Detection of a collapse of weak supervision, from the labels and from evaluations.

A teacher that learns from its own mistakes gets worse, and the loss does not show it.
`label_collapse` compares new labels with the first ones, made by the start weights;
`hmean_collapse` compares an evaluation with the best one.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

# A mean region score of crops above this means that everything looks like text; the targets of a
# word's characters have a mean of .46.
_ALL_TEXT = 0.8

Stats = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """Limits of a collapse: the section `config.pseudo.guard`.

    Attributes:
        confidence: least mean confidence of new labels, relative to that of the first labels.
        mass: least mean region score of the crops, relative to that of the first labels. It rises
            with training if the start weights give words low scores; above .8 the teacher takes
            everything for text, which is a collapse as well. 0 turns off both checks.
        equal: greatest share of words that are split without the scores.
        hmean: least hmean of an evaluation, relative to the best one.

    Raises:
        ValueError: a share is outside [0, 1].
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
    """Return why new labels are a collapse; empty if they are not.

    Args:
        stats: statistics of `LabelSet.stats`.
        first: statistics of the first labels of the run; None if `stats` are of the first labels.
        options: the limits.
    """
    if not stats["words"]:
        return ["no word could be labeled"]
    found = []
    if stats["equal"] > options.equal:
        found.append(
            f"{stats['equal']:.0%} of the words were split without the scores, which were too weak "
            f"(guard.equal is {options.equal:g})"
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
            f"the mean confidence is {stats['confidence']:.3f}, after {first['confidence']:.3f} "
            f"for the first labels (guard.confidence is {options.confidence:g})"
        )
    if stats["mass"] < options.mass * first["mass"]:
        found.append(
            f"the mean region score of words is {stats['mass']:.3f}, after {first['mass']:.3f} "
            f"(guard.mass is {options.mass:g})"
        )
    return found


def hmean_collapse(hmean: float, best: float, options: GuardOptions) -> list[str]:
    """Return why an evaluation is a collapse; empty if it is not.

    Args:
        hmean: hmean of this evaluation.
        best: the highest hmean before.
        options: the limits.
    """
    if hmean >= options.hmean * best:
        return []
    return [f"hmean is {hmean:.4f}, after {best:.4f} at best (guard.hmean is {options.hmean:g})"]
