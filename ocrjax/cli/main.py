"""The `ocrjax` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from ocrcore.command import run_command
from ocrjax import __version__

_COMMANDS = (
    *("read", "detect", "fit", "report", "convert", "average", "synth"),
    *("convert-labels", "lint", "review", "export", "doctor"),
)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    # Import only the command that is asked for. Inside `run_command`, Ctrl-C prints one line.
    asked = argv[1:2] if argv[1:2] and argv[1] in _COMMANDS else _COMMANDS

    parser = argparse.ArgumentParser(prog="ocrjax", description=__doc__)
    parser.add_argument("--version", action="version", version=f"ocrjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in asked:
        module = import_module(f"ocrjax.cli.{name.replace('-', '_')}")
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser.parse_args(argv[1:])


def _run(arguments: argparse.Namespace) -> int:
    from absl import logging

    logging.set_verbosity(logging.WARNING)
    program = f"ocrjax {arguments.command}"
    run: Callable[[argparse.Namespace], int] = arguments.run

    def work() -> int:
        try:
            return run(arguments)
        except ValueError as error:
            # Our own errors tell the user all that is needed; a traceback would bury that.
            print(f"{program}: {error}", file=sys.stderr)
        except ImportError as error:
            if error.name is not None:  # ours name a missing extra and have no module name
                raise
            print(f"{program}: {error}", file=sys.stderr)
        return 2

    return run_command(program, work, safe="No file was left half-written")


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run_command("ocrjax", lambda: _run(_parse(sys.argv))))


if __name__ == "__main__":
    main()
