import pytest

from ocrcore.training.run_folder import RunFolder, RunFolderError


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "exp" / "run"
    (folder / "checkpoints" / "300").mkdir(parents=True)
    (folder / "weights.pth").touch()
    return RunFolder(folder)


@pytest.mark.parametrize(
    "weights", [".", "checkpoints", "checkpoints/300", "weights.pth", "not_there.pth"]
)
def test_the_run_that_weights_belong_to(run, weights):
    assert RunFolder.of(run.path / weights) == run
    assert RunFolder.of(str(run.path / weights)).checkpoints.is_dir()


def test_from_inside(run, monkeypatch):
    monkeypatch.chdir(run.checkpoints / "300")
    assert RunFolder.of(".").path.samefile(run.path)


def test_any_file_of_a_run_marks_its_folder(run):
    (run.checkpoints / "300").rmdir()
    run.checkpoints.rmdir()
    other = run.path / "other"
    other.mkdir()
    assert RunFolder.of(other).path == other  # of no run
    for file in (run.config, run.charset):
        file.touch()
        assert RunFolder.of(other) == run
        file.unlink()


def test_the_config_of_a_run(run):
    assert run.read_config() == {}
    run.config.write_text('{"eval": 3}')  # of another program
    assert run.read_config() == {}
    run.config.write_text('["data"]')
    assert run.read_config() == {}
    run.config.write_text('{"data": {"height": 32}}')
    assert run.read_config() == {"data": {"height": 32}}
    run.config.write_text("{broken")
    with pytest.raises(RunFolderError, match=r"config\.json: not the config of a run: "):
        run.read_config()
