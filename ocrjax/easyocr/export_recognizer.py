"""Recognizers as EasyOCR networks, and the check that EasyOCR reads the same texts with them."""

from __future__ import annotations

import copy
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crnnjax import ppocr
from crnnjax.charset import Charset
from crnnjax.convert import to_state_dict
from crnnjax.lcnet import fold_batch_norm
from crnnjax.metrics import TextScores, score_texts
from crnnjax.models import options_of
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer
from crnnjax.resize import as_gray, easyocr_width, level_crop, pad_crop, scale_crop
from crnnjax.time_steps import MIN_HEIGHT
from ocrcore.evaluation.statistics import Interval
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.progress import Progress, shown
from ocrcore.weights.pth import save_weights
from ocrjax.easyocr.network_yaml import network_yaml
from ocrjax.easyocr.rules import LANGUAGES, ExportError, installed_module, name_fault
from ocrjax.easyocr.runner import run_easyocr

PAGE = 16
"""Crops that EasyOCR is assumed to read at a time on a GPU, all padded to the widest."""
MAX_BYTES = 1 << 29
"""Bound on the inputs and logits that are kept to compare; later crops only compare texts."""
_READER = "EasyOCR, low-contrast crops read again"  # its default way, except for int8
_MODULE = Path(__file__).with_name("network_template.py")


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """The files of an EasyOCR network in one folder.

    Attributes:
        name: name of the network, for `easyocr.Reader(..., recog_network=name)`.
        folder: folder with `name.pth`, `name.yaml`, `name.py` and `README.txt`.
        languages: language codes that a Reader may ask for.
        notice: attribution of the weights, if their license requires it.
    """

    name: str
    folder: Path
    languages: tuple[str, ...]
    notice: str = ""

    @property
    def weights(self) -> Path:
        """Path of the state dict, whose names have the prefix `module.`."""
        return self.folder / f"{self.name}.pth"

    @property
    def network(self) -> tuple[Path, Path]:
        """Paths of the settings and the module, which EasyOCR keeps apart from the weights."""
        return self.folder / f"{self.name}.yaml", self.folder / f"{self.name}.py"


def check_name(name: str) -> None:
    """Refuse names that EasyOCR cannot load a network by.

    Raises:
        ExportError: EasyOCR cannot load a network of this name; the message says why.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise ExportError(
            f"the name {name!r}: expected the name of a Python module, made of letters, digits and "
            "_ (--name NAME)"
        )
    fault = name_fault(name)
    if fault is None and (other := installed_module(name)):
        fault = f"{other} is installed under this name and would be imported instead"
    if fault:
        raise ExportError(f"the name {name!r}: {fault}; choose another name (--name NAME)")


def write_recognizer(
    folder: str | Path,
    variables: Mapping[str, Any],
    *,
    name: str,
    charset: Charset,
    height: int,
    languages: Sequence[str] = ("en",),
) -> NetworkFiles:
    """Write the files of an EasyOCR network.

    Args:
        folder: folder for the files; created if needed, files of the same names are replaced.
        variables: variables of a `crnnjax.models.CRNN`.
        name: name of the network.
        charset: the characters of its classes.
        height: height of its input in pixels.
        languages: codes that a Reader may ask for; EasyOCR must have a character file for each.

    Raises:
        ExportError: a name, language, height or charset that does not work in EasyOCR.
    """
    check_name(name)
    options = options_of(variables)
    if charset.num_classes != options["num_classes"]:
        raise ExportError(
            f"the network has {options['num_classes']} classes, but charset {charset.name!r} makes "
            f"{charset.num_classes} ({len(charset.characters)} characters and the blank): name the "
            "charset that it was trained with (--charset)"
        )
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise ExportError(
            f"EasyOCR has no language {unknown[0]!r}; it has {', '.join(sorted(LANGUAGES))}. Name "
            "any of these: the network reads the characters of its charset in any case"
        )
    if height < MIN_HEIGHT or not languages:
        raise ExportError(
            f"height {height}, languages {list(languages)}: expected a height of {MIN_HEIGHT} or "
            "more and at least one language"
        )
    files = NetworkFiles(name, Path(folder), tuple(languages), ppocr.notice_of(variables))
    if options["features"] == "lcnetv4":
        variables = fold_batch_norm(variables)
    save_weights(files.weights, to_state_dict(variables))
    params = {
        "input_channel": 1,
        "output_channel": options["channels"],
        "hidden_size": options["hidden"],
        "features": options["features"],
        "sequence": options["sequence"],
        "transform": options["transform"],
    }
    settings, module = files.network
    text = network_yaml(
        "".join(charset.characters), height=height, languages=files.languages, params=params
    )
    settings.write_text(text, encoding="utf-8", newline="\n")
    module.write_bytes(_MODULE.read_bytes())
    write_readme(files, height=height, checked=None)
    return files


def write_readme(files: NetworkFiles, *, height: int, checked: str | None) -> None:
    """Write `README.txt`: how to use the network, and the result of `check_recognizer`, if any."""
    name, languages = files.name, list(files.languages)
    warning = ""
    if height != 64:
        warning = f"""
This network reads crops {height} pixels high. EasyOCR stores that height once for all Readers of a
process, so create no other Reader in the same process: EasyOCR's own networks need 64.
"""
    (files.folder / "README.txt").write_text(
        f"""{name}: a recognizer for EasyOCR, made by ocrjax.

Copy {name}.pth to ~/.EasyOCR/model, and {name}.yaml and {name}.py to ~/.EasyOCR/user_network
(`ocrjax export easyocr ... --install` does this), then:

    import easyocr
    reader = easyocr.Reader({languages}, recog_network="{name}")
    print(reader.readtext("photo.jpg"))

On a CPU, EasyOCR quantizes the weights of LSTM and linear layers to int8, which can cost accuracy;
the argument quantize=False of Reader turns that off.
{warning}
{files.notice}
{checked or "Not checked in EasyOCR yet: ocrjax export easyocr ... --check"}
""",
        encoding="utf-8",
    )


@dataclass(frozen=True, slots=True)
class Way:
    """One way of reading the crops.

    Attributes:
        name: its name.
        texts: the texts that were read.
        base: name of the way to compare with; None for none.
        must: whether the texts must equal those of `base`.
    """

    name: str
    texts: tuple[str, ...]
    base: str | None = None
    must: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """The texts that EasyOCR and ocrjax read in the same crops.

    Attributes:
        truth: the labels.
        ways: ways of reading the crops; the first is that of the run.
        compared: number of crops whose logits were compared.
        same_inputs: how many of these gave bit-identical network inputs.
        logits: largest difference of a logit on bit-identical inputs.
        largest: largest logit.
        versions: versions of easyocr and torch.
        advice: what to do if accuracy is lower in EasyOCR than in the run.
        accept_worse: do not count a lower accuracy as a fault.
    """

    truth: tuple[str, ...]
    ways: tuple[Way, ...]
    compared: int
    same_inputs: int
    logits: float
    largest: float
    versions: dict[str, str]
    advice: str = ""
    accept_worse: bool = False

    def faults(self) -> list[str]:
        """Return why the export is not good; empty if it is.

        Logits must agree within 1e-3 (or 1e-4 of the largest), and texts must be equal except for
        one in a thousand, because of ties. Accuracy must not be lower than in the run (`loss`).
        """
        out = []
        # Float rounding in a deep network: PP-OCRv6's logits differ by up to 2.9e-3 between torch
        # and JAX, by 1.3e-3 between ONNX Runtime and JAX, on 1,000 crops with logits up to 35.
        allowed = max(1e-3, 1e-4 * self.largest)
        if not self.logits <= allowed:
            out.append(f"logits differ by {self.logits:.3g}, expected at most {allowed:.3g}")
        if self.same_inputs < 0.999 * self.compared:
            out.append(
                f"network inputs differ from ours for {self.compared - self.same_inputs} of "
                f"{self.compared} crops; another version of OpenCV or Pillow may resize differently"
            )
        for way, base in self._pairs():
            other = _different(way.texts, base.texts)
            if way.must and len(other) > len(self.truth) / 1000:
                index = other[0]
                out.append(
                    f"{way.name!r} differs from {base.name!r} in {len(other)} of "
                    f"{len(self.truth)} crops, such as {way.texts[index]!r} and "
                    f"{base.texts[index]!r}"
                )
        if not self.accept_worse and (loss := self.loss()):
            out.append(f"{loss}. {self.advice}; or accept it with --accept-worse")
        return out

    def loss(self) -> str | None:
        """Say how much accuracy drops in EasyOCR; None if it is not significant.

        It is not if the accuracy in EasyOCR is within the run's 95 % interval, or above.
        """
        own, reader = self._accuracies()
        if reader.value >= own.low:
            return None
        return (
            f"word accuracy in EasyOCR is {reader.value:.4f}, in the run {own.value:.4f} "
            f"({own.low:.4f} to {own.high:.4f})"
        )

    def table(self) -> str:
        """Return a table of how far the ways agree, and of their word accuracy."""
        numbers = {way.name: number for number, way in enumerate(self.ways, 1)}
        bases = {way.name: base for way, base in self._pairs()}
        lines = [
            f"{len(self.truth)} crops, EasyOCR {self.versions['easyocr']}, torch "
            f"{self.versions['torch']}",
            f"{'way of reading':46} same texts as  accuracy  alphanumeric",
        ]
        for way in self.ways:
            same = ""
            if base := bases.get(way.name):
                count = len(self.truth) - len(_different(way.texts, base.texts))
                same = f"{count} {'=' if way.must else 'as'} {numbers[base.name]}"
            scores = self.scores(way)
            lines.append(
                f"{numbers[way.name]} {way.name:44} {same:>13} {scores.accuracy().value:9.4f} "
                f"{scores.alnum_accuracy().value:13.4f}"
            )
        lines += [
            "= all but one in a thousand must agree",
            f"inputs: {self.same_inputs} of {self.compared} bit-identical; their logits differ by "
            f"at most {self.logits:.2g} (values up to {self.largest:.3g})",
        ]
        if loss := self.loss():
            lines.append(f"WORSE IN EASYOCR: {loss}")
        else:
            own, reader = self._accuracies()
            lines.append(
                f"no significant loss in EasyOCR on these crops: word accuracy {reader.value:.4f}, "
                f"in the run {own.value:.4f} ({own.low:.4f} to {own.high:.4f})"
            )
        return "\n".join(lines)

    def scores(self, way: Way) -> TextScores:
        """Return the text scores of one way."""
        return score_texts(self.truth, way.texts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        ways: dict[str, Any] = {way.name: self.scores(way).to_dict() for way in self.ways}
        for way, base in self._pairs():
            same = len(self.truth) - len(_different(way.texts, base.texts))
            ways[way.name] |= {"compared_with": base.name, "same": same}
        return {
            "crops": len(self.truth),
            **self.versions,
            "faults": self.faults(),
            "compared": self.compared,
            "same_inputs": self.same_inputs,
            "logits": self.logits,
            "largest_logit": self.largest,
            "worse": self.loss(),
            "ways": ways,
        }

    def _accuracies(self) -> tuple[Interval, Interval]:
        """Word accuracy of the run, and of EasyOCR in float32."""
        (reader,) = (way for way in self.ways if way.name == _READER)
        return self.scores(self.ways[0]).accuracy(), self.scores(reader).accuracy()

    def _pairs(self) -> list[tuple[Way, Way]]:
        """Each way with the way that it is compared with, in order."""
        by_name = {way.name: way for way in self.ways}
        return [(way, by_name[way.base]) for way in self.ways if way.base]


def check_recognizer(
    files: NetworkFiles,
    recognizer: Recognizer,
    crops: Sequence[tuple[ByteArray, str]],
    *,
    python: str | Path | None = None,
    accept_worse: bool = False,
) -> Check:
    """Read crops with the exported files in a real `easyocr.Reader`, and with ocrjax.

    Args:
        files: the exported files.
        recognizer: the recognizer in ocrjax.
        crops: RGB or gray crops with their texts.
        python: a Python interpreter with EasyOCR; None: this one.
        accept_worse: do not count a lower accuracy in EasyOCR as a fault.

    Raises:
        EasyOcrError: EasyOCR cannot be run, or cannot load the files.
        ExportError: there are no crops.
    """
    if not crops:
        raise ExportError("no crops to check with")
    grays = [as_gray(image) for image, _ in crops]
    # Resize as EasyOCR does, whatever the run does.
    alike = copy.copy(recognizer)
    alike.options = RecognizerOptions(resize="easyocr")
    truth = tuple(recognizer.charset.fold(text) for _, text in crops)
    job = {
        "task": "recognize",
        "name": files.name,
        "languages": list(files.languages),
        "models": str(files.folder.resolve()),
        "networks": str(files.folder.resolve()),
        "max_bytes": MAX_BYTES,
        "page": PAGE,
    }
    result, arrays = run_easyocr(job, grays, python=python)
    theirs = {name: tuple(texts) for name, (texts, _) in result["found"].items()}

    def read(ours: Recognizer, **options: Any) -> tuple[str, ...]:
        with Progress("reading crops with ocrjax", unit="crop", total=len(grays)) as progress:
            readings = ours.recognize(grays, progress.update, **options)
        return tuple(reading.text for reading in readings)

    itself = f"ocrjax, as in the run ({recognizer.options.resize})"
    ours, plain = "ocrjax, resized and padded as in EasyOCR", "EasyOCR, float32"
    ours_again = "ocrjax, low-contrast crops read again"
    ways = (
        Way(itself, read(recognizer)),
        Way(ours, read(alike, contrast_threshold=0.0), itself),
        Way(plain, theirs["plain"], ours, must=True),
        Way(ours_again, read(alike), ours),
        Way(_READER, theirs["contrast"], ours_again, must=True),
        Way(f"EasyOCR, {PAGE} padded to the widest (GPU)", theirs["page"], plain),
        Way("EasyOCR, int8 (its default on a CPU)", theirs["int8"], _READER),
    )
    versions = {name: str(result[name]) for name in ("easyocr", "torch")}
    return Check(
        truth,
        ways,
        *_compare(alike, grays, arrays),
        versions,
        advice=_advice(recognizer.options),
        accept_worse=accept_worse,
    )


def _advice(options: RecognizerOptions) -> str:
    """What to change in training so that accuracy in EasyOCR matches that of the run."""
    out = []
    if options.resize == "fixed":
        out.append(
            "EasyOCR keeps the aspect ratio of a crop and pads it: train with "
            "config.data.mode='bucket' and config.recognizer.resize='easyocr' instead of 'fixed'"
        )
    elif options.resize == "bucket":
        out.append(
            "The network reads text into EasyOCR's padding: train with config.data.p_reader_pad=1 "
            "and config.recognizer.resize='easyocr'"
        )
    if options.turn_above and options.resize != "easyocr":
        out.append("EasyOCR does not rotate tall crops: train with config.data.turn_above=0")
    if options.decoder != "greedy":
        out.append(f"EasyOCR lacks the decoder {options.decoder!r}: evaluate with 'greedy'")
    if options.allowlist or options.blocklist:
        out.append("EasyOCR takes an allowlist or blocklist only as an argument of readtext")
    return "; ".join(out) or "Training and EasyOCR differ: compare the rows of the table"


def _compare(
    recognizer: Recognizer, grays: Sequence[ByteArray], arrays: Mapping[str, np.ndarray]
) -> tuple[int, int, float, float]:
    """Compare inputs and logits: crops compared, equal inputs, largest difference and logit."""
    count = len(arrays["steps"])
    if not count:
        return 0, 0, float("nan"), float("nan")
    height = recognizer.height
    ends = np.cumsum([rows * columns for rows, columns in arrays["sizes"]])
    inputs = np.split(arrays["inputs"], ends[:-1])
    logits: list[FloatArray] = np.split(arrays["logits"], np.cumsum(arrays["steps"])[:-1])
    same, worst, largest = 0, 0.0, 0.0
    for start in shown(range(0, count, 256), "comparing logits", unit="batch"):
        part = slice(start, min(start + 256, count))
        mine = recognizer.logits(grays[part])
        for index, scores in zip(range(part.start, part.stop), mine, strict=True):
            gray = grays[index]
            width = easyocr_width(gray.shape[0], gray.shape[1], height)
            seen = pad_crop(level_crop(scale_crop(gray, height), height), width)
            if not np.array_equal(seen.ravel(), inputs[index]):
                continue
            same += 1
            # np.maximum propagates NaN.
            worst = float(np.maximum(worst, np.abs(scores - logits[index]).max()))
            largest = max(largest, float(np.abs(scores).max()))
    return count, same, worst, largest


def _different(one: Sequence[str], two: Sequence[str]) -> list[int]:
    return [index for index, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
