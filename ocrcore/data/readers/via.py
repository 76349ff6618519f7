"""Projects and annotations of the VGG Image Annotator (VIA 1 and 2), in JSON and in CSV.

A region is a rectangle or a polygon in pixels; the text is one of its attributes.

Source: ox-vgg/via, `via-2.x.y`, `_via_img_metadata` and its `regions`; of CSV `pack_via_metadata`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    cares,
    corners,
    mapping,
    number,
    outline,
    sequence,
    shown,
    string,
    text_in,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.pages import FloatArray, LabelError, Word

_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


def read_via(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the images of a VIA project, or of exported annotations.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    data = data if isinstance(data, dict) else {}
    files = data.get("_via_img_metadata", data)
    for key, entry in (files if isinstance(files, dict) else {}).items():
        place = f"image {key!r}"
        try:
            entry = mapping(entry, "an image of VIA")
            name = string(entry.get("filename"), "filename") or key
            regions = entry.get("regions", [])
            if isinstance(regions, dict):  # VIA 1 numbers them
                regions = list(regions.values())
            regions = [mapping(one, "a region") for one in sequence(regions, "regions")]
        except LineError as fault:
            error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
            yield LabeledPicture(path, "", bad=(error,))
            continue
        kept = [one for one in regions if _kind(one) in ("rect", "polygon", "polyline")]
        notes["circles, ellipses and points skipped"] += len(regions) - len(kept)
        words, bad = words_of(path, place, kept, _word)
        yield LabeledPicture(path, name, words, None, bad)


def read_via_csv(path: Path, data: str, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read annotations as CSV, one line per region; an image without regions has one line.

    Args:
        path: path of the file, for error messages.
        data: its text.
        notes: counts skipped items, by description.
    """
    rows = csv.reader(io.StringIO(data, newline=""))
    files: dict[str, dict[str, Any]] = {}
    bad: list[LabelError] = []
    try:
        head = [name.strip().lstrip("#") for name in next(rows, [])]
        missing = [name for name in _COLUMNS if name not in head]
        if missing:
            raise LabelError(path, 1, ",".join(head), f"columns {', '.join(_COLUMNS)}")
        for row in rows:
            if not row:
                continue
            try:
                if len(row) != len(head):
                    raise LineError(shown(row), f"{len(head)} columns, as the first line has")
                values = dict(zip(head, row, strict=True))
                name = values["filename"]
                entry = files.setdefault(name, {"filename": name, "regions": []})
                shape, attributes = (_json_column(values[column]) for column in _COLUMNS[1:])
                if shape:
                    entry["regions"].append(
                        {"shape_attributes": shape, "region_attributes": attributes}
                    )
            except LineError as fault:
                bad.append(LabelError(path, rows.line_num, *fault.args))
    except csv.Error as error:
        bad.append(LabelError(path, rows.line_num, str(error), "CSV of VIA"))
    if bad:
        yield LabeledPicture(path, "", bad=tuple(bad))
    yield from read_via(path, files, notes)


def _json_column(text: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(text), "an object in JSON")
    except (ValueError, RecursionError) as error:
        raise LineError(text, f"an object in JSON ({error})") from error


def _kind(region: Mapping[str, Any]) -> Any:
    shape = region.get("shape_attributes")
    return shape.get("name") if isinstance(shape, dict) else None


def _word(region: Mapping[str, Any]) -> Word:
    shape = mapping(region.get("shape_attributes"), "the shape of a region")
    found = region.get("region_attributes")
    attributes: dict[str, Any] = {}
    for name, value in (found if isinstance(found, dict) else {}).items():
        if isinstance(value, dict):  # checkboxes: {"difficult": true}
            attributes |= value
        else:
            attributes[name] = value
    return word_of(_points(shape), text_in(attributes), care=cares(attributes))


def _points(shape: Mapping[str, Any]) -> FloatArray:
    if shape["name"] == "rect":
        left, top, wide, high = (
            number(shape.get(name), name) for name in ("x", "y", "width", "height")
        )
        return corners(left, top, left + wide, top + high)
    xs = sequence(shape.get("all_points_x"), "all_points_x")
    ys = sequence(shape.get("all_points_y"), "all_points_y")
    if len(xs) != len(ys):
        raise LineError(shown(xs), f"as many x as y: {len(xs)} and {len(ys)}")
    points = [[x, y] for x, y in zip(xs, ys, strict=True)]
    if len(points) > 3 and points[0] == points[-1]:
        points.pop()  # VIA 1 repeats the first point
    return outline(points)
