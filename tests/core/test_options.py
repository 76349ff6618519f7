"""Sections of configs as options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from ocrcore.options import OptionsError, from_section


@dataclass(frozen=True)
class Inner:
    share: float = 0.5
    ranges: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")


@dataclass(frozen=True)
class Outer:
    steps: int
    name: str = "x"
    names: tuple[str, ...] = ()
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)
    sets: Mapping[str, Inner] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps > 9:
            raise ValueError("too many steps")


def read(section, **options):
    return from_section(Outer, section, "config.outer", **options)


def test_sections_of_sections():
    section = ConfigDict({"steps": 3, "names": ["a", "b"], "limit": 2, "inner": {"share": 1}})
    section.sets = {"one": {"ranges": [1.0, 2.0]}}
    section.free = {"deep": {"er": 1}}
    found = read(section)
    sets = {"one": Inner(ranges=(1.0, 2.0))}
    expected = Outer(3, "x", ("a", "b"), 2, Inner(1), sets, {"deep": {"er": 1}})
    assert found == expected and type(found.free["deep"]) is dict
    assert read({"steps": np.int64(3), "limit": np.float32(2), "inner": Inner(1)}).inner.share == 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"stebs": 3}, r"config\.outer\.stebs is not known: did you mean steps\?"),
        (
            {"steps": 3, "q": 1},
            r"config\.outer\.q is not known: expected steps, name, names",
        ),
        ({}, r"config\.outer\.steps is missing"),
        ({"steps": 10}, r"config\.outer: too many steps"),
        ({"steps": "3"}, r"config\.outer\.steps is '3', expected int"),
        ({"steps": 3.5}, r"config\.outer\.steps is 3\.5, expected int"),
        ({"steps": True}, r"config\.outer\.steps is True, expected int"),
        ({"steps": 3, "names": "ab"}, r"outer\.names is 'ab', expected tuple\[str, \.\.\.\]"),
        ({"steps": 3, "limit": "no"}, r"outer\.limit is 'no', expected float \| None"),
        ({"steps": 3, "inner": 5}, r"config\.outer\.inner is 5, expected Inner"),
        ({"steps": 3, "inner": {"share": 2}}, r"^config\.outer\.inner\.share is 2, expected 0 to"),
        (
            {"steps": 3, "inner": {"ranges": (1,)}},
            r"inner\.ranges is \(1,\), expected tuple\[",
        ),
        ({"steps": 3, "sets": {"a": {"shere": 1}}}, r"sets\.a\.shere .* did you mean share"),
    ],
)
def test_what_is_wrong_is_named_in_full(section, message):
    with pytest.raises(OptionsError, match=message):
        read(section)


def test_sections_that_others_have_fields_in():
    assert read({"steps": 3, "root": "here"}, others=True) == Outer(3)
    with pytest.raises(OptionsError, match=r"outer\.limits is not known: did you mean limit"):
        read({"steps": 3, "limits": 2}, others=True)
    # Where the field itself is there, the other one is not a slip.
    assert read({"steps": 3, "limit": 1, "limits": 2}, others=True).limit == 1
