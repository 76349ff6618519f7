"""Base of the builders in `data/`: packing with the commands of TensorFlow Datasets.

TensorFlow Datasets runs a builder in one process and removes its files if it is interrupted. So
`craftjax.packing` does the work with several processes in a folder `VERSION.packing` next to the
final one; the same command continues it. Only `array_record` can be written and read without
TensorFlow.

Needs the extra `tfds`. Host code: no jax.
"""

from __future__ import annotations

import abc
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

from craftjax.packing import pack_source
from craftjax.sources import SourceOptions
from ocrcore.data.packing import FEATURES, VERSION, PackingError

try:
    import importlib_resources  # noqa: F401  (4.9.10 needs it and does not say so)
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the builders in data/ need {error.name}: pip install 'ocrjax[tfds]'; "
        "--mode=pack packs without it"
    ) from error


class PackedBuilder(FileReaderBuilder):
    """A builder that packs the data sets of `sources`.

    Attributes:
        workers: as for `ocrcore.data.packing.pack`.
    """

    VERSION = tfds.core.Version(VERSION)
    HOMEPAGE = ""
    workers: int | None = None

    def __init__(self, *, file_format: Any = None, **arguments: Any) -> None:
        if file_format not in (None, "array_record", tfds.core.FileFormat.ARRAY_RECORD):
            raise PackingError(f"file_format is {file_format}, expected array_record")
        super().__init__(file_format="array_record", **arguments)

    @abc.abstractmethod
    def sources(self, root: Path) -> dict[str, SourceOptions]:
        """Return the data set of each split.

        Args:
            root: folder of the raw data set.
        """

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.cleandoc(type(self).__doc__ or ""),
            features=tfds.features.FeaturesDict.from_json(FEATURES),
            homepage=self.HOMEPAGE,
            disable_shuffling=True,  # keep the order of the raw data set
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        here = Path(inspect.getfile(type(self))).parent
        target = Path(self.data_path)
        part = target.parent / f"{self.version}.packing"
        splits = []
        for split, options in self.sources(Path(download_config.manual_dir or here)).items():
            if most := download_config.max_examples_per_split:
                last = options.start + most
                stop = last if options.stop is None else min(options.stop, last)
                options = replace(options, stop=stop)
            done = pack_source(options, part, name=self.name, split=split, workers=self.workers)
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=list(done.records),
                    num_bytes=done.size,
                    filename_template=self._get_filename_template(split),
                )
            )
        # Move the files that mark a split as complete first: if we are killed, it is packed again.
        for path in sorted(part.iterdir(), key=lambda path: not path.name.startswith("packed-")):
            path.replace(target / path.name)
        part.rmdir()
        self.info.set_splits(tfds.core.SplitDict(splits))
