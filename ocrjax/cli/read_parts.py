"""What shares of several machines have read: a file for each group of pictures.

Pictures are read in groups, the same however many machines there are, since what a network finds
in one may depend, in the last digit, on those beside it. `FILE.parts/` beside the results holds
for each group that is complete `NNNNNNN.jsonl`, in the form of `ocrjax.cli.unfinished`, written
whole: a group that is read twice, even at the same time, does no harm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrcore.data.shards import ShardError, describe_missing
from ocrcore.files import write_text
from ocrcore.pages import Page
from ocrjax.cli.unfinished import Unfinished, entry_line, settings_line, write_results

_REMEDY = "give all shares the same pictures and options, or another --json"


@dataclass(frozen=True)
class Parts:
    """The groups of pictures of a command.

    Attributes:
        target: of the results.
        settings: plain JSON values; all that changes the results.
        groups: picture files that are read together.
        written: whether all other outputs of a picture file are there.
    """

    target: Path
    settings: Mapping[str, Any]
    groups: Sequence[Sequence[Path]]
    written: Callable[[Path], bool]

    @property
    def folder(self) -> Path:
        """Where the groups are."""
        return self.target.with_name(self.target.name + ".parts")

    def path(self, group: int) -> Path:
        """Returns the file of a group."""
        return self.folder / f"{group:07d}.jsonl"

    def missing(self, groups: Sequence[int]) -> dict[int, str]:
        """Returns the groups that are not complete, and why.

        Raises:
            UnfinishedError: one was read with other settings, or a file is damaged.
        """
        found = {}
        for group in groups:
            try:
                self.read(group)
            except ShardError as error:
                found[group] = str(error)
        return found

    def read(self, group: int) -> list[dict[str, Any]]:
        """Returns `pages` and `errors` of each picture file of a group.

        Raises:
            ShardError: it is not complete.
            UnfinishedError: as of `missing`.
        """
        path, entries = self.path(group), []
        if not path.exists():
            raise ShardError(f"{path}: not there")
        part = Unfinished(path, self.settings, remedy=_REMEDY)
        for file in self.groups[group]:
            if (entry := part.entry(file)) is None:
                raise ShardError(f"{file}: not read, or changed since")
            if not entry["errors"] and not self.written(file):
                raise ShardError(f"{file}: an output of it is gone")
            entries.append(entry)
        return entries

    def join(self, shards: int) -> list[dict[str, Any]]:
        """Writes the results of all groups, and removes these.

        Args:
            shards: how many there are, to name those that are not complete.

        Returns:
            `pages` and `errors` of each picture file.

        Raises:
            ShardError: groups are missing.
            UnfinishedError: as of `missing`.
        """
        numbers = range(len(self.groups))
        if missing := self.missing(numbers):
            raise ShardError(f"{self.target}: {describe_missing(missing, shards)}")
        entries = [entry for group in numbers for entry in self.read(group)]
        write_results(self.target, entries)
        shutil.rmtree(self.folder, ignore_errors=True)
        return entries


def write_part(
    path: Path,
    settings: Mapping[str, Any],
    read: Sequence[tuple[Path, Sequence[Page], Sequence[Exception]]],
) -> None:
    """Writes the file of a group, all or nothing."""
    write_text(path, settings_line(settings) + "".join(entry_line(*one) for one in read))
