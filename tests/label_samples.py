"""A hand-made file of each format, with the words that it means; no code of the readers is used.

Each says where its format is defined: repository, file and commit.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field

WIDTH, HEIGHT = 200, 100


@dataclass
class Sample:
    """Files by their names, and the words `(outline, text, care)` of the picture `photo.png`."""

    kind: str
    files: dict[str, str | bytes]
    words: list[tuple[list[tuple[float, float]], str | None, bool]]
    says: str = ""
    notes: list[str] = field(default_factory=list)


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


BOX = box(20, 10, 60, 30)
QUAD = [(10.0, 40.0), (50.0, 44.0), (49.0, 60.0), (9.0, 56.0)]
CURVE = [(100.0, 20.0), (130.0, 10.0), (160.0, 20.0), (160.0, 40.0), (130.0, 30.0), (100.0, 40.0)]
FLAT = [value for point in CURVE for value in point]


def percent(points):
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]


def label_studio() -> Sample:
    # HumanSignal/label-studio-sdk, src/label_studio_sdk/converter/converter.py
    # (annotation_result_from_task) and converter/utils.py (convert_annotation_to_yolo_obb: turned
    # clockwise about the top left corner), at 97fcff1.
    def result(key, name, kind, value):
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        return {
            "id": key,
            "from_name": name,
            "to_name": "image",
            "type": kind,
            "value": value,
        } | size

    rectangle = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    turned = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90}
    polygon = {"points": percent(CURVE), "closed": True}
    results = [
        result("a", "bbox", "rectangle", rectangle),
        result("a", "label", "labels", rectangle | {"labels": ["Text"]}),
        result("a", "transcription", "textarea", rectangle | {"text": ["one"]}),
        result("b", "bbox", "rectangle", turned),
        result("b", "transcription", "textarea", turned | {"text": ["two"]}),
        result("c", "poly", "polygon", polygon),
        result("c", "label", "labels", polygon | {"labels": ["Illegible"]}),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        result("d", "brush", "brushlabels", {"format": "rle", "rle": [0, 1]}),
    ]
    annotations = [
        {"id": 1, "result": [], "was_cancelled": False, "created_at": "2026-01-01T00:00:00Z"},
        {"id": 2, "result": results, "was_cancelled": False, "created_at": "2026-02-01T00:00:00Z"},
        {"id": 3, "result": [], "was_cancelled": True, "created_at": "2026-03-01T00:00:00Z"},
    ]
    tasks = [
        {"id": 7, "data": {"ocr": "/data/upload/1/1a2b3c4d-photo.png"}, "annotations": annotations},
        {"id": 8, "data": {"ocr": "s3://bucket/other.png"}, "annotations": [], "predictions": [{}]},
    ]
    corner = [(100.0, 50.0), (100.0, 90.0), (90.0, 90.0), (90.0, 50.0)]
    return Sample(
        "label-studio",
        {"project-1-at-2026.json": json.dumps(tasks)},
        [(BOX, "one", True), (corner, "two", True), (CURVE, None, False)],
        "1 tasks, 3 words; 1 don't care; 1 canceled annotations skipped; "
        "1 tasks labeled more than once: the ground truth or the newest taken; "
        "1 relations between words skipped; 1 brush strokes and ellipses skipped; "
        "1 tasks with predictions only",
    )


def label_studio_min() -> Sample:
    # HumanSignal/label-studio-sdk, src/label_studio_sdk/converter/converter.py
    # (convert_to_json_min) and converter/utils.py (prettify_result), at 97fcff1.
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    one = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, **size}
    two = {"points": percent(CURVE), "closed": True, **size}
    task = {
        "ocr": "/data/local-files/?d=set%2Fphoto.png",
        "id": 1,
        "bbox": [one],
        "poly": [two],
        "label": [two | {"labels": ["Text"]}, one | {"labels": ["Text"]}],
        "transcription": ["curved", "flat"],
        "annotator": 1,
        "annotation_id": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "lead_time": 3.5,
    }
    words = [(CURVE, "curved", True), (BOX, "flat", True)]
    return Sample("label-studio-min", {"min.json": json.dumps([task])}, words, "1 tasks, 2 words")


def cvat() -> Sample:
    # open-edge-platform/datumaro, src/datumaro/plugins/data_formats/cvat/base.py (boxes turn about
    # their center), and tests/assets/cvat_dataset/for_images/export_task/train.xml, at 575c03f.
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in CURVE)
    text = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>5</id><name>t</name><mode>annotation</mode></task></meta>
  <image id="0" name="photo.png" width="{WIDTH}" height="{HEIGHT}">
    <box label="text" source="manual" occluded="0" xtl="20.00" ytl="10.00" xbr="60.00" ybr="30.00"
         z_order="0"><attribute name="text">one &amp; two</attribute></box>
    <box label="text" occluded="0" xtl="90" ytl="60" xbr="110" ybr="70" rotation="90.0"/>
    <polygon label="text" occluded="1" points="{points}" z_order="0">
      <attribute name="text">x</attribute><attribute name="ignore">true</attribute>
    </polygon>
    <polyline label="text" points="1,1;2,2"/>
  </image>
</annotations>
"""
    turned = [(105.0, 55.0), (105.0, 75.0), (95.0, 75.0), (95.0, 55.0)]
    words = [(BOX, "one & two", True), (turned, None, True), (CURVE, "x", False)]
    says = "1 images, 3 words; 1 without text; 1 don't care; 1 shapes of type polyline skipped"
    return Sample("cvat", {"annotations.xml": text}, words, says)


def labelme() -> Sample:
    # wkentaro/labelme, labelme/_label_file.py (read_label_file: imagePath may be of Windows) and
    # labelme/_shape.py (ShapeType), at 51e50e4.
    def shape(label, kind, points, **more):
        return {"label": label, "points": points, "group_id": None, "shape_type": kind} | more

    data = {
        "version": "6.3.0",
        "flags": {},
        "shapes": [
            shape("text", "rectangle", [[60, 10], [20, 30]], description="one", flags={}),
            shape("text", "oriented_rectangle", QUAD, description="", flags={}),
            shape("text", "polygon", CURVE, description="x", flags={"difficult": True}),
            shape("text", "circle", [[1, 1], [2, 2]], description="", flags={}),
        ],
        "imagePath": "..\\set\\photo.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    words = [(BOX, "one", True), (QUAD, None, True), (CURVE, "x", False)]
    return Sample("labelme", {"photo.json": json.dumps(data)}, words, "1 shapes of type circle")


def via() -> Sample:
    # ox-vgg/via, via-2.x.y/via.js (_via_img_metadata, shape_attributes); also read by
    # airctic/icevision, icevision/parsers/via_parser.py. Public copies hold no newer commit.
    def region(shape, attributes):
        return {"shape_attributes": shape, "region_attributes": attributes}

    xs, ys = ([point[axis] for point in CURVE] for axis in (0, 1))
    regions = [
        region({"name": "rect", "x": 20, "y": 10, "width": 40, "height": 20}, {"Text": "one"}),
        region(
            {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
            {"text": "x", "state": {"illegible": True}},
        ),
        region({"name": "circle", "cx": 3, "cy": 3, "r": 2}, {}),
    ]
    picture = {"filename": "photo.png", "size": 77, "regions": regions, "file_attributes": {}}
    data = {"_via_settings": {}, "_via_img_metadata": {"photo.png77": picture}}
    words = [(BOX, "one", True), (CURVE, "x", False)]
    says = "1 circles, ellipses and points skipped"
    return Sample("via", {"via_project.json": json.dumps(data)}, words, says)


def via_csv() -> Sample:
    # ox-vgg/via, via-2.x.y/via.js (pack_via_metadata, escape_for_csv); as of `via`.
    def line(*fields, region=""):
        quoted = ['"' + json.dumps(one).replace('"', '""') + '"' for one in fields]
        return f"photo.png,77,{quoted[0]},2,{region},{quoted[1]},{quoted[2]}"

    xs, ys = ([point[axis] for point in CURVE] for axis in (0, 1))
    shapes = [
        {"name": "rect", "x": 20, "y": 10, "width": 40, "height": 20},
        {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
    ]
    rows = [
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes",
        line({}, shapes[0], {"text": 'one, "two"'}, region=0),
        line({}, shapes[1], {"text": "x", "state": {"illegible": True}}, region=1),
    ]
    words = [(BOX, 'one, "two"', True), (CURVE, "x", False)]
    return Sample("via-csv", {"via_export.csv": "\n".join(rows) + "\n"}, words, "2 words")


def datumaro() -> Sample:
    # open-edge-platform/datumaro, src/datumaro/plugins/data_formats/datumaro/base.py and
    # exporter.py, at 575c03f.
    def annotation(kind, **more):
        return {"id": 0, "type": kind, "group": 0, "label_id": 0, "z_order": 0} | more

    item = {
        "id": "photo",
        "annotations": [
            annotation("bbox", bbox=[20.0, 10.0, 40.0, 20.0], attributes={"text": "one"}),
            annotation("polygon", points=FLAT, attributes={"text": "x", "ignore": True}),
            annotation("caption", caption="a page", attributes={}),
        ],
        "image": {"path": "photo.png", "size": [HEIGHT, WIDTH]},
    }
    labels = [{"name": "text", "parent": "", "attributes": []}]
    data = {
        "dm_format_version": "1.0",
        "media_type": 2,
        "infos": {},
        "categories": {"label": {"labels": labels, "label_groups": [], "attributes": []}},
        "items": [item],
    }
    words = [(BOX, "one", True), (CURVE, "x", False)]
    says = "1 items, 2 words; 1 don't care; 1 annotations of type caption skipped"
    return Sample("datumaro", {"annotations/default.json": json.dumps(data)}, words, says)


def ppocr() -> Sample:
    # PFCCLab/PPOCRLabel, PPOCRLabel.py (savePPlabel) and README.md 2.1 ("###" and "*"), at 42362c8.
    words = [
        {"transcription": "one", "points": QUAD, "difficult": False},
        {"transcription": "###", "points": BOX, "difficult": False},
        {"transcription": "*", "points": CURVE, "difficult": False, "key_cls": "None"},
    ]
    text = f"set/photo.png\t{json.dumps(words, ensure_ascii=False)}\n"
    expected = [(QUAD, "one", True), (BOX, None, False), (CURVE, None, False)]
    return Sample("ppocr", {"Label.txt": text}, expected, "1 images, 3 words; 2 don't care")


def coco_text() -> Sample:
    # open-mmlab/mmocr, dataset_zoo/cocotextv2/sample_anno.md and
    # mmocr/datasets/preparers/parsers/coco_parser.py, at 966296f.
    shared = {"class": "machine printed", "image_id": 5, "language": "english", "area": 55.5}
    words = {
        "1": shared
        | {"id": 1, "mask": FLAT, "bbox": [0, 0, 1, 1], "legibility": "legible"}
        | {"utf8_string": "one"},
        "2": shared | {"id": 2, "mask": [], "bbox": [20, 10, 40, 20], "legibility": "illegible"},
    }
    picture = {"file_name": "photo.png", "height": HEIGHT, "width": WIDTH, "id": 5, "set": "train"}
    data = {"cats": {}, "anns": words, "imgs": {"5": picture}, "imgToAnns": {"5": [1, 2]}}
    expected = [(CURVE, "one", True), (BOX, None, False)]
    return Sample("coco-text", {"cocotext.v2.json": json.dumps(data)}, expected)


def textocr() -> Sample:
    # open-mmlab/mmocr, dataset_zoo/textocr/sample_anno.md and
    # mmocr/datasets/preparers/parsers/coco_parser.py ("." is ignored), at 966296f.
    shared = {"image_id": "0a", "area": 5.0, "bbox": [0.0, 0.0, 1.0, 1.0]}
    words = {
        "0a_1": shared | {"id": "0a_1", "points": FLAT, "utf8_string": "one"},
        "0a_2": shared | {"id": "0a_2", "points": [v for p in QUAD for v in p], "utf8_string": "."},
    }
    picture = {"id": "0a", "width": WIDTH, "height": HEIGHT, "set": "train"}
    picture["file_name"] = "train/photo.png"
    data = {"imgs": {"0a": picture}, "anns": words, "imgToAnns": {"0a": ["0a_1", "0a_2"]}}
    expected = [(CURVE, "one", True), (QUAD, None, False)]
    return Sample("textocr", {"TextOCR_0.1_train.json": json.dumps(data)}, expected)


def hiertext() -> Sample:
    # google-research-datasets/hiertext, README.md ("Annotations"), at 70b6620.
    def word(points, text, legible):
        found = {"vertices": points, "text": text, "legible": legible}
        return found | {"handwritten": False, "vertical": False}

    line = {"vertices": BOX, "text": "one", "legible": True, "handwritten": False}
    lines = [
        line | {"words": [word(CURVE, "one", True), word(QUAD, "two", True)]},
        line | {"words": [word(BOX, "", False)]},
    ]
    picture = {
        "image_id": "photo",
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "paragraphs": [{"vertices": BOX, "legible": True, "lines": lines}],
    }
    text = json.dumps({"info": {"date": "", "version": ""}, "annotations": [picture]})
    expected = [(CURVE, "one", True), (QUAD, "two", True), (BOX, None, False)]
    return Sample("hiertext", {"gt/train.jsonl.gz": gzip.compress(text.encode())}, expected)


def doctr() -> Sample:
    # mindee/doctr, references/detection/README.md and doctr/datasets/detection.py, at 8a88fea.
    data = {"photo.png": {"img_dimensions": [100, 200], "img_hash": "0", "polygons": [QUAD, BOX]}}
    expected = [(QUAD, None, True), (BOX, None, True)]
    return Sample("doctr", {"labels.json": json.dumps(data)}, expected, "2 words; 2 without text")


def art() -> Sample:
    # open-mmlab/mmocr, tools/dataset_converters/textdet/art_converter.py (the docstring of
    # collect_art_info), at 966296f.
    def word(points, text, illegible):
        shared = {"points": points, "transcription": text, "language": "Latin"}
        return shared | {"illegibility": illegible}

    words = [word(CURVE, "one", False), word(BOX, "two", True), word(QUAD, "###", False)]
    expected = [(CURVE, "one", True), (BOX, "two", False), (QUAD, None, False)]
    return Sample("art", {"train_labels.json": json.dumps({"gt_photo": words})}, expected)


def ctw1500_xml() -> Sample:
    # Yuliang-Liu/Curve-Text-Detector, data/README.md (the example of its annotations), at 2126a66.
    segs = ",".join(f"{value:.0f}" for value in FLAT)
    text = f"""<Annotations><image file="photo.png">
<box height="30" left="100" top="10" width="60"><label>OLATHE</label><segs>{segs}</segs>
<pts x="183" y="95" /></box>
<box height="20" left="20" top="10" width="40"><label>###</label></box>
</image></Annotations>"""
    expected = [(CURVE, "OLATHE", True), (BOX, None, False)]
    return Sample("ctw1500-xml", {"photo.xml": text}, expected)


def hocr() -> Sample:
    # kba/hocr-spec, 1.2/spec.md (ocr_page, ocr_par, ocr_line, ocrx_word; image, x_wconf), at
    # 70e1278.
    text = """<!DOCTYPE html><html><head><meta name='ocr-system' content='tesseract'></head><body>
<div class='ocr_page' id='page_1' title='image "photo.png"; bbox 0 0 200 100; ppageno 0'>
<p class='ocr_par'><span class='ocr_line' title="bbox 0 0 100 40; baseline 0 -3">
<span class='ocrx_word' title='bbox 20 10 60 30; x_wconf 93'><strong>one &amp;</strong></span>
</span></p></div></body></html>"""
    return Sample("hocr", {"photo.hocr": text}, [(BOX, "one &", True)], "1 pages, 1 words")


def alto() -> Sample:
    # altoxml/schema, v4/alto-4-4.xsd (String, Shape, MeasurementUnit), at 1a67f01.
    points = " ".join(f"{x:.0f},{y:.0f}" for x, y in CURVE)
    text = f"""<?xml version="1.0"?><alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">
<Description><MeasurementUnit>pixel</MeasurementUnit>
<sourceImageInformation><fileName>photo.png</fileName></sourceImageInformation></Description>
<Layout><Page ID="p" WIDTH="{WIDTH}" HEIGHT="{HEIGHT}"><PrintSpace><TextBlock><TextLine>
<String CONTENT="one" HPOS="20" VPOS="10" WIDTH="40" HEIGHT="20" WC="0.5"/>
<SP/><String CONTENT="two" HPOS="1" VPOS="1" WIDTH="1" HEIGHT="1">
<Shape><Polygon POINTS="{points}"/></Shape></String>
</TextLine></TextBlock></PrintSpace></Page></Layout></alto>"""
    return Sample("alto", {"photo.xml": text}, [(BOX, "one", True), (CURVE, "two", True)])


def page_xml() -> Sample:
    # PRImA-Research-Lab/PAGE-XML, PAGE-release/gts/pagecontent/2019-07-15/pagecontent.xsd
    # (TextRegion, TextLine, Word, Coords, TextEquiv@index), at d571489.
    def points(outline):
        return " ".join(f"{x:.0f},{y:.0f}" for x, y in outline)

    space = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
    text = f"""<?xml version="1.0"?><PcGts xmlns="{space}">
<Page imageFilename="photo.png" imageWidth="{WIDTH}" imageHeight="{HEIGHT}"><TextRegion id="r">
<Coords points="0,0 9,0 9,9"/><TextLine id="l"><Coords points="0,0 9,0 9,9"/>
<Word id="w"><Coords points="{points(BOX)}"/>
<TextEquiv index="1"><Unicode>0ne</Unicode></TextEquiv>
<TextEquiv index="0" conf="0.5"><Unicode>one</Unicode></TextEquiv></Word></TextLine>
<TextLine id="m"><Coords points="{points(CURVE)}"/>
<TextEquiv><Unicode>a line</Unicode></TextEquiv></TextLine></TextRegion></Page></PcGts>"""
    words = [(BOX, "one", True), (CURVE, "a line", True)]
    return Sample("page", {"photo.xml": text}, words, "1 lines without words")


SAMPLES = [
    make()
    for make in (
        *(label_studio, label_studio_min, cvat, labelme, via, datumaro, ppocr, coco_text, textocr),
        *(via_csv, hiertext, doctr, art, ctw1500_xml, hocr, alto, page_xml),
    )
]
