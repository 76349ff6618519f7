"""How programs end, and where they run: interrupted, unread, on full disks, without a home."""

from __future__ import annotations

import errno
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from ocrcore.command import INTERRUPTED, NOBODY_READS, run_command
from ocrcore.data.processes import bounded_workers, signals_held
from ocrcore.files import default_cache, expanded, replacing, write_bytes
from ocrcore.runtime.cache import enable_compile_cache
from ocrcore.runtime.mesh import make_mesh
from ocrcore.training.full_disk import check_space, disk_errors, silence_orbax
from ocrcore.training.run import make_log
from ocrcore.training.signals import StopSignal
from ocrcore.weights.named import easyocr_model_folder, find_weights
from ocrjax.cli.main import _parse, _run

ROOT = Path(__file__).parents[2]


def raises(error):
    def work():
        raise error

    return work


def test_what_ends_a_program_is_one_line(capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(ROOT / "not_there" / "a.json"))
    cases = [
        (KeyboardInterrupt(), INTERRUPTED, "tool: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), NOBODY_READS, ""),
        (
            PermissionError(errno.EACCES, "Permission denied", "a"),
            2,
            "tool: a: Permission denied\n",
        ),
        (OSError("ours, with a remedy"), 2, "tool: ours, with a remedy\n"),
        (OSError(errno.EROFS, "Read-only", "a"), 2, "tool: a: Read-only. All is safe\n"),
    ]
    for error, status, said in cases:
        assert run_command("tool", raises(error), safe="All is safe") == status
        assert capsys.readouterr().err == said
    assert run_command("tool", raises(full), failed=1, safe="All is safe") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tool: {full.filename}: No space left on device (")
    assert said.endswith(" MB free there). All is safe\n")
    with pytest.raises(RuntimeError):  # an error of the program itself keeps its traceback
        run_command("tool", raises(RuntimeError()))


def python(code, *, stdout=subprocess.PIPE, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, env=environment, text=True
    )


@pytest.mark.parametrize("lines", [1, 100_000])
def test_nobody_reads_on(lines):
    """As `tool | head -0`: no traceback, neither in the work nor when the interpreter ends."""
    reader, writer = os.pipe()
    os.close(reader)
    code = f"""
import sys
from ocrcore.command import run_command
def work():
    for number in range({lines}):
        print(number)
    return 0
sys.exit(run_command("tool", work))
"""
    process = python(code, stdout=writer)
    os.close(writer)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (NOBODY_READS, "")


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_what_a_terminal_cannot_show(encoding):
    code = r"""
import sys
from ocrcore.command import run_command
def work():
    print("\ud55c \udcff")
    raise OSError("\ud55c \udcff")
sys.exit(run_command("tool", work))
"""
    process = python(code, PYTHONIOENCODING=encoding)
    out, error = process.communicate(timeout=60)
    shown = "\ud55c" if encoding.startswith("utf") else r"\ud55c"
    assert (process.returncode, out, error) == (
        2,
        f"{shown} \\udcff\n",
        f"tool: {shown} \\udcff\n",
    )


@pytest.mark.parametrize("command", ["detect", "doctor"])
def test_ctrl_c_while_a_command_loads_or_works(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.png").touch()
    monkeypatch.setattr(f"ocrjax.cli.{command}.run", raises_any(KeyboardInterrupt()))
    assert _run(_parse(["ocrjax", command, str(tmp_path)])) == INTERRUPTED
    assert capsys.readouterr().err == f"ocrjax {command}: interrupted\n"
    code = "from ocrjax.cli.main import main; import sys; sys.argv = ['ocrjax', 'doctor']\n"
    interrupted = (  # the first import of a command
        # A shell starts what it runs in the background deaf to Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import os, sys; entry = sys.modules['ocrjax.cli.main']; real = entry.import_module\n"
        "def load(name):\n"
        "    if name == 'ocrjax.cli.doctor': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name)\n"
        "entry.import_module = load\n"
    )
    process = python(code + interrupted + "main()")
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (INTERRUPTED, "ocrjax: interrupted\n")


def raises_any(error):
    def work(*_):
        raise error

    return work


@pytest.fixture
def nobody(monkeypatch):
    """A user without a name and a home, as after `docker run --user 12345`."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "EASYOCR_MODULE_PATH", "MODULE_PATH", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_a_user_without_a_home(nobody, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert default_cache() == tmp_path / f"ocrjax-{os.getuid()}"
    assert expanded("~/a") == Path("~/a") and expanded("~nobody.pth") == Path("~nobody.pth")
    assert easyocr_model_folder() == Path("~/.EasyOCR/model")
    with pytest.raises(FileNotFoundError, match=r"~x\.pth: no such file"):
        find_weights("~x.pth")
    assert _run(_parse(["ocrjax", "doctor", "mine"])) == 2
    assert "mine: no such file or folder" in capsys.readouterr().err
    chosen = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        assert enable_compile_cache() is None  # programs are run: not from a place of others
    finally:
        jax.config.update("jax_compilation_cache_dir", chosen)


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "ocrjax"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert default_cache().parent == Path(tempfile.gettempdir())


def test_an_error_without_a_name_gets_that_of_the_file(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"),
        replacing(tmp_path / "a.json") as part,
    ):
        part.write_bytes(b"half")
        raise full
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotADirectoryError, match=r"'.*/a\.json/b"):
        (tmp_path / "a.json").touch()
        write_bytes(tmp_path / "a.json" / "b" / "c.json", b"")


def test_a_checkpoint_that_the_disk_does_not_take(tmp_path, monkeypatch):
    text = "RESOURCE_EXHAUSTED: Error writing \"a\": Failed to write [os_error_code='28']"
    with pytest.raises(OSError) as found, disk_errors(tmp_path):
        raise ValueError(text)
    assert found.value.errno == errno.ENOSPC and found.value.filename == str(tmp_path)
    with pytest.raises(OSError, match=f"'{tmp_path}'"), disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(ValueError, match="another"), disk_errors(tmp_path):
        raise ValueError("another error")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_999))
    check_space(tmp_path, 999_999)
    with pytest.raises(OSError, match=r"takes up to 1\.0 MB: '"):
        check_space(tmp_path, 1_000_000)


def test_tracebacks_of_what_is_raised_as_well_are_not_printed():
    def record(path, error):
        return logging.LogRecord("absl", logging.ERROR, path, 1, "failed", (), error)

    absl, asyncio = logging.getLogger("absl"), logging.getLogger("asyncio")
    filters, level = absl.filters[:], asyncio.level
    error = (ValueError, ValueError("full"), None)
    try:
        silence_orbax()
        assert not absl.filter(record("/site-packages/orbax/checkpoint/future.py", error))
        assert absl.filter(record("/site-packages/orbax/checkpoint/future.py", None))
        assert absl.filter(record("/site-packages/other.py", error))
        assert not asyncio.isEnabledFor(logging.ERROR)
    finally:
        absl.filters[:] = filters
        asyncio.setLevel(level)


def test_a_terminal_that_is_closed_stops_a_run_as_sigterm_does(monkeypatch):
    def gone(*_):
        raise OSError(errno.EIO, "Input/output error")

    mesh = make_mesh()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        monkeypatch.setattr(os, "write", gone)  # nor can the handler say anything
        with StopSignal(mesh) as stop:
            assert not stop.reached(1)
            signal.raise_signal(signal.SIGHUP)
            assert stop.reached(2)
            with signals_held():  # workers must not die of it: it goes to all of a group
                assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with StopSignal(mesh) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.reached(1)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_that_nobody_reads_does_not_end_a_run(monkeypatch):
    lines = []

    def broken(line, **_):
        lines.append(line)
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    make_log()("step 1")
    assert lines == ["step 1"]


def test_more_workers_than_a_machine_has_a_use_for(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert [bounded_workers(number, setting="--workers") for number in (0, 2, 8)] == [0, 2, 8]
    assert capsys.readouterr().err == ""
    assert bounded_workers(1000, setting="--workers") == 8
    assert "--workers is 1,000, but only 8 processes are started (4 for each of 2 CPUs)" in (
        capsys.readouterr().err
    )
