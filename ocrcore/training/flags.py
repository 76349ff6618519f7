"""Command lines of experiments: what to do about a `--config.KEY` that the config has not."""

from __future__ import annotations

import difflib
import runpy
import sys
from typing import Any

from absl import app
from ml_collections import ConfigDict


def parse_flags(argv: list[str], *, program: str) -> list[str]:
    """Parses the command line; says what to do about a `--config.KEY` that the config has not.

    It may be mistyped, or an option that the file leaves out: keys are locked, so that it can be
    set only once it has a line there.

    Args:
        argv: the command line.
        program: its name, for the message.
    """
    try:
        rest: list[str] = app.parse_flags_with_usage(argv)
        return rest
    except (AttributeError, KeyError):
        if message := explain_keys(argv):
            sys.exit(f"{program}: {message}")
        raise


def explain_keys(argv: list[str]) -> str | None:
    """Names the first `--config.KEY` that the config has not, and what was meant, if that shows.

    Args:
        argv: the command line, with its `--config`.

    Returns:
        A line for the user; None where no such key is to blame.
    """
    paths = [a.partition("=")[2] for a in argv if a.lstrip("-").startswith("config=")]
    if "--config" in argv[:-1]:
        paths.append(argv[argv.index("--config") + 1])
    if not paths:
        return None
    file, _, argument = paths[-1].partition(":")
    make = runpy.run_path(file)["get_config"]
    known = _keys(make(argument) if argument else make())
    for text in argv:
        name = text.lstrip("-").partition("=")[0]
        if text.startswith("-") and name.startswith("config.") and name not in known:
            # The right name in the wrong section is as likely as a wrong letter. Sections are not
            # compared: they are the same with many names that have nothing else in common.
            leaves = {key: key.rpartition(".")[2] for key in known}
            leaf = name.rpartition(".")[2]
            close = difflib.get_close_matches(leaf, leaves.values(), n=1, cutoff=0.8)
            near = [key for key in known if leaves[key] in close]
            meant = f"did you mean {' or '.join(near)}? If not" if near else "if it is not mistyped"
            return f"{file} has no {name}; {meant}, add it there as a line: {name} = ..."
    return None


def _keys(config: Any, prefix: str = "config") -> list[str]:
    """Full names of all values of a config."""
    if not isinstance(config, ConfigDict):
        return [prefix]
    return [key for name in config for key in _keys(config[name], f"{prefix}.{name}")]
