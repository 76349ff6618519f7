"""Settings of any run: steps, batch size, seed, start weights, how often it is saved.

Host code: no jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ocrcore.options import expect

DTYPES = ("float32", "bfloat16")
"""Types that a network can be computed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What stands at the top of a config, whatever is trained.

    Attributes:
        seed: of the first weights, of synthetic data, and of the order and augmentation of samples.
        steps: updates of the weights.
        batch_size: samples of an update, of all devices together; a multiple of their number.
        init_from: folder of a run whose weights are the first ones; empty: none.
        init_weights: or a name or file of weights; empty: random ones.
        ema: decay of the moving average of the weights, which is evaluated and saved; 0 for none.
        log_every: updates from one line of the log to the next; 0: only the last one has a line.
        tensorboard: also write TensorBoard's files; needs the extra `tensorboard`.
    """

    seed: int = 0
    steps: int = 1000
    batch_size: int = 4
    init_from: str = ""
    init_weights: str = ""
    ema: float = 0.999
    log_every: int = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        expect(
            self,
            (0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1"),
            (1 <= self.steps < 1 << 31, "steps", "1 or more updates, less than 2**31"),
            (1 <= self.batch_size <= 1 << 16, "batch_size", "1 to 65,536 samples"),
            (0 <= self.ema < 1, "ema", "0 for none, or a decay of less than 1"),
            (self.log_every >= 0, "log_every", "0 or more updates"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointOptions:
    """The section `config.checkpoint`.

    Attributes:
        every: updates from one saved state to the next: what a crash can cost; 0 for none.
            Evaluations are saved as well.
        keep: how many of the last ones are kept; the best one is kept as well.
    """

    every: int = 1000
    keep: int = 3

    def __post_init__(self) -> None:
        expect(
            self,
            (self.every >= 0, "every", "0 or more updates"),
            (self.keep >= 1, "keep", "1 or more"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageOptions:
    """The section `config.average`: averaging with the start weights at the end of a run (WiSE-FT).

    Attributes:
        shares: of the trained weights that are tried, rising, 1 for these alone; the one that reads
            best what chooses the best weights is kept, if by more than chance. Empty: no average.
    """

    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        bounds = (0.0, *self.shares)
        rising = all(low < high for low, high in pairwise(bounds)) and bounds[-1] <= 1
        expect(self, (rising, "shares", "rising shares of more than 0, at most 1"))


def loading(threads: int, workers: int) -> tuple[tuple[bool, str, str], ...]:
    """What is expected of the threads and processes that make batches, for `expect`."""
    return (
        (1 <= threads <= 1024, "threads", "1 to 1024 threads"),
        (0 <= workers <= 1024, "workers", "0 (this process) to 1024 processes"),
    )
