"""The folder of a run: the names of its files, and which run weights belong to.

Host code: no jax.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrcore.outputs import OutputError, check_outputs


class RunFolderError(ValueError):
    """A run's `config.json` that cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run; any of them may be missing.

    Attributes:
        path: the run directory (`--workdir`).
    """

    path: Path

    @classmethod
    def of(cls, weights: str | Path) -> RunFolder:
        """The run that weights belong to.

        Args:
            weights: a file in the run's folder, the folder itself, its `checkpoints` or one of
                these.

        Returns:
            Its folder; that of the weights where they belong to no run.
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
        """The experiment, with the changes of the command line."""
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
        """What the files of the data were like when the run was last started."""
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
        """The best weights; there once the run has finished."""
        return self.path / "weights.pth"

    @property
    def start(self) -> Path:
        """The weights that the run began with, where it averages with them."""
        return self.path / "average" / "start.safetensors"

    @property
    def kept(self) -> Path:
        """Their average with the trained ones: of such a run, the weights that count."""
        return self.path / "average" / "kept.safetensors"

    @property
    def average(self) -> Path:
        """Which shares were tried, and which one was kept."""
        return self.path / "average.json"

    @property
    def operating_point(self) -> Path:
        """The thresholds of the last sweep."""
        return self.path / "operating_point.json"

    def check_place(self, *, trains: bool = False) -> None:
        """Checks that results may be written here, before the work that they are made by.

        A run that goes on replaces its own files; a new one replaces none of another's.

        Args:
            trains: whether it is for a run of training, new or going on.

        Raises:
            OutputError: the folder cannot be written, or has weights or a config of something else.
            RunFolderError: as `read_config`.
        """
        check_outputs([self.config], force=True)
        if not trains or any(self.checkpoints.glob("[0-9]*")):
            return
        remedy = "name another --workdir, or move it"
        if self.weights.exists():
            raise OutputError(
                f"{self.weights}: there already, and no checkpoints of the run that wrote it: "
                f"{remedy}"
            )
        if self.config.is_file() and not self.read_config():
            raise OutputError(f"{self.config}: there already, of another program: {remedy}")

    def read_config(self) -> dict[str, Any]:
        """The values of `config`; empty where there is none, or one of another program.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not self.config.is_file():
            return {}
        try:
            config = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{self.config}: not the config of a run: {error}") from error
        # Many programs leave a file of this name.
        ours = isinstance(config, dict) and isinstance(config.get("data"), dict)
        return config if ours else {}
