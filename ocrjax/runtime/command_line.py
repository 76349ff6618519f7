"""Command lines of experiments: which key a mistyped `--config.KEY` may have meant."""

from __future__ import annotations

import difflib
import runpy
import sys
from typing import Any

from absl import app
from ml_collections import ConfigDict


def parse_flags(argv: list[str], *, program: str) -> list[str]:
    """Parses the command line; says which key a mistyped `--config.KEY` may have meant.

    Args:
        argv: the command line.
        program: its name, for the message.
    """
    try:
        rest: list[str] = app.parse_flags_with_usage(argv)
        return rest
    except (AttributeError, KeyError):
        if message := _explain_keys(argv):
            sys.exit(f"{program}: {message}")
        raise


def _explain_keys(argv: list[str]) -> str | None:
    """Names the first `--config.KEY` that the config has not, and the nearest that it has."""
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
            # The right name in the wrong section is as likely as a wrong letter.
            leaf = name.rpartition(".")[2]
            near = [key for key in known if key.rpartition(".")[2] == leaf]
            near = near or difflib.get_close_matches(name, known, n=1, cutoff=0)
            return f"{file} has no {name}; did you mean {' or '.join(near)}?"
    return None


def _keys(config: Any, prefix: str = "config") -> list[str]:
    """Full names of all values of a config."""
    if not isinstance(config, ConfigDict):
        return [prefix]
    return [key for name in config for key in _keys(config[name], f"{prefix}.{name}")]
