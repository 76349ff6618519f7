"""Writers of JSON labels: each function returns the content of one file, or of an image's file.

An image is a `Page` whose `path` is relative to the output folder. Pages are already adapted to the
format.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np

from ocrcore.files import json_line
from ocrcore.pages import FloatArray, Page, Word
from ocrjax.labels.carry import box_around, is_upright

LABEL_CONFIG = """<View>
  <Image name="image" value="$ocr"/>
  <Labels name="label" toName="image">
    <Label value="Text" background="green"/>
    <Label value="Illegible" background="gray"/>
  </Labels>
  <Rectangle name="bbox" toName="image" strokeWidth="3"/>
  <Polygon name="poly" toName="image" strokeWidth="3"/>
  <TextArea name="transcription" toName="image" editable="true" perRegion="true" required="false"
            maxSubmissions="1" rows="1" displayMode="region-list"/>
</View>
"""
"""The labeling config of Label Studio for `label_studio`: Label Studio's own OCR template."""


def _rows(points: FloatArray) -> list[list[float]]:
    rows: list[list[float]] = np.asarray(points, np.float64).tolist()
    return rows


def _box(quad: FloatArray) -> list[float]:
    """x, y, width and height of an axis-aligned box."""
    (left, top), (right, bottom) = np.asarray(quad, np.float64)[[0, 2]].tolist()
    return [left, top, right - left, bottom - top]


def _is_box(word: Word) -> bool:
    return word.polygon is None and is_upright(word.quad)


def _address(path: str) -> str:
    """The URL at which Label Studio serves an image of a local folder."""
    return f"/data/local-files/?d={quote(path)}"


def _percent(word: Word, page: Page) -> dict[str, Any]:
    wide, high = 100 / page.width, 100 / page.height
    if _is_box(word):
        x, y, across, down = _box(word.quad)
        sides = {"x": x * wide, "y": y * high, "width": across * wide, "height": down * high}
        return {**sides, "rotation": 0}
    return {"points": [[x * wide, y * high] for x, y in _rows(word.outline)], "closed": True}


def label_studio(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """Return Label Studio tasks with annotations; their project needs `LABEL_CONFIG`."""
    tasks = []
    for number, page in enumerate(pages, 1):
        results: list[dict[str, Any]] = []
        for place, word in enumerate(page.words):
            region = _percent(word, page)
            kind = ("bbox", "rectangle") if "x" in region else ("poly", "polygon")
            label = {"labels": ["Text" if word.care else "Illegible"]}
            parts = [(*kind, region), ("label", "labels", {**region, **label})]
            if word.text is not None:
                parts.append(("transcription", "textarea", {**region, "text": [word.text]}))
            shared = {
                "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{page.path}/{place}").hex[:10],
                "to_name": "image",
                "original_width": page.width,
                "original_height": page.height,
                "image_rotation": 0,
            }
            results += [
                {**shared, "from_name": name, "type": kind, "value": value}
                for name, kind, value in parts
            ]
        annotation = {"result": results, "was_cancelled": False, "ground_truth": False}
        data = {"ocr": _address(str(page.path))}
        tasks.append({"id": number, "data": data, "annotations": [annotation], "predictions": []})
    return tasks


def label_studio_min(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """Return the tasks in Label Studio's short form, JSON_MIN."""
    tasks: list[dict[str, Any]] = []
    for number, page in enumerate(pages, 1):
        task: dict[str, Any] = {"ocr": _address(str(page.path)), "id": number}
        size = {"original_width": page.width, "original_height": page.height}
        for word in page.words:
            region = {**_percent(word, page), **size}
            task.setdefault("bbox" if "x" in region else "poly", []).append(region)
            label = "Text" if word.care else "Illegible"
            task.setdefault("label", []).append({**region, "labels": [label]})
            task.setdefault("transcription", []).append(word.text or "")
        if len(page.words) == 1:  # Label Studio writes a single value without a list
            task["transcription"] = task["transcription"][0]
        # Fields by which an export is recognized.
        tasks.append({**task, "annotator": 1, "annotation_id": number})
    return tasks


def labelme(page: Page) -> dict[str, Any]:
    """Return the file of one image, which is stored next to the image."""
    shapes = []
    for word in page.words:
        box = _is_box(word)
        shapes.append(
            {
                "label": "text",
                "points": _rows(word.quad[[0, 2]] if box else word.outline),
                "group_id": None,
                "description": word.text or "",
                "shape_type": "rectangle" if box else "polygon",
                "flags": {} if word.care else {"ignore": True},
                "mask": None,
            }
        )
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(str(page.path)).name,
        "imageData": None,
        "imageHeight": page.height,
        "imageWidth": page.width,
    }


def via(pages: Sequence[Page], sizes: Sequence[int]) -> dict[str, Any]:
    """Return a project of the VGG Image Annotator 2.

    Args:
        pages: the labeled images.
        sizes: sizes of the image files in bytes: VIA identifies images by name and size.
    """
    metadata: dict[str, Any] = {}
    for page, size in zip(pages, sizes, strict=True):
        metadata[f"{page.path}{size}"] = {
            "filename": page.path,
            "size": size,
            "regions": [_via_region(word) for word in page.words],
            "file_attributes": {},
        }
    text = {"type": "text", "description": "", "default_value": ""}
    return {
        "_via_settings": {
            "ui": {
                "annotation_editor_height": 25,
                "annotation_editor_fontsize": 0.8,
                "leftsidebar_width": 18,
                "image_grid": {
                    "img_height": 80,
                    "rshape_fill": "none",
                    "rshape_fill_opacity": 0.3,
                    "rshape_stroke": "yellow",
                    "rshape_stroke_width": 2,
                    "show_region_shape": True,
                    "show_image_policy": "all",
                },
                "image": {
                    "region_label": "text",
                    "region_color": "__via_default_region_color__",
                    "region_label_font": "10px Sans",
                    "on_image_annotation_editor_placement": "NEAR_REGION",
                },
            },
            "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""},
            "project": {"name": "words"},
        },
        "_via_img_metadata": metadata,
        "_via_attributes": {"region": {"text": text, "ignore": text}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }


def via_csv(pages: Sequence[Page], sizes: Sequence[int]) -> str:
    """Return annotations of VIA as CSV: a line for each region, or one for an image without any.

    Args:
        pages: the labeled images.
        sizes: as for `via`.
    """
    names = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes"
    file = io.StringIO()
    file.write(f"{names},region_attributes\n")  # VIA compares this line as a whole
    rows = csv.writer(file, lineterminator="\n")
    for page, size in zip(pages, sizes, strict=True):
        regions = [_via_region(word) for word in page.words]
        for number, region in enumerate(regions or [{"shape": {}, "attributes": {}}]):
            columns = [json.dumps(value, ensure_ascii=False) for value in region.values()]
            rows.writerow([page.path, size, "{}", len(regions), number, *columns])
    return file.getvalue()


def _via_region(word: Word) -> dict[str, dict[str, Any]]:
    x, y, wide, high = _box(word.quad)
    shape: dict[str, Any] = {"name": "rect", "x": x, "y": y, "width": wide, "height": high}
    if not _is_box(word):
        xs, ys = word.outline.T.astype(np.float64).tolist()
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    attributes: dict[str, str] = {} if word.text is None else {"text": word.text}
    attributes |= {} if word.care else {"ignore": "true"}
    return {"shape_attributes": shape, "region_attributes": attributes}


def datumaro(pages: Sequence[Page]) -> dict[str, Any]:
    """Return a subset in Datumaro's own format."""
    items = []
    for page in pages:
        name = PurePosixPath(str(page.path)).name
        annotations = []
        for place, word in enumerate(page.words):
            attributes: dict[str, Any] = {} if word.text is None else {"text": word.text}
            attributes |= {} if word.care else {"ignore": True}
            shape: dict[str, Any] = {"type": "bbox", "bbox": _box(word.quad)}
            if not _is_box(word):
                points = [value for row in _rows(word.outline) for value in row]
                shape = {"type": "polygon", "points": points}
            annotations.append(
                {"id": place, **shape, "attributes": attributes, "group": 0, "label_id": 0}
                | {"z_order": 0}
            )
        image = {"path": name, "size": [page.height, page.width]}
        items.append({"id": Path(name).stem, "annotations": annotations, "image": image})
    label = {"name": "text", "parent": "", "attributes": []}
    return {
        "dm_format_version": "1.0",
        "media_type": 2,
        "infos": {},
        "categories": {"label": {"labels": [label], "label_groups": [], "attributes": []}},
        "items": items,
    }


def ppocr(pages: Sequence[Page], folder: str) -> str:
    """Return a `Label.txt` of PPOCRLabel; it is next to the images and names them with the folder.

    Args:
        pages: the labeled images.
        folder: name of the output folder.
    """
    lines = []
    for page in pages:
        words = [
            {
                "transcription": word.text if word.care else "###",
                "points": _rows(word.outline),
                "difficult": not word.care,
            }
            for word in page.words
        ]
        lines.append(f"{folder}/{page.path}\t{json_line(words)}\n")
    return "".join(lines)


def art(pages: Sequence[Page]) -> dict[str, Any]:
    """Return labels in the format of ICDAR 2019 ArT."""
    return {
        PurePosixPath(str(page.path)).stem: [
            {
                "transcription": word.text if word.care else "###",
                "points": _rows(word.outline),
                "language": word.language or "",
                "illegibility": not word.care,
            }
            for word in page.words
        ]
        for page in pages
    }


def coco_text(pages: Sequence[Page]) -> dict[str, Any]:
    """Return labels in the format of COCO-Text v2."""
    return _coco(pages, "mask")


def textocr(pages: Sequence[Page]) -> dict[str, Any]:
    """Return labels in the format of TextOCR."""
    return _coco(pages, "points")


def _coco(pages: Sequence[Page], field: str) -> dict[str, Any]:
    images: dict[str, Any] = {}
    words: dict[str, Any] = {}
    by_image: dict[str, list[Any]] = {}
    for number, page in enumerate(pages, 1):
        key: Any = number if field == "mask" else f"{number:08d}"
        size = {"width": page.width, "height": page.height}
        images[str(key)] = {"id": key, "file_name": page.path, "set": "train", **size}
        by_image[str(key)] = []
        for place, word in enumerate(page.words, 1):
            own: Any = len(words) + 1 if field == "mask" else f"{key}_{place}"
            entry: dict[str, Any] = {
                "id": own,
                "image_id": key,
                "bbox": _box(box_around(word.outline)),
                field: [value for row in _rows(word.outline) for value in row],
                "area": _area(word.outline),
            }
            if field == "points":
                entry["utf8_string"] = word.text if word.care else "."
            else:
                entry["legibility"] = "legible" if word.care else "illegible"
                entry["class"] = "machine printed"
                entry |= {} if word.text is None else {"utf8_string": word.text}
                entry |= {} if word.language is None else {"language": word.language}
            words[str(own)] = entry
            by_image[str(key)].append(own)
    links = "imgToAnns"
    return {"cats": {}, "imgs": images, "anns": words, links: by_image, "info": {}}


def _area(points: FloatArray) -> float:
    x, y = points.T.astype(np.float64)
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def hiertext(pages: Sequence[Page]) -> dict[str, Any]:
    """Return labels in the format of HierText; lines and paragraphs get their bounding boxes."""
    annotations = []
    for page in pages:
        paragraphs = []
        for lines in page.paragraphs:
            entries = []
            for line in lines:
                words = [
                    {
                        "vertices": _rows(word.outline),
                        "text": word.text or "",
                        "legible": word.care,
                        "handwritten": False,
                        "vertical": False,
                    }
                    for word in line
                ]
                entries.append(
                    {
                        "vertices": _around(line),
                        "text": " ".join(word.text for word in line if word.text),
                        "legible": all(word.care for word in line),
                        "handwritten": False,
                        "vertical": False,
                        "words": words,
                    }
                )
            every = [word for line in lines for word in line]
            paragraphs.append(
                {
                    "vertices": _around(every),
                    "legible": all(word.care for word in every),
                    "lines": entries,
                }
            )
        annotations.append(
            {
                "image_id": PurePosixPath(str(page.path)).stem,
                "image_width": page.width,
                "image_height": page.height,
                "paragraphs": paragraphs,
            }
        )
    return {"info": {"date": "", "version": ""}, "annotations": annotations}


def _around(words: Sequence[Word]) -> list[list[float]]:
    return _rows(box_around(np.concatenate([word.outline for word in words])))


def doctr(pages: Sequence[Page], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return detection labels in docTR's format.

    Args:
        pages: the labeled images.
        files: the image files by `path`, for the checksums that docTR needs.
    """

    def digest(page: Page) -> str:
        with files[str(page.path)].open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return {
        PurePosixPath(str(page.path)).name: {
            "img_dimensions": [page.height, page.width],
            "img_hash": digest(page),
            "polygons": [_rows(word.quad) for word in page.words],
        }
        for page in pages
    }
