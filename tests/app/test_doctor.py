"""What is wrong with somebody's EasyOCR network: every cause that users report, in words."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ocrcore.weights.pth import save_pth
from ocrjax.cli import doctor as command
from ocrjax.cli.main import _parse
from ocrjax.easyocr import doctor
from ocrjax.easyocr.network_yaml import network_yaml, quote
from ocrjax.easyocr.rules import name_fault

MODULE = """
import torch.nn as nn
class Model(nn.Module):
    def __init__(self, input_channel, output_channel, hidden_size, num_class):
        super().__init__()
    def forward(self, input, text):
        return input
"""
PARAMS = {"input_channel": 1, "output_channel": 8, "hidden_size": 4}
SETTINGS = """imgH: 64
lang_list: ['en']
character_list: {}
network_params: {{input_channel: 1, output_channel: 8, hidden_size: 4}}
"""


def state(classes: int = 11, channels: int = 1, prefix: str = "module.") -> dict[str, np.ndarray]:
    shapes = {
        "FeatureExtraction.ConvNet.0.weight": (1, channels, 3, 3),
        "FeatureExtraction.ConvNet.18.weight": (8, 8, 2, 2),
        "SequenceModeling.0.rnn.weight_hh_l0": (16, 4),
        "Prediction.weight": (classes, 4),
    }
    return {prefix + key: np.zeros(shape, np.float32) for key, shape in shapes.items()}


@pytest.fixture(autouse=True)
def easyocr_folder(tmp_path, monkeypatch):
    root = tmp_path / "EasyOCR"
    for name in ("model", "user_network"):
        (root / name).mkdir(parents=True)
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(root))
    return root


@pytest.fixture
def diagnose(tmp_path, capsys):
    """Writes files of one network, runs the command on them, returns status and what it said."""

    def run(settings=None, module=None, weights=None, name="plates", folder=tmp_path):
        files = []
        if settings is not None:
            files.append(folder / f"{name}.yaml")
            files[-1].write_bytes(settings if isinstance(settings, bytes) else settings.encode())
        if module is not None:
            files.append(folder / f"{name}.py")
            files[-1].write_text(module, encoding="utf-8")
        if weights is not None:
            files.append(folder / f"{name}.pth")
            save_pth(files[-1], weights)
        arguments = _parse(["ocrjax", "doctor", *map(str, files)])
        return command.run(arguments), capsys.readouterr().out

    return run


def test_a_sound_network(diagnose):
    status, said = diagnose(SETTINGS.format("'0123456789'"), MODULE, state())
    assert status == 0
    assert said.startswith("no problems found") and "--check" in said


# What a text without quotes becomes, in the words of the report, and the text that was meant.
LOST = {
    "0123": "as the number 83",
    "1:20": "as the number 80",
    "1_000": "as the number 1000",
    "4.5": "as a number with a fraction",
    "no": "as true or false",
    "2001-01-01": "as a date",
    "~": "as an empty value",
    "#abc": "as an empty value",
    "&abc": "as an empty value",
    "!abc": "of the type !abc",
    "{abc}": "begins a mapping",
    "abc #x": "'#x' is a comment: 3 of 6 characters are left",
    " abc": "spaces at the start and the end are lost: 3 of 4 characters are left",
    "abc ": "spaces at the start and the end are lost: 3 of 4 characters are left",
    "&a bc": "is the name of an anchor",
    "@abc": "'@' has a special meaning in YAML",
    "`abc": "'`' has a special meaning in YAML",
    "%abc": "'%' has a special meaning in YAML",
    "*abc": "'*' has a special meaning in YAML",
    "- abc": "'-' has a special meaning in YAML",
    "ab: c": "': ' has a special meaning in YAML",
    "[abc": "'[' has a special meaning in YAML",
    "> abc": "'>' has a special meaning in YAML",
}


@pytest.mark.parametrize("meant", LOST)
def test_a_charset_without_quotes(diagnose, meant):
    text = SETTINGS.format(meant)
    with contextlib.suppress(yaml.YAMLError):  # what EasyOCR would read is something else
        assert yaml.load(text, yaml.FullLoader)["character_list"] != meant
    status, said = diagnose(text)
    assert status == 1
    assert LOST[meant] in said
    assert f"write character_list: {quote(meant)}" in said
    assert "line 3" in said
    # The remedy is one.
    status, said = diagnose(SETTINGS.format(quote(meant)))
    assert status == 0


@pytest.mark.parametrize(
    ("written", "meant", "why"),
    [
        ("'ab'c'", "ab'c", "an apostrophe must be doubled"),
        ('"ab\\]c"', "ab\\]c", "\\ must be written \\\\"),
        ("['a', 'b']", "ab", "a list; EasyOCR expects one string"),
        ("[0, 1]", "01", "a list; EasyOCR expects one string"),
        ("|\n    abc", "abc", "newlines count"),
    ],
)
def test_a_charset_in_wrong_quotes(diagnose, written, meant, why):
    status, said = diagnose(SETTINGS.format(written))
    assert status == 1
    assert why in said and f"write character_list: {quote(meant)}" in said


@pytest.mark.parametrize("value", ["", "''"])
def test_no_charset(diagnose, value):
    status, said = diagnose(SETTINGS.format(value))
    assert status == 1 and "character_list is empty" in said


def test_blanks_that_are_not_lost_are_no_fault(diagnose):
    """Without quotes YAML drops the second blank after the colon, and the weights say that well."""
    status, said = diagnose(SETTINGS.format(" 0123456789abc"), weights=state(14))
    assert status == 0
    status, said = diagnose(SETTINGS.format(" 0123456789abc"), weights=state(15))
    assert status == 1 and "blanks" in said and "14 classes with the blank" in said


@pytest.mark.parametrize(
    ("characters", "classes", "hint"),
    [
        ("0123456789", 12, "is the space ' ' one of them?"),
        ("01234567890", 11, "list '0' only once"),
        ("012345 6789", 11, "leave out the space"),
        ("0123456789", 37, "0123456789abcdefghijklmnopqrstuvwxyz"),
        ("0123456789", 97, "english_g2"),
        ("0123456789", 500, "exactly the 499 characters"),
    ],
)
def test_charset_against_rows(diagnose, characters, classes, hint):
    status, said = diagnose(SETTINGS.format(quote(characters)), weights=state(classes))
    assert status == 1
    assert f"{len(characters)} characters" in said and f"the weights have {classes}" in said
    assert "size mismatch for Prediction" in said and hint in said


def test_duplicates_are_noted(diagnose):
    status, said = diagnose(SETTINGS.format("'0102'"))
    assert status == 0 and "note" in said and "'0' occurs more than once in character_list" in said


@pytest.mark.parametrize(
    ("key", "wrong"), [("output_channel", 512), ("hidden_size", 256), ("input_channel", 3)]
)
def test_params_against_shapes(diagnose, key, wrong):
    text = SETTINGS.format("'0123456789'").replace(f"{key}: {PARAMS[key]}", f"{key}: {wrong}")
    status, said = diagnose(text, MODULE, state())
    assert status == 1
    assert f"network_params.{key} is {wrong}" in said and f"write {key}: {PARAMS[key]}" in said


def test_a_network_of_color(diagnose):
    text = SETTINGS.format("'0123456789'").replace("input_channel: 1", "input_channel: 3")
    status, said = diagnose(text, weights=state(channels=3))
    assert status == 1 and "3 input channels" in said and "rgb: False" in said


@pytest.mark.parametrize("name", ["imgH", "lang_list", "character_list", "network_params"])
def test_a_missing_field(diagnose, name):
    lines = SETTINGS.format("'0123456789'").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(name))
    status, said = diagnose(text)
    assert status == 1 and f"{name} is missing; EasyOCR needs it" in said


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("['en']", "['xx']", "xx_char.txt"),
        ("['en']", "[mni]", "mni_char.txt"),  # listed as supported, but without a file
        ("['en']", "[no]", "the language no is read as true or false"),
        ("['en']", "en", "lang_list is 'en', expected a list"),
        ("['en']", "[]", "lang_list is 'no language', expected a list"),
        ("64", "'64'", "imgH is '64'"),
        ("64", "", "imgH is ''"),
        ("hidden_size: 4", "hidden_size: four", "network_params.hidden_size is 'four'"),
        ("hidden_size: 4", "num_class: 11", "EasyOCR passes itself"),
        ("{input_channel: 1, output_channel: 8, hidden_size: 4}", "1", "must be a mapping"),
        ("imgH: 64", "imgH: 64\nimgH: 32", "imgH is given twice"),
    ],
)
def test_wrong_fields(diagnose, old, new, why):
    status, said = diagnose(SETTINGS.format("'0123456789'").replace(old, new))
    assert status == 1 and why in said


def test_another_height_is_noted(diagnose):
    status, said = diagnose(SETTINGS.format("'0123456789'").replace("64", "32"))
    assert status == 0 and "all Readers of the process" in said


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("class Model", "class CRNN", "no class Model, which EasyOCR instantiates; it has"),
        ("(nn.Module)", "", "no base class"),
        ("import torch.nn", "from .modules import X\nimport torch.nn", "a relative import"),
        ("import torch.nn", "from modules.a import X\nimport torch.nn", "which EasyOCR does not"),
        ("num_class", "classes", "does not take num_class"),
        (", hidden_size", "", "does not take hidden_size"),
        ("hidden_size,", "hidden_size, extra,", "needs extra"),
        ("input, text)", "input)", "forward takes 1 arguments"),
        ("input, text)", "input, text, more)", "forward takes 3 arguments"),
        ("def forward", "def forwards", "no forward"),
        ("return input", "return (", "line 7: Python cannot parse it"),
        ("nn.Module", "nn" + ".a" * 900, "no problems found"),
    ],
)
def test_wrong_modules(diagnose, old, new, why):
    status, said = diagnose(SETTINGS.format("'0123456789'"), MODULE.replace(old, new))
    assert status == ("no problems" not in why) and why in said


def test_the_module_is_not_executed(diagnose, tmp_path):
    status, _ = diagnose(module=f"open({str(tmp_path / 'ran')!r}, 'w')\n{MODULE}")
    assert status == 0 and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("names", ["Model", "*"])
def test_a_model_that_is_imported_counts(diagnose, names):
    module = f"import yaml\nfrom easyocr.model.vgg_model import {names}\n"
    assert diagnose(SETTINGS.format("'0123456789'"), module)[0] == 0


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        (state(prefix=""), "its names, such as FeatureExtraction.ConvNet.0"),
        (state(prefix="module.module."), "'module.' twice"),
        ({"iter": 3, "state_dict": state()}, "Unexpected key(s) in state_dict"),
        ({**state(), "module.Transformation.GridGenerator.P_hat": np.zeros(3)}, "TPS"),
        ({"module.FeatureExtraction.a": np.zeros(2)}, "Prediction.weight, is missing"),
        (
            {"module.FeatureExtraction.a": np.zeros(2)}
            | {"module.Prediction.attention_cell.i2h.weight": np.zeros((2, 2))},
            "EasyOCR only decodes CTC",
        ),
        ({"epoch": 3}, "no state dict in it"),
        ({**state(), "module.Prediction.weight": np.full((11, 4), np.nan)}, "NaN"),
    ],
)
def test_wrong_weights(diagnose, weights, why):
    status, said = diagnose(weights=weights)
    assert status == 1 and why in said


def test_weights_within_a_checkpoint(diagnose):
    """Their names are looked at, whatever else lies beside them."""
    rest = {"config": {str(k): k for k in range(9)}, "other": {str(k): np.ones(1) for k in "ab"}}
    for prefix in ("module.", ""):
        tree = {**rest, "model": {"state_dict": state(prefix=prefix)}}
        status, said = diagnose(weights=tree)
        assert status == 1 and "under one of its keys (config, other, model)" in said
        assert ("do not begin with 'module.'" in said) == (not prefix)


def test_files_of_different_names(diagnose, tmp_path, capsys):
    diagnose(SETTINGS.format("'012'"), MODULE)
    save_pth(tmp_path / "best.pth", state())
    assert command.run(_parse(["ocrjax", "doctor", str(tmp_path)])) == 1
    said = capsys.readouterr().out
    assert "rename it to plates.pth, and pass recog_network='plates'" in said
    assert "3 characters" in said and "the weights have 11" in said


def test_weights_of_a_detector(diagnose):
    from craftjax.convert import to_state_dict
    from craftjax.models import CRAFT, init_variables

    bare = to_state_dict(init_variables(CRAFT(width=0.125)))
    status, said = diagnose(weights=bare)
    assert status == 1 and "CRAFT of width 0.125" in said
    rows = {"basenet.slice5.1.weight": np.zeros((1024, 1, 1, 1), np.float32)}
    status, said = diagnose(weights=rows)
    assert status == 1 and "missing" in said
    status, said = diagnose(weights={"craft": bare, "optimizer": {}, "iter": 3})
    assert status == 1 and "ocrjax convert" in said
    half = {f"module.{key}" if at % 2 else key: bare[key] for at, key in enumerate(bare)}
    status, said = diagnose(weights=half)
    assert status == 1 and "some names begin with 'module.'" in said


def test_a_detector_of_full_width_is_sound_with_and_without_prefix(diagnose, monkeypatch):
    from craftjax import convert
    from craftjax.convert import to_state_dict
    from craftjax.models import CRAFT, init_variables

    bare = to_state_dict(init_variables(CRAFT(width=0.125)))
    monkeypatch.setattr(convert, "guess_width", lambda state: 1)
    monkeypatch.setattr(convert, "from_state_dict", lambda state, width: state)
    for weights in (bare, {f"module.{key}": value for key, value in bare.items()}):
        status, said = diagnose(weights=weights)
        assert status == 0 and "no setting for a custom detector" in said


def test_a_file_in_the_place_of_published_weights(diagnose):
    status, said = diagnose(weights=state(), name="english_g2")
    assert status == 1 and "deletes a file with another md5" in said


@pytest.mark.parametrize("name", ["standard", "generation2", "latin_g2", "json", "torch", "v1.2"])
def test_a_name_that_clashes(diagnose, name):
    status, said = diagnose(SETTINGS.format("'0123456789'"), MODULE, state(), name=name)
    assert status == 1 and "choose another name" in said and name_fault(name)


def test_a_name_that_is_an_installed_package(diagnose):
    status, said = diagnose(module=MODULE, name="hypothesis")
    assert status == 1 and "is imported instead" in said
    assert name_fault("my_plates") is None


def test_files_in_the_wrong_folder(diagnose, easyocr_folder):
    status, said = diagnose(weights=state(), folder=easyocr_folder / "user_network")
    assert status == 1 and f"move it to {easyocr_folder / 'model' / 'plates.pth'}" in said
    status, said = diagnose(SETTINGS.format("'0123456789'"), folder=easyocr_folder / "model")
    assert status == 1 and f"move it to {easyocr_folder / 'user_network' / 'plates.yaml'}" in said


def test_by_name(diagnose, easyocr_folder, capsys):
    diagnose(SETTINGS.format("'0123456789'"), MODULE, folder=easyocr_folder / "user_network")
    assert command.run(_parse(["ocrjax", "doctor", "plates"])) == 1
    said = capsys.readouterr().out
    assert f"{easyocr_folder / 'model' / 'plates.pth'}: wrong: missing" in said
    diagnose(weights=state(), folder=easyocr_folder / "model")
    assert command.run(_parse(["ocrjax", "doctor", "plates"])) == 0
    for name, tree in {"street": {"basenet.a": np.zeros(1)}, "latin_g2": state()}.items():
        save_pth(easyocr_folder / "model" / f"{name}.pth", tree)
        command.run(_parse(["ocrjax", "doctor", name]))
        assert "missing; EasyOCR opens all three" not in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="nothing: no such file or folder"):
        command.run(_parse(["ocrjax", "doctor", "nothing"]))


def test_other_suffixes_and_folders(tmp_path, capsys):
    save_pth(tmp_path / "plates.pt", state())
    (tmp_path / "plates.yml").write_text(SETTINGS.format("'0123456789'"))
    arguments = [str(tmp_path / "plates.pt"), str(tmp_path / "plates.yml")]
    assert command.run(_parse(["ocrjax", "doctor", *arguments])) == 1
    said = capsys.readouterr().out
    assert "rename it to plates.pth" in said and "rename it to plates.yaml" in said
    with pytest.raises(FileNotFoundError, match="no such file"):
        doctor.collect([str(tmp_path / "other.pth")])
    with pytest.raises(FileNotFoundError, match="this folder has no"):
        doctor.collect([str(tmp_path / "EasyOCR")])
    (tmp_path / "plates.py").mkdir()
    networks, findings = doctor.collect([str(tmp_path)])
    assert set(networks["plates"]) == {".pth", ".yaml"} and len(findings) == 2
    (tmp_path / "plates.pt").rename(tmp_path / "plates.pth")
    assert list(doctor.collect([str(tmp_path)])[0]) == ["plates"]


INDENTED = "imgH: 64\nnetwork_params:\n{}input_channel: 1\n    output_channel: 8\n"


@pytest.mark.parametrize(
    ("settings", "problem", "remedy"),
    [
        (INDENTED.format("\t"), "line 3: it is indented by a tab", "use spaces"),
        (INDENTED.format("\xa0   "), "line 3, column 1: U+00A0 (no-break space)", "by a space"),
        (
            INDENTED.format("    \u200b"),
            "line 3, column 5: U+200B (zero width space)",
            "by a space",
        ),
        (
            "\u3000imgH: 64\nlang_list: [en]\n",
            "line 1, column 1: U+3000 (ideographic",
            "by a space",
        ),
        (SETTINGS.format("'01'").encode("utf-16"), "it is UTF-16", "UTF-8"),
        (SETTINGS.format("'á'").encode("cp1252"), "line 3: it is not UTF-8 (byte", "UTF-8"),
        (
            "experiment_name: a\nimgH: 32\nimgW: 600\n",
            "training settings (opt.txt)",
            "character_list",
        ),
        ("network_params:\n  a: 1: 2\n", "line 2: YAML cannot parse it", "write a:"),
        ("network_params:\n  a: 1\n   b: 2\n", "line 3: YAML cannot parse it", "fix that line"),
    ],
)
def test_settings_that_cannot_be_read(diagnose, settings, problem, remedy):
    """The cause is named once, with what to do; the module is not judged by settings unread."""
    status, said = diagnose(settings, module=MODULE)
    assert status == 1
    assert problem in said and remedy in said
    assert "Model needs" not in said and "1 problem in" in said


@pytest.mark.parametrize(
    ("data", "problem", "remedy"),
    [
        (b"<!DOCTYPE html><html>", "this is a web page", "download the file that"),
        (b"\x89HDF\r\n\x1a\n", "this is an HDF5 file", "only PyTorch weights are supported"),
        (b"version https://git-lfs.github.com", "a Git LFS pointer", "git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "truncated", "copy or download it again"),
        (b"abc", "it begins with b'abc'", "torch.save(model.state_dict(), NAME)"),
    ],
)
def test_files_that_are_no_weights(tmp_path, capsys, data, problem, remedy):
    path = tmp_path / "plates.pth"
    path.write_bytes(data)
    assert command.run(_parse(["ocrjax", "doctor", str(path)])) == 1
    said = capsys.readouterr().out
    assert problem in said and remedy in said and "1 problem in" in said


def test_other_files_of_weights(tmp_path):
    for name, remedy in (("a.h5", "Keras weights are not supported"), ("a.safetensors", "convert")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(FileNotFoundError, match=rf"{name}: expected a file .*{remedy}"):
            doctor.collect([str(tmp_path / name)])


# Nodes that share their parts: as a tree it has 9^20 leaves.
BOMB = "a: &a0 [x]\n" + "".join(
    f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    "data",
    [
        (BOMB + "network_params: {? *a20 : 1}\n").encode(),
        (BOMB + "? *a20\n: 1\nlang_list: *a20\ncharacter_list: *a20\nimgH: *a20\n").encode(),
        b'imgH: !!int ""',
        b'network_params: {input_channel: !!int "", hidden_size: !!int "+"}',
        b"\xff\xfe\x00",
        b"[" * 5000,
        b"- a",
        b"a: &a [*a]\nb: *a",
        b"character_list: " + b"9" * 5000,
        b"imgH: " + b"9" * 5000,
        b"x" * (2 << 20),
        b"character_list: {? [a] : b}\nnetwork_params: {? [a] : b}\nlang_list: [[a]]\nimgH: [1]",
        b"",
        "# \u2028\u2028\u2028\u2028\ncharacter_list: 012".encode(),
        b'"\\ud800\\e[2J": 1\n"\\ud800\\e[2J": 2',
    ],
)
def test_hostile_settings(diagnose, data):
    status, said = diagnose(data)
    assert status == 1 and len(said) < 20000
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", ["\0", "(" * 5000, "x = " + "-" * 100_000 + "1"])
def test_hostile_modules(diagnose, text):
    assert diagnose(module=text)[0] == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_quoting_survives_yaml(text):
    line = f"character_list: {quote(text)}"
    assert "\n" not in line
    assert yaml.load(line, yaml.FullLoader) == {"character_list": text}


@example("\n")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_doctor_finds_nothing_in_our_settings(text):
    from ocrjax.easyocr.doctor_yaml import examine_yaml

    written = network_yaml(text, height=64, languages=("en", "no"), params=PARAMS | {"a": None})
    loaded = yaml.load(written, yaml.FullLoader)
    assert loaded["character_list"] == text
    assert loaded["lang_list"] == ["en", "no"]
    assert loaded["network_params"] == PARAMS | {"a": None}

    class Given:
        def stat(self):
            return type("Stat", (), {"st_size": len(written)})

        def read_bytes(self):
            return written.encode()

    settings, faults = examine_yaml(Given(), rows=None)
    assert settings.characters == text
    assert [fault for fault in faults if len(fault) == 2] == []
