"""The work of each stage of `ocrjax fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from craftjax.audit import audit_words
from craftjax.detector import Detector
from craftjax.evaluate import count_words
from craftjax.options import DetectorOptions, load_operating_point, save_operating_point
from crnnjax.charset import Charset
from ocrcore.files import write_json, write_text
from ocrjax.fitting import detector_run, plan, recognizer_run
from ocrjax.fitting.average import SHARES, choose_detector, choose_recognizer
from ocrjax.fitting.crops import choose_charset, cut_parts, known_part, labels_of
from ocrjax.fitting.exports import export_plug_ins, write_cards
from ocrjax.fitting.judging import (
    MAGNIFICATIONS,
    describe,
    errors_by_kind,
    figures,
    gains,
    judge,
    load_judged,
    scores,
    thresholds_of,
    tune,
)
from ocrjax.fitting.options import FitError
from ocrjax.fitting.pictures import (
    PARTS,
    divide_pictures,
    open_folders,
    pages_of_part,
    read_pictures,
    words_of,
    write_parts,
)
from ocrjax.fitting.reporting import write_fit_report
from ocrjax.fitting.stages import Done, Job, Stopped
from ocrjax.reader import Reader

_TUNING_SHARE = 0.15
"""Share of the budget after which no further magnification is tried."""
_SHOWN = 5  # most faults to print
_JUDGED = 5000  # most labels to judge for the report


def audit(job: Job) -> Done:
    """Check all labels; stop on faults that make training fail."""
    options = job.options
    texts, faults, left, usable = [], [], 0, 0
    for part, folder in open_folders(options):
        found = audit_words(folder)
        texts.append(f"{part}: {folder.images}, {found}")
        faults += [one for one in found.warnings if one not in found.hints]
        left += len(found.bad) + found.dropped
        usable += found.usable
    path = job.out / "audit.txt"
    write_text(path, "\n".join(texts) + "\n")
    for line in "\n".join(texts).splitlines():
        job.log(f"  {line}")
    if not usable:
        raise FitError(f"{options.data}: no usable word to train on; {path} lists what is wrong")
    if faults and not options.accept_warnings:
        raise FitError(
            f"{options.data}: the audit warns of {len(faults)} faults that make training fail, "
            f"first: {faults[0]}. Fix them ({path} lists all; `ocrjax lint {options.data} --fix "
            "OUT` writes a repaired copy), or continue with --accept-warnings"
        )
    said = f"{usable:,} usable words, {left:,} faults, {len(faults)} warnings; {path}"
    return Done({"usable": usable, "warnings": faults}, said, ("audit.txt",))


def split(job: Job) -> Done:
    """Split the images into training, validation and test parts."""
    pictures, left_out = read_pictures(job.options)
    if len(pictures) < len(PARTS):
        raise FitError(
            f"{job.options.data}: {len(pictures)} usable images, expected {len(PARTS)} or more"
        )
    parts, how = divide_pictures(pictures)
    folder = job.out / "data"
    curved = write_parts(folder, pictures, parts)
    write_text(folder / "left_out.txt", "".join(f"{line}\n" for line in left_out))
    for line in left_out[:_SHOWN]:
        job.log(f"  left out: {line}")
    counts: dict[str, dict[str, int]] = {}
    for part in PARTS:
        mine = [one.page for one, other in zip(pictures, parts, strict=True) if other == part]
        counts[part] = {"pictures": len(mine), "words": len(words_of(mine))}
    told = ", ".join(
        f"{one['pictures']} {part} ({one['words']:,} words)" for part, one in counts.items()
    )
    if not all(counts[part]["words"] for part in PARTS):
        raise FitError(
            f"{told}: expected words that count in each part; choose the parts with --split"
        )
    said = f"{told}; {how}; {len(left_out)} images left out; {folder / 'split.tsv'}"
    if curved:
        said += f"; {curved:,} curved words are replaced by their enclosing rectangle"
    return Done(
        {"counts": counts, "left_out": len(left_out), "how": how}, said, ("data/split.tsv",)
    )


def crops(job: Job) -> Done:
    """Cut word crops for the recognizer and choose its charset."""
    cut = cut_parts(job.out, job.options)
    charset, how = choose_charset(job.options, cut["train"].characters)
    charset.save(job.out / "data" / "charset.json")
    files = tuple(f"data/crops/{part}/labels.tsv" for part in PARTS)
    counts = {part: one.count for part, one in cut.items()}
    left_out = {part: dict(one.left_out) for part, one in cut.items()}
    lost = ", ".join(
        f"{count} {part} words {reason}"
        for part, one in left_out.items()
        for reason, count in one.items()
    )
    told = ", ".join(f"{count:,} {part}" for part, count in counts.items())
    said = f"{told}; {len(charset.characters)} characters, {how}; {job.out / 'data' / 'crops'}"
    if lost:
        said += f"; left out: {lost}"
    return Done(
        {"counts": counts, "left_out": left_out, "charset": charset.digest},
        said,
        (*files, "data/charset.json"),
    )


def before(job: Job) -> Done:
    """Evaluate the pretrained weights as `ocrjax read` uses them, and tune thresholds."""
    options, folder = job.options, job.out / "before"
    reader = _start_reader(job)
    truth = pages_of_part(job.out, "test")
    judged = judge(reader, truth, labels_of(job.out, "test"))
    judged.save(folder)
    values = scores(figures(truth, judged))
    write_json(folder / "scores.json", values)
    job.log(f"  pretrained weights on {len(truth)} test images: {describe(values)}")
    tuned = tune(
        reader.detector,
        pages_of_part(job.out, "validation"),
        magnifications=MAGNIFICATIONS,
        seconds=_TUNING_SHARE * options.budget,
    )
    measured = tuned.point.to_dict() if tuned.point else {}
    save_operating_point(
        folder / "operating_point.json", tuned.options, measured=measured, chosen=tuned.why
    )
    write_json(folder / "thresholds.json", thresholds_of(tuned.points))
    said = f"{describe(values)}; thresholds: {tuned.why}; {folder}"
    return Done(
        {"scores": values, "options": asdict(tuned.options), "tuned": measured, "why": tuned.why},
        said,
        ("before/found.jsonl", "before/words.json", "before/operating_point.json"),
        {**judged.seconds, "validation_page": tuned.seconds or judged.seconds["test_page"]},
    )


def detector(job: Job) -> Done:
    """Train the detector on the words of the training images, if that is worthwhile."""
    options, folder = job.options, job.out / "detector"
    truth, choosing = pages_of_part(job.out, "train"), pages_of_part(job.out, "validation")
    given = options.detector_steps
    why = "0 steps were requested" if given == 0 else ""
    if given is None:
        why = plan.detector_pays(words=len(words_of(truth)), choosing=count_words(choosing))
    if why:
        return Done({"steps": 0, "why": why}, f"not trained: {why}")
    reading = _reading(job)
    make = partial(detector_run.detector_config, job.out, options, reading, truth)
    evaluation = job.measured("before")["validation_page"] * len(choosing)
    later = _later(job, averages=True)
    found = _steps(
        job,
        folder,
        given=given,
        most=detector_run.MOST_STEPS,
        seconds=lambda left: (left - later) * plan.DETECTOR_SHARE,
        evaluation=evaluation,
        probe=lambda: detector_run.train_detector(make(log_every=1), folder, pause=plan.PROBE),
        batch_size=make().batch_size,
        labels_every=detector_run.labels_every(make(), len(truth)),
    )
    if not found.steps:
        return Done({"steps": 0, "why": found.why}, f"not trained: {found.why}")
    config = make(steps=found.steps, ema=detector_run.average_of(found.steps))
    config.eval.every = found.every
    job.log(f"  {found.steps:,} steps, an evaluation every {found.every:,} ({found.why})")
    if not detector_run.train_detector(config, folder):
        raise Stopped
    said = f"{found.steps:,} updates; {folder}"
    return Done({"steps": found.steps}, said, ("detector/weights.pth",))


def recognizer(job: Job) -> Done:
    """Fine-tune the recognizer on crops and synthetic words, if that is worthwhile."""
    options, folder = job.options, job.out / "recognizer"
    counts = job.result("crops")["counts"]
    given = options.recognizer_steps
    why = "0 steps were requested" if given == 0 else ""
    if given is None:
        why = plan.recognizer_pays(words=counts["train"], choosing=counts["validation"])
    if why:
        return Done({"steps": 0, "why": why}, f"not trained: {why}")
    make = partial(recognizer_run.recognizer_config, job.out, options)
    evaluation = job.measured("before")["crop"] * counts["validation"]
    later = _later(job, averages=bool(job.result("detector")["steps"])) + 5 * evaluation
    found = _steps(
        job,
        folder,
        given=given,
        most=recognizer_run.MOST_STEPS,
        seconds=lambda left: left - later,
        evaluation=evaluation,
        probe=lambda: recognizer_run.train_recognizer(make(log_every=1), folder, pause=plan.PROBE),
        batch_size=make().batch_size,
    )
    if not found.steps:
        return Done({"steps": 0, "why": found.why}, f"not trained: {found.why}")
    config = make(steps=found.steps)
    config.eval.every = found.every
    job.log(f"  {found.steps:,} steps, an evaluation every {found.every:,} ({found.why})")
    if not recognizer_run.train_recognizer(config, folder):
        raise Stopped
    return Done(
        {"steps": found.steps}, f"{found.steps:,} updates; {folder}", ("recognizer/weights.pth",)
    )


def average(job: Job) -> Done:
    """Average with the pretrained weights; keep what is better on the validation part."""
    options, reading = job.options, _reading(job)
    validation = pages_of_part(job.out, "validation")
    trained = {name: bool(job.result(name)["steps"]) for name in ("detector", "recognizer")}
    point = None
    if trained["detector"]:
        start = Detector.from_weights(options.detector, options=reading)
        point = tune(start, validation, magnifications=(), seconds=0).point
    charset = Charset.load(job.out / "data" / "charset.json")
    chosen = {
        "detector": choose_detector(
            job.out, options, reading, point, validation, trained=trained["detector"]
        ),
        "recognizer": choose_recognizer(
            job.out, options, known_part(charset, options), trained=trained["recognizer"]
        ),
    }
    said = "; ".join(f"{name}: {one.why}" for name, one in chosen.items())
    return Done(
        {name: asdict(one) for name, one in chosen.items()},
        f"{said}; {job.out / 'weights'}",
        ("weights/detector.pth", "weights/recognizer/weights.pth"),
    )


def after(job: Job) -> Done:
    """Evaluate the result on the test part, and compare with the pretrained weights."""
    folder = job.out / "after"
    weights = job.out / "weights"
    reader = Reader(weights / "detector.pth", weights / "recognizer" / "weights.pth")
    truth = pages_of_part(job.out, "test")
    judged = judge(reader, truth, labels_of(job.out, "test"), maps=folder / "maps")
    judged.save(folder)
    first = load_judged(job.out / "before")
    old, new = figures(truth, first), figures(truth, judged)
    values, gained = scores(new), gains(old, new)
    errors = {
        "before": errors_by_kind(truth, first),
        "after": errors_by_kind(truth, judged),
    }
    result = {"scores": values, "gains": gained, "errors": errors}
    write_json(folder / "scores.json", result)
    job.log(f"  after, on {len(truth)} test images: {describe(values)}")
    for kind, count in errors["after"].items():
        job.log(f"  {kind}: {count} (before {errors['before'].get(kind, 0)})")
    said = f"gains: {describe(gained, signed=True)}; {folder / 'scores.json'}"
    return Done(result, said, ("after/found.jsonl", "after/words.json", "after/scores.json"))


def export(job: Job) -> Done:
    """Export the networks to EasyOCR, and write folders with a model card."""
    plug_ins = export_plug_ins(job.out, job.options, lambda line: job.log(f"  {line}"))
    judged = {"before": job.result("before")["scores"], "after": job.result("after")["scores"]}
    facts = {name: f"{job.result('average')[name]['why']}." for name in plug_ins}
    files = write_cards(job.out, job.options, judged, facts)
    for network, one in plug_ins.items():
        job.log(f"  {network} in EasyOCR: {one.verdict}")
    good = {None: "not checked", True: "checked", False: "NOT GOOD"}
    told = ", ".join(
        f"{network} {good[one.good] if one.folder else 'not exported'}"
        for network, one in plug_ins.items()
    )
    said = f"EasyOCR: {told}; {job.out / 'easyocr'}; model cards: {job.out / 'model'}"
    found = {name: {"verdict": one.verdict, "good": one.good} for name, one in plug_ins.items()}
    return Done(found, said, tuple(files))


def report(job: Job) -> Done:
    """Write the HTML report, with labels that may be wrong."""
    results = {name: record["result"] for name, record in job.records.items()}
    steps = {name: job.result(name)["steps"] for name in ("detector", "recognizer")}
    lines = [f"Gains: {describe(job.result('after')['gains'], signed=True)}."]
    for name, count in steps.items():
        trained = f"{count:,} steps" if count else f"not trained: {job.result(name)['why']}"
        lines.append(f"{name}: {trained}. Weights: {job.result('average')[name]['why']}.")
    page, suspected = write_fit_report(job.out, job.options.name, results, lines, judging=_JUDGED)
    said = f"{page}; {suspected:,} labels may be wrong; {job.out / 'suspects.tsv'}"
    return Done({"suspects": suspected}, said, ("report.html", "suspects.tsv"))


def _steps(job: Job, folder: Path, *, seconds: Callable[[float], float], **more: Any) -> plan.Steps:
    """Plan the steps of a training from its share of the time left when it began."""
    begun = job.left()
    return plan.decide_steps(folder, seconds=lambda: seconds(begun) - job.elapsed(), **more)


def _later(job: Job, *, averages: bool) -> float:
    """Seconds of the stages after a training: averages of the detector, and the test."""
    measured, counts = job.measured("before"), job.result("split")["counts"]
    tried = (len(SHARES) + 1) * averages * counts["validation"]["pictures"]
    tested = 1.5 * counts["test"]["pictures"]  # EasyOCR also runs on some of them
    return tried * measured["validation_page"] + tested * measured["test_page"] + 30


def _reading(job: Job) -> DetectorOptions:
    """The detector options tuned for the pretrained weights."""
    return load_operating_point(job.out / "before" / "operating_point.json")


def _start_reader(job: Job) -> Reader:
    charset = known_part(Charset.load(job.out / "data" / "charset.json"), job.options)
    options = job.options
    return Reader(
        options.detector,
        options.recognizer,
        charset=charset,
        log=partial(_log, job),
    )


def _log(job: Job, line: str) -> None:
    job.log(f"  {line}")
