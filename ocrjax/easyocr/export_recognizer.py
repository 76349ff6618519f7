"""Recognizers as networks of EasyOCR, and the proof that a Reader reads with them what we read."""

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
from crnnjax.metrics import TextScores, score_texts
from crnnjax.models import options_of
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer
from crnnjax.resize import as_gray, easyocr_width, level_crop, pad_crop, scale_crop
from crnnjax.time_steps import MIN_HEIGHT
from ocrcore.evaluation.statistics import Interval
from ocrcore.lcnet import fold_batch_norm
from ocrcore.pages import ByteArray, FloatArray
from ocrcore.progress import Progress, shown
from ocrcore.weights.pth import save_weights
from ocrjax.easyocr.network_yaml import network_yaml
from ocrjax.easyocr.rules import LANGUAGES, ExportError, installed_module, name_fault
from ocrjax.easyocr.runner import run_easyocr

PAGE = 16
"""So many crops a Reader with a GPU is taken to read at a time, all padded to the widest."""
MAX_BYTES = 1 << 29
"""Logits and inputs of EasyOCR that are compared; of the crops after that the texts alone."""
_READER = "EasyOCR, dull crops read again"  # what a Reader does where it rounds nothing
_MODULE = Path(__file__).with_name("network_template.py")


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """A network of EasyOCR as files in one folder.

    Attributes:
        name: of the network: `easyocr.Reader(..., recog_network=name)`.
        folder: with `name.pth`, `name.yaml`, `name.py` and `README.txt`.
        languages: that a Reader may ask for.
        notice: whose weights these are, where a license asks for that.
    """

    name: str
    folder: Path
    languages: tuple[str, ...]
    notice: str = ""

    @property
    def weights(self) -> Path:
        """The state dict, each name with the prefix `module.`."""
        return self.folder / f"{self.name}.pth"

    @property
    def network(self) -> tuple[Path, Path]:
        """Settings and module, which lie in another folder of EasyOCR than the weights."""
        return self.folder / f"{self.name}.yaml", self.folder / f"{self.name}.py"


def check_name(name: str) -> None:
    """Refuses names that EasyOCR cannot load a network by.

    Raises:
        ExportError: says why.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise ExportError(
            f"the name {name!r}: expected one of a Python module, letters, digits and _ "
            "(--name NAME)"
        )
    fault = name_fault(name)
    if fault is None and (other := installed_module(name)):
        fault = f"{other} is installed under this name and would be imported instead"
    if fault:
        raise ExportError(f"the name {name!r}: {fault}; choose another (--name NAME)")


def write_recognizer(
    folder: str | Path,
    variables: Mapping[str, Any],
    *,
    name: str,
    charset: Charset,
    height: int,
    languages: Sequence[str] = ("en",),
) -> NetworkFiles:
    """Writes the files of a network of EasyOCR.

    Args:
        folder: takes them; made as needed, files of the same names are replaced.
        variables: of `crnnjax.models.CRNN`.
        name: of the network.
        charset: the characters of its classes.
        height: of the pictures that it sees.
        languages: codes that a Reader may ask for; EasyOCR must have a file of their characters.

    Raises:
        ExportError: a name, language, height or charset that EasyOCR cannot work with.
    """
    check_name(name)
    options = options_of(variables)
    if charset.num_classes != options["num_classes"]:
        raise ExportError(
            f"the network has {options['num_classes']} classes, but charset {charset.name!r} makes "
            f"{charset.num_classes} ({len(charset.characters)} characters and the blank): name the "
            "charset that it was trained with"
        )
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise ExportError(
            f"EasyOCR has no language {unknown[0]!r}; it has {', '.join(sorted(LANGUAGES))}. The "
            "language only has to be one of these: read are the characters of the charset"
        )
    if height < MIN_HEIGHT or not languages:
        raise ExportError(
            f"height {height}, languages {list(languages)}: expected {MIN_HEIGHT} or more, and one"
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
    """Writes `README.txt`: how to use the network, and what `check_recognizer` found, if it ran."""
    name, languages = files.name, list(files.languages)
    warning = ""
    if height != 64:
        warning = f"""
This network reads pictures {height} pixels high. EasyOCR keeps that number once for all Readers of
a process, so make no other Reader in the same process: EasyOCR's own networks need 64.
"""
    (files.folder / "README.txt").write_text(
        f"""{name}: a recognizer for EasyOCR, made by ocrjax.

Put {name}.pth into ~/.EasyOCR/model and {name}.yaml and {name}.py into ~/.EasyOCR/user_network
(`ocrjax export easyocr ... --install` does it), then:

    import easyocr
    reader = easyocr.Reader({languages}, recog_network="{name}")
    print(reader.readtext("photo.jpg"))

On a CPU EasyOCR rounds the weights of its LSTM and linear layers to int8, which can cost accuracy;
quantize=False as an argument of Reader leaves them as they are.
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
        name: of it.
        texts: what was read.
        base: name of the way to compare with; None for none.
        must: whether it must give the same texts as that.
    """

    name: str
    texts: tuple[str, ...]
    base: str | None = None
    must: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """What EasyOCR and ours read in the same crops.

    Attributes:
        truth: what stands there.
        ways: of reading them; the first is that of the run.
        compared: how many crops' logits were compared.
        same_inputs: of these, how many inputs of the network were the same to the last bit.
        logits: the largest difference of a logit where they were.
        largest: the largest logit.
        versions: of easyocr and torch.
        advice: what to do where a Reader reads worse than the run by itself.
        accept_worse: take that for no fault.
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
        """Why the export is not good; empty if it is.

        Logits must be within 1e-3 (or 1e-4 of the largest), and all texts the same but for one in
        a thousand, for ties. A Reader must not read worse than the run by itself (`loss`).
        """
        out = []
        # What rounding does to a deep network: PP-OCRv6's differs by up to 2.9e-3 between torch and
        # ours, by 1.3e-3 between onnxruntime and ours, on 1,000 crops with logits up to 35.
        allowed = max(1e-3, 1e-4 * self.largest)
        if not self.logits <= allowed:
            out.append(f"logits differ by {self.logits:.3g}, expected at most {allowed:.3g}")
        if self.same_inputs < 0.999 * self.compared:
            out.append(
                f"{self.compared - self.same_inputs} of {self.compared} crops come to the network "
                "otherwise than ours: another version of OpenCV or Pillow resizes them?"
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
            out.append(f"{loss}. {self.advice}; or take it as it is with --accept-worse")
        return out

    def loss(self) -> str | None:
        """How much worse a Reader reads than the run by itself; None where that may be chance.

        It may where the Reader's accuracy lies within the run's 95 % interval, or above.
        """
        own, reader = self._accuracies()
        if reader.value >= own.low:
            return None
        return (
            f"a Reader reads {reader.value:.4f} of the crops right, the run by itself "
            f"{own.value:.4f} ({own.low:.4f} to {own.high:.4f})"
        )

    def table(self) -> str:
        """Where the ways part, and what that does to word accuracy."""
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
            "= must be all but one in a thousand",
            f"inputs: {self.same_inputs} of {self.compared} the same to the last bit; logits there "
            f"at most {self.logits:.2g} apart (values up to {self.largest:.3g})",
        ]
        if loss := self.loss():
            lines.append(f"WORSE IN A READER: {loss}")
        else:
            own, reader = self._accuracies()
            lines.append(
                f"no worse in a Reader, as far as these crops tell: {reader.value:.4f}, the run by "
                f"itself {own.value:.4f} ({own.low:.4f} to {own.high:.4f})"
            )
        return "\n".join(lines)

    def scores(self, way: Way) -> TextScores:
        """How well one way reads."""
        return score_texts(self.truth, way.texts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
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
        """Word accuracy of the run by itself, and of a Reader in float32."""
        (reader,) = (way for way in self.ways if way.name == _READER)
        return self.scores(self.ways[0]).accuracy(), self.scores(reader).accuracy()

    def _pairs(self) -> list[tuple[Way, Way]]:
        """Ways and what they are compared with, in their order."""
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
    """Reads crops with the files in a real `easyocr.Reader`, and with ours.

    Args:
        files: the files as written.
        recognizer: ours.
        crops: pictures, RGB or gray, and what stands there.
        python: an interpreter that has EasyOCR; default this one.
        accept_worse: take it for no fault that a Reader reads worse than the run by itself.

    Raises:
        EasyOcrError: EasyOCR cannot be run, or cannot load the files.
        ExportError: there are no crops.
    """
    if not crops:
        raise ExportError("no crops to check with")
    grays = [as_gray(image) for image, _ in crops]
    # A Reader's way, whatever the run's own is.
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
        with Progress("reading the same with ours", unit="crop", total=len(grays)) as progress:
            readings = ours.recognize(grays, progress.update, **options)
        return tuple(reading.text for reading in readings)

    itself = f"ours, by itself ({recognizer.options.resize})"
    ours, plain = "ours, as EasyOCR resizes and pads", "EasyOCR, float32"
    ours_again = "ours, dull crops read again"
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
    """What to do so that a Reader, which has its own way of resizing, reads as well as a run."""
    out = []
    if options.resize == "fixed":
        out.append(
            "A Reader keeps the aspect of a crop and pads it: train with config.data.mode='bucket' "
            "and config.recognizer.resize='easyocr' in place of 'fixed'"
        )
    elif options.resize == "bucket":
        out.append(
            "The network reads the padding of a Reader: train with config.data.p_reader_pad=1 and "
            "config.recognizer.resize='easyocr'"
        )
    if options.turn_above and options.resize != "easyocr":
        out.append("A Reader turns no tall crops: train with config.data.turn_above=0")
    if options.decoder != "greedy":
        out.append(f"A Reader has nothing of the decoder {options.decoder!r}: judge by 'greedy'")
    if options.allowlist or options.blocklist:
        out.append("A Reader has no allowlist or blocklist but that which readtext is given")
    return "; ".join(out) or "Training and Reader differ: look at the ways of the table"


def _compare(
    recognizer: Recognizer, grays: Sequence[ByteArray], arrays: Mapping[str, np.ndarray]
) -> tuple[int, int, float, float]:
    """Inputs and logits of EasyOCR against ours: compared, same inputs, difference, largest."""
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
            # np.maximum keeps what is not a number.
            worst = float(np.maximum(worst, np.abs(scores - logits[index]).max()))
            largest = max(largest, float(np.abs(scores).max()))
    return count, same, worst, largest


def _different(one: Sequence[str], two: Sequence[str]) -> list[int]:
    return [index for index, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
