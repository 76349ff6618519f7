"""Settings of every run: steps, batch size, seed, start weights, saving.

Host code: no jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ocrcore.options import expect

DTYPES = ("float32", "bfloat16")
"""Types that a network can compute in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The top-level fields of a config, for any network.

    Attributes:
        seed: for random initial weights, synthetic data, and the order and augmentation of samples.
        steps: number of updates of the weights.
        batch_size: global batch size over all devices; a multiple of their number.
        init_from: run directory whose weights to start from; empty: none.
        init_weights: alternatively, a name or file of weights; empty: random weights.
        ema: decay of the moving average of the weights, which is evaluated and saved; 0 disables
            it.
        log_every: updates between log lines; 0 logs only the last update.
        tensorboard: also write TensorBoard files; needs the extra `tensorboard`.
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
        every: updates between checkpoints, which is what a crash can cost; 0 disables them.
            Evaluations are saved as well.
        keep: number of latest checkpoints to keep, in addition to the best one.
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
        shares: shares of the trained weights to try, rising; 1 is the trained weights alone. The
            best on the validation words is kept if it beats the start weights by more than chance.
            Empty disables averaging.
    """

    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        bounds = (0.0, *self.shares)
        rising = all(low < high for low, high in pairwise(bounds)) and bounds[-1] <= 1
        expect(self, (rising, "shares", "rising shares, each greater than 0 and at most 1"))


def loading(threads: int, workers: int) -> tuple[tuple[bool, str, str], ...]:
    """Return the checks on the threads and processes that make batches, for `expect`."""
    return (
        (1 <= threads <= 1024, "threads", "1 to 1024 threads"),
        (0 <= workers <= 1024, "workers", "0 (this process) to 1024 processes"),
    )
