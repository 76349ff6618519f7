"""Measures both networks on a GPU, in one call of less than eight minutes.

Rows (measurements) run in the order of their value and are written immediately, so that an
interrupted call still leaves results. Each row has an estimated time, and is skipped if it no
longer fits the budget. PyTorch runs in a separate process on the same GPU, alternating with ours;
where it is missing, the rows say so. `--toy` runs every row at toy size, on a CPU in about a
minute.

Command: python benchmarks/gpu/measure.py --out DIR (see benchmarks/gpu/README.md for requirements)
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import gzip
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

# Before jax and NumPy are imported: torch shares the GPU, and label splitting has its own threads.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
for folder in (HERE.parents[1], HERE.parent, HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from kit import Kit  # noqa: E402

# Largest allowed difference of float32 numbers from the CPU's, relative to their norm.
_FLOAT32 = {"scores": 1e-3, "loss": 1e-4, "gradients": 1e-2, "moved": 2e-2}
# In bfloat16 the limit is the difference of the CPU's own bfloat16, times this.
_BFLOAT16 = 1.5


class Session:
    """The rows, and the state they share.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from networks import Case

        self.toy: bool = arguments.toy
        self.out: Path = arguments.out
        self.kit = Kit(self.out / "measure.json", budget_s=arguments.budget)
        self.scratch = Path(tempfile.mkdtemp(prefix="gpu_measure_"))
        self.cores = 2 if self.toy else len(os.sched_getaffinity(0))
        self.peak = 0.0
        self.peer: Any = None
        self.reference: Any = None
        self.without_torch: bool = arguments.without_torch
        self.backend: str = arguments.torch_backend or ("eager" if self.toy else "inductor")
        self.rates: dict[str, float] = {}
        self.built: dict[str, Any] = {}
        self.numbers_of: dict[tuple[str, str], Any] = {}
        self.theirs: dict[str, Any] = {}
        share, features = (0.125, 16) if self.toy else (1.0, 512)
        side, few, many = (64, 2, 4) if self.toy else (768, 16, 1024)
        self.detector = Case("detector", few, side, side, share)
        self.recognizer = Case("recognizer", many, 32, 100, features)
        self.lcnet = Case("lcnet", many, 48, 160, self.scaled(32, 384))
        self.small = small_cases(self.toy)

    def scaled(self, toy: Any, full: Any) -> Any:
        """Return the toy value with --toy, else the full one."""
        return toy if self.toy else full

    # Rows. ---------------------------------------------------------------------------------------

    def device(self) -> dict[str, Any]:
        """Record versions, and measure matrix products and copies."""
        import jax
        import jax.numpy as jnp

        kinds = [device.device_kind for device in jax.devices()]
        versions = {}
        for name in ("jax", "jaxlib", "flax", "optax", "numpy", "cv2", "torch", "grain"):
            if name == "torch":  # not imported here: it would take GPU memory
                versions[name] = _version("torch")
            else:
                module = importlib.import_module(name)
                versions[name] = getattr(module, "__version__", _version(name))
        side = self.scaled(256, 8192)
        keys = jax.random.split(jax.random.key(0))
        a, b = (jax.random.normal(key, (side, side), jnp.bfloat16) for key in keys)
        # A chain of scaled products, so that XLA can skip none of them.
        chain = jax.jit(lambda a, b: (a @ b * jnp.bfloat16(side**-0.5)).astype(jnp.bfloat16))
        times = self.scaled(3, 50)
        jax.block_until_ready(chain(chain(a, b), b))
        begun = time.perf_counter()
        x = a
        for _ in range(times):
            x = chain(x, b)
        jax.block_until_ready(x)
        self.peak = 2.0 * side**3 * times / (time.perf_counter() - begun)
        block = jnp.zeros(self.scaled(1 << 16, 1 << 29), jnp.float32)
        copy = jax.jit(lambda x: x + 1)
        jax.block_until_ready(copy(block))
        begun = time.perf_counter()
        for _ in range(times):
            moved = copy(block)
        jax.block_until_ready(moved)
        bandwidth = 2.0 * block.nbytes * times / (time.perf_counter() - begun)
        return {
            "device": kinds,
            "backend": jax.default_backend(),
            "host": f"{platform.machine()}, {os.cpu_count()} cores, {self.cores} used",
            "python": platform.python_version(),
            "versions": versions,
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "matmul_bf16_tflops": self.peak / 1e12,
            "matmul_side": side,
            "copy_tb_per_s": bandwidth / 1e12,
        }

    def compile(self) -> dict[str, Any]:
        """Compile all large programs one after the other, as many as fit into the time.

        In parallel threads they delay each other: on an H200 none of eight was done after 100
        seconds, while the training step alone took 11.
        """
        from networks import build, prepare_numbers

        if self.toy and self.reference is not None:  # its programs are in the cache afterwards
            self.reference.wait()
        begun = time.perf_counter()
        pool = ThreadPoolExecutor(1)
        try:
            builds = {
                case.network: pool.submit(build, case, "bfloat16")
                for case in (self.detector, self.recognizer)
            }
            small = {
                (case.network, dtype): pool.submit(prepare_numbers, case, dtype)
                for dtype in _DTYPES
                for case in self.small
            }
            # A program that takes minutes to compile must not prevent the rows of the others.
            wait([*builds.values(), *small.values()], timeout=self.scaled(1200, 100))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        errors = {}
        for target, futures in ((self.built, builds), (self.numbers_of, small)):
            for key, future in futures.items():
                if not future.done():
                    errors[str(key)] = (
                        f"compilation not finished after {time.perf_counter() - begun:.0f} s"
                    )
                elif future.cancelled() or (error := future.exception()):
                    errors[str(key)] = (
                        "compilation not started" if future.cancelled() else repr(error)[:2000]
                    )
                else:
                    target[key] = future.result()
        for network, built in self.built.items():
            self._keep_program(network, built.text())
        # Now torch may use the GPU: the comparison of numbers that follows is not timed.
        if self.peer is not None:
            for case in (self.detector, self.recognizer):
                asked = {"case": dataclasses.asdict(case), "backend": self.backend}
                self.peer.ask(do="build", **asked)
        return {"seconds": time.perf_counter() - begun, **({"errors": errors} if errors else {})}

    def numbers(self) -> dict[str, Any]:
        """Compare both networks' numbers with those of this machine's CPU."""
        import numpy as np
        from networks import differences

        rows: dict[str, Any] = {}
        found = {key: compute() for key, compute in self.numbers_of.items()}
        self.numbers_of.clear()
        path = self.scratch / "reference.npz"
        code = self.reference.wait(timeout=self.scaled(600.0, min(120.0, self.kit.left())))
        if code:
            raise RuntimeError(
                f"computing the CPU's numbers failed with exit code {code}: see helpers.log"
            )
        with np.load(path) as stored:
            for case in self.small:
                full, half = (
                    {name: stored[f"{case.network}/{dtype}/{name}"] for name in _FLOAT32}
                    for dtype in _DTYPES
                )
                ours = differences(found[case.network, "float32"], full)
                short = differences(found[case.network, "bfloat16"], full)
                cpu = differences(half, full)
                rows[case.name] = {
                    "float32": ours,
                    "float32_within": {k: ours[k] <= most for k, most in _FLOAT32.items()},
                    "bfloat16": short,
                    "bfloat16_of_cpu": cpu,
                    "bfloat16_within": {
                        k: short[k] <= _BFLOAT16 * cpu[k] + _FLOAT32[k] for k in cpu
                    },
                }
        return rows

    def step(self, case: Any) -> dict[str, Any]:
        """Times a training step alone, then in alternating rounds with torch's."""
        self._wait_for_torch()
        network, built = case.network, self.built[case.network]
        steps = self.scaled(1, 10 if network == "detector" else 30)
        first = built.run(1)
        built.run(1)
        ours = [built.run(steps) / steps for _ in range(self.scaled(1, 3))]
        row = {"case": case.name, **built.about, **self._speed(case, built, ours)}
        row |= {"first_step_s": first, "share_is": _SHARE}
        self.rates[network] = row["images_per_s"]
        self.kit.record(f"{network}_step_alone", row)
        torch = self.theirs.get(network, {"error": "torch is not installed"})
        if "error" in torch:
            return {**row, "torch": torch}
        try:
            seconds, ours = [], []
            for _ in range(self.scaled(1, 6)):
                self.peer.ask(do="run", network=network, steps=steps)
                answer = self.peer.answer(60)
                seconds.append(answer["seconds"] / steps)
                ours.append(built.run(steps) / steps)
        except RuntimeError as error:
            return {**row, "torch": {**torch, "error": str(error)}}
        torch |= {"backend": self.backend, "rounds_s": seconds, "memory_gib": answer["memory_gib"]}
        torch["images_per_s"] = case.rows / statistics.median(seconds)
        row |= self._speed(case, built, ours)
        self.rates[network] = row["images_per_s"]
        ratio = row["images_per_s"] / torch["images_per_s"]
        return {**row, "rounds_s": ours, "torch": torch, "times_torch": ratio}

    def lcnet_step(self) -> dict[str, Any]:
        """Times a training step of PP-OCRv6's recognizer alone."""
        from networks import build

        built, steps = build(self.lcnet, "bfloat16"), self.scaled(1, 20)
        self.built["lcnet"] = built
        first = built.run(1)
        built.run(1)
        times = [built.run(steps) / steps for _ in range(self.scaled(1, 3))]
        row = {"case": self.lcnet.name, **built.about, **self._speed(self.lcnet, built, times)}
        self.rates["lcnet"] = row["images_per_s"]
        return {**row, "first_step_s": first, "share_is": _SHARE}

    def _wait_for_torch(self) -> None:
        """Wait until torch has built both steps, so that nothing else runs on the GPU."""
        if self.peer is None or self.theirs:
            return
        for network in ("detector", "recognizer"):
            try:
                patience = self.scaled(600.0, min(150.0, self.kit.left() / 2))
                self.theirs[network] = self.peer.answer(patience)
            except RuntimeError as error:
                self.theirs[network] = {"error": str(error)}

    def weak(self) -> dict[str, Any]:
        """Measure training on word boxes, labeling included."""
        from inputs import weak_supervision

        if self.peer is not None:  # torch is done: free its GPU memory
            self.peer.ask(do="drop")
            with contextlib.suppress(RuntimeError):
                self.peer.answer(30)
        return weak_supervision(
            self.scratch / "weak",
            toy=self.toy,
            steps=self.scaled(8, 100),
            cores=self.cores,
            dtype="bfloat16",
        )

    def loader(self, kind: str, workers: int) -> dict[str, Any]:
        """Measure one input pipeline alone, relative to the step that it feeds."""
        from inputs import crop_source, page_source, rate

        crops = kind in ("words", "lmdb")
        case = self.recognizer if crops else self.detector
        # Small batches: scenes are slow to render, and all processes finish at about the same time.
        rows = case.rows if crops else min(case.rows, 4)
        if crops:
            source = crop_source(self.scratch, kind, rows=rows, crops=self.scaled(64, 20_000))
        else:
            source = page_source(self.scratch, kind, rows=rows, size=case.height)
        threads = 1 if workers else self.cores
        seconds = self.scaled(0.1, 6.0)
        row = rate(source, rows=rows, seconds=seconds, threads=threads, workers=workers)
        if step := self.rates.get(case.network):
            row["share_of_the_step"] = row["rows_per_s"] / step
        return row

    def kernels(self, network: str) -> dict[str, Any]:
        """Write the slowest kernels of a step as text."""
        from inputs import top_kernels

        steps = self.scaled(1, 5)
        built = self.built[network]
        folder = self.scratch / f"profile_{network}"
        found = top_kernels(folder, lambda: built.run(steps), steps=steps)
        lines = ["ms per step  share  calls  operation: kernel"]
        lines += [
            f"{row['ms_a_step']:9.3f}  {row['share']:7.2%}  {row['calls_a_step']:5.1f}  "
            f"{row['operation']}: {row['kernel']}"
            for row in found
        ]
        (self.out / f"kernels_{network}.txt").write_text("\n".join(lines) + "\n")
        top = [{**row, "kernel": row["kernel"][:120]} for row in found[:20]]
        return {"kernels": len(found), "top": top}

    def other_batches(self, network: str, rows: Sequence[int]) -> dict[str, Any]:
        """Times the step at other batch sizes."""
        from networks import build

        found = {}
        base = self.detector if network == "detector" else self.recognizer
        for count in rows:
            if self.kit.left() < self.scaled(1, 25):
                break
            case = dataclasses.replace(base, rows=count)
            built = build(case, "bfloat16")
            built.run(2)
            steps = self.scaled(1, 10)
            times = [built.run(steps) / steps for _ in range(self.scaled(1, 3))]
            found[case.name] = {**built.about, **self._speed(case, built, times)}
        return found

    def forwards(self) -> dict[str, Any]:
        """Times the forward passes, in bfloat16."""
        import jax
        from networks import count_flops

        found = {}
        for case in (self.detector, dataclasses.replace(self.detector, rows=1), self.recognizer):
            apply, variables, images = case.forward("bfloat16")
            jax.block_until_ready(apply(variables, images))
            times = self.scaled(1, 20)
            begun = time.perf_counter()
            for _ in range(times):
                scores = apply(variables, images)
            jax.block_until_ready(scores)
            seconds = (time.perf_counter() - begun) / times
            share = count_flops(case) / seconds / self.peak if self.peak else None
            rate = case.rows / seconds
            found[case.name] = {"ms": seconds * 1e3, "images_per_s": rate, "share_of_peak": share}
        return found

    def ctc(self) -> dict[str, Any]:
        """Times the CTC loss alone, forward and backward, in float32."""
        import jax
        import numpy as np
        import optax
        from peer import ctc_inputs

        from crnnjax.losses import ctc_losses

        sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
        from ctc import own_ctc_losses

        shape = self.scaled((4, 8, 11), (1024, 24, 37))
        logits, labels, lengths = ctc_inputs(*shape)
        padding = (np.arange(labels.shape[1]) >= lengths[:, None]).astype(np.float32)
        whole = np.full(shape[0], shape[1], np.int32)

        def plain(x: Any) -> Any:
            return optax.ctc_loss(x, np.zeros(shape[:2], np.float32), labels, padding).sum()

        def ours(x: Any) -> Any:
            return ctc_losses(x, whole, labels, lengths)[0].sum()

        def own(x: Any) -> Any:
            return own_ctc_losses(x, whole, labels, lengths).sum()

        steps, row = self.scaled(2, 50), {}
        for name, function in (("optax", plain), ("ours", ours), ("own_gradient", own)):
            graded = jax.jit(jax.value_and_grad(function))
            x = jax.device_put(logits)
            value = float(jax.block_until_ready(graded(x))[0])
            begun = time.perf_counter()
            for _ in range(steps):
                last = graded(x)
            jax.block_until_ready(last)
            row[name] = {"ms": (time.perf_counter() - begun) / steps * 1e3, "loss": value}
        if self.peer is not None:
            try:
                self.peer.ask(do="ctc", shape=list(shape), steps=steps)
                row["torch"] = self.peer.answer(60)
            except RuntimeError as error:
                row["torch"] = {"error": str(error)}
        return {"shape": f"{shape[0]} rows, {shape[1]} steps, {shape[2]} classes", **row}

    # What rows need. -----------------------------------------------------------------------------

    def start_helpers(self, rows: set[str]) -> None:
        """Start the helper processes that the rows need: the CPU's numbers, and torch."""
        from peer import Peer

        command = [sys.executable, __file__, "--worker", "reference", "--out", str(self.scratch)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        if not self.toy:  # --toy has set it already
            environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_SOUND}".strip()
        log = self.out / "helpers.log"
        log.write_text("")
        if "numbers" in rows:
            with log.open("a") as out:
                self.reference = subprocess.Popen(
                    command + ["--toy"] * self.toy, env=environment, stdout=out, stderr=out
                )
        beside = {"detector_step", "recognizer_step", "ctc"} & rows
        if beside and importlib.util.find_spec("torch") is not None and not self.without_torch:
            self.peer = Peer(Path(__file__).resolve(), log)

    def _speed(self, case: Any, built: Any, times: Sequence[float]) -> dict[str, Any]:
        seconds = statistics.median(times)
        share = built.about["flops_a_step"] / seconds / self.peak if self.peak else None
        return {
            "step_ms": seconds * 1e3,
            "images_per_s": case.rows / seconds,
            "share_of_peak": share,
        }

    def _keep_program(self, network: str, text: str) -> None:
        with gzip.open(self.out / f"program_{network}.txt.gz", "wt") as file:
            file.write(text)

    def close(self) -> None:
        """End the helper processes, and remove the temporary files."""
        if self.peer is not None:
            self.peer.close()
        if self.reference is not None and self.reference.poll() is None:
            self.reference.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


_DTYPES = ("float32", "bfloat16")
# On CPUs, these fusions of jaxlib 0.11.2 turn the detector's bfloat16 scores into NaN.
_SOUND = "--xla_cpu_experimental_ynn_fusion_type="
_SHARE = "fraction of the matmul row's operations per second; a step counts as 3 forward passes"
# Name, estimated seconds on a GPU, and function of each row.
_ROWS: tuple[tuple[str, float, Callable[[Session], dict[str, Any]]], ...] = (
    ("device", 5, Session.device),
    ("compile", 60, Session.compile),
    ("numbers", 10, Session.numbers),
    ("detector_step", 30, lambda s: s.step(s.detector)),
    ("recognizer_step", 15, lambda s: s.step(s.recognizer)),
    ("weak", 80, Session.weak),
    ("loader_words", 25, lambda s: s.loader("words", s.cores)),
    ("loader_pages", 25, lambda s: s.loader("pages", s.cores)),
    ("loader_lmdb", 25, lambda s: s.loader("lmdb", s.cores)),
    ("loader_read", 25, lambda s: s.loader("read", s.cores)),
    ("loader_lmdb_threads", 12, lambda s: s.loader("lmdb", 0)),
    ("detector_kernels", 15, lambda s: s.kernels("detector")),
    ("recognizer_kernels", 15, lambda s: s.kernels("recognizer")),
    ("lcnet_step", 45, Session.lcnet_step),
    ("lcnet_kernels", 15, lambda s: s.kernels("lcnet")),
    ("detector_batches", 40, lambda s: s.other_batches("detector", s.scaled((2,), (32, 8)))),
    (
        "recognizer_batches",
        30,
        lambda s: s.other_batches("recognizer", s.scaled((4,), (4096, 256))),
    ),
    ("forwards", 30, Session.forwards),
    ("ctc", 20, Session.ctc),
)


def _version(name: str) -> str | None:
    from importlib import metadata

    names = {"cv2": "opencv-python-headless"}
    try:
        return metadata.version(names.get(name, name))
    except metadata.PackageNotFoundError:
        return None


def small_cases(toy: bool) -> tuple[Any, ...]:
    """Return the cases whose numbers are compared with the CPU's."""
    from networks import Case

    share, features, side = (0.125, 16, 64) if toy else (1.0, 512, 256)
    return (
        Case("detector", 2, side, side, share),
        Case("recognizer", 4 if toy else 32, 32, 100, features),
        Case("lcnet", 4 if toy else 32, 48, 160, 32 if toy else 384),
    )


def _write_reference(folder: Path, *, toy: bool) -> None:
    """Compute the CPU's numbers, in a process that sees no GPU."""
    import numpy as np
    from networks import prepare_numbers

    keys = [(case, dtype) for case in small_cases(toy) for dtype in _DTYPES]
    with ThreadPoolExecutor(1 if toy else len(keys)) as pool:
        made = list(pool.map(lambda key: prepare_numbers(*key)(), keys))
    arrays = {
        f"{case.network}/{dtype}/{name}": value
        for (case, dtype), found in zip(keys, made, strict=True)
        for name, value in found.items()
    }
    np.savez(folder / "part.npz", **arrays)
    (folder / "part.npz").replace(folder / "reference.npz")


def main() -> None:
    """Run the rows, or a helper process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--budget", type=float, help="seconds for all rows together; default 450")
    parser.add_argument("--toy", action="store_true", help="every row at toy size")
    parser.add_argument(
        "--rows", nargs="+", choices=[name for name, *_ in _ROWS], help="run only these rows"
    )
    parser.add_argument(
        "--torch_backend", help="backend of torch.compile; default inductor, eager for --toy"
    )
    parser.add_argument(
        "--without_torch", action="store_true", help="skip the comparison with torch"
    )
    parser.add_argument("--worker", choices=["reference", "torch"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker == "torch":
        from peer import serve

        serve()
        return
    if arguments.out is None:
        parser.error("--out is required: the folder for the results")
    if arguments.worker == "reference":
        _write_reference(arguments.out, toy=arguments.toy)
        return
    faulthandler.enable()
    if arguments.toy:  # all processes share compiled programs; this needs the same flags
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_SOUND}".strip()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(arguments.out / "cache"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    arguments.budget = arguments.budget or (3600.0 if arguments.toy else 450.0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    session = Session(arguments)
    # If a row hangs, end the process and its children; the results so far are already written.
    watch = threading.Timer(arguments.budget + 15, lambda: (session.close(), os._exit(3)))
    watch.daemon = True
    watch.start()
    wanted = set(arguments.rows or [name for name, *_ in _ROWS])
    try:
        for name, needs, row in _ROWS:
            if name not in wanted:
                continue
            session.kit.row(name, 0 if session.toy else needs, lambda row=row: row(session))
            if name == "device":
                session.start_helpers(wanted)
        session.kit.record("done", {"rows": len(wanted)})
    finally:
        watch.cancel()
        session.close()
    print(json.dumps({"out": str(session.kit.path), "seconds": round(session.kit.spent(), 1)}))
    sys.stdout.flush()
    os._exit(0)  # threads may still be compiling programs that are no longer needed


if __name__ == "__main__":
    main()
