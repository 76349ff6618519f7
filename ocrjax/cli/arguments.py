"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say where images are and how label files are laid out."""
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images, if they are not next to the labels"
    )
    parser.add_argument(
        "--layout",
        default="auto",
        help="layout of the text files with one word per line (default: %(default)s)",
    )


def add_dont_care(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that marks words as "don't care"."""
    parser.add_argument(
        "--dont-care",
        nargs="*",
        default=["###"],
        metavar="TEXT",
        help="texts that mark a word as don't care, in addition to the format's own marks "
        "(default: %(default)s)",
    )


def refuse_idle(given: Mapping[str, object], why: str) -> None:
    """Refuse arguments that would have no effect.

    Args:
        given: values by argument name; None, False and empty values count as not given.
        why: the situation in which they have no effect, such as "without --check".

    Raises:
        ValueError: at least one of them was given.
    """
    names = [name for name, value in given.items() if value not in (None, False, (), [])]
    if names:
        verb = "has" if len(names) == 1 else "have"
        raise ValueError(f"{', '.join(names)} {verb} no effect {why}")
