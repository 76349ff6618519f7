"""Shares of a task that several machines do: shard I of N, counted from 0 as clusters count.

A task consists of pieces, each the same whoever makes it: files of records, or pictures. Shard I of
N takes every N-th piece, from the I-th on. Host code: no jax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_SHARDS = 1_000_000
_SHOWN, _REASONS = 20, 3  # shares and reasons that a message names
T = TypeVar("T")
Spread = Callable[[Callable[[], Any], Callable[[Any, Any], Any], Sequence[Any]], None]
"""Has `do(tools, task)` done for each of some tasks, by whatever machines.

It is given a function that opens the tools, `do` and the tasks, all picklable. A task may be done
twice, also at the same time; that it was done is told by what it wrote.
"""


class ShardError(ValueError):
    """A shard that cannot be, or shards that are not complete; the message names them."""


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Attributes:
        index: of the share, from 0.
        count: of shares.

    Raises:
        ShardError: there is no such share.
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
        """Returns the pieces of this share."""
        return pieces[self.index :: self.count]


def parse_shard(text: str) -> Shard:
    """Reads `I/N`.

    Raises:
        ShardError: it is none.
    """
    if not (found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)):
        raise ShardError(f"shard {text!r}: expected I/N, as 0/8 for the first of eight")
    return Shard(int(found[1]), int(found[2]))


def parse_sharing(shard: str | None, merge: int | None) -> tuple[Shard | None, int | None]:
    """Reads what two options say: which share is done, or how many are joined; not both.

    Raises:
        ShardError: both, or what cannot be.
    """
    if shard is not None and merge is not None:
        raise ShardError("give --shard to do a share, or --merge when all are done")
    return (
        None if shard is None else parse_shard(shard),
        None if merge is None else Shard(0, merge).count,
    )


def describe_missing(missing: Mapping[int, str], count: int) -> str:
    """Says which of `count` shares are to be run before they can be joined.

    Args:
        missing: pieces that are not complete, and why.
        count: how many shares there are.
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
