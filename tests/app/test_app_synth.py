import argparse

import pytest

from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.images import read_image
from ocrjax.cli import main as cli
from ocrjax.cli import synth

SMALL = ["--preset", "plain", "--config", "height=96", "width=96", "words=(1, 3)"]
SMALL += ["font_size=(12, 16)"]
PNG = ["--out", "x", "--count", "3", "--format", "icdar", "--image", "png"]


def run(*argv):
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    return synth.run(parser.parse_args([str(a) for a in argv]))


def test_a_set_and_its_summary(tmp_path, capsys):
    out = tmp_path / "set"
    argv = [*SMALL, "--count", 5, "--format", "icdar", "--out", out, "--split", "train"]
    assert run(*argv) == 0
    assert f"5 pages in {out} (icdar); 5 drawn now" in capsys.readouterr().out
    assert len(read_icdar_folder(out / "images", out / "gt")) == 5
    assert run(*argv) == 0
    assert capsys.readouterr().out == f"5 pages in {out} (icdar)\n"
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        run(*argv, "--seed", 1)


def test_shards_of_a_set(tmp_path, capsys):
    out = tmp_path / "set"
    argv = [*SMALL, "--count", 5, "--format", "icdar", "--out", out, "--records-per-file", 2]
    assert run(*argv, "--shard", "0/2") == 0
    said = capsys.readouterr().out
    assert f"shard 0/2: 3 of 5 pages in {out} (icdar); 3 drawn now" in said
    assert "run this with --merge 2 instead of --shard" in said
    with pytest.raises(ValueError, match=r"not complete: --shard 1/2 \("):
        run(*argv, "--merge", 2)
    assert run(*argv, "--shard", "3/4") == 0
    assert "there is nothing for it to do: 5 pages are 3 pieces" in capsys.readouterr().out
    assert run(*argv, "--shard", "1/2") == run(*argv, "--merge", 2) == 0
    assert f"5 pages in {out} (icdar), joined\n" in capsys.readouterr().out
    assert run(*argv) == 0
    assert capsys.readouterr().out == f"5 pages in {out} (icdar)\n"


def test_what_could_not_be_used_is_printed(tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("alpha\n\U0001f4a9\n", encoding="utf-8")
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    argv = ["--preset", "words", "--count", 20, "--format", "crops-csv", "--out", tmp_path / "set"]
    run(*argv, "--words", tmp_path / "texts.txt", "--fonts", tmp_path / "bad.ttf")
    printed = capsys.readouterr().out
    assert "characters that no font has" in printed and "(U+1F4A9)" in printed
    assert "1 fonts and images cannot be used:" in printed and "bad.ttf" in printed


def test_texts_of_a_file_are_used_or_said_to_be_left_out(tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text(f"alpha\n{'x' * 30}\n\n", encoding="utf-8")
    argv = ["--preset", "words", "--words", words, "--count", 2]
    argv += ["--force", "--sheet", tmp_path / "a.png"]
    assert run(*argv) == 0
    said = capsys.readouterr().err
    assert said == f"1 of 2 texts of {words} left out (1 longer than 25 characters)\n"
    run(*argv, "--config", "text.max_length=30")
    assert capsys.readouterr().err == ""
    for preset in ("words", "plain"):
        argv[1] = preset
        with pytest.raises(ValueError, match=r"words\.txt', but is not read: give the source"):
            run(*argv, "--config", "text.sources={'words': 1.0}")
        assert run(*argv, "--config", "text.sources={'words': 1.0, 'file': 1.0}") == 0


@pytest.mark.parametrize(
    "extra", [[*SMALL], ["--preset", "words"], ["--preset", "words", "--crops", "cut"]]
)
def test_a_contact_sheet(tmp_path, extra, capsys):
    sheet = tmp_path / "new" / "sheet.png"
    assert run("--sheet", sheet, "--count", 5, *extra) == 0
    image = read_image(sheet)
    assert image.shape[1] > 900 and image.std() > 10
    assert "drawn in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give either --out DIR for a data set or --sheet"),
        (["--out", "x", "--sheet", "y.png"], "give either --out DIR"),
        (["--out", "x", "--count", "3"], "--out needs --count and --format"),
        (["--out", "x", "--format", "icdar"], "--out needs --count and --format"),
        (["--sheet", "y.png", "--config", "height"], "expected NAME=VALUE"),
        (["--sheet", "y.png", "--config", "hight=96"], "unknown setting 'hight'"),
        (["--sheet", "y.png", "--count", "900"], "at most 200"),
        (["--sheet", "y.png", "--workers", "2"], "--workers has no effect on a sheet"),
        (["--sheet", "y.png", "--shard", "0/2"], "--shard has no effect on a sheet"),
        ([*PNG, "--shard", "0/2", "--merge", "2"], "give --shard to do a share, or --merge"),
        ([*PNG, "--shard", "2/2"], "counted from 0, expected 0/2 to 1/2"),
        ([*PNG, "--merge", "0"], "0 shards: expected 1 to"),
        ([*PNG, "--merge", "2", "--workers", "2"], "--workers has no effect where shares"),
        (["--sheet", "y.png", "--crop-height", "32"], "--crop-height has no effect on pages"),
        (
            [*PNG, "--quality", "50"],
            "--quality has no effect on PNG files",
        ),
        (["--sheet", "y.png", "--fonts", "/no/such"], "/no/such"),
        (["--sheet", "y.png", "--no-bundled-fonts"], "no usable font"),
        (["--sheet", "y.png", "--preset", "words", "--no-bundled-fonts"], "no font of . is left"),
    ],
)
def test_arguments_that_do_not_go_together(argv, message):
    with pytest.raises(ValueError, match=message):
        run(*argv)


def test_the_command_is_registered():
    arguments = cli._parse(["ocrjax", "synth", "--sheet", "a.png"])
    assert arguments.run is synth.run and arguments.preset == "scene"
