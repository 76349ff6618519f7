"""The run directory: names of its files, and the run that weights belong to.

Host code: no jax.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrcore.outputs import OutputError, check_outputs


class RunFolderError(ValueError):
    """A run's `config.json` cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run; any of them may be missing.

    Attributes:
        path: the run directory (`--workdir`).
    """

    path: Path

    @classmethod
    def of(cls, weights: str | Path) -> RunFolder:
        """Return the run that weights belong to.

        Args:
            weights: a file in the run directory, the directory itself, its `checkpoints` or one of
                them.

        Returns:
            The run directory; the folder of the weights if they belong to no run.
        """
        path = Path(weights)
        if not path.is_dir():
            return cls(path.parent)
        for folder in (path, *path.resolve().parents[:2]):
            run = cls(folder)
            if run.config.is_file() or run.charset.is_file() or run.checkpoints.is_dir():
                return run
        return cls(path)

    @property
    def config(self) -> Path:
        """The experiment, including changes from the command line."""
        return self.path / "config.json"

    @property
    def charset(self) -> Path:
        """A recognizer's characters."""
        return self.path / "charset.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Losses and scores by step."""
        return self.path / "metrics.jsonl"

    @property
    def data(self) -> Path:
        """Fingerprints of the data files when the run was last started."""
        return self.path / "data.json"

    @property
    def hosts(self) -> Path:
        """The hosts of the last start, where there were several."""
        return self.path / "hosts.json"

    @property
    def pseudo_labels(self) -> Path:
        """The folder of a detector's pseudo labels."""
        return self.path / "pseudo"

    @property
    def weights(self) -> Path:
        """The best weights; written when the run has finished."""
        return self.path / "weights.pth"

    @property
    def start(self) -> Path:
        """The weights that the run started from, if it averages with them."""
        return self.path / "average" / "start.safetensors"

    @property
    def kept(self) -> Path:
        """Average of start and trained weights; if it exists, these are the run's weights."""
        return self.path / "average" / "kept.safetensors"

    @property
    def average(self) -> Path:
        """Scores of the weight averages that were tried, and the share that was kept."""
        return self.path / "average.json"

    @property
    def operating_point(self) -> Path:
        """The thresholds of the last sweep."""
        return self.path / "operating_point.json"

    def check_place(self, *, trains: bool = False) -> None:
        """Check that results may be written here, before the work is done.

        A resumed run replaces its own files; a new run never replaces files of another one.

        Args:
            trains: whether this is for a training run, new or resumed.

        Raises:
            OutputError: the folder cannot be written, or has weights or a config of something else.
            RunFolderError: as for `read_config`.
        """
        check_outputs([self.config], force=True)
        if not trains or any(self.checkpoints.glob("[0-9]*")):
            return
        remedy = "name another --workdir, or move it"
        if self.weights.exists():
            raise OutputError(
                f"{self.weights}: exists, but the checkpoints of the run that wrote it do not: "
                f"{remedy}"
            )
        if self.config.is_file() and not self.read_config():
            raise OutputError(f"{self.config}: exists, written by another program: {remedy}")

    def read_config(self) -> dict[str, Any]:
        """Return the values of `config`; empty if there is none, or one of another program.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not self.config.is_file():
            return {}
        try:
            config = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{self.config}: not the config of a run: {error}") from error
        # Many programs write a file with this name.
        ours = isinstance(config, dict) and isinstance(config.get("data"), dict)
        return config if ours else {}
