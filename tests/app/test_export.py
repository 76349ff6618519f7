"""Files for EasyOCR: what is written, what a check refuses, and what is put where."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from craftjax.convert import to_state_dict as craft_state
from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from craftjax.options import DetectorOptions
from crnnjax.charset import Charset
from crnnjax.models import CRNN, init_variables
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Recognizer
from crnnjax.resize import easyocr_width, level_crop, pad_crop, scale_crop
from ocrcore.data.readers.crops import LmdbCrops
from ocrcore.images import write_image
from ocrcore.lcnet import fold_batch_norm
from ocrcore.weights.pth import load_pth, save_weights
from ocrjax.cli import doctor
from ocrjax.cli.main import _parse, _run
from ocrjax.easyocr import export, export_detector, export_recognizer, runner
from ocrjax.easyocr.install import InstallError, install
from ocrjax.easyocr.rules import ExportError
from ocrjax.easyocr.runner import EasyOcrError, check_import, run_easyocr
from ocrjax.samples import read_crops

CHARSET = Charset("own", tuple(" +-*\\]^'\"#0a~"))
MODEL = CRNN(CHARSET.num_classes, channels=8, hidden=4)


@pytest.fixture(autouse=True)
def easyocr_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path / "EasyOCR"))
    return tmp_path / "EasyOCR"


@pytest.fixture(scope="module")
def variables():
    variables = init_variables(MODEL, seed=1)
    variables["params"]["Prediction"]["kernel"] *= 8  # so that it reads several characters
    return variables


@pytest.fixture(scope="module")
def recognizer(variables):
    return Recognizer(variables, charset=CHARSET, height=32)


@pytest.fixture
def files(tmp_path, variables):
    folder = tmp_path / "out"
    return export_recognizer.write_recognizer(
        folder, variables, name="plates", charset=CHARSET, height=32
    )


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (20, 30 + k), np.uint8), "a0") for k in range(6)]


def test_what_is_written(files):
    tree = load_pth(files.weights)
    assert all(key.startswith("module.") for key in tree)
    assert tree["module.Prediction.weight"].shape == (CHARSET.num_classes, 4)
    settings, module = files.network
    assert yaml.load(settings.read_text("utf-8"), yaml.FullLoader) == {
        "imgH": 32,
        "lang_list": ["en"],
        "character_list": "".join(CHARSET.characters),
        "network_params": {
            "input_channel": 1,
            "output_channel": 8,
            "hidden_size": 4,
            "features": "vgg",
            "sequence": "bilstm",
            "transform": "none",
        },
    }
    names = {node.name for node in ast.parse(module.read_text()).body if hasattr(node, "name")}
    assert "Model" in names
    text = (files.folder / "README.txt").read_text("utf-8")
    assert "easyocr.Reader(['en'], recog_network=\"plates\")" in text
    assert "32 pixels high" in text and "Not checked" in text


def test_batch_norm_is_folded_and_published_weights_have_their_notice(tmp_path):
    network = CRNN(CHARSET.num_classes, "lcnetv4", 64, 32, "lightsvtr")
    arguments = {"name": "light", "charset": CHARSET, "height": 48}
    trained = init_variables(network)
    files = export_recognizer.write_recognizer(tmp_path / "own", trained, **arguments)
    names = {key.removeprefix("module.") for key in load_pth(files.weights)}
    assert "FeatureExtraction.stem1.bias" in names and not any(".bn." in name for name in names)
    params = yaml.safe_load(files.network[0].read_text("utf-8"))["network_params"]
    assert (params["features"], params["sequence"]) == ("lcnetv4", "lightsvtr")
    assert "PaddleOCR" not in (files.folder / "README.txt").read_text("utf-8")
    published = fold_batch_norm(trained)
    files = export_recognizer.write_recognizer(tmp_path / "its", published, **arguments)
    text = (files.folder / "README.txt").read_text("utf-8")
    assert "PaddleOCR" in text and "Apache License 2.0" in text


def test_the_module_needs_torch_alone(files):
    tree = ast.parse(files.network[1].read_text())
    names = {
        (node.module or "").partition(".")[0]
        if isinstance(node, ast.ImportFrom)
        else node.names[0].name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names == {"__future__", "typing", "torch"}


def test_the_doctor_finds_nothing_wrong(files, capsys):
    assert doctor.run(_parse(["ocrjax", "doctor", str(files.folder)])) == 0
    assert "wrong:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("standard", "one of EasyOCR's own networks"),
        ("english_g2", "one of EasyOCR's own networks"),
        ("json", "name of a Python module"),
        ("test", "name of a Python module"),
        ("torch", "name of a Python module"),
        ("hypothesis", "would be imported instead"),
        ("craft_mlt_25k", "EasyOCR's own"),
        ("my-plates", "letters, digits and _"),
        ("a.b", "letters, digits and _"),
        ("../plates", "letters, digits and _"),
        ("class", "letters, digits and _"),
        ("", "letters, digits and _"),
    ],
)
def test_names_that_cannot_be(name, why):
    with pytest.raises(ExportError, match=why):
        export_recognizer.check_name(name)


def test_what_cannot_be_exported(tmp_path, variables):
    def write(**changes):
        arguments = {"name": "plates", "charset": CHARSET, "height": 32, **changes}
        export_recognizer.write_recognizer(tmp_path, variables, **arguments)

    with pytest.raises(ExportError, match="14 classes, but charset 'two' makes 3"):
        write(charset=Charset("two", ("a", "b")))
    with pytest.raises(ExportError, match="no language 'xx'"):
        write(languages=("en", "xx"))
    with pytest.raises(ExportError, match="expected a height of 31 or more and at least one"):
        write(height=8)
    assert list(tmp_path.iterdir()) == []


class Reader:
    """Stands for EasyOCR: reads with ours, with a fault on demand."""

    def __init__(self, recognizer, **faults):
        self.recognizer, self.faults = recognizer, faults

    def __call__(self, job, grays, *, python):
        assert job["name"] == "plates" and Path(job["models"], "plates.pth").is_file()

        def read(**options):
            found = self.recognizer.recognize(grays, resize="easyocr", **options)
            return [reading.text for reading in found], [0.5] * len(grays)

        plain = read(contrast_threshold=0.0)
        again = read()
        if text := self.faults.get("text"):
            plain[0][2] = text
        logits = self.recognizer.logits(grays, resize="easyocr")
        logits[1] = logits[1] + self.faults.get("logit", 0)
        inputs = []
        for gray in grays:
            width = easyocr_width(*gray.shape, 32)
            inputs.append(pad_crop(level_crop(scale_crop(gray, 32), 32), width))
        if self.faults.get("pixel"):
            inputs[0] = inputs[0] ^ 1
        result = {
            "found": {"plain": plain, "contrast": again, "page": plain, "int8": again},
            "easyocr": "1.7.2",
            "torch": "2",
        }
        arrays = {
            "sizes": np.array([x.shape for x in inputs]),
            "steps": np.array([len(x) for x in logits]),
            "inputs": np.concatenate([x.ravel() for x in inputs]),
            "logits": np.concatenate(logits),
        }
        return result, arrays


def check(files, recognizer, crops, monkeypatch, **faults):
    monkeypatch.setattr(export_recognizer, "run_easyocr", Reader(recognizer, **faults))
    return export_recognizer.check_recognizer(files, recognizer, crops)


def test_a_good_export(files, recognizer, crops, monkeypatch):
    found = check(files, recognizer, crops, monkeypatch)
    assert found.faults() == []
    assert found.compared == found.same_inputs == 6
    assert found.logits == 0 and found.largest > 1
    assert len({text for way in found.ways for text in way.texts}) > 3  # it does read
    table = found.table()
    assert re.search(r"3 EasyOCR, float32 +6 = 2 ", table)
    assert re.search(r"7 EasyOCR, int8 .* 6 as 5 ", table)
    assert "no significant loss in EasyOCR" in table and found.to_dict()["worse"] is None
    assert json.loads(json.dumps(found.to_dict()))["ways"]["EasyOCR, float32"]["same"] == 6


def test_another_text_is_refused(files, recognizer, crops, monkeypatch):
    found = check(files, recognizer, crops, monkeypatch, text="other")
    (fault,) = found.faults()
    assert "differs" in fault and "1 of 6 crops, such as 'other'" in fault


@pytest.mark.parametrize("difference", [0.01, np.nan])
def test_other_logits_are_refused(files, recognizer, crops, monkeypatch, difference):
    found = check(files, recognizer, crops, monkeypatch, logit=difference)
    assert re.match("logits differ by (0.01|nan), expected at most", found.faults()[0])


def test_another_resize_is_refused_and_named(files, recognizer, crops, monkeypatch):
    found = check(files, recognizer, crops, monkeypatch, pixel=True)
    (fault,) = found.faults()
    assert "network inputs differ from ours for 1 of 6 crops" in fault
    assert found.same_inputs == 5


def test_the_check_reads_as_a_reader_whatever_the_run_does(files, variables, crops, monkeypatch):
    options = RecognizerOptions(resize="fixed", width=100, allowlist="a")
    other = Recognizer(variables, charset=CHARSET, height=32, options=options)
    monkeypatch.setattr(
        export_recognizer, "run_easyocr", Reader(Recognizer(variables, charset=CHARSET, height=32))
    )
    found = export_recognizer.check_recognizer(files, other, crops)
    assert found.faults() == []
    assert found.ways[0].name == "ocrjax, as in the run (fixed)"
    assert set("".join(found.ways[0].texts)) <= {"a"}


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"resize": "fixed"}, "train with config.data.mode='bucket'"),
        ({"turn_above": 1.5}, "train with config.data.turn_above=0"),
    ],
)
def test_a_network_that_a_reader_reads_worse_is_refused(
    files, variables, recognizer, monkeypatch, options, advice
):
    alone = Recognizer(variables, charset=CHARSET, height=32, options=RecognizerOptions(**options))
    rng = np.random.default_rng(1)
    grays = [rng.integers(0, 256, (60, 30), np.uint8) for _ in range(6)]
    truth = [reading.text for reading in alone.recognize(grays)]
    crops = list(zip(grays, truth, strict=True))  # all right by itself
    monkeypatch.setattr(export_recognizer, "run_easyocr", Reader(recognizer))
    found = export_recognizer.check_recognizer(files, alone, crops)
    assert found.scores(found.ways[0]).accuracy().value == 1
    (fault,) = found.faults()
    assert re.match(r"word accuracy in EasyOCR is 0\.\d+, in the run 1\.0", fault)
    assert advice in fault and "--accept-worse" in fault
    assert "WORSE IN EASYOCR: word accuracy in EasyOCR is 0." in found.table()
    assert found.to_dict()["worse"] in fault
    taken = export_recognizer.check_recognizer(files, alone, crops, accept_worse=True)
    assert taken.faults() == [] and "WORSE IN EASYOCR" in taken.table()


def test_no_crops(files, recognizer):
    with pytest.raises(ExportError, match="no crops"):
        export_recognizer.check_recognizer(files, recognizer, [])


def run(*arguments):
    return _run(_parse(["ocrjax", "export", "easyocr", *map(str, arguments)]))


@pytest.fixture
def weights(tmp_path, variables):
    from crnnjax.convert import to_state_dict

    save_weights(tmp_path / "run" / "weights.pth", to_state_dict(variables))
    CHARSET.save(tmp_path / "run" / "charset.json")
    return tmp_path / "run" / "weights.pth"


def test_the_command_installs(weights, tmp_path, easyocr_folder, capsys):
    arguments = (weights, "--height", 32, "--name", "plates", "--out", tmp_path / "out")
    assert run(*arguments, "--install") == 0
    names = {path.relative_to(easyocr_folder).as_posix() for path in easyocr_folder.rglob("*.*")}
    installed = {"model/plates.pth", "user_network/plates.yaml", "user_network/plates.py"}
    assert names == {*installed, "ocrjax/plates.json"}  # the note for --uninstall
    assert 'recog_network="plates"' in capsys.readouterr().out
    assert run(*arguments) == 2
    assert "already exists; --force replaces" in capsys.readouterr().err
    assert run(*arguments[:3], "--name", "plates", "--out", tmp_path / "b", "--install") == 2
    assert "--name NAME chooses another name" in capsys.readouterr().err
    assert run(*arguments, "--install", "--force") == 0


@pytest.mark.parametrize("name", ["plates.pth", "README.txt", "check.json"])
def test_files_of_others_stay(weights, tmp_path, capsys, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    assert run(weights, "--height", 32, "--name", "plates", "--out", out) == 2
    assert f"{name}: already exists; --force replaces" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [(name, "mine")]


def test_the_command_says_what_it_lacks(weights, tmp_path, capsys):
    arguments = (weights, "--name", "plates", "--out", tmp_path / "out")
    assert run(*arguments) == 2
    assert "height=32, 48 or 64" in capsys.readouterr().err
    assert run(*arguments, "--height", 32, "--check") == 2
    assert "--crops PATH" in capsys.readouterr().err
    (weights.parent / "config.json").write_text('{"eval": 3}')  # of another program
    assert run(*arguments, "--height", 32, "--check", "--languages", "en, de") == 2
    assert "--crops PATH" in capsys.readouterr().err
    (weights.parent / "config.json").write_text("{broken")
    assert run(*arguments, "--height", 32) == 2
    assert "config.json: not the config of a run" in capsys.readouterr().err
    (weights.parent / "config.json").unlink()
    assert run(*arguments, "--height", 32, "--check", "--crops", "gone.tsv") == 2
    assert "--crops gone.tsv: no such file" in capsys.readouterr().err
    crops = ("--check", "--crops", tmp_path / "labels.tsv", "--count")
    (tmp_path / "labels.tsv").write_text("0.png\ta\n")
    assert run(*arguments, "--height", 32, *crops, 0) == 2
    assert "--count 0: expected 1 or more" in capsys.readouterr().err
    for idle in (("--photos", tmp_path), ("--count", 3), ("--accept-worse",)):
        assert run(*arguments, "--height", 32, *idle) == 2
        assert f"{idle[0]} has no effect without --check" in capsys.readouterr().err
    assert run(*arguments, "--height", 32, "--check", "--photos", tmp_path) == 2
    assert "--photos has no effect" in (said := capsys.readouterr().err) and "recognizer" in said
    assert not (tmp_path / "out").exists()  # nothing is in the way of the next call
    assert run(tmp_path / "nothing.pth") == 2
    (tmp_path / "file").touch()
    assert run(*arguments[:-1], tmp_path / "file", "--height", 32) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert run(*arguments, "--height", 32, "--languages", "en, de") == 0
    assert "Reader(['en', 'de']" in (tmp_path / "out" / "README.txt").read_text("utf-8")
    assert run(weights, "--height", 32, "--name", "json") == 2
    assert "choose another name (--name NAME)" in capsys.readouterr().err


def test_a_check_without_easyocr_leaves_nothing(weights, tmp_path, monkeypatch, capsys):
    """The same command with an interpreter that has it is not in its own way."""
    write_image(tmp_path / "0.png", np.full((32, 64, 3), 200, np.uint8))
    (tmp_path / "labels.tsv").write_text("0.png\ta\n")
    python = fake_python(tmp_path, "import not_there_at_all")
    out = tmp_path / "out"
    arguments = (weights, "--height", 32, "--name", "plates", "--out", out, "--check")
    crops = ("--crops", tmp_path / "labels.tsv")
    assert run(*arguments, *crops, "--easyocr-python", python) == 2
    said = capsys.readouterr().err
    assert "cannot import EasyOCR" in said and "tests/in_easyocr/setup.sh FOLDER" in said
    monkeypatch.setenv("EASYOCR_PYTHON", str(python))
    assert run(*arguments, *crops) == 2
    assert f"{python} cannot import EasyOCR" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("fault", [{}, {"text": "other"}])
def test_the_command_checks_before_it_installs(
    weights, recognizer, crops, tmp_path, easyocr_folder, monkeypatch, capsys, fault
):
    monkeypatch.setattr(export_recognizer, "run_easyocr", Reader(recognizer, **fault))
    monkeypatch.setattr(export, "check_import", lambda python: None)
    lines = []
    for index, (gray, text) in enumerate(crops):
        write_image(tmp_path / f"{index}.png", np.stack([gray] * 3, 2))
        lines.append(f"{index}.png\t{text}\n")
    (tmp_path / "labels.tsv").write_text("".join(lines) + "gone.png\ta\n")
    # Settings and charset as a run leaves them beside its weights.
    config = {
        "batch_size": 1,
        "data": {"height": 32, "charset": "gone", "train": {"mine": {"kind": "words"}}},
        "recognizer": {"resize": "bucket"},
        "eval": {"sets": {"mine": {"kind": "tsv", "path": str(tmp_path / "labels.tsv")}}},
    }
    (weights.parent / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    given = ("--crops", tmp_path / "labels.tsv") if fault else ()
    command = (weights, "--name", "plates", "--out", out, "--check", "--install", "--count", 7)
    status = run(*command, *given)
    said = capsys.readouterr().out
    readme = (out / "README.txt").read_text("utf-8")
    assert "left out:" in said and "gone.png" in said
    assert json.loads((out / "check.json").read_text())["crops"] == 6
    if fault:
        assert status == 1 and not easyocr_folder.exists()
        assert "NOT GOOD" in said and "not installed" in said and "NOT GOOD" in readme
    else:
        assert status == 0 and (easyocr_folder / "model" / "plates.pth").is_file()
        assert "EasyOCR and ocrjax agree" in said and "EasyOCR, float32" in readme
        # Files are replaced by --force; a network that reads worse there needs a word of its own.
        monkeypatch.setattr(export_recognizer.Check, "loss", lambda check: "it reads worse")
        assert run(*command, "--force") == 1
        assert "NOT GOOD: it reads worse. " in capsys.readouterr().out
        assert run(*command, "--force", "--accept-worse") == 0
        assert "WORSE IN EASYOCR: it reads worse" in (out / "README.txt").read_text("utf-8")


def test_bad_records_of_a_database_are_left_out(tmp_path, capsys):
    lmdb = pytest.importorskip("lmdb")
    data = cv2.imencode(".png", np.zeros((4, 8), np.uint8))[1].tobytes()
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"3")
        for number, label in enumerate((b"a", b"\xff", b"b"), 1):
            transaction.put(b"image-%09d" % number, data)
            transaction.put(b"label-%09d" % number, label)
    assert [text for _, text in read_crops([LmdbCrops(tmp_path)], 3, print)] == ["a", "b"]
    assert "left out: " in (said := capsys.readouterr().out) and "label-000000002" in said


def test_all_files_are_installed_or_none(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    target = tmp_path / "there" / "a"
    with pytest.raises(FileNotFoundError):
        install({one: target, two: tmp_path / "there" / "b"}, name="n")
    assert list((tmp_path / "there").iterdir()) == []
    two.write_text("2")
    target.write_text("old")
    with pytest.raises(InstallError, match="--force"):
        install({two: tmp_path / "there" / "b", one: target}, name="n")
    assert target.read_text() == "old" and len(list(target.parent.iterdir())) == 1
    (tmp_path / "there" / "c").mkdir()
    with pytest.raises(InstallError, match="is a folder"):
        install(
            {two: tmp_path / "there" / "b", one: tmp_path / "there" / "c"}, name="n", force=True
        )
    (tmp_path / "there" / "c").rmdir()
    install({two: tmp_path / "there" / "b", one: target}, name="n", force=True)
    assert target.read_text() == "1" and len(list(target.parent.iterdir())) == 2


def test_what_was_installed_is_taken_back_and_nothing_else(tmp_path, capsys):
    source = tmp_path / "source"
    source.write_text("ours")
    folder = tmp_path / "EasyOCR" / "model"
    other = folder / "other.pth"
    install({source: folder / "plates.pth"}, name="plates")
    other.write_text("somebody else's")
    assert run("--uninstall", "other") == 2
    assert "no network 'other' was installed" in (said := capsys.readouterr().err)
    assert "installed are plates" in said
    assert run("--uninstall", "../plates") == 2
    assert run("--uninstall", "plates", "--name", "plates") == 2
    assert "--name has no effect with --uninstall" in capsys.readouterr().err
    (folder / "plates.pth").write_text("changed")
    assert run("--uninstall", "plates") == 2
    assert "changed since the installation" in capsys.readouterr().err
    (folder / "plates.pth").write_text("ours")
    assert run("--uninstall", "plates") == 0
    assert str(folder / "plates.pth") in capsys.readouterr().out
    assert list(folder.iterdir()) == [other]
    assert run("--uninstall", "plates") == 2
    install({source: folder / "plates.pth"}, name="plates")
    (folder / "plates.pth").unlink()
    assert run("--uninstall", "plates") == 0
    assert "nothing was left" in capsys.readouterr().out


def fake_python(tmp_path, script):
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return path


def test_an_interpreter_without_easyocr(tmp_path):
    with pytest.raises(EasyOcrError, match=r"--easyocr-python .*nowhere"):
        run_easyocr({}, [], python=tmp_path / "nowhere")
    python = fake_python(tmp_path, "import not_there_at_all")
    with pytest.raises(EasyOcrError, match=r"cannot import EasyOCR .*in_easyocr/setup\.sh FOLDER"):
        run_easyocr({}, [], python=python)
    with pytest.raises(EasyOcrError, match=r"cannot import EasyOCR"):
        check_import(python)
    check_import(fake_python(tmp_path, ""))
    python = fake_python(tmp_path, "raise RuntimeError('size mismatch for module.x')")
    with pytest.raises(EasyOcrError, match=r"(?s)EasyOCR failed:.*size mismatch for module.x"):
        run_easyocr({}, [], python=python)
    with pytest.raises(EasyOcrError, match="wrote no result; expected a Python"):
        run_easyocr({}, [], python=fake_python(tmp_path, ""))


def test_pages_that_messages_name(tmp_path):
    python = fake_python(tmp_path, "import not_there_at_all")
    with pytest.raises(EasyOcrError) as error:
        run_easyocr({}, [], python=python)
    (script,) = re.findall(r"tests/\S+\.sh", str(error.value))
    assert (Path(__file__).parents[2] / script).is_file()


def test_an_interpreter_by_a_path_from_here(tmp_path, monkeypatch):
    fake_python(tmp_path, "raise RuntimeError('it ran')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EasyOcrError, match="it ran"):
        run_easyocr({}, [], python="./python")


def test_the_job_reaches_the_other_process(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, pathlib, os, numpy as np\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "job = json.loads((folder / 'job.json').read_text())\n"
        "images = np.load(folder / 'job.npz')\n"
        "np.savez(folder / 'result.npz', total=images['image1'].sum())\n"
        "found = [job, os.listdir('.'), os.environ['EASYOCR_MODULE_PATH'] == str(folder)]\n"
        "(folder / 'result.json').write_text(json.dumps(found))\n"
    )
    monkeypatch.setattr(runner, "_SCRIPT", script)
    images = [np.zeros((2, 2), np.uint8), np.ones((3, 3), np.uint8)]
    found, arrays = run_easyocr({"task": "x"}, images)
    assert found == [{"task": "x", "images": 2}, [], True]
    assert arrays["total"] == 9


def test_a_narrow_detector_is_refused(tmp_path, capsys):
    narrow = craft_variables(CRAFT(width=0.125))
    save_weights(tmp_path / "narrow.pth", craft_state(narrow))
    assert run(tmp_path / "narrow.pth", "--out", tmp_path / "out") == 2
    assert "width 0.125, but EasyOCR's CRAFT has the full width" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def detector(tmp_path, monkeypatch):
    """A narrow detector in the place of a full one; its file and its photos."""
    monkeypatch.setattr(export_detector, "options_of", lambda _: {"features": "vgg", "width": 1})
    narrow = craft_variables(CRAFT(width=0.125))
    narrow["params"]["conv_cls"]["conv8"]["bias"][:] = (0.9, 0)  # it takes all for text
    save_weights(tmp_path / "street.pth", craft_state(narrow))
    rng = np.random.default_rng(0)
    for index in range(2):
        image = rng.integers(0, 256, (64, 64, 3), np.uint8)
        write_image(tmp_path / "photos" / f"{index}.png", image)
    return tmp_path / "street.pth"


@pytest.mark.parametrize("shift", [0, 2])
def test_a_detector(detector, tmp_path, monkeypatch, easyocr_folder, capsys, shift):
    with pytest.raises(ExportError, match="one of EasyOCR's own files"):
        export_detector.write_detector(
            tmp_path, {}, name="craft_mlt_25k", options=DetectorOptions()
        )
    for name in ("../street", "/street", "a\\b", 'the"best', "..", ""):
        with pytest.raises(ExportError, match="without a folder"):
            export_detector.write_detector(tmp_path, {}, name=name, options=DetectorOptions())
    from craftjax.detector import Detector

    def easyocr(job, images, *, python):
        assert job["options"]["text_threshold"] == 0.25 and Path(job["weights"]).is_file()
        ours = Detector.from_weights(detector, options=DetectorOptions(**job["options"]))
        arrays = {
            f"boxes{index}": ours.detect(image, pad="exact").quads + shift
            for index, image in enumerate(images)
        }
        assert all(len(boxes) for boxes in arrays.values())
        return {"found": [1, 1], "easyocr": "1.7.2", "torch": "2"}, arrays

    monkeypatch.setattr(export_detector, "run_easyocr", easyocr)
    monkeypatch.setattr(export, "check_import", lambda python: None)
    options = DetectorOptions(text_threshold=0.25, low_text=0.2)
    from craftjax.options import operating_point_path, save_operating_point

    beside = operating_point_path(detector)
    save_operating_point(beside, options, measured={}, chosen="config.detector")
    out = tmp_path / "out"
    arguments = (detector, "--out", out, "--check", "--install", "--photos")
    arguments += tuple(sorted((tmp_path / "photos").iterdir()))
    status = run(*arguments)
    said, errors = capsys.readouterr()
    # On a busy machine there is time to say how far it is.
    assert all(line.startswith("finding words with ocrjax") for line in errors.splitlines())
    assert "text_threshold=0.25 link_threshold=0.4 low_text=0.2 canvas_size=" in said
    assert f"mag_ratio=1: {beside} (config.detector)" in said
    assert all(not key.startswith("module.") for key in load_pth(out / "street.pth"))
    readme = (out / "README.txt").read_text("utf-8")
    assert "get_detector(" in readme and "text_threshold=0.25" in readme
    if shift:
        assert status == 1 and not easyocr_folder.exists() and "boxes differ on 2 of 2" in said
    else:
        assert status == 0 and (easyocr_folder / "model" / "street.pth").is_file()
        assert "the same boxes on 2 of 2" in said and "0.0000 px" in readme
