"""Settings of any run: steps, batch size, seed, start weights, how often it is saved.

Host code: no jax.
"""

from __future__ import annotations

from dataclasses import dataclass


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
        log_every: updates from one line of the log to the next.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointOptions:
    """The section `config.checkpoint`.

    Attributes:
        every: updates from one saved state to the next: what a crash can cost. Evaluations are
            saved as well.
        keep: how many of the last ones are kept; the best one is kept as well.
    """

    every: int = 1000
    keep: int = 3
