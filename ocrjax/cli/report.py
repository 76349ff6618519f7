"""write an HTML report of a run: curves, scores, errors by image and word, suspected labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrcore.outputs import check_outputs, check_suffix
from ocrcore.progress import Progress
from ocrcore.training.run_folder import RunFolder
from ocrjax.report.data import CropReading, Picture, Report, ShownSuspect

if TYPE_CHECKING:
    from crnnjax.recognizer import Recognizer
    from ocrcore.data.readers.crops import Crop
    from ocrcore.pages import Page, Sample

_JUDGED = 1000  # most labels to judge: of words read wrong; in a fit, of all words
_LEAST = 1.0  # nats; suspicions below this are not shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN_OR_FOLDER",
        help="a run directory (--workdir); two are compared",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the report to write (default: report.html in the run directory)",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=50,
        metavar="N",
        help="run the detector on the first N test images; the report shows at most 500; 0: none "
        "(default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing report")


def run(arguments: argparse.Namespace) -> int:
    """Write the report."""
    if len(arguments.runs) > 2:
        raise ValueError(f"{len(arguments.runs)} runs: expected one, or two to compare")
    if arguments.pictures < 0:
        raise ValueError(f"--pictures {arguments.pictures}: expected 0 or more")
    folders = list(map(Path, arguments.runs))
    out = Path(arguments.out) if arguments.out else folders[-1] / "report.html"
    check_suffix(out, (".html", ".htm"), option="--out")

    from ocrjax.report.page import write_report
    from ocrjax.report.runs import compared

    check_outputs([out], force=arguments.force)
    reports = [_read(folder) for folder in folders]
    reports[-1] = judged(reports[-1], RunFolder(folders[-1]), pictures=arguments.pictures)
    report = reports[0]
    if len(reports) == 2:
        names = [folder.absolute().name for folder in folders]
        if names[0] == names[1]:
            names = list(map(str, folders))
        report = compared((names[0], reports[0]), (names[1], reports[1]))
    write_report(out, report)
    for note in report.notes:
        print(note)
    print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser")
    return 0


def _read(folder: Path) -> Report:
    """Read the report of a run or a fit; of an unfinished fit, what its trainings left."""
    from ocrjax.report.runs import ReportError, read_run

    stages = folder / "stages"
    if not stages.is_dir():
        return read_run(folder)
    results, said = {}, []
    for path in sorted(stages.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            results[path.stem] = record["result"]
            said.append((path.stat().st_mtime_ns, f"{path.stem}: {record['said']}"))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not finished
    summary = tuple(line for _, line in sorted(said))
    note = f"{folder}: the fit has not finished; repeat its `ocrjax fit` command to continue"
    if "after" in results:
        from ocrjax.fitting.reporting import fit_report

        name = folder.absolute().name
        try:
            return fit_report(folder, name, results, summary, judging=_JUDGED)
        except (OSError, KeyError, TypeError, ValueError) as error:
            note = (
                f"{folder}: results of the fit's stages are missing, damaged or from another "
                f"version ({error}); repeat its `ocrjax fit` command to make them again"
            )
    try:
        report = read_run(folder)
    except ReportError:  # no training has begun
        report = Report(folder.absolute().name)
    return replace(report, summary=summary, notes=(note, *report.notes))


def judged(report: Report, run: RunFolder, *, pictures: int) -> Report:
    """Add what needs the networks; what prevents it becomes a note of the report.

    Args:
        report: the report from the run's files.
        run: the run directory, with weights and config.
        pictures: most test images to run a detector on.
    """
    config = run.read_config()
    weights = run.weights if run.weights.is_file() else run.path
    if not (config.get("test") and (weights.is_file() or run.checkpoints.is_dir())):
        return report
    notes = list(report.notes)
    try:
        if run.charset.is_file():
            report = _with_crops(report, run, config, weights, notes)
        elif pictures:
            report = _with_pictures(report, config, weights, pictures, notes)
        else:
            notes.append("images: none were requested (--pictures 0)")
    except (ValueError, OSError, KeyError, ImportError) as error:
        notes.append(f"{run.path}: its test data or weights cannot be opened: {error}")
    return replace(report, notes=tuple(notes))


def _with_pictures(
    report: Report, config: dict[str, Any], weights: Path, most: int, notes: list[str]
) -> Report:
    """Add test images with the words that the detector finds in them."""
    from craftjax.detector import Detector, find_words
    from craftjax.evaluate import read_truth, score_pages
    from craftjax.options import DetectorOptions, options_of
    from ocrcore.images import ImageError
    from ocrcore.options import from_section
    from ocrcore.pages import Sample
    from ocrcore.runtime.tuning import tune_process
    from ocrjax.report.images import small_maps

    tune_process()
    section = config["test"]
    if section.get("kind") == "pages":  # synthetic: draw only those that are shown
        section = {**section, "count": min(section["count"], most)}
    truth: Sequence[Page | Sample] = read_truth(section)
    if len(truth) > most:
        notes.append(
            f"images: the first {most:,} of {len(truth):,} test images were scored; "
            f"--pictures {len(truth)} scores all"
        )
    truth = truth[:most]
    own = from_section(DetectorOptions, config["detector"], "config.detector")
    options, _ = options_of(weights, own, "config.detector")
    detector = Detector.from_weights(weights, options=options)
    found: dict[int, Picture] = {}
    with Progress("finding words", unit="page", total=len(truth)) as progress:
        for index, scores in score_pages(detector, truth, options=options):
            progress.update(len(found) + 1)
            if isinstance(scores, ImageError):
                notes.append(f"images: left out: {scores}")
                continue
            item = truth[index]
            page = item.page if isinstance(item, Sample) else item
            found[index] = Picture(
                truth=page,
                found=page.with_words(find_words(scores, options)),
                image=item.image if isinstance(item, Sample) else None,
                maps=small_maps(scores.valid("crop")),
            )
    # These replace the gallery: overlays written by the training show the same images.
    return replace(report, pictures=[found[index] for index in sorted(found)], gallery=())


def _with_crops(
    report: Report, run: RunFolder, config: dict[str, Any], weights: Path, notes: list[str]
) -> Report:
    """Add crops of the words that were read wrong, and how suspicious their labels are."""
    from ml_collections import ConfigDict

    from crnnjax.input_pipeline import InputOptions
    from crnnjax.recognizer import Recognizer
    from crnnjax.report import open_sets
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    wrong = {(one.set, one.name): one for one in report.crops if one.read != one.truth}
    if not wrong:
        return report
    tree = ConfigDict(config)
    sets = open_sets(tree.test, field="config.test", options=InputOptions.from_config(tree))
    crops: dict[tuple[str, str], Crop] = {}
    for name, items in sets.items():
        for index in range(len(items)):
            crop = _crop(items, index)
            if crop is not None and (name, crop.name) in wrong:
                crops[name, crop.name] = crop
    found = _pictures(crops)
    if len(found) < len(wrong):
        notes.append(f"words read wrong: {len(wrong) - len(found):,} of {len(wrong):,} crops "
                     "cannot be read")  # fmt: skip
    shown = [
        replace(one, picture=found.get((one.set, one.name))) if one.read != one.truth else one
        for one in report.crops
    ]
    recognizer = Recognizer.from_weights(weights)
    suspects = _suspects(recognizer, {key: wrong[key] for key in found}, found)
    return replace(report, crops=shown, suspects=suspects)


def _crop(items: Sequence[Crop], index: int) -> Crop | None:
    from ocrcore.images import ImageError
    from ocrcore.pages import LabelError

    try:
        return items[index]
    except (ImageError, LabelError):
        return None


def _pictures(crops: dict[tuple[str, str], Crop]) -> dict[tuple[str, str], Any]:
    from ocrcore.images import ImageError

    found = {}
    for key, crop in crops.items():
        try:
            found[key] = crop.image()
        except ImageError:
            continue
    return found


def _suspects(
    recognizer: Recognizer,
    wrong: dict[tuple[str, str], CropReading],
    pictures: dict[tuple[str, str], Any],
) -> list[ShownSuspect]:
    from crnnjax.label_readings import read_labels
    from ocrcore.evaluation.label_errors import crop_suspects, ranked

    keys = list(wrong)[:_JUDGED]
    labels = [wrong[key].truth for key in keys]
    with Progress("judging labels", unit="word", total=len(keys)) as progress:
        images = [pictures[key] for key in keys]
        readings = read_labels(recognizer, images, labels, progress.update)
    names = [wrong[key].name for key in keys]
    found = ranked([crop_suspects(names, labels, readings)])
    image_of = {wrong[key].name: pictures[key] for key in keys}
    return [ShownSuspect(one, image_of[one.page or ""]) for one in found if one.suspicion >= _LEAST]
