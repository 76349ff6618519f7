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

from ocrcore.files import allow_any_name
from ocrcore.progress import mute

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
    from ocrcore.runtime.mesh import initialize_distributed, is_main
    from ocrcore.runtime.tuning import tune_process

    if join:
        initialize_distributed(
            coordinator=_COORDINATOR.value,
            process_count=_PROCESS_COUNT.value,
            process_id=_PROCESS_ID.value,
        )
    tune_process(one_arena)
    if join and not is_main():
        mute()


def run_program(main: Callable[[], object], program: str) -> None:
    """Parses the command line and calls `main`; an error of the user's ends in one line.

    Args:
        main: of the program; it asks `experiment` what to do.
        program: its name, for messages.
    """
    allow_any_name()
    for flag in flags.FLAGS.get_key_flags_for_module(__name__):  # for the list of --help
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

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
    """Parses the command line; names what was meant by a `--config.KEY` that the config lacks.

    Args:
        argv: the command line.
        program: its name, for the message.
    """
    try:
        rest: list[str] = app.parse_flags_with_usage(argv)
        return rest
    except (AttributeError, KeyError, ValueError):
        if message := explain_keys(argv):
            sys.exit(f"{program}: {message}")
        raise


def explain_keys(argv: list[str]) -> str | None:
    """Names the first `--config.KEY` that the config does not have, and what was meant.

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
    config = make(argument) if argument else make()
    for text in argv:
        name = text.lstrip("-").partition("=")[0]
        name = name.removeprefix("no") if name.startswith("noconfig.") else name
        if text.startswith("-") and name.startswith("config.") and not _has(config, name):
            return f"{file} has no {name}; {_meant(name, config, _keys(config))}"
    return None


def _meant(name: str, config: ConfigDict, known: list[str]) -> str:
    """What somebody who wrote a name may have meant, as the end of a sentence."""
    place, section, parts = "config", config, name.split(".")[1:]
    while len(parts) > 1 and isinstance(section.get(parts[0]), ConfigDict):
        section = section[parts[0]]
        place += f".{parts.pop(0)}"
    if len(parts) > 1 and parts[0] in section:
        path = f"{place}.{parts[0]}"
        absent = section[parts[0]] is None
        return f"{path} is not there: the file may add it" if absent else f"{path} is one value"
    near = difflib.get_close_matches(parts[0], section, n=1, cutoff=0.7)
    if len(parts) > 1 and near:
        return f"did you mean {'.'.join([place, *near, *parts[1:]])}?"
    # The right name in the wrong section is as likely as a wrong letter.
    leaves = {key: key.rpartition(".")[2] for key in known}
    alike = difflib.get_close_matches(parts[-1], leaves.values(), n=1, cutoff=0.8)
    if not near or parts[-1] in alike:
        found = [key for key in known if leaves[key] in alike]
        if found := difflib.get_close_matches(name, found, n=3, cutoff=0):
            return f"did you mean {' or '.join(found)}?"
    if near:
        return f"did you mean {place}.{near[0]}?"
    return f"{place} has {', '.join(section) or 'nothing yet'}"


def _has(config: Any, name: str) -> bool:
    for part in name.split(".")[1:]:
        if not isinstance(config, ConfigDict) or part not in config:
            return False
        config = config[part]
    return True


def _keys(config: Any, prefix: str = "config") -> list[str]:
    """Full names of all values of a config."""
    if not isinstance(config, ConfigDict):
        return [prefix]
    return [key for name in config for key in _keys(config[name], f"{prefix}.{name}")]
