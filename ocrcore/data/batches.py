"""What the batch sources of both networks have in common.

A batch is a pure function of the config, the seed and the step, whoever computes it. So the state
of the input pipeline is one integer, any number of threads or workers makes the same batches, and
a run resumes exactly, also on other hardware. The `BatchSource` of each network has
`build(step)`, which makes a batch without side effects, and a `log`, which is told about the
batches in order.

Host code: no jax.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from numpy.typing import NDArray

from ocrcore.config_sections import given
from ocrcore.data.mixing import Drop, DropLog, SourceError, TooManyDropped
from ocrcore.options import OptionsError, from_section

Batch = dict[str, NDArray[Any]]
STEPS = 1 << 31
"""Batches never end, but Grain needs a length."""
T = TypeVar("T")


class Built(NamedTuple):
    """A batch and what happened while it was made.

    Attributes:
        batch: the arrays.
        chosen: the samples of each row.
        drops: samples that could not be used, in the order in which they were encountered.
        undrawn: counts of characters that could not be drawn into the target maps, by reason.
    """

    batch: Batch
    chosen: list[Any]
    drops: list[Drop]
    undrawn: Counter[str]


class Source(Protocol):
    """Batches by step. With worker processes it is pickled and reopens its files there."""

    @property
    def log(self) -> DropLog:
        """The log of dropped samples."""

    def build(self, step: int) -> Built:
        """Make the batch of a step without side effects; called from threads and workers."""


def with_drops_logged(log: DropLog, made: Iterable[Built]) -> Iterator[Batch]:
    """Yield batches and log the samples that were dropped while making them.

    Raises:
        TooManyDropped: more samples were dropped than allowed.
    """
    try:
        for built in made:
            log.add(built.drops, used=len(built.chosen), undrawn=built.undrawn)
            yield built.batch
    except TooManyDropped as error:
        log.note(error.drops)
        raise


def batch_at(source: Source, step: int) -> Batch:
    """Make a single batch; `ocrcore.data.prefetch.iterate` makes many."""
    return next(with_drops_logged(source.log, map(source.build, [step])))


def check_step(step: int) -> int:
    """Return the step as an int.

    Raises:
        IndexError: the step is negative or too large.
    """
    step = operator.index(step)
    if not 0 <= step < STEPS:
        raise IndexError(f"step {step}: expected 0 to {STEPS - 1}")
    return step


def check_share(seed: int, rows: slice, *, batch_size: int) -> tuple[int, slice]:
    """Return the seed as an int, and the rows of each batch that this host makes.

    Raises:
        SourceError: invalid seed or rows.
    """
    start, stop = rows.start or 0, rows.stop
    if not 0 <= operator.index(seed) < 1 << 63:
        raise SourceError(f"seed is {seed}, expected 0 to 2**63 - 1")
    if stop is None or rows.step not in (None, 1) or not 0 <= start < stop:
        raise SourceError(f"rows is {rows}, expected slice(first row, last row + 1)")
    if stop > batch_size:
        raise SourceError(f"rows is {rows}, expected rows within config.batch_size: {batch_size}")
    return operator.index(seed), slice(start, stop)


def open_log(workdir: str | Path | None, rows: slice, *, most: float) -> DropLog:
    """Open the drop log of a host: `dropped.jsonl`, or `dropped-ROW.jsonl` if ROW is not 0.

    Args:
        workdir: the run directory; None writes no file.
        rows: rows of each batch that this host makes.
        most: largest allowed fraction of dropped samples.
    """
    name = f"dropped-{rows.start}.jsonl" if rows.start else "dropped.jsonl"
    return DropLog(None if workdir is None else Path(workdir) / name, most=most)


def input_section(kind: type[T], config: Mapping[str, Any], **values: Any) -> T:
    """Read the input settings from an experiment's config.

    Args:
        kind: the dataclass of the settings.
        config: has `batch_size`, and `data` with `train` and other fields of `kind`. `data` may
            also have fields that `kind` does not know.
        **values: values that override those in `data`.

    Raises:
        OptionsError: a field is missing, unknown or has a bad value; the message names it.
    """
    for name in ("batch_size", "data"):
        if name not in config:
            raise OptionsError(f"config.{name} is missing")
    if "train" not in config["data"]:
        raise OptionsError("config.data.train is missing: the data sets to train on, by name")
    size = config["batch_size"]
    if not isinstance(size, int) or size < 1:
        raise OptionsError(f"config.batch_size is {size!r}, expected 1 or more")
    section = {"train": {}, **given(config["data"]), **values, "batch_size": size}
    return from_section(kind, section, "config.data", others=True)
