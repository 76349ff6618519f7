"""Render a `Report` as one HTML file that loads no other files and nothing from the network.

The `Content-Security-Policy` in the page only allows embedded images, one style and one script,
identified by SHA-256. Texts of labels and readings are either escaped in the page or in JSON
without any `<`, and the script only makes text of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.evaluation.matching import ImageResult, evaluate_pages
from ocrcore.evaluation.statistics import Interval
from ocrcore.files import write_text
from ocrcore.images import ImageError, ImageLike, PageOfFile, load_image
from ocrcore.pages import ByteArray, Page
from ocrcore.progress import shown
from ocrjax.report.data import CropReading, Dropped, Picture, Report, Score, ShownSuspect
from ocrjax.report.images import heat_map, small_maps, thumbnail
from ocrjax.report.svg import draw_chart, draw_gain, draw_thresholds, verdict
from ocrjax.report.texts import confusions, differences, distance, folded

MOST_BYTES = 20_000_000
"""Size limit of a page; images are as large as it allows."""

_PICTURES, _SUSPECTS, _GALLERY = 500, 300, 60  # most items to show
_SPARE = 300_000  # bytes for the parts of the page that are not counted
_LABELS = 8_000_000  # bytes for the words of all images; correct words are left out first
_SIDE, _GALLERY_SIDE, _CROP_SIDE = 1280, 1600, 480
_PICTURE_BYTES, _GALLERY_BYTES, _CROP_BYTES = 90_000, 220_000, 6_000
_MAP_SHARE = 0.4  # greatest share of an image's bytes for its heat map; larger ones are left out
_NAMED = 5  # most examples and problems to name
Json = dict[str, Any]


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report as one HTML file, atomically.

    Args:
        path: path of the file; an existing one is replaced.
        report: the report. Images that cannot be read are counted at the end of the page.

    Returns:
        The path.
    """
    write_text(path, render(report))
    return Path(path)


def render(report: Report, *, most: int = MOST_BYTES) -> str:
    """Return the page as HTML.

    Args:
        report: the report.
        most: greatest size of the page in bytes of UTF-8.
    """
    notes, lost = list(dict.fromkeys(report.notes)), list[str]()
    lists = _lists(report, most, notes, lost)
    if lost:
        named = "; ".join(lost[:_NAMED])
        notes.append(f"{len(lost):,} images could not be shown: {named}")
    assets = files("ocrjax.report") / "assets"
    style, script, page = (
        (assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "page.html")
    )
    sections = [one for one in _sections(report, lists, notes) if one.body]
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": escape(report.title),
        "style": style,
        "nav": "".join(
            f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections
        ),
        "body": _summary(report) + "".join(map(_section, sections)),
        "data": _inert(lists),
        "script": script,
    }
    # In one pass: inserted text is not expanded again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    title: str
    body: str


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(value: Any) -> str:
    """JSON that cannot end the script element that contains it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _section(one: _Section) -> str:
    return (
        f'<section id="{one.name}" aria-labelledby="{one.name}-head">'
        f'<h2 id="{one.name}-head" tabindex="-1">{escape(one.title)}</h2>{one.body}</section>'
    )


def _sections(report: Report, lists: dict[str, list[Json]], notes: Sequence[str]) -> list[_Section]:
    lines = "".join(f"<li>{_text(note)}</li>" for note in notes)
    return [
        _Section("scores", "Before and after" if _paired(report) else "Scores", _scores(report)),
        _Section("data-counts", "Data", _data(report)),
        _Section("curves", "Curves", _curves(report)),
        _Section("thresholds", "Thresholds", _thresholds(report)),
        _Section("pictures", "Pictures", _list("pictures", lists, _PICTURES_NOTE)),
        _Section("crops", "Words read wrong", _list("crops", lists, _CROPS_NOTE)),
        _Section("confusions", "Confused characters", _confusions(report)),
        _Section("suspects", "Suspected label errors", _list("suspects", lists, _SUSPECTS_NOTE)),
        _Section("gallery", "Overlays", _list("gallery", lists, "")),
        _Section("environment", "Environment", _environment(report)),
        _Section("notes", "Not shown", f"<ul class=plain>{lines}</ul>" if lines else ""),
    ]


_PICTURES_NOTE = (
    '<p class="note">Cost: missed words, false positives and misread words. '
    '<span class="tag hit">found</span><span class="tag missed">missed, dashed</span>'
    '<span class="tag false">false positive, dotted</span><span class="tag misread">misread</span>'
    '<span class="tag ignored">don\'t care</span> In the zoomed view, the heat map shows '
    "characters in orange and the links between them in blue.</p>"
)
_CROPS_NOTE = (
    '<p class="note"><span class="lack">Underlined</span> in the label: characters that were not '
    'read. <span class="extra">Dotted</span> in the reading: characters that the label lacks.</p>'
)
_SUSPECTS_NOTE = (
    '<p class="note">Labels that a confident prediction contradicts, the most suspicious first. '
    "They are only hints: check each label before you change it.</p>"
)


def _list(name: str, lists: dict[str, list[Json]], note: str) -> str:
    return f'{note}<div data-list="{name}"></div>' if lists[name] else ""


def _text(text: str) -> str:
    """Escaped text with its own writing direction."""
    return f"<bdi>{escape(text)}</bdi>"


def _number(value: float | None, *, percent: bool = False, sign: str = "") -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:{sign}.1f} %" if percent else f"{value:{sign}.4f}"


def _summary(report: Report) -> str:
    lines = "".join(f"<p>{_text(line)}</p>" for line in report.summary)
    return f'<div class="summary">{lines}</div>' if lines else ""


def _paired(report: Report) -> bool:
    return any(score.before and score.after for score in report.scores)


def _scores(report: Report) -> str:
    if not report.scores:
        return ""
    sides = [
        (name, side)
        for name, side in zip(report.columns, ("before", "after"), strict=True)
        if any(getattr(score, side) for score in report.scores)
    ]
    ends = [abs(x) for score in report.scores if score.gain for x in _ends(score.gain)]
    limit = max([x for x in ends if math.isfinite(x)], default=0.0) or 1.0
    gains = bool(ends)
    heads = ["", *(name for name, _ in sides), *(["gain", ""] if gains else [])]
    rows = []
    for score in report.scores:
        cells = [f"<td><b>{_text(score.name)}</b>{_below(score.note)}</td>"]
        cells += [_value(score, getattr(score, side), name) for name, side in sides]
        if gains:
            cells += _gain(score, limit)
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    note = "Ranges are 95 % confidence intervals."
    if gains:
        note += " Those of gains are paired; if one includes 0, the gain may be chance."
    return (
        f'<div class="wide"><table class="stack"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="note">{note}</p>'
    )


def _below(note: str) -> str:
    return f'<span class="range">{_text(note)}</span>' if note else ""


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _value(score: Score, value: Interval | None, name: str) -> str:
    attribute = f'data-name="{escape(name)}"'
    if value is None:
        return f"<td {attribute}>–</td>"
    number = _number(value.value, percent=score.percent)
    if not all(map(math.isfinite, _ends(value))):  # the interval is not known
        return f"<td {attribute}><b>{number}</b></td>"
    low, high = (_number(x, percent=score.percent) for x in _ends(value))
    return f'<td {attribute}><b>{number}</b><span class="range">{low} to {high}</span></td>'


def _gain(score: Score, limit: float) -> list[str]:
    gain = score.gain
    if gain is None or not all(map(math.isfinite, (gain.value, *_ends(gain)))):
        return ["<td></td>", "<td></td>"]
    kind = verdict(gain, higher=score.higher)
    words = {"better": "better", "worse": "worse", "even": "may be chance"}[kind]
    number = _number(gain.value, percent=score.percent, sign="+")
    low, high = (_number(x, percent=score.percent, sign="+") for x in _ends(gain))
    return [
        f'<td data-name="gain"><b class="{kind}">{number}</b> <span class="{kind}">{words}</span>'
        f'<span class="range">{low} to {high}</span></td>',
        f'<td class="{kind}">{draw_gain(gain, limit, higher=score.higher)}</td>',
    ]


def _data(report: Report) -> str:
    rows = "".join(
        f'<tr><td class="num">{count.value:,}</td><td>{_text(count.name)}</td>'
        f'<td class="dim">{_text(count.note)}</td></tr>'
        for count in report.counts
    )
    out = ""
    if rows:
        out = f'<div class="wide"><table class="counts"><tbody>{rows}</tbody></table></div>'
    return out + _listed("Faults", report.faults) + _listed("Left out", report.dropped)


def _listed(title: str, items: Sequence[Dropped]) -> str:
    """A table of faults or of what was left out; empty if there are no items."""
    lines = []
    for one in items:
        examples = "".join(f"<li>{_text(example)}</li>" for example in one.examples)
        named = f"<details><summary>examples</summary><ul class=plain>{examples}</ul></details>"
        lines.append(
            f'<tr><td class="num">{one.count:,}</td><td>{_text(one.what)}</td>'
            f"<td>{_text(one.reason)}{named if examples else ''}</td></tr>"
        )
    if not lines:
        return ""
    return (
        f'<h3>{title}</h3><div class="wide"><table class="counts"><tbody>{"".join(lines)}'
        "</tbody></table></div>"
    )


def _curves(report: Report) -> str:
    drawn = [(chart.title, draw_chart(chart)) for chart in report.charts]
    figures = "".join(
        f"<figure><figcaption>{_text(title)}</figcaption>{svg}</figure>"
        for title, svg in drawn
        if svg
    )
    return f'<div class="columns">{figures}</div>' if figures else ""


def _thresholds(report: Report) -> str:
    surface = report.thresholds
    if surface is None or not (drawn := draw_thresholds(surface)):
        return ""
    best = max(surface.points, key=lambda one: one.hmean)
    lines = [f"<p>{_text(surface.why)}</p>"] if surface.why else []
    for name, point in (("Used before", surface.used), ("Chosen", surface.chosen), ("Best", best)):
        if point is not None:
            lines.append(
                f"<p>{name}: text {point.text_threshold:g}, link {point.link_threshold:g}, low "
                f"text {point.low_text:g}: hmean <b>{_number(point.hmean)}</b> (precision "
                f"{_number(point.precision)}, recall {_number(point.recall)})</p>"
            )
    key = (
        '<p class="note">Cells show hmean; the solid frame marks the chosen point, the dashed one '
    )
    return f"{''.join(lines)}{key}the point used before.</p>{drawn}"


def _confusions(report: Report) -> str:
    pairs = [
        (folded(one.truth, report.texts), folded(one.read, report.texts)) for one in report.crops
    ]
    found = confusions(pairs)
    if not found:
        return ""
    most = found[0].count
    rows = []
    for one in found:
        examples = ", ".join(f"{_text(a)} → {_text(b or '(nothing)')}" for a, b in one.examples)
        rows.append(
            f"<tr><td><code>{_text(_visible(one.truth))}</code> → <code>"
            f'{_text(_visible(one.read))}</code></td><td class="num">{one.count:,}</td>'
            f'<td class="bar-cell"><meter min="0" max="{most}" value="{one.count}">{one.count}'
            f'</meter></td><td class="dim">{examples}</td></tr>'
        )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("label → read", "times", "", "examples")
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f'</table></div><p class="note">Of {len(pairs):,} words read.</p>'
    )


def _visible(character: str) -> str:
    return {"": "(nothing)", " ": "(space)"}.get(character, character)


def _environment(report: Report) -> str:
    out = []
    if report.commands:
        lines = "".join(
            f"<tr><td>{_text(what)}</td><td><code>{_text(command)}</code></td></tr>"
            for what, command in report.commands
        )
        out.append(f'<h3>Next</h3><div class="wide"><table><tbody>{lines}</tbody></table></div>')
    for title, rows in (("Environment", report.environment), ("SHA-256", report.hashes)):
        lines = "".join(
            f'<tr><td>{_text(name)}</td><td class="hash"><code>{_text(value)}</code></td></tr>'
            for name, value in rows
        )
        if lines:
            head = f"<h3>{title}</h3>" if out or report.hashes else ""
            out.append(f"{head}<table><tbody>{lines}</tbody></table>")
    return "".join(out)


@dataclass(slots=True)
class _Purse:
    """The remaining bytes for images."""

    left: int
    lost: list[str] = field(default_factory=list)

    def spend(self, image: ImageLike, name: str, *, side: int, most: int) -> Json:
        """Return an image as fields of an item; note one that cannot be read."""
        try:
            pixels = load_image(image)
        except ImageError as error:
            self.lost.append(str(error))
            return {"src": "", "lost": "the image cannot be read"}
        source = thumbnail(pixels, side=side, most=max(min(most, self.left), 0))
        self.left -= len(source)
        return {"src": source, "alt": name, **_size(pixels)}


def _size(pixels: ByteArray) -> Json:
    return {"w": pixels.shape[1], "h": pixels.shape[0]}


def _lists(report: Report, most: int, notes: list[str], lost: list[str]) -> dict[str, list[Json]]:
    """The items of the page's lists; their images share the available bytes."""
    purse = _Purse(most - _SPARE, lost)
    lists: dict[str, list[Json]] = {"pictures": [], "crops": [], "suspects": [], "gallery": []}
    lists["crops"] = list(_crop_items(report, purse, notes))
    lists["suspects"] = list(_suspect_items(report.suspects, purse, notes))
    for caption, image in list(report.gallery)[:_GALLERY]:
        item = purse.spend(image, caption, side=_GALLERY_SIDE, most=_GALLERY_BYTES)
        lists["gallery"].append({"name": caption, **item})
        purse.left -= len(caption) + 100
    if len(report.gallery) > _GALLERY:
        notes.append(f"overlays: {_GALLERY} of {len(report.gallery):,} are shown")
    lists["pictures"] = list(_picture_items(report, purse, notes))
    return lists


def _crop_items(report: Report, purse: _Purse, notes: list[str]) -> Iterator[Json]:
    wrong: list[tuple[float, int, CropReading]] = []
    for one in report.crops:
        truth, read = folded(one.truth, report.texts), folded(one.read, report.texts)
        if truth != read:
            far = distance(truth, read)
            wrong.append((-far / max(len(truth), len(read)), -far, one))
    # By relative, then by absolute distance, like `crnnjax.metrics.TextScores.worst`.
    wrong.sort(key=lambda item: item[:2])
    if len(wrong) > report.worst:
        notes.append(f"words read wrong: the worst {report.worst:,} of {len(wrong):,} are shown")
    for order, (_, far, one) in enumerate(wrong[: report.worst]):
        item = {
            "name": one.name,
            "set": one.set,
            **_compared(one.truth, one.read),
            "sure": _finite(one.confidence),
            "distance": -far,
            "order": order,
            "src": "",
        }
        if one.picture is not None:
            item |= purse.spend(one.picture, one.name, side=_CROP_SIDE, most=_CROP_BYTES)
        yield _counted(item, purse)


def _suspect_items(
    given: Sequence[ShownSuspect], purse: _Purse, notes: list[str]
) -> Iterator[Json]:
    if len(given) > _SUSPECTS:
        notes.append(f"suspected label errors: the first {_SUSPECTS} of {len(given):,} are shown")
    for order, one in enumerate(given[:_SUSPECTS]):
        suspect = one.suspect
        where = Path(suspect.page or "image").name
        name = where if suspect.word is None else f"{where}, word {suspect.word + 1}"
        item = {
            "name": name,
            "kind": suspect.kind,
            **_compared(suspect.label or "", suspect.read or ""),
            "why": suspect.why,
            "sure": _finite(suspect.confidence),
            "suspicion": f"{suspect.suspicion:.1f}",
            "order": order,
            "src": "",
        }
        if one.picture is not None:
            item |= purse.spend(one.picture, name, side=_CROP_SIDE, most=_CROP_BYTES)
        yield _counted(item, purse)


def _compared(truth: str, read: str) -> Json:
    return {"truth": truth, "read": read, "parts": differences(truth, read)}


def _finite(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None


def _counted(item: Json, purse: _Purse) -> Json:
    """Subtract the bytes of an item's texts; those of its image were subtracted before."""
    purse.left -= len(_inert(item).encode("utf-8", "surrogatepass")) - len(item["src"])
    return item


def _picture_items(report: Report, purse: _Purse, notes: list[str]) -> Iterator[Json]:
    judged = []
    matched = _matches(report.pictures)
    for place, (one, result) in enumerate(zip(report.pictures, matched, strict=True), 1):
        name = _name(one.truth) or f"image {place}"
        judged.append((one, name, _words(one, result, report.texts)))
    judged.sort(key=lambda judgment: -_cost(judgment[2]))
    chosen: list[tuple[Picture, Json]] = []
    room = min(_LABELS, purse.left // 2)
    for one, name, words in judged[:_PICTURES]:
        item: Json = {
            "name": name,
            "cost": _cost(words),
            "counts": _counts(words),
            "words": words,
            **{"w": one.truth.width, "h": one.truth.height, "src": ""},
        }
        size = len(_inert(item).encode("utf-8", "surrogatepass"))
        if size > room:
            break
        room -= size
        purse.left -= size
        chosen.append((one, item))
    if len(chosen) < len(judged):
        notes.append(
            f"images: the {len(chosen):,} with the highest cost of {len(judged):,} are shown"
        )
    for place, (one, item) in enumerate(shown(chosen, "shrinking images", unit="image")):
        share = min(purse.left // (len(chosen) - place), _PICTURE_BYTES)
        maps = "" if one.maps is None else _heat(one, item["name"], purse)
        if len(maps) > _MAP_SHARE * share:
            maps = ""
        purse.left -= len(maps)
        said = ", ".join(f"{count} {kind}" for kind, count in item["counts"].items())
        source = one.image if one.image is not None else _source(one.truth)
        if source is None:
            drawn: Json = {"src": "", "lost": "an image without a path"}
        else:
            drawn = purse.spend(
                source, f"{item['name']}: {said}", side=_SIDE, most=share - len(maps)
            )
        # Word coordinates are in pixels of the labeled page, whatever the size of the thumbnail.
        yield {**drawn, **{k: v for k, v in item.items() if k != "src"}, "heat": maps}


def _heat(one: Picture, name: str, purse: _Purse) -> str:
    assert one.maps is not None
    try:
        return heat_map(small_maps(one.maps))
    except ImageError as error:
        purse.lost.append(f"heat map of {name}: {error}")
        return ""


def _source(page: Page) -> ImageLike | None:
    if page.path is None:
        return None
    return page.path if page.number is None else PageOfFile(page.path, page.number)


def _name(page: Page) -> str:
    name = Path(page.path).name if page.path else ""
    return name if page.number is None else f"{name}, page {page.number}"


def _matches(pictures: Sequence[Picture]) -> list[ImageResult]:
    """The matches in each image, computed together for those without given ones."""
    missing = [one for one in pictures if one.matches is None]
    worked = iter(
        evaluate_pages([one.truth for one in missing], [one.found for one in missing]).images
    )
    return [one.matches or next(worked) for one in pictures]


def _words(one: Picture, result: ImageResult, texts: str) -> list[list[Any]]:
    """All words as `[kind, points, truth, read]`, with the text differences of misread ones."""
    truth, found = one.truth.words, one.found.words
    dull = {*result.ignored, *result.invalid_found}
    words: list[list[Any]] = []
    hit_truth, hit_found = set[int](), set[int]()
    for a, b in result.pairs:
        label, read = truth[a].text, found[b].text
        outline = found[b].outline
        hit_truth.add(a)
        if b in hit_found:  # a predicted word may match several labels
            outline = truth[a].outline
        hit_found.add(b)
        if label is None or read is None or folded(label, texts) == folded(read, texts):
            words.append(["hit", _points(outline), label, read])
        else:
            words.append(["misread", _points(outline), label, read, differences(label, read)])
    for index, word in enumerate(truth):
        if index not in hit_truth:
            kind = "missed" if word.care and index not in result.invalid_truth else "ignored"
            words.append([kind, _points(word.outline), word.text, None])
    for index, word in enumerate(found):
        if index not in hit_found:
            kind = "ignored" if index in dull else "false"
            words.append([kind, _points(word.outline), None, word.text])
    return words


def _points(outline: np.ndarray) -> list[float]:
    return [round(float(x)) for x in outline.reshape(-1)]


def _counts(words: Iterable[Sequence[Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word[0]] = counts.get(word[0], 0) + 1
    return counts


def _cost(words: Iterable[Sequence[Any]]) -> int:
    counts = _counts(words)
    return sum(counts.get(kind, 0) for kind in ("missed", "false", "misread"))
