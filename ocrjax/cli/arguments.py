"""What commands say of their arguments alike."""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where pictures lie, and how label files are written."""
    parser.add_argument("--images", metavar="DIR", help="the pictures, where they lie elsewhere")
    parser.add_argument("--layout", default="auto", help="of text files, one word a line")


def add_dont_care(parser: argparse.ArgumentParser) -> None:
    """Declares which words do not count."""
    parser.add_argument(
        "--dont-care",
        nargs="*",
        default=["###"],
        metavar="TEXT",
        help="texts of words that do not count, added to the format's own (default: %(default)s)",
    )


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
