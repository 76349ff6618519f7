"""Corrupts labels on purpose: how many of them are at the top of the list of suspects?

A fraction of the labels of a data set is changed, a sixth of them in each way:

A share of the labels of a data set is changed, a sixth of them in each way:

- `other`: the text of a word of another picture;
- `edit`: one character (two in words of 7 or more) replaced, removed or inserted;
- `swap`: the texts of two words next to each other in the label file exchanged (two errors);
- `deleted`: the label removed;
- `ignored`: labeled as don't care;
- `moved`: the box moved by 1.5 times its height and width, to a place without labels.

The networks are those that a user starts from, `craft_mlt_25k` and `ppocrv6_small`. They process
every picture once; their outputs are cached in `--cache`. The list has every label that can be
judged and every found word without a label (`ocrcore.evaluation.label_errors`); errors that are not
in it count as not found. For comparison: the same list by string inequality, the most confident
readings first, without likelihoods and without the detector.

Command: python benchmarks/label_errors.py --root DIR [--share .05] [--seeds 0 1 2 3 4]
    [--start 300]
"""

from __future__ import annotations

import argparse
import math
import string
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from craftjax.evaluate import read_truth
from crnnjax.charset import Charset, named, normalized
from crnnjax.decoding import text_log_probability
from ocrcore.evaluation.label_errors import Reading, Suspect, label_peaks, ranked, suspects
from ocrcore.files import replacing
from ocrcore.geometry import intersection_areas
from ocrcore.pages import FloatArray, Page, Word
from ocrcore.progress import Progress

KINDS = ("other", "edit", "swap", "deleted", "ignored", "moved")
CHARSET = "en95"
TOPS = (0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Seen:
    """The networks' outputs for one picture.

    Attributes:
        found: the detector's words.
        logs: log-probabilities for the crop of each true label, `(T, C)`; None for a degenerate
            quad.
        found_logs: the same for the crop of each found word.
        maps: `(h, w, 1)` region scores.
    """

    found: Page
    logs: list[FloatArray | None]
    found_logs: list[FloatArray | None]
    maps: FloatArray


@dataclass(frozen=True, slots=True)
class Fault:
    """A corrupted label: its kind, page, new index (None: deleted) and true word."""

    kind: str
    page: int
    index: int | None
    word: Word


def look(truth: Sequence[Page]) -> list[Seen]:
    """Run both networks on all pictures."""
    from craftjax.detector import Detector
    from craftjax.options import DetectorOptions
    from craftjax.weak.options import PseudoOptions
    from craftjax.weak.word_crops import crop_word
    from crnnjax.recognizer import Recognizer
    from ocrcore.images import load_image
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    options = DetectorOptions(text_threshold=0.8, link_threshold=0.2, low_text=0.5, border="crop")
    detector = Detector.from_weights("craft_mlt_25k", options=options)
    recognizer = Recognizer.from_weights("ppocrv6_small", charset=CHARSET)
    crop_options = PseudoOptions(height=recognizer.height)
    detections = {}
    with Progress("finding words", unit="picture", total=len(truth)) as progress:
        for one in detector.stream([str(page.path) for page in truth]):
            detections[one.index] = one
            progress.update(len(detections))
    crops, places = [], []
    for index, page in enumerate(truth):
        image = load_image(str(page.path))
        for side, words in ((0, page.words), (1, detections[index].page.words)):
            for number, word in enumerate(words):
                crop = crop_word(image, word.quad, text=word.text, options=crop_options)
                if crop is not None:
                    crops.append(crop.image)
                    places.append((index, side, number))
    logs = {}
    with Progress("reading words", unit="word", total=len(crops)) as progress:
        for start in range(0, len(crops), 256):
            part = slice(start, start + 256)
            for place, logits in zip(places[part], recognizer.logits(crops[part]), strict=True):
                total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
                logs[place] = (logits - total).astype(np.float32)
            progress.update(len(logs))
    return [
        Seen(
            found=detections[index].page,
            logs=[logs.get((index, 0, n)) for n in range(len(page.words))],
            found_logs=[logs.get((index, 1, n)) for n in range(len(detections[index].page.words))],
            maps=detections[index].scores.valid("crop")[:, :, :1],
        )
        for index, page in enumerate(truth)
    ]


def save(path: Path, seen: Sequence[Seen]) -> None:
    """Save the networks' outputs as arrays."""
    arrays: dict[str, np.ndarray] = {}
    for index, one in enumerate(seen):
        arrays[f"{index}.quads"] = one.found.quads
        arrays[f"{index}.scores"] = np.array([w.score for w in one.found.words], np.float32)
        arrays[f"{index}.maps"] = one.maps.astype(np.float16)
        for side, logs in ((0, one.logs), (1, one.found_logs)):
            for number, log in enumerate(logs):
                if log is not None:
                    arrays[f"{index}.{side}.{number}"] = log.astype(np.float16)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, truth: Sequence[Page]) -> list[Seen]:
    """Load the output of `save`."""
    seen = []
    with np.load(path, allow_pickle=False) as arrays:
        names = set(arrays.files)
        for index, page in enumerate(truth):
            pairs = zip(arrays[f"{index}.quads"], arrays[f"{index}.scores"], strict=True)
            found = page.with_words([Word(quad=quad, score=float(score)) for quad, score in pairs])

            def logs(side: int, words: Sequence[Word], index: int = index) -> list:
                keys = (f"{index}.{side}.{number}" for number in range(len(words)))
                return [arrays[key].astype(np.float32) if key in names else None for key in keys]

            maps = arrays[f"{index}.maps"].astype(np.float32)
            seen.append(Seen(found, logs(0, page.words), logs(1, found.words), maps))
    return seen


def corrupt(truth: Sequence[Page], share: float, seed: int) -> tuple[list[Page], list, list[Fault]]:
    """Corrupts labels.

    Returns:
        The pages; for each of their words the index of the true word that its crop shows (None if
        its box was moved); and the changes.
    """
    rng = np.random.default_rng([seed, 20])
    places = [(p, w) for p, page in enumerate(truth) for w in range(len(page.words))]
    places = [(p, w) for p, w in places if truth[p].words[w].care and truth[p].words[w].text]
    wanted = round(share * len(places))
    words = [list(page.words) for page in truth]
    marks: dict[tuple[int, int], str] = {}
    taken: set[tuple[int, int]] = set()
    order = [places[i] for i in rng.permutation(len(places))]
    turn = 0
    for p, w in order:
        if len(taken) >= wanted:
            break
        kind = KINDS[turn % len(KINDS)]
        if (p, w) in taken:
            continue
        word = words[p][w]
        if kind == "other":
            q, v = places[rng.integers(len(places))]
            text = truth[q].words[v].text
            if q == p or text == word.text:
                continue
            words[p][w] = replace(word, text=text)
        elif kind == "edit":
            words[p][w] = replace(word, text=edited(word.text, rng))
        elif kind == "swap":
            near = w + 1
            if near >= len(words[p]) or (p, near) in taken or turn == 0:
                continue
            other = words[p][near]
            if not other.care or not other.text or other.text == word.text:
                continue
            words[p][w], words[p][near] = (
                replace(word, text=other.text),
                replace(other, text=word.text),
            )
            marks[p, near] = kind
            taken.add((p, near))
        elif kind == "ignored":
            words[p][w] = replace(word, text="###", care=False)
        elif kind == "moved":
            moved = shifted(truth[p], w, rng)
            if moved is None:
                continue
            words[p][w] = replace(word, quad=moved, polygon=None)
        marks[p, w] = kind
        taken.add((p, w))
        turn += 1
    pages, origins, faults = [], [], []
    for p, page in enumerate(truth):
        kept, origin = [], []
        for w, word in enumerate(words[p]):
            kind = marks.get((p, w))
            if kind:
                index = None if kind == "deleted" else len(kept)
                faults.append(Fault(kind, p, index, page.words[w]))
            if kind != "deleted":
                kept.append(word)
                origin.append(None if kind == "moved" else w)
        pages.append(page.with_words(kept))
        origins.append(origin)
    return pages, origins, faults


def edited(text: str, rng: np.random.Generator) -> str:
    """Make one edit, two in longer words; never returns the same text."""
    new = text
    for _ in range(2 if len(text) >= 7 else 1):
        at = int(rng.integers(len(new)))
        old = new[at]
        pool = next(
            (
                p
                for p in (string.ascii_lowercase, string.ascii_uppercase, string.digits)
                if old in p
            ),
            string.ascii_letters,
        )
        letter = str(rng.choice([c for c in pool if c != old]))
        way = rng.integers(3)
        if way == 0 or (way == 1 and len(new) == 1):
            new = new[:at] + letter + new[at + 1 :]
        elif way == 1:
            new = new[:at] + new[at + 1 :]
        else:
            new = new[:at] + letter + new[at:]
    return new if new != text else text + letter


def shifted(page: Page, index: int, rng: np.random.Generator) -> np.ndarray | None:
    """Move a box to a place on the page without labels; None if there is none."""
    quad = page.words[index].quad.astype(np.float64)
    size = np.ptp(quad, axis=0)
    others = page.quads.astype(np.float64)
    for turn in rng.permutation(8):
        angle = turn * math.pi / 4
        moved = quad + 1.5 * size * [round(math.cos(angle)), round(math.sin(angle))]
        inside = (moved >= 0).all() and (moved <= [page.width, page.height]).all()
        if inside and not intersection_areas(np.broadcast_to(moved, others.shape), others).any():
            return moved.astype(np.float32)
    return None


def reading(logs: FloatArray | None, label: str | None, charset: Charset) -> Reading | None:
    """Read like `crnnjax.label_readings.read_label`, from log-probabilities."""
    if logs is None:
        return None
    path = logs.argmax(axis=1)
    classes = path[(path != 0) & (path != np.concatenate([[0], path[:-1]]))]
    best = text_log_probability(logs, classes.tolist())
    text = charset.decode(classes)
    if label is None or charset.missing(label):
        return Reading(text, best)
    own = text_log_probability(logs, charset.encode(label).tolist())
    return Reading(normalized(label), own, own) if own > best else Reading(text, best, own)


def judge(
    truth: Sequence[Page], seen: Sequence[Seen], share: float, seed: int, charset: Charset
) -> tuple[list[Suspect], list[Fault], list[Page]]:
    """Return the ranked list of a corrupted set, and the corrupted labels.

    The crop of a moved box is not read: there is no text, which the detector reports.
    """
    pages, origins, faults = corrupt(truth, share, seed)
    lists = []
    for page, one, origin in zip(pages, seen, origins, strict=True):
        readings = [
            None if w is None else reading(one.logs[w], word.text if word.care else None, charset)
            for word, w in zip(page.words, origin, strict=True)
        ]
        lists.append(
            suspects(
                page,
                readings,
                peaks=label_peaks(page, one.maps),
                found=one.found,
                found_readings=[reading(logs, None, charset) for logs in one.found_logs],
            )
        )
    return ranked(lists), faults, pages


def places_of(faults: Sequence[Fault], listed: Sequence[Suspect], pages: Sequence[Page]) -> list:
    """Return the rank of each fault as a fraction of the list's length; infinite if missing."""
    by_word, loose = {}, defaultdict(list)
    for place, one in enumerate(listed):
        if one.word is None:
            loose[one.page].append((place, np.array(one.quad, np.float64)))
        else:
            by_word[one.page, one.word] = place
    found = []
    for fault in faults:
        path = pages[fault.page].path
        where = [math.inf]
        if fault.index is not None:
            where.append(by_word.get((path, fault.index), math.inf))
        if fault.kind in ("deleted", "moved"):
            own = fault.word.quad.astype(np.float64)
            whole = intersection_areas(own[None], own[None])[0]
            for place, quad in loose[path]:
                if intersection_areas(own[None], quad[None])[0] > whole / 2:
                    where.append(place)
        found.append(min(where) / len(listed))
    return found


def by_strings(listed: Sequence[Suspect]) -> list[Suspect]:
    """Return the list without likelihoods and detector: differing readings, the surest first."""
    words = [one for one in listed if one.kind in ("text", "neighbor")]
    others = [one for one in listed if one.kind not in ("text", "neighbor")]
    words.sort(key=lambda one: -(one.read != one.label) * (1 + one.confidence))
    return words + others


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", required=True, help="folder with images/ and gt/")
    parser.add_argument("--share", type=float, default=0.05, help="fraction of labels to corrupt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--start", type=int, default=0, help="first picture to use")
    parser.add_argument("--cache", type=Path, default=Path("exp/benchmarks/label_errors.npz"))
    parser.add_argument("--show", type=int, default=0, help="suspects of the unchanged set to list")
    args = parser.parse_args()
    section = {"kind": "icdar", "root": args.root, "images": "images", "gt": "gt"}
    truth = list(read_truth({**section, "layout": "auto", "dont_care": ("###",)}))
    if not args.cache.is_file():
        save(args.cache, look(truth))
    seen = load(args.cache, truth)[args.start :]
    truth = truth[args.start :]
    charset = named(CHARSET)
    rows: dict[str, list[tuple[str, float]]] = {"list": [], "strings": []}
    sizes, precise = [], []
    for seed in args.seeds:
        listed, faults, pages = judge(truth, seen, args.share, seed, charset)
        for name, order in (("list", listed), ("strings", by_strings(listed))):
            places = places_of(faults, order, pages)
            rows[name] += [(f.kind, p) for f, p in zip(faults, places, strict=True)]
            if name == "list":
                precise.append(np.mean(np.array(places) < len(faults) / len(listed)))
        sizes.append((sum(len(p.words) for p in truth), len(faults), len(listed)))
    labels, count, length = np.mean(sizes, axis=0)
    print(f"{len(truth)} pictures, {labels:.0f} labels, {count:.0f} corrupted, {length:.0f} listed")
    print(f"found among the first N, where N is the number of errors: {np.mean(precise):.3f}")
    print(f"{'':9} errors" + "".join(f"  first {top:3.0%}" for top in TOPS) + "   strings 5%, 20%")
    for kind in (*KINDS, "all"):
        own = [p for k, p in rows["list"] if kind in ("all", k)]
        plain = [p for k, p in rows["strings"] if kind in ("all", k)]
        cells = "".join(f"  {np.mean(np.array(own) < top):9.3f}" for top in TOPS)
        simple = "".join(f"  {np.mean(np.array(plain) < top):7.3f}" for top in (TOPS[0], TOPS[-1]))
        print(f"{kind:9} {len(own):6}{cells} {simple}")
    if args.show:
        for one in judge(truth, seen, 0.0, 0, charset)[0][: args.show]:
            print(f"{one.suspicion:5.1f}  {one.kind:9}  {Path(one.page or '').name}: {one.why}")


if __name__ == "__main__":
    main()
