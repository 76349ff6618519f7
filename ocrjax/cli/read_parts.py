"""Results of the shards of a read command: one file per group of images.

Images are read in groups that do not depend on the number of shards, since the last digits of a
network's output may depend on the other images of a batch. For each complete group, `FILE.parts/`
next to the results `FILE` holds `NNNNNNN.jsonl` in the form of `ocrjax.cli.unfinished`. The files
are written atomically, so reading a group twice, even at the same time, does no harm.
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

_REMEDY = "give all shares the same images and options, or another --json"


@dataclass(frozen=True)
class Parts:
    """The groups of image files of a command.

    Attributes:
        target: file for the results.
        settings: everything that changes the results, as plain JSON values.
        groups: image files that are read together.
        written: tells whether all other outputs of an image file exist.
    """

    target: Path
    settings: Mapping[str, Any]
    groups: Sequence[Sequence[Path]]
    written: Callable[[Path], bool]

    @property
    def folder(self) -> Path:
        """The folder of the group files."""
        return self.target.with_name(self.target.name + ".parts")

    def path(self, group: int) -> Path:
        """Return the path of a group's file."""
        return self.folder / f"{group:07d}.jsonl"

    def missing(self, groups: Sequence[int]) -> dict[int, str]:
        """Return the incomplete groups, with the reasons.

        Raises:
            UnfinishedError: a group was read with other settings, or a file is damaged.
        """
        found = {}
        for group in groups:
            try:
                self.read(group)
            except ShardError as error:
                found[group] = str(error)
        return found

    def read(self, group: int) -> list[dict[str, Any]]:
        """Return `pages` and `errors` of each image file of a group.

        Raises:
            ShardError: the group is incomplete.
            UnfinishedError: as for `missing`.
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
        """Write the results of all groups to one file, and remove the group files.

        Args:
            shards: number of shards, to name the incomplete ones.

        Returns:
            `pages` and `errors` of each image file.

        Raises:
            ShardError: groups are incomplete.
            UnfinishedError: as for `missing`.
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
    """Write the file of a group atomically."""
    write_text(path, settings_line(settings) + "".join(entry_line(*one) for one in read))
