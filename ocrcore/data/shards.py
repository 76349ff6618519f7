"""Shards of a job that runs on several machines: shard I of N, counted from 0 as clusters do.

A job consists of pieces, such as record files or images, which do not depend on the machine that
makes them. Shard I of N takes every N-th piece, starting from the I-th. Host code: no jax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_SHARDS = 1_000_000
_SHOWN, _REASONS = 20, 3  # most shards and reasons to name in a message
T = TypeVar("T")
Spread = Callable[[Callable[[], Any], Callable[[Any, Any], Any], Sequence[Any]], None]
"""Calls `do(tools, task)` for each task, on any machines.

Its arguments are a function that opens the tools, `do`, and the tasks, all picklable. A task may
run twice, even at the same time; the files that it wrote show that it is done.
"""


class ShardError(ValueError):
    """An invalid shard, or incomplete shards; the message names them."""


@dataclass(frozen=True)
class Shard:
    """One of several shards.

    Attributes:
        index: index of the shard, from 0.
        count: number of shards.

    Raises:
        ShardError: the index or the count is out of range.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_SHARDS:
            raise ShardError(f"{self.count} shards: expected 1 to {MAX_SHARDS:,}")
        if not 0 <= self.index < self.count:
            raise ShardError(
                f"shard {self}: shards are counted from 0, expected 0/{self.count} to "
                f"{self.count - 1}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def take(self, pieces: Sequence[T]) -> Sequence[T]:
        """Return the pieces of this shard."""
        return pieces[self.index :: self.count]


def parse_shard(text: str) -> Shard:
    """Parse `I/N`.

    Raises:
        ShardError: the text is not a valid shard.
    """
    if not (found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)):
        raise ShardError(f"shard {text!r}: expected I/N, as 0/8 for the first of eight")
    return Shard(int(found[1]), int(found[2]))


def parse_sharing(shard: str | None, merge: int | None) -> tuple[Shard | None, int | None]:
    """Parse the options `--shard` and `--merge`, of which at most one may be given.

    Returns:
        The shard to run, and the number of shards to merge; None for an option not given.

    Raises:
        ShardError: both are given, or one is invalid.
    """
    if shard is not None and merge is not None:
        raise ShardError("give --shard to do a share, or --merge when all are done")
    return (
        None if shard is None else parse_shard(shard),
        None if merge is None else Shard(0, merge).count,
    )


def describe_missing(missing: Mapping[int, str], count: int) -> str:
    """Describe which of `count` shards must run before they can be merged.

    Args:
        missing: incomplete pieces, with the reasons.
        count: number of shards.
    """
    found = sorted({piece % count for piece in missing})
    names = ", ".join(f"{index}/{count}" for index in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    reasons = list(missing.values())
    others = f" and {len(reasons) - _REASONS:,} more" if len(reasons) > _REASONS else ""
    return (
        f"not complete: --shard {names}{more} ({'; '.join(reasons[:_REASONS])}{others}). Run what "
        "is named, and then --merge"
    )
