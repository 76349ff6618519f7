"""The results of `ocrjax lint`: a table, a contact sheet of the worst, an HTML page, JSON.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.drawing import draw_page, draw_text, fit_cell, grid
from ocrcore.evaluation.label_errors import Suspect
from ocrcore.files import write_json
from ocrcore.images import ImageError, load_image, write_image
from ocrcore.pages import ByteArray, Page, Word
from ocrjax.labels.findings import KINDS, Finding
from ocrjax.labels.lint import Lint
from ocrjax.report.data import Count, Dropped, Report, ShownSuspect
from ocrjax.report.page import write_report
from ocrjax.report.runs import environment

PAGE, SHEET, JSON = "report.html", "worst.jpg", "findings.json"
"""File names of a report."""
WORST = 32
"""Most findings to draw."""
_COLUMNS, _WIDE, _HIGH, _LINE = 4, 360, 200, 18
_AROUND = 1.0  # margin around a word in a drawing, relative to its size
_LEAST = 24  # least margin in pixels
_EXAMPLES = 5
_RARE = 5  # least number of occurrences for a character to be learned
_SHOWN = 40  # most rare characters to list
_SUSPECTS = 500


def table(found: Lint) -> list[str]:
    """Return a table for the user: a row for each kind, with the place of its first finding."""
    if not found.findings:
        return ["no faults found"]
    width = max(map(len, found.counts))
    rows = []
    for kind, count in found.counts.items():
        first = next(one for one in found.findings if one.kind == kind)
        rows.append(f"{count:>7,}  {first.severity:<7}  {kind:<{width}}  {first}")
    return rows


def rare_characters(found: Lint) -> str:
    """Return a line on characters that are too rare to be learned; empty if there are none."""
    rare = sorted(c for c, count in found.characters.items() if count < _RARE)
    if not rare:
        return ""
    more = f" and {len(rare) - _SHOWN:,} more" if len(rare) > _SHOWN else ""
    listed = " ".join(c if c.isprintable() else ascii(c)[1:-1] for c in rare[:_SHOWN])
    return (
        f"{len(rare):,} of {len(found.characters):,} characters occur fewer than {_RARE} times: "
        f"{listed}{more}"
    )


def worst(found: Lint) -> list[Finding]:
    """Return the findings to draw: one of each kind in turn, the worst kinds first."""
    drawn = [one for one in found.findings if one.picture and one.kind != "broken picture"]
    kinds = [list(ones) for _, ones in groupby(drawn, key=lambda one: one.kind)]
    turns = zip_longest(*kinds)
    chosen = [one for turn in turns for one in turn if one is not None][:WORST]
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(chosen, key=lambda one: order[one.kind])


def drawings(found: Lint) -> Iterator[tuple[Finding, ByteArray]]:
    """Yield the worst findings, each with a drawing of its place on the image."""
    pages = {str(page.path): page for part in found.parts for page in part.pages}
    for one in worst(found):
        try:
            image = load_image(one.picture)
        except ImageError:
            continue
        height, width = image.shape[:2]
        if one.quad:
            page = Page(height, width, (Word(np.array(one.quad, np.float32)),))
        else:
            page = replace(pages.get(one.picture, Page(height, width, ())), height=height)
        yield one, _around(image, page, one)


def _around(image: ByteArray, page: Page, one: Finding) -> ByteArray:
    """Draw the place of a finding with its labels; the whole image if it is not about a word."""
    if not one.quad:
        return draw_page(image, page, scale=min(1.0, 2 * _WIDE / max(image.shape[:2])))
    height, width = image.shape[:2]
    quad = np.array(one.quad, np.float64)
    low, high = quad.min(axis=0), quad.max(axis=0)
    reach = np.maximum(_AROUND * (high - low).min(), _LEAST)
    low = np.clip(np.floor(low - reach), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(high + reach), low + 1, (width, height)).astype(int)
    cut = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    scale = min(_WIDE / cut.shape[1], _HIGH / cut.shape[0], 8.0)
    moved = Page(cut.shape[0], cut.shape[1], (Word((quad - low).astype(np.float32)),))
    return draw_page(cut, moved, scale=scale)


def sheet(drawn: Sequence[tuple[Finding, ByteArray]]) -> ByteArray:
    """Return a contact sheet of the worst findings, each with its kind, text and place."""
    cells = []
    for one, picture in drawn:
        value = f"{one.kind}: {one.value}" if one.value else one.kind
        lines = [draw_text(line, width=_WIDE, height=_LINE) for line in (value, _name(one))]
        cells.append(np.vstack([fit_cell(picture, width=_WIDE, height=_HIGH), *lines]))
    return grid(cells, columns=min(_COLUMNS, len(cells)))


def _name(one: Finding) -> str:
    """Where a finding is, without folders."""
    return f"{Path(one.path).name}:{one.line}" if one.line else Path(one.place).name


def to_json(found: Lint, suspects: Sequence[Suspect] = ()) -> dict[str, Any]:
    """Return all findings, counts and suspected labels as JSON values."""
    return {
        "parts": [
            {
                "name": part.name,
                "images": str(part.folder.images),
                "labels": str(part.folder.labels),
                "layout": part.audit.layout,
                "pictures": len(part.folder),
                "pages": part.audit.pages,
                "words": part.audit.words,
                "usable": part.audit.usable,
                "dont_care": part.audit.dont_care,
            }
            for part in found.parts
        ],
        "counts": found.counts,
        "characters": dict(found.characters.most_common()),
        "findings": [asdict(one) | {"severity": one.severity} for one in found.findings],
        "suspects": [asdict(one) for one in suspects],
    }


def write_lint(
    folder: Path, title: str, found: Lint, suspects: Sequence[Suspect] = ()
) -> list[Path]:
    """Write the report of a lint: an HTML page, a contact sheet of the worst findings, and JSON.

    Args:
        folder: folder for the files; existing ones are replaced.
        title: title of the page.
        found: the findings.
        suspects: labels that networks contradict, the most suspicious first.

    Returns:
        The paths of the files.
    """
    drawn = list(drawings(found))
    write_json(folder / JSON, to_json(found, suspects))
    files = [folder / PAGE, folder / JSON]
    if drawn:
        write_image(folder / SHEET, sheet(drawn))
        files.append(folder / SHEET)
    rare = rare_characters(found)
    report = Report(
        title=title,
        summary=tuple(line for part in found.parts for line in part.audit.summary)
        + ((rare,) if rare else ()),
        counts=tuple(
            Count(f"{what} in the {part.name} part", count)
            for part in found.parts
            for what, count in (
                ("pictures", len(part.folder)),
                ("words", part.audit.words),
                ("usable words", part.audit.usable),
            )
        ),
        faults=tuple(
            Dropped(ones[0].severity, kind, len(ones), tuple(map(str, ones[:_EXAMPLES])))
            for kind in found.counts
            if (ones := [one for one in found.findings if one.kind == kind])
        ),
        gallery=[(f"{one.kind}: {one}", picture) for one, picture in drawn],
        suspects=[ShownSuspect(one, _crop(one)) for one in suspects[:_SUSPECTS]],
        environment=environment(),
    )
    write_report(folder / PAGE, report)
    return files


def _crop(one: Suspect) -> ByteArray | None:
    """The crop at the place of a suspect."""
    try:
        image = load_image(one.page or "")
    except ImageError:
        return None
    low = np.clip(np.floor(np.min(one.quad, axis=0)), 0, None).astype(int)
    high = np.clip(np.ceil(np.max(one.quad, axis=0)), 0, None).astype(int)
    crop = image[low[1] : high[1], low[0] : high[0]]
    return np.ascontiguousarray(crop) if crop.size else None
