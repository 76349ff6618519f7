"""Label Studio exports, JSON and JSON-MIN: tasks with coordinates in percent of the image.

In JSON the rectangle or polygon, the label and the text of a word are results that share one `id`.
In JSON-MIN they are lists, named after the control, each in the order of the words. A rectangle is
rotated clockwise, in degrees, about its top left corner.

Source: HumanSignal/label-studio-sdk, `converter/converter.py` and `converter/utils.py` (JSON-MIN:
`prettify_result`; rotated rectangles: `convert_annotation_to_yolo_obb`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocrcore.data.readers.documents import (
    LabeledPicture,
    bounded,
    corners,
    is_ignored,
    mapping,
    number,
    sequence,
    shown,
    size_of,
    string,
    turned_corners,
    word_of,
    words_of,
)
from ocrcore.data.readers.label_lines import LineError
from ocrcore.data.readers.picture_names import is_picture_name
from ocrcore.pages import FloatArray, LabelError, Word

_LABELS = ("rectanglelabels", "polygonlabels", "labels")
_PICTURES = ("ocr", "image", "img", "photo", "picture", "url")
_TEXTS = ("transcription", "text", "transcript", "recognition", "value")


def read_label_studio(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the tasks of an export in JSON.

    If a task has several annotations, the one marked as ground truth is taken, otherwise the
    newest. Canceled annotations and predictions are not used as labels.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    tasks = [data] if isinstance(data, dict) else sequence(data, "tasks of Label Studio")
    for count, task in enumerate(tasks, 1):
        place = f"task {count}"
        try:
            task = mapping(task, "a task of Label Studio")
            place = f"task {shown(task['id'])}" if "id" in task else place
            annotation = _annotation(task, notes)
            if annotation is None:
                continue
            fields = mapping(task.get("data"), "the data of a task")
            results = sequence(annotation.get("result") or [], "the results of an annotation")
            pictures = _by_picture(fields, results)
        except LineError as fault:
            yield _lost(path, place, fault)
            continue
        for name, own in pictures.items():
            groups = _grouped(own, notes)
            words, bad = words_of(path, place, groups, _word)
            yield LabeledPicture(path, name, words, _size(own), bad)


def _lost(path: Path, place: str, fault: LineError) -> LabeledPicture:
    error = LabelError(path, 0, f"{place}: {fault.value}", fault.expected)
    return LabeledPicture(path, "", bad=(error,))


def _annotation(task: Mapping[str, Any], notes: Counter[str]) -> dict[str, Any] | None:
    found = task.get("annotations", task.get("completions")) or []
    every = [mapping(one, "an annotation") for one in sequence(found, "the annotations of a task")]
    valid = [one for one in every if not (one.get("was_cancelled") or one.get("skipped"))]
    notes["canceled annotations skipped"] += len(every) - len(valid)
    if not valid:
        predicted = bool(task.get("predictions"))
        notes[f"tasks {'with predictions only' if predicted else 'not labeled'}"] += 1
        return None
    if len(valid) > 1:
        notes["tasks labeled more than once: the ground truth or the newest taken"] += 1
    dated = [str(one.get("updated_at") or one.get("created_at") or "") for one in valid]
    order = [
        (bool(one.get("ground_truth")), date, place)
        for place, (one, date) in enumerate(zip(valid, dated, strict=True))
    ]
    return valid[max(order)[2]]


def _by_picture(fields: Mapping[str, Any], results: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Group results by the image they belong to; every image of the task is included."""
    several = {key: value for key, value in fields.items() if _is_pictures(value)}
    single = {
        key: value
        for key, value in fields.items()
        if isinstance(value, str) and (key.lower() in _PICTURES or is_picture_name(value))
    }
    out: dict[str, list[dict[str, Any]]] = {}
    for value in [*single.values(), *(name for names in several.values() for name in names)]:
        out.setdefault(value, [])
    if not out:
        raise LineError(shown(dict(fields)), "the image of a task among its data, like `ocr`")
    for result in results:
        result = mapping(result, "a result")
        out[_picture_of(result, single, several)].append(result)
    return out


def _is_pictures(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, str) and is_picture_name(one) for one in value)
    )


def _picture_of(
    result: Mapping[str, Any], single: Mapping[str, str], several: Mapping[str, list[str]]
) -> str:
    if several:
        names = next(iter(several.values()))
        place = result.get("item_index", 0)
        if len(several) == 1 and not single and isinstance(place, int) and place < len(names):
            return names[place]
        raise LineError(f"item_index {shown(place)}", f"one of the {len(names)} images")
    if len(single) == 1:
        return next(iter(single.values()))
    to = result.get("to_name")
    if isinstance(to, str) and to in single:
        return single[to]
    raise LineError(
        f"to_name {shown(to)}",
        f"the name of one of the images of the task: {', '.join(single)} (give the objects of "
        "the labeling setup these names)",
    )


def _grouped(results: list[dict[str, Any]], notes: Counter[str]) -> list[list[dict[str, Any]]]:
    """Group results by id; keep the groups that have a region."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for count, result in enumerate(results):
        if result.get("type") == "relation":
            notes["relations between words skipped"] += 1
            continue
        key = result.get("id")
        groups.setdefault(key if isinstance(key, str) else f"\0{count}", []).append(result)
    kept = []
    for group in groups.values():
        values = [one.get("value") for one in group]
        if any(isinstance(value, dict) and _is_region(value) for value in values):
            kept.append(group)
        elif any(isinstance(v, dict) and ("rle" in v or "radiusX" in v) for v in values):
            notes["brush strokes and ellipses skipped"] += 1
        else:
            notes["results without a region skipped"] += 1
    return kept


def _is_region(value: Mapping[str, Any]) -> bool:
    return "points" in value or ("width" in value and "height" in value and "x" in value)


def _size(results: list[dict[str, Any]]) -> tuple[int, int] | None:
    for result in results:
        try:
            if found := size_of(result.get("original_height"), result.get("original_width")):
                return found
        except LineError:
            continue  # reported with the word
    return None


def _word(group: list[dict[str, Any]]) -> Word:
    points: FloatArray | None = None
    text: str | None = None
    care = True
    for result in group:
        value = mapping(result.get("value"), "the value of a result")
        if result.get("image_rotation") not in (None, 0, 360):
            raise LineError(
                f"image_rotation {shown(result['image_rotation'])}",
                "an image that was not rotated in Label Studio",
            )
        if points is None and _is_region(value):
            points = _points(value, result.get("original_height"), result.get("original_width"))
        if text is None and "text" in value:
            text = _joined(value["text"])
        care &= not _marked(value)
    assert points is not None  # `_grouped` keeps only groups with a region
    return word_of(points, text, care=care)


def _marked(value: Mapping[str, Any]) -> bool:
    for name in _LABELS:
        labels = value.get(name)
        if isinstance(labels, list) and any(map(is_ignored, labels)):
            return True
    return False


def _joined(value: Any) -> str | None:
    if isinstance(value, list):
        parts = [string(one, "the text of a word") for one in value]
        return " ".join(part for part in parts if part is not None)
    return string(value, "the text of a word")


def _points(value: Mapping[str, Any], height: Any, width: Any) -> FloatArray:
    size = size_of(height, width)
    if size is None:
        raise LineError(
            "no original_width or original_height",
            "the size of the image: coordinates are in percent of it",
        )
    high, wide = size[0] / 100, size[1] / 100
    if "points" in value:
        rows = sequence(value["points"], "the points of a polygon")
        if not 3 <= len(rows) <= 10_000:
            raise LineError(f"{len(rows)} points", "a polygon of 3 to 10,000 points")
        pairs = [sequence(row, "a point [x, y]") for row in rows]
        if any(len(pair) != 2 for pair in pairs):
            raise LineError(shown(rows), "points [x, y]")
        return bounded([(number(x, "x") * wide, number(y, "y") * high) for x, y in pairs])
    x, y = number(value["x"], "x") * wide, number(value.get("y"), "y") * high
    box = number(value["width"], "width") * wide, number(value["height"], "height") * high
    angle = number(value.get("rotation") or 0, "rotation")
    if angle == 0:
        return corners(x, y, x + box[0], y + box[1])
    return turned_corners((x, y), box, math.radians(angle), center=False)


def read_label_studio_min(path: Path, data: Any, notes: Counter[str]) -> Iterator[LabeledPicture]:
    """Read the tasks of an export in JSON-MIN.

    Texts are matched to regions by their order. If there are both rectangles and polygons, and no
    list of labels that has both in order, the texts cannot be matched, which is an error.

    Args:
        path: path of the file, for error messages.
        data: the parsed JSON, from `read_json`.
        notes: counts skipped items, by description.
    """
    for count, task in enumerate(sequence(data, "tasks of Label Studio"), 1):
        place = f"task {count}"
        try:
            task = mapping(task, "a task of Label Studio")
            place = f"task {shown(task['id'])}" if "id" in task else place
            name = _min_picture(task)
            regions = _min_regions(task)
            texts = _min_texts(task, len(regions))
        except LineError as fault:
            yield _lost(path, place, fault)
            continue
        pairs = list(zip(regions, texts, strict=True))
        words, bad = words_of(path, place, pairs, _min_word)
        yield LabeledPicture(path, name, words, _size(regions), bad)


def _min_picture(task: Mapping[str, Any]) -> str:
    for key, value in task.items():
        if isinstance(value, str) and (key.lower() in _PICTURES or is_picture_name(value)):
            return value
    raise LineError(shown(dict(task)), "the image of a task, like `ocr`")


def _min_regions(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = {
        key: value
        for key, value in task.items()
        if isinstance(value, list)
        and value
        and all(isinstance(one, dict) and _is_region(one) for one in value)
    }
    shapes = [value for value in lists.values() if not any("labels" in one for one in value)]
    named = [value for value in lists.values() if any("labels" in one for one in value)]
    total = sum(map(len, shapes))
    whole = next((value for value in named if len(value) == total), None)
    if whole is not None and all("points" in one or "width" in one for one in whole):
        return whole
    if len(shapes) > 1:
        raise LineError(
            f"{' and '.join(map(str, lists))}: rectangles and polygons",
            "texts that can be matched to regions: export as JSON, not as JSON-MIN",
        )
    return shapes[0] if shapes else (named[0] if named else [])


def _min_texts(task: Mapping[str, Any], count: int) -> list[Any]:
    found = {key.lower(): value for key, value in task.items() if isinstance(key, str)}
    value = next((found[name] for name in _TEXTS if name in found), None)
    if value is None:
        return [None] * count
    texts = value if isinstance(value, list) else [value]
    if len(texts) != count:
        raise LineError(
            f"{len(texts)} texts", f"one for each of {count} regions: export as JSON, not JSON-MIN"
        )
    return texts


def _min_word(pair: tuple[dict[str, Any], Any]) -> Word:
    region, text = pair
    points = _points(region, region.get("original_height"), region.get("original_width"))
    if isinstance(text, dict):  # a text of several lines is an object
        text = _joined(text.get("text"))
    else:
        text = string(text, "the text of a word")
    return word_of(points, text, care=not _marked(region))
