"""Data sets that a program hands to training: lists, `grain.MapDataset`s, classes of its own.

Host code: no jax.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeVar

from ocrcore.data.mixing import SourceError
from ocrcore.pages import LabelError

_MOST = 1 << 31  # more samples are none, but an endless sequence
T = TypeVar("T")


class PythonSet(Sequence[T]):
    """A data set from Python, whose samples are checked when they are asked for.

    Args:
        samples: by index.
        kind: their type.
        name: of the data set.
    """

    def __init__(self, samples: Sequence[Any], kind: type[T], *, name: str) -> None:
        self.samples, self.kind, self._name = samples, kind, name

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> T:  # type: ignore[override]
        """Returns a sample.

        Raises:
            LabelError: None stands in its place, as in a `grain.MapDataset` with a filter.
            SourceError: it is something else.
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
        """Names a sample."""
        return f"sample {index} of {self._name}"


def check_sources(sources: Mapping[str, Sized], kinds: Mapping[str, str]) -> None:
    """Checks that the data sets given from Python are those that the config asks for.

    Args:
        sources: by name.
        kinds: the kind of each data set of `config.data.train`, by name.

    Raises:
        SourceError: one is missing, one too many, or one has no end.
    """
    for name in {**sources, **kinds}:
        where = f"config.data.train.{name}"
        if name not in sources:
            if kinds[name] == "python":
                raise SourceError(
                    f"{where} is a data set from Python, but none is given: call the function that "
                    f"trains with sources={{{name!r}: ...}} (the command line cannot)"
                )
        elif kinds.get(name) != "python":
            raise SourceError(
                f"sources has {name!r}, but {where}.kind is {kinds.get(name)!r}: expected 'python'"
            )
        elif len(sources[name]) > _MOST:
            raise SourceError(
                f"sources[{name!r}] has no end: expected a data set that is not repeated; training "
                "repeats and shuffles it"
            )
