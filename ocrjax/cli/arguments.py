"""What commands say of their arguments alike."""

from __future__ import annotations

from collections.abc import Mapping


def refuse_idle(given: Mapping[str, object], why: str) -> None:
    """Refuses arguments that would have no effect.

    Args:
        given: values by the name of the argument; None, False and what is empty was not given.
        why: when they have none, as "without --check".

    Raises:
        ValueError: one of them was given.
    """
    names = [name for name, value in given.items() if value not in (None, False, (), [])]
    if names:
        verb = "has" if len(names) == 1 else "have"
        raise ValueError(f"{', '.join(names)} {verb} no effect {why}")
