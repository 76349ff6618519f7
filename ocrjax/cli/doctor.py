"""diagnose a custom EasyOCR network: its .pth, .yaml and .py."""

from __future__ import annotations

import argparse

from ocrjax.easyocr.doctor import collect, examine, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE_OR_NAME",
        help=".pth, .yaml and .py in any combination, a folder of them, or the name of a network "
        "in EasyOCR's folders",
    )


def run(arguments: argparse.Namespace) -> int:
    """Examines; returns 1 if something is wrong."""
    networks, findings = collect(arguments.files)
    for name, files in networks.items():
        findings += examine(name, files)
    for finding in findings:
        print(finding)
    wrong = sum(finding.serious for finding in findings)
    names = ", ".join(str(path) for parts in networks.values() for path in parts.values())
    names = printable(names)
    if wrong:
        print(f"{wrong} wrong in {names}")
        return 1
    print(f"nothing wrong found in {names}; the proof is `ocrjax export easyocr ... --check`")
    return 0
