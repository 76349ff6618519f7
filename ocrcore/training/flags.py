"""Command lines of training programs: flags that all have, errors, and misspelled `--config.KEY`.

Importing this module defines the flags: only main modules of programs do so.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run directory; default exp/<config.name>. A run that is there goes on, whatever the "
    "config says now; name another one to start a new run.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several hosts without Slurm."
)
_PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.mark_flag_as_required("config")


def experiment() -> tuple[ConfigDict, Path]:
    """The experiment and the run directory of the command line."""
    config = _CONFIG.value
    return config, Path(_WORKDIR.value or f"exp/{config.name}")


def start_devices(*, join: bool = False, one_arena: bool = False) -> None:
    """Makes jax ready; nothing else may touch it before.

    Args:
        join: joins the processes of the command line or of Slurm.
        one_arena: as for `ocrcore.runtime.tuning.tune_process`.
    """
    from ocrcore.runtime.mesh import initialize_distributed
    from ocrcore.runtime.tuning import tune_process

    if join:
        initialize_distributed(
            coordinator=_COORDINATOR.value,
            process_count=_PROCESS_COUNT.value,
            process_id=_PROCESS_ID.value,
        )
    tune_process(one_arena)


def run_program(main: Callable[[], object], program: str) -> None:
    """Parses the command line and calls `main`; an error of the user's ends in one line.

    Args:
        main: of the program; it asks `experiment` what to do.
        program: its name, for messages.
    """
    flags.adopt_module_key_flags(sys.modules[__name__])  # in the list of --help

    def guarded(argv: list[str]) -> None:
        from ocrcore.data.mixing import TooManyDropped

        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        logging.set_verbosity(logging.WARNING)
        try:
            main()
        except (ValueError, FileNotFoundError, FloatingPointError, TooManyDropped) as error:
            # The message says all that a user needs; a traceback would hide it.
            sys.exit(f"{program}: {error}")
        except ImportError as error:
            if error.name is not None:  # without a name it is a missing extra
                raise
            sys.exit(f"{program}: {error}")

    app.run(guarded, flags_parser=partial(parse_flags, program=program))


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
