"""Config sections made from dataclasses, which hold each field's default, type and meaning.

A section has all fields, so that each can be set on the command line; an experiment sets only what
differs. Sections are locked: an unknown name is an error, in a file of `configs/` as on the command
line.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from ml_collections import ConfigDict, FieldReference

from ocrcore.synth.config import Chance

_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "tuple": tuple}


def nothing(kind: type[Any] = ConfigDict) -> FieldReference:
    """Return a field without a value, of a given type; a `ConfigDict` is an optional section."""
    return FieldReference(None, field_type=kind)


def defaults(kind: type[Any], *, leave: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass with their defaults.

    Args:
        kind: the dataclass. Fields without a default, and mappings, are left out.
        leave: further fields to leave out.

    Returns:
        Values by name. A nested dataclass becomes such a dict; None becomes a field that takes a
        value of the annotated type.
    """
    found: dict[str, Any] = {}
    for one in _fields(kind, leave):
        value = _default(one)
        if value is MISSING or isinstance(value, Mapping):
            continue
        if value is None:
            value = nothing(_type(one))
        elif is_dataclass(value):
            value = defaults(type(value))
        found[one.name] = float(value) if _type(one) is float and isinstance(value, int) else value
    return found


def unchanged(kind: type[Any], *, leave: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass without values, for changes to a preset; see `given`.

    Args:
        kind: the dataclass.
        leave: fields to leave out.

    Returns:
        As for `defaults`. A mapping is an unset section; a `Chance` takes a tuple.
    """
    found: dict[str, Any] = {}
    for one in _fields(kind, leave):
        value = _default(one)
        if isinstance(value, Chance):
            found[one.name] = nothing(tuple)
        elif isinstance(value, Mapping):
            found[one.name] = nothing()
        elif is_dataclass(value):
            found[one.name] = unchanged(type(value))
        else:
            found[one.name] = nothing(_type(one))
    return found


def section(values: Mapping[str, Any], changes: Mapping[str, Any]) -> ConfigDict:
    """Return a locked section with changes; empty subsections stay unlocked, for free names.

    Args:
        values: values of all its fields, as from `defaults`.
        changes: new values by name, mappings for subsections. A reference to another field of the
            config ties the two together.

    Raises:
        KeyError: an unknown name; the message suggests the nearest.
        TypeError: a value of another type.
    """
    made = ConfigDict(values).lock()
    for value in made.values():
        _open(value)
    _change(made, changes)
    return made


def given(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the set values of a section, without unset fields and empty subsections."""
    found = {}
    for name, value in section.items():
        plain = given(value) if hasattr(value, "items") else value
        if plain is not None and plain != {}:
            found[name] = plain
    return found


def _open(value: Any) -> None:
    if isinstance(value, ConfigDict):
        if not len(value):
            value.unlock()
        for inner in value.values():
            _open(inner)


def _change(made: ConfigDict, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        old = made.get(name)
        if isinstance(old, ConfigDict) and old.is_locked and hasattr(value, "items"):
            _change(old, value)
        elif isinstance(value, FieldReference):
            with made.ignore_type():  # the field itself becomes the reference
                made[name] = value
        else:
            made[name] = ConfigDict(value) if isinstance(value, dict) else value


def _fields(kind: type[Any], leave: Collection[str]) -> list[Field[Any]]:
    return [one for one in fields(kind) if one.init and one.name not in leave]


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _type(one: Field[Any]) -> type[Any]:
    """Return the annotated type (X for `X | None`); for other annotations the default's type."""
    value = _default(one)
    kind = _TYPES.get(str(one.type).removesuffix(" | None").partition("[")[0])
    return kind or (str if value in (None, MISSING) else type(value))
