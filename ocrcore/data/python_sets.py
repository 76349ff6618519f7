"""Data sets passed from Python: lists, `grain.MapDataset`s, or your own classes.

Host code: no jax.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeVar

from ocrcore.data.mixing import SourceError
from ocrcore.pages import LabelError

_MOST = 1 << 31  # a longer data set can only be an endless one
T = TypeVar("T")


class PythonSet(Sequence[T]):
    """A data set from Python; samples are type-checked on access.

    Args:
        samples: the samples, by index.
        kind: expected type of the samples.
        name: name of the data set.
    """

    def __init__(self, samples: Sequence[Any], kind: type[T], *, name: str) -> None:
        self.samples, self.kind, self._name = samples, kind, name

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> T:  # type: ignore[override]
        """Return a sample.

        Raises:
            LabelError: the sample is None, as in a `grain.MapDataset` with a filter.
            SourceError: the sample has another type.
        """
        sample = self.samples[operator.index(index)]
        expected = f"{self.kind.__module__}.{self.kind.__name__}"
        if sample is None:
            raise LabelError(self.name(index), 0, "None", expected, reason="filtered out")
        if not isinstance(sample, self.kind):
            found = type(sample)
            raise SourceError(
                f"{self.name(index)} is a {found.__module__}.{found.__name__}, expected {expected}"
            )
        return sample

    def name(self, index: int) -> str:
        """Return a name for a sample."""
        return f"sample {index} of {self._name}"


def check_sources(sources: Mapping[str, Sized], kinds: Mapping[str, str]) -> None:
    """Check that the data sets passed from Python match those that the config asks for.

    Args:
        sources: data sets, by name.
        kinds: the kind of each data set of `config.data.train`, by name.

    Raises:
        SourceError: a data set is missing, not in the config, or endless.
    """
    for name in {**sources, **kinds}:
        where = f"config.data.train.{name}"
        if name not in sources:
            if kinds[name] == "python":
                raise SourceError(
                    f"{where} is a data set from Python, but none was given: call the training "
                    f"function with sources={{{name!r}: ...}} (not possible from the command line)"
                )
        elif kinds.get(name) != "python":
            raise SourceError(
                f"sources has {name!r}, but {where}.kind is {kinds.get(name)!r}: expected 'python'"
            )
        elif len(sources[name]) > _MOST:
            raise SourceError(
                f"sources[{name!r}] is endless: expected a data set that is not repeated; training "
                "repeats and shuffles it"
            )
