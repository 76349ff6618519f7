"""Read photos: print their texts, and write their words as JSON lines.

    python examples/read.py docs/photo.jpg --out exp/words.jsonl

Needs the extra `weights`. `ocrjax read` does the same, and writes hOCR, ALTO and PDF as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ocrjax import Reader


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the photos of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="a .jsonl file, a page a line")
    options = parser.parse_args(arguments)

    reader = Reader()  # or Reader("detector.pth", "exp/words"): files, or folders of runs
    lines = []
    # `reader.read(photos)` gives the pages at once; `stream` goes on after a broken file.
    for reading in reader.stream(options.photos):
        photo = options.photos[reading.index]
        if reading.page is None:
            print(f"skipped: {reading.error}")
            continue
        print(f"== {photo}")
        print(reading.page.text)
        lines.append(reading.page.to_json() + "\n")

    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
