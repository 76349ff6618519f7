"""Makes a set with Beam while one task fails at its first try: FAULT=kill|raise faults.py OUT.

FAULT=twice has every task done by two threads at the same time, as by a worker that was given up
but lives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from ocrcore.data.beam import BeamError, beam_spread
from ocrcore.data.shards import Shard
from ocrcore.synth import pieces as of_synth
from ocrcore.synth.job import Job
from ocrcore.synth.make import Maker

OPTIONS = "--direct_num_workers=2 --direct_running_mode=multi_processing"
SMALL = (("height", "96"), ("width", "96"), ("words", "(1, 4)"), ("font_size", "(12, 16)"))
JOB = Job(preset="plain", format="crops-csv", count=12, records_per_file=2, changes=SMALL)


def faulty(maker, task):
    """Fails in the middle of piece 3, for the first worker that comes to it."""
    pieces, piece = task
    fault, flag = os.environ["FAULT"], pieces.folder.with_suffix(".failed")
    if fault == "twice":
        other = threading.Thread(target=of_synth._make_piece, args=(Maker(JOB), task))
        other.start()
        of_synth._make_piece(maker, task)
        other.join()
        return
    if piece == 3 and not flag.exists():
        flag.touch()

        def progress(done):
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(5, "Input/output error", "a disk that fails once")

        pieces.write(piece, [maker.make(pieces.samples(piece))], progress)
    of_synth._make_piece(maker, task)


if __name__ == "__main__":
    import faults  # so that workers find the function by its name

    spread = beam_spread("DirectRunner", OPTIONS)
    out = Path(sys.argv[1])
    try:
        of_synth.make_shard(
            JOB,
            out,
            Shard(0, 1),
            spread=lambda tools, do, tasks: spread(tools, faults.faulty, tasks),
        )
    except BeamError as error:
        sys.exit(str(error))
    of_synth.merge_set(JOB, out, 1)
