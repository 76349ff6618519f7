"""PyTorch for comparison: a separate process that builds the same networks and runs their steps.

A request is a line of JSON, and so is an answer. If torch is missing or fails, the answer has
`error`, and our rows are reported without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Peer:
    """The parent's end of the torch process.

    Args:
        script: script that calls `serve` when run with `--worker torch`.
        log: file for torch's output.
    """

    def __init__(self, script: Path, log: Path) -> None:
        self._answers: queue.Queue[Answer] = queue.Queue()
        # This process uses jax on the CPU only; torch uses the GPU memory that XLA leaves free.
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu"}
        with log.open("a") as out:
            self._process = subprocess.Popen(
                [sys.executable, str(script), "--worker", "torch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                env=environment,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                self._answers.put(json.loads(line))
        self._answers.put(
            {"error": f"the torch process ended with exit code {self._process.wait()}"}
        )

    def ask(self, **request: Any) -> None:
        """Sends a request; answers arrive in the order of the requests."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._answers.put({"error": "the torch process has ended"})

    def answer(self, timeout_s: float) -> Answer:
        """Wait for the next answer.

        Raises:
            RuntimeError: Torch failed, or the timeout expired.
        """
        try:
            answer = self._answers.get(timeout=max(timeout_s, 0.1))
        except queue.Empty:
            self.close()
            raise RuntimeError(f"no answer from torch within {timeout_s:.0f} s") from None
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        """End the torch process."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            with contextlib.suppress(OSError):  # the last request may no longer be read
                stream.close()


def serve() -> None:
    """Serve requests in the torch process until its input ends."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    held: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _DO[request.pop("do")](held, device, **request)
        except Exception as error:
            answer = {"error": repr(error)[:2000]}
        print(json.dumps(answer), flush=True)


def _build(held: dict[str, Any], device: str, *, case: Answer, backend: str | None) -> Answer:
    import torch
    from networks import Case

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    one = Case(**case)
    begun = time.perf_counter()
    answer: Answer = {"compiled": bool(backend)}
    try:
        step = _step(one, device, backend)
        loss = float(step())
        step()
    except Exception as error:  # if torch.compile fails, torch still runs without it
        answer |= {"compiled": False, "compiler": repr(error)[:500]}
        step = _step(one, device, None)
        loss = float(step())
        step()
    _wait(device)
    held[one.network] = step
    return {**answer, "loss": loss, "first_s": round(time.perf_counter() - begun, 2)}


def _step(case: Any, device: str, backend: str | None) -> Callable[[], Any]:
    import torch
    from networks import LOSS, OPTIMIZERS

    variables, batch = case.variables(), case.batch()
    if case.network == "detector":
        import torch_craft

        from craftjax.convert import to_state_dict

        network = torch_craft.make_network(to_state_dict(variables), width=case.channels)
        network = network.to(device, memory_format=torch.channels_last)
        tensors = {k: v.to(device) for k, v in torch_craft.make_batch(batch).items()}
        tensors["image"] = tensors["image"].to(memory_format=torch.channels_last)
        adam = OPTIMIZERS["detector"]
        options = {"lr": adam["learning_rate"], "weight_decay": adam["weight_decay"]}
        step = torch_craft.make_fast_step(network, loss=LOSS, optimizer=options, backend=backend)
        return lambda: step(tensors)
    import torch_crnn

    from crnnjax.convert import to_state_dict as crnn_state_dict

    crnn = torch_crnn.make_network(crnn_state_dict(variables, prefix=""))
    crnn = crnn.to(device, memory_format=torch.channels_last)
    image, label, length = torch_crnn.make_batch(batch)
    image = image.to(device, memory_format=torch.channels_last)
    parts = image, label.to(device), length.long()
    move = torch_crnn.make_fast_step(crnn, backend=backend)
    return lambda: move(parts)


def _run(held: dict[str, Any], device: str, *, network: str, steps: int) -> Answer:
    import torch

    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(steps):
        held[network]()
    _wait(device)
    seconds = time.perf_counter() - begun
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    return {"seconds": seconds, "memory_gib": peak}


def _drop(held: dict[str, Any], device: str) -> Answer:
    import gc

    import torch

    held.clear()
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return {}


def _ctc(held: dict[str, Any], device: str, *, shape: list[int], steps: int) -> Answer:
    import numpy as np
    import torch

    rows, time_steps, classes = shape
    logits, labels, lengths = ctc_inputs(rows, time_steps, classes)
    scores = torch.from_numpy(logits).to(device).permute(1, 0, 2).contiguous().requires_grad_()
    targets = torch.from_numpy(labels.astype(np.int64)).to(device)
    lasts = torch.from_numpy(lengths.astype(np.int64))
    whole = torch.full((rows,), time_steps, dtype=torch.int64)

    def once() -> Any:
        scores.grad = None
        logs = scores.log_softmax(2)
        loss = torch.nn.functional.ctc_loss(logs, targets, whole, lasts, reduction="sum")
        loss.backward()
        return loss

    value = float(once())
    _wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        once()
    _wait(device)
    return {"ms": (time.perf_counter() - begun) / steps * 1e3, "loss": value}


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def ctc_inputs(rows: int, time_steps: int, classes: int) -> tuple[Any, Any, Any]:
    """Draw logits `(rows, time_steps, classes)`, labels of 3 to 10 characters, and lengths."""
    import numpy as np

    rng = np.random.default_rng(0)
    logits = rng.standard_normal((rows, time_steps, classes), np.float32)
    labels = rng.integers(1, classes, (rows, 25)).astype(np.int32)
    return logits, labels, rng.integers(3, 11, rows).astype(np.int32)


_DO: dict[str, Callable[..., Answer]] = {"build": _build, "run": _run, "drop": _drop, "ctc": _ctc}
