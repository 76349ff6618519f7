"""Sets made by several machines: the bytes of one run, whatever happens to them."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from ocrcore.data.shards import Shard, ShardError, describe_missing, parse_shard
from ocrcore.files import system_errors
from ocrcore.synth import pieces as pieces_module
from ocrcore.synth.config import ConfigError
from ocrcore.synth.job import Job
from ocrcore.synth.make import make_set
from ocrcore.synth.pieces import NOTES, make_shard, merge_set
from ocrcore.synth.write import FORMATS, RecordFile

SMALL = (("height", "96"), ("width", "96"), ("words", "(1, 4)"), ("font_size", "(12, 16)"))


def job(kind, **options):
    defaults = {"count": 10, "records_per_file": 3, "changes": SMALL}
    return Job(preset="plain", format=kind, **defaults | options)


def files(folder):
    """What a set consists of; the locks of an LMDB hold the numbers of processes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_shards_together_are_one_run_byte_for_byte(tmp_path, kind):
    if kind == "crops-lmdb":
        pytest.importorskip("lmdb")
    one, out = job(kind), tmp_path / "shards"
    make_set(one, tmp_path / "whole")
    done = []
    for index in (2, 0):
        done.append(make_shard(one, out, Shard(index, 3)).done)
    with pytest.raises(ShardError, match=r"not complete: --shard 1/3 \(.*0000001\.json: not there"):
        merge_set(one, out, 3)
    done.append(make_shard(one, out, Shard(1, 3), workers=int(kind == "icdar")).done)
    assert done == [3, 4, 3]
    (out / "images").mkdir(exist_ok=True)
    (out / "images" / "0000000.jpg.host-1-1.part").touch()  # of a killed process
    assert merge_set(one, out, 3).done == 10
    if kind not in ("icdar", "synthtext"):
        (out / "images").rmdir()
    assert files(out) == files(tmp_path / "whole")
    assert merge_set(one, out, 3).finished and make_set(one, out).finished
    assert make_shard(one, out, Shard(1, 3)).finished
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["icdar", "arrayrecord", "crops-csv", "crops-lmdb"])
def test_a_killed_shard_goes_on_and_attempts_at_the_same_time_do_no_harm(
    tmp_path, kind, monkeypatch
):
    if kind == "crops-lmdb":
        pytest.importorskip("lmdb")
    one, out = job(kind), tmp_path / "shards"
    make_set(one, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def killed(path, value):
        if path.name == "0000002.json":
            raise Killed
        write(path, value)

    write = pieces_module.write_json
    with monkeypatch.context() as patch:
        patch.setattr(pieces_module, "write_json", killed)
        with pytest.raises(Killed):  # the files are there, the note is not
            make_shard(one, out, Shard(0, 2))
    start = []
    make_shard(one, out, Shard(0, 2), progress=lambda done, of: start.append((done, of)))
    assert start[0] == (3, 6)

    def spread(open_tools, do, tasks):  # a scheduler starts what seems lost once more
        with ThreadPoolExecutor(2) as pool:
            for task in tasks:
                for attempt in [pool.submit(do, open_tools(), task) for _ in range(2)]:
                    attempt.result()

    assert make_shard(one, out, Shard(1, 2), spread=spread).done == 4
    assert merge_set(one, out, 2).finished
    assert files(out) == files(tmp_path / "whole")


def test_what_no_font_draws_is_counted_as_in_one_run(tmp_path):
    """Crops of one page may be cut by two machines."""
    texts = tmp_path / "texts.txt"
    texts.write_text("alpha\nbeta\n\U0001f4a9\n", encoding="utf-8")
    one = job("crops-csv", words=str(texts))
    whole = make_set(one, tmp_path / "whole")
    for index in range(2):
        make_shard(one, tmp_path / "out", Shard(index, 2))
    assert merge_set(one, tmp_path / "out", 2).undrawable == whole.undrawable != {}
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_shares_of_folders_of_their_own_are_copied_over_one_another(tmp_path):
    one = job("icdar")
    make_set(one, tmp_path / "whole")
    for index in range(2):
        make_shard(one, tmp_path / str(index), Shard(index, 2))
        shutil.copytree(tmp_path / str(index), tmp_path / "out", dirs_exist_ok=True)
    merge_set(one, tmp_path / "out", 2)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["icdar", "crops-csv"])
def test_what_was_lost_on_the_way_is_named_and_made_once_more(tmp_path, kind):
    one, out = job(kind), tmp_path / "shards"
    make_set(one, tmp_path / "whole")
    for index in range(2):
        make_shard(one, out, Shard(index, 2))
    picture = next(path for path in out.rglob("0000004.jpg"))
    kept = picture.read_bytes()
    for damage in (picture.unlink, lambda: picture.write_bytes(kept[:9])):
        damage()
        with pytest.raises(ShardError, match=r"--shard 1/2 \((.*0000004.*: not there|.*there are)"):
            merge_set(one, out, 2)
        make_shard(one, out, Shard(1, 2))
    (out / NOTES / "0000000.json").write_text("{")
    with pytest.raises(ShardError, match=r"--shard 0/2 .*not a note of a piece"):
        merge_set(one, out, 2)
    make_shard(one, out, Shard(0, 2))
    merge_set(one, out, 2)
    assert files(out) == files(tmp_path / "whole")


def test_shards_of_other_sets_and_other_versions_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ShardError, match="no shard has written here"):
        merge_set(job("icdar"), tmp_path / "set", 2)
    make_shard(job("icdar"), tmp_path / "set", Shard(0, 2))
    with pytest.raises(ConfigError, match=r"seed was 0, now 1.*Give all of them the same"):
        make_shard(job("icdar", seed=1), tmp_path / "set", Shard(1, 2))
    with pytest.raises(ConfigError, match="is not empty and has no synth"):
        make_set(job("icdar"), tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr("cv2.__version__", "0.1")
        with pytest.raises(ConfigError, match=r"opencv was .*, now 0\.1"):
            make_shard(job("icdar"), tmp_path / "set", Shard(1, 2))
        make_shard(job("icdar"), tmp_path / "other", Shard(1, 2))
    shutil.copytree(tmp_path / "set" / NOTES, tmp_path / "other" / NOTES, dirs_exist_ok=True)
    with pytest.raises(ShardError, match=r"1/2 .*made with other arguments or versions"):
        merge_set(job("icdar"), tmp_path / "other", 2)
    make_set(job("icdar", seed=1), tmp_path / "whole")
    with pytest.raises(ConfigError, match="made another set here: seed was 1"):
        make_shard(job("icdar"), tmp_path / "whole", Shard(0, 2))
    with pytest.raises(ConfigError, match="is not empty and has no synth"):
        make_shard(job("icdar"), tmp_path, Shard(0, 2))
    with pytest.raises(ConfigError, match="workers is -1"):
        make_shard(job("icdar"), tmp_path / "new", Shard(0, 2), workers=-1)


def test_shards_are_counted_from_0():
    assert parse_shard("3/8") == Shard(3, 8) and str(Shard(3, 8)) == "3/8"
    assert Shard(1, 3).take(range(8)) == range(1, 8, 3)
    for text, message in (
        ("8/8", "shard 8/8: shards are counted from 0, expected 0/8 to 7/8"),
        ("1", "expected I/N, as 0/8"),
        ("-1/2", "expected I/N"),
        ("0/0", "0 shards: expected 1 to"),
    ):
        with pytest.raises(ShardError, match=message):
            parse_shard(text)
    said = describe_missing({5: "a", 13: "b", 2: "c", 10: "d"}, 8)
    assert said.startswith("not complete: --shard 2/8, 5/8 (a; b; c and 1 more). Run")
    assert "19/30 and 10 more (" in describe_missing(dict.fromkeys(range(30), ""), 30)


def test_a_full_disk_is_said_by_the_system_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = RecordFile(tmp_path / "a.arrayrecord")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        for _ in range(30):
            file.write(os.urandom(100_000))
        with pytest.raises(OSError, match="too large") as found:
            file.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (found.value.errno, found.value.filename) == (errno.EFBIG, str(file.path))
    file.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="another"), system_errors(tmp_path):
        raise RuntimeError("another")
