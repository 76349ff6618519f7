"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

from ocrcore.data.shards import Spread


def add_kind(
    parser: argparse.ArgumentParser,
    source: str,
    *,
    more: Iterable[str] = (),
    crops: Iterable[str] = (),
) -> None:
    """Declare the argument that names the format of labels.

    Args:
        parser: the command's parser.
        source: name of the argument that holds the labels.
        more: formats of labeled images in addition to `WORD_KINDS`.
        crops: formats of crops.
    """
    from ocrcore.data.readers.label_formats import FORMATS
    from ocrcore.data.readers.words import WORD_KINDS

    known = f"words (text files, one word per line), {', '.join((*more, *FORMATS))}"
    crops = tuple(crops)
    parser.add_argument(
        "--from",
        dest="kind",
        default="auto",
        choices=tuple(dict.fromkeys((*WORD_KINDS, *more, *crops))),
        metavar="FORMAT",
        help=f"format of {source}, if it cannot be detected: {known}"
        + (f"; for crops: {', '.join(crops)}" if crops else ""),
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say where images are and how label files are read."""
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images, if they are not next to the labels"
    )
    add_layout(parser)
    parser.add_argument(
        "--dont-care",
        nargs="*",
        default=["###"],
        metavar="TEXT",
        help="texts that mark a word as don't care, in addition to the format's own marks "
        "(default: %(default)s)",
    )


def add_layout(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names the layout of text files."""
    parser.add_argument(
        "--layout",
        default="auto",
        help="layout of the text files with one word per line (default: %(default)s)",
    )


def add_networks(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Declare the networks of a command that reads images only for a purpose, such as --judge."""
    for name in ("detector", "recognizer"):
        parser.add_argument(
            f"--{name}",
            metavar="WEIGHTS",
            help=f"{name} for {purpose} (default: that of ocrjax read)",
        )


def add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which share of the work is done, of several machines."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do share I of N, counted from 0; the others' run with the same OUT",
    )
    parser.add_argument(
        "--merge",
        type=int,
        metavar="N",
        help="after all N shares: check that they are complete, and join them",
    )


def add_beam_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the engine that spreads the work over machines."""
    parser.add_argument(
        "--beam-runner",
        metavar="NAME",
        help="spread the work with Apache Beam: DirectRunner, DataflowRunner, FlinkRunner ...",
    )
    parser.add_argument(
        "--beam-options",
        metavar="TEXT",
        help="the runner's own options, in one text: --beam-options='--direct_num_workers=2'",
    )


def beam_of(arguments: argparse.Namespace) -> Spread | None:
    """Return the engine of the arguments; None where none is named.

    Raises:
        ValueError: options of none, or what the engine does not know.
        ImportError: the package is missing; names the extra.
    """
    if arguments.beam_runner is None:
        refuse_idle({"--beam-options": arguments.beam_options}, "without --beam-runner")
        return None
    given = {"--shard": arguments.shard, "--merge": arguments.merge}
    refuse_idle(given, "with --beam-runner, which does all shares and joins them")
    from ocrcore.data.beam import beam_spread

    return beam_spread(arguments.beam_runner, arguments.beam_options or "")


def given_options(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, object]:
    """Return the values of options by the names that users know, such as "--mag-ratio".

    Args:
        arguments: the parsed arguments.
        names: their names in `arguments`.
    """
    return {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in names}


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
