"""Options of a part of the program, read from a config section.

Options are frozen dataclasses: a field with its type and default for each setting, and
`__post_init__` to reject invalid values (`expect`). Host code: no jax.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class OptionsError(ValueError):
    """A config lacks a required field, or has an unknown one or a bad value."""


def from_section(
    kind: type[T], section: Mapping[str, Any], where: str, *, others: bool = False
) -> T:
    """Make options from a config section.

    A field whose type is another dataclass is a subsection, and one whose type is a mapping to a
    dataclass is a section of named subsections. Lists become tuples, as JSON has no tuples.

    Args:
        kind: a dataclass.
        section: the fields that differ from their defaults; a mapping or a ConfigDict.
        where: full name of the section, for messages.
        others: whether the section may have fields that `kind` does not know. Then only names that
            are nearly those of a field are rejected.

    Raises:
        OptionsError: a field is unknown or missing, or has an invalid value. The message begins
            with the full name of the field.
    """
    section = plain(section)
    hints = get_type_hints(kind)
    assert is_dataclass(kind)
    needed = {f.name: f.default is f.default_factory is MISSING for f in fields(kind) if f.init}
    values = {}
    for name, value in section.items():
        if name in needed:
            values[name] = _read(hints[name], value, f"{where}.{name}")
            continue
        free = [one for one in needed if not others or one not in section]
        if near := difflib.get_close_matches(name, free, 1, cutoff=0.8 if others else 0.6):
            raise OptionsError(f"{where}.{name} is not known: did you mean {near[0]}?")
        if not others:
            raise OptionsError(f"{where}.{name} is not known: expected {', '.join(needed)}")
    for name in needed:
        if needed[name] and name not in values:
            raise OptionsError(f"{where}.{name} is missing")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        # Options name the field first, but do not know the section that they come from.
        begin = re.match(r"\w*", str(error))
        named = begin is not None and begin[0] in needed
        raise OptionsError(f"{where}{'.' if named else ': '}{error}") from error


def expect(
    options: Any, *wanted: tuple[bool, str, str], error: type[ValueError] = OptionsError
) -> None:
    """Reject invalid values of options, in `__post_init__`.

    Args:
        options: a dataclass.
        *wanted: for each check: whether the value is valid, the field, and what is expected. A
            comparison with NaN is false, so NaN is always rejected.
        error: the exception to raise.

    Raises:
        OptionsError: (or `error`) the message begins with the field.
    """
    for good, name, expected in wanted:
        if not good:
            raise error(f"{name} is {getattr(options, name)!r}, expected {expected}")


def check_sections(config: Mapping[str, Any], kinds: Mapping[str, tuple[type[Any], ...]]) -> None:
    """Check the values of a config by the options that read them.

    Args:
        config: config of an experiment.
        kinds: dataclasses that have fields in a section, by the section's name within the config
            ("" for the top level). Fields of other parts, unset fields and missing sections are
            ignored.

    Raises:
        OptionsError: a bad value; the message begins with the full name of the field.
    """
    for place, options in kinds.items():
        section: Any = config
        for part in filter(None, place.split(".")):
            section = section.get(part) or {}
        values = {name: value for name, value in section.items() if value is not None}
        for kind in options:
            from_section(kind, values, f"config.{place}".rstrip("."), others=True)


def plain(value: Any) -> Any:
    """Convert a ConfigDict, including nested ones, to dicts."""
    return {k: plain(v) for k, v in value.items()} if hasattr(value, "items") else value


def _read(hint: Any, value: Any, where: str) -> Any:
    """Check the value of one field, and read nested sections."""
    if isinstance(value, Mapping):
        if is_dataclass(hint) and isinstance(hint, type):
            return from_section(hint, value, where)
        kind = get_args(hint)[-1:]
        if kind and is_dataclass(kind[0]):
            return {name: _read(kind[0], one, f"{where}.{name}") for name, one in value.items()}
    value = _tuples(value)
    if not _fits(hint, value):
        expected = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
        expected = re.sub(r"\b[a-z_]+\.", "", expected)
        raise OptionsError(f"{where} is {value!r}, expected {expected}")
    return value


def _tuples(value: Any) -> Any:
    """Convert lists, including nested ones, to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _fits(hint: Any, value: Any) -> bool:
    """Return whether a value has this type. Options check choices (`Literal`) themselves."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Any or kind is Literal:
        return True
    if kind in (Union, UnionType):
        return any(_fits(one, value) for one in parts)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        if len(parts) == 2 and parts[1] is ...:
            parts = parts[:1] * len(value)
        return len(parts) == len(value) and all(map(_fits, parts, value))
    if kind in (int, float):
        number = Integral if kind is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, kind)
