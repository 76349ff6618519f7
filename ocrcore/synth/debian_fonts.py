"""Builds a larger font folder from Debian's font packages.

    python -m ocrcore.synth.debian_fonts OUT

For Debian or a derived system; needs no root rights: the packages are downloaded and unpacked in a
temporary folder, not installed. `OUT/<package>/` gets the font files and the package's copyright
file. Then `ocrcore.synth.fonts.find_fonts(["OUT"])` finds them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ocrcore.synth.fonts import SUFFIXES, find_fonts

# Many scripts and styles for their size; `--cjk` adds the large ones.
PACKAGES = (
    "fonts-anonymous-pro",
    "fonts-averia-serif-gwf",
    "fonts-bebas-neue",
    "fonts-blankenburg",
    "fonts-breip",
    "fonts-cabin",
    "fonts-cantarell",
    "fonts-comfortaa",
    "fonts-courier-prime",
    "fonts-crosextra-caladea",
    "fonts-crosextra-carlito",
    "fonts-dancingscript",
    "fonts-dejavu-core",
    "fonts-dustin",
    "fonts-ebgaramond",
    "fonts-firacode",
    "fonts-freefont-ttf",
    "fonts-gfs-didot",
    "fonts-gfs-neohellenic",
    "fonts-hack",
    "fonts-humor-sans",
    "fonts-inconsolata",
    "fonts-isabella",
    "fonts-junction",
    "fonts-jura",
    "fonts-karla",
    "fonts-lato",
    "fonts-league-spartan",
    "fonts-liberation2",
    "fonts-linuxlibertine",
    "fonts-lobster",
    "fonts-oldstandard",
    "fonts-open-sans",
    "fonts-paratype",
    "fonts-play",
    "fonts-quattrocento",
    "fonts-roboto-unhinted",
    "fonts-rufscript",
    "fonts-sil-gentium-basic",
    "fonts-tomsontalks",
    "fonts-vollkorn",
)
CJK_PACKAGES = (
    "fonts-droid-fallback",
    "fonts-ipafont-gothic",
    "fonts-ipafont-mincho",
    "fonts-nanum",
    "fonts-vlgothic",
    "fonts-wqy-microhei",
    "fonts-wqy-zenhei",
)


def build(out: Path, packages: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Download packages and copy their fonts.

    Args:
        out: the folder to fill; packages that are already in it are skipped.
        packages: names of Debian packages.

    Returns:
        `(count, problems)`: the number of fonts in `out`, and packages or files that could not be
        downloaded or used, by name.

    Raises:
        FileNotFoundError: the system has no `apt-get` or `dpkg-deb`.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise FileNotFoundError(f"{tool} was not found: run this on Debian or Ubuntu")
    problems: dict[str, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    for package in packages:
        goal = out / package
        if goal.is_dir():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            reason = _unpack(package, Path(scratch))
            if reason is not None:
                problems[package] = reason
                continue
            files = sorted(
                path
                for path in Path(scratch, "tree").rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
            )
            if not files:
                problems[package] = f"holds no {' '.join(SUFFIXES)} file"
                continue
            part = out / (package + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for path in files:
                shutil.copyfile(path, part / path.name)
            notice = Path(scratch, "tree/usr/share/doc", package, "copyright")
            if notice.is_file():
                shutil.copyfile(notice, part / "copyright")
            part.rename(goal)
    fonts, unusable = find_fonts([out])
    return len(fonts), problems | unusable


def _unpack(package: str, scratch: Path) -> str | None:
    """Download a package and unpack it to `scratch/tree`; return the error, if any."""
    got = subprocess.run(
        ["apt-get", "download", "--", package], cwd=scratch, capture_output=True, text=True
    )
    archives = sorted(scratch.glob("*.deb"))
    if got.returncode or not archives:
        return f"apt-get download: {(got.stderr or got.stdout).strip() or 'no file was downloaded'}"
    done = subprocess.run(
        ["dpkg-deb", "-x", str(archives[0]), str(scratch / "tree")], capture_output=True, text=True
    )
    return f"dpkg-deb: {done.stderr.strip()}" if done.returncode else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if the folder has at least one font."""
    parser = argparse.ArgumentParser(description="Build a font folder from Debian's packages.")
    parser.add_argument("out", type=Path, help="the folder to fill")
    parser.add_argument("--cjk", action="store_true", help="add Chinese, Japanese and Korean fonts")
    parser.add_argument("--packages", nargs="+", help="use these packages instead of the defaults")
    options = parser.parse_args(arguments)
    packages = tuple(options.packages or PACKAGES) + (CJK_PACKAGES if options.cjk else ())
    try:
        count, problems = build(options.out, packages)
    except OSError as error:
        print(f"debian_fonts: {error}", file=sys.stderr)
        return 1
    for name, reason in problems.items():
        print(f"{name}: {reason}", file=sys.stderr)
    print(f"{options.out}: {count} fonts, {len(problems)} problems")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
