"""Command lines of training programs: common flags, errors, and misspelled `--config.KEY`.

Importing this module defines the flags, so only main modules of programs import it.
"""

from __future__ import annotations

import ast
import difflib
import json
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from ocrcore.command import run_command
from ocrcore.progress import mute
from ocrcore.runtime.hosts import told_to_hosts
from ocrcore.training.full_disk import silence_orbax

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run directory; default exp/<config.name>. An existing run is resumed, even if the config "
    "has changed; pass another directory to start a new run.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several hosts without Slurm."
)
_PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "Total number of processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Index of this process, from 0.")
_HOST_WAIT = flags.DEFINE_float(
    "host_wait", 300.0, "Seconds that a process waits for the others at the start."
)
_HOST_TIMEOUT = flags.DEFINE_float(
    "host_timeout", 30.0, "Seconds without a sign of life after which a host is given up."
)
flags.mark_flag_as_required("config")


def experiment() -> tuple[ConfigDict, Path]:
    """Return the experiment and the run directory of the command line."""
    config = _CONFIG.value
    return config, Path(_WORKDIR.value or f"exp/{config.name}")


def refuse_idle(mode: str, modes: Mapping[str, Sequence[str]]) -> None:
    """Reject command-line flags that have no effect in a mode.

    Args:
        mode: the mode of the program.
        modes: the modes in which a flag has an effect, by the flag's name.

    Raises:
        ValueError: such a flag was given.
    """
    for name, used in modes.items():
        if flags.FLAGS[name].present and mode not in used:
            raise ValueError(
                f"--{name} has no effect in --mode={mode}, only in {' and '.join(used)}"
            )


def overrides(section: str) -> list[str]:
    """Return the fields of a config section set on the command line (--config.SECTION.FIELD)."""
    prefix = f"{section}."
    changed = config_flags.get_override_values(flags.FLAGS["config"])
    return [name.removeprefix(prefix) for name in changed if name.startswith(prefix)]


def start_devices(*, join: bool = False, one_arena: bool = False) -> None:
    """Initialize jax; nothing else may use jax before.

    Args:
        join: whether to join the processes given on the command line or by Slurm.
        one_arena: as for `ocrcore.runtime.tuning.tune_process`.
    """
    from ocrcore.runtime.facts import facts_of
    from ocrcore.runtime.mesh import initialize_distributed, is_main
    from ocrcore.runtime.tuning import tune_process

    if join:
        initialize_distributed(
            coordinator=_COORDINATOR.value,
            process_count=_PROCESS_COUNT.value,
            process_id=_PROCESS_ID.value,
            facts=facts_of(json.loads(_CONFIG.value.to_json_best_effort())),
            wait=_HOST_WAIT.value,
            timeout=_HOST_TIMEOUT.value,
            log=partial(print, flush=True),
        )
    tune_process(one_arena)
    if join and not is_main():
        mute()


def run_program(main: Callable[[], object], program: str) -> None:
    """Parse the command line and calls `main`; a user error exits with one line.

    Args:
        main: main function of the program; it calls `experiment` to see what to do.
        program: name of the program, for messages.
    """
    for flag in flags.FLAGS.get_key_flags_for_module(__name__):  # lists them in --help
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def guarded(argv: list[str]) -> None:
        from ocrcore.data.mixing import TooManyDropped

        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        logging.set_verbosity(logging.WARNING)
        silence_orbax()
        try:
            main()
        except (ValueError, FloatingPointError, TooManyDropped) as error:
            # The message says all that a user needs; a traceback would hide it.
            sys.exit(f"{program}: {error}")
        except ImportError as error:
            if error.name is not None:  # an error without a name is about a missing extra
                raise
            sys.exit(f"{program}: {error}")

    def work() -> int:
        app.run(guarded, flags_parser=partial(parse_flags, program=program))

    safe = "Completed work is saved: the same command resumes from there"
    with told_to_hosts():
        sys.exit(run_command(program, work, failed=1, safe=safe))


def parse_flags(argv: list[str], *, program: str) -> list[str]:
    """Parse the command line; explains a bad `--config` file and unknown config keys.

    Args:
        argv: the command line.
        program: name of the program, for messages.
    """
    if message := explain_config(argv):
        sys.exit(f"{program}: {message}")
    try:
        rest: list[str] = app.parse_flags_with_usage(argv)
        return rest
    except (AttributeError, KeyError, ValueError):
        if message := explain_keys(argv):
            sys.exit(f"{program}: {message}")
        raise


def explain_config(argv: list[str]) -> str | None:
    """Explain what is wrong with the file of `--config`; None if it is valid or not given."""
    file, _ = _config_file(argv)
    if file is None:
        return None
    path = Path(file)
    if path.suffix.lower() in (".yaml", ".yml", ".json", ".toml"):
        return (
            f"--config={file}: configs are Python files, like those in configs/; "
            "docs/coming_from_easyocr.md translates the keys of EasyOCR's .yaml files"
        )
    if path.is_dir():
        return f"--config={file}: a folder, expected a file like configs/quickstart.py"
    if not path.is_file():
        return f"--config={file}: no such file{_alike(path)}"
    try:
        tree = ast.parse(path.read_bytes(), filename=file)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"--config={file}{line}: not Python: {getattr(error, 'msg', error)}"
    if "get_config" not in _names(tree):
        return (
            f"--config={file}: has no function get_config, expected one that returns a ConfigDict, "
            "as in configs/quickstart.py"
        )
    return None


def _config_file(argv: list[str]) -> tuple[str | None, str]:
    """Return the file of `--config` and the part after a colon; a later one wins."""
    paths = [a.partition("=")[2] for a in argv if a.lstrip("-").startswith("config=")]
    if "--config" in argv[:-1]:
        paths.append(argv[argv.index("--config") + 1])
    if not paths:
        return None, ""
    file, _, argument = paths[-1].partition(":")
    return file, argument


def _alike(path: Path) -> str:
    """Return a similarly named file that may have been meant, as the end of a sentence."""
    there = [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines or imports at top level; * stands for any name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return {"get_config", *found} if "*" in found else found


def explain_keys(argv: list[str]) -> str | None:
    """Names the first `--config.KEY` that the config does not have, and suggests another.

    Args:
        argv: the command line, with its `--config`.

    Returns:
        A line for the user; None if all keys exist.
    """
    file, argument = _config_file(argv)
    if file is None:
        return None
    make = runpy.run_path(file)["get_config"]
    config = make(argument) if argument else make()
    for text in argv:
        name = text.lstrip("-").partition("=")[0]
        name = name.removeprefix("no") if name.startswith("noconfig.") else name
        if text.startswith("-") and name.startswith("config.") and not _has(config, name):
            return f"{file} has no {name}; {_meant(name, config, _keys(config))}"
    return None


def _meant(name: str, config: ConfigDict, known: list[str]) -> str:
    """Return what an unknown name may have meant, as the end of a sentence."""
    place, section, parts = "config", config, name.split(".")[1:]
    while len(parts) > 1 and isinstance(section.get(parts[0]), ConfigDict):
        section = section[parts[0]]
        place += f".{parts.pop(0)}"
    if len(parts) > 1 and parts[0] in section:
        path = f"{place}.{parts[0]}"
        absent = section[parts[0]] is None
        return f"{path} is not set: the file may set it" if absent else f"{path} is a single value"
    near = difflib.get_close_matches(parts[0], section, n=1, cutoff=0.7)
    if len(parts) > 1 and near:
        return f"did you mean {'.'.join([place, *near, *parts[1:]])}?"
    # The right name in the wrong section is as likely as a typo.
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
    """Return the full names of all values of a config."""
    if not isinstance(config, ConfigDict):
        return [prefix]
    return [key for name in config for key in _keys(config[name], f"{prefix}.{name}")]
