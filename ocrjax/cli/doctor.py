"""diagnose a custom EasyOCR network: its .pth, .yaml and .py."""

from __future__ import annotations

import argparse

from ocrjax.easyocr.doctor import collect, examine, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE_OR_NAME",
        help="any of the .pth, .yaml and .py files, a folder of them, or the name of a network "
        "installed in EasyOCR's folders",
    )


def run(arguments: argparse.Namespace) -> int:
    """Diagnose the files; return 1 if something is wrong."""
    networks, findings = collect(arguments.files)
    for name, files in networks.items():
        findings += examine(name, files)
    for finding in findings:
        print(finding)
    wrong = sum(finding.serious for finding in findings)
    names = ", ".join(str(path) for parts in networks.values() for path in parts.values())
    names = printable(names)
    if wrong:
        print(f"{wrong} problem{'s' * (wrong > 1)} in {names}")
        return 1
    print(f"no problems found in {names}; `ocrjax export easyocr ... --check` runs it in EasyOCR")
    return 0
