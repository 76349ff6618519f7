"""Tasks distributed by Apache Beam: on Dataflow, on Flink, or over processes of this machine.

Beam may restart a task after losing a worker, and may run a task twice at the same time. Tasks
therefore write their files atomically, and the files show which tasks are done: nothing is returned
through Beam. The caller checks afterwards which files are missing.

Needs the extra `beam`. Host code: no jax.
"""

from __future__ import annotations

import logging
import re
import shlex
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from ocrcore.data.processes import one_opencv_thread
from ocrcore.data.shards import Spread

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle
    from apache_beam.runners.runner import PipelineState, create_runner
except ImportError as error:
    raise ImportError(
        "--beam-runner needs the package apache-beam: pip install 'ocrjax[beam]'"
    ) from error

_ERROR = re.compile(r"^[A-Za-z_][\w.]*: \S")


class BeamError(ValueError):
    """A pipeline failed; the message says why and what to do."""


class _Work(beam.DoFn):
    """Runs tasks; each worker opens the tools once."""

    def __init__(self, open_tools: Callable[[], Any], do: Callable[[Any, Any], Any]) -> None:
        self._open, self._do = open_tools, do
        self._tools: list[Any] = []

    def process(self, task: Any) -> None:
        if not self._tools:
            self._tools.append(self._open())
        with one_opencv_thread():
            self._do(self._tools[0], task)


def beam_spread(runner: str, options: str = "") -> Spread:
    """Return a `Spread` that runs tasks on a Beam runner.

    Args:
        runner: name of the runner, such as `DirectRunner`, `DataflowRunner` or `FlinkRunner`.
        options: options of the runner in one string, as on a command line.

    Raises:
        BeamError: invalid options, or an unknown runner.
    """
    try:
        parsed = PipelineOptions(shlex.split(options))
        local = runner == "DirectRunner"
        engine = _local(parsed) if local else create_runner(runner)
    except (ValueError, SystemExit) as error:
        raise BeamError(f"--beam-runner {runner} --beam-options {options!r}: {error}") from error
    except ImportError as error:
        raise BeamError(f"--beam-runner {runner}: cannot be loaded: {error}") from error

    def run(
        open_tools: Callable[[], Any], do: Callable[[Any, Any], Any], tasks: Sequence[Any]
    ) -> None:
        if not tasks:
            return
        pipeline = beam.Pipeline(runner=engine, options=parsed)
        (
            pipeline
            | "tasks" >> beam.Create(list(tasks))
            | "spread" >> beam.Reshuffle()
            | "work" >> beam.ParDo(_Work(open_tools, do))
        )
        try:
            state = _finished(pipeline) if local else pipeline.run().wait_until_finish()
        except Exception as error:  # runners wrap the errors of tasks in types of their own
            raise BeamError(_explain(runner, error)) from error
        if state not in (None, PipelineState.DONE):
            raise BeamError(
                f"{runner}: the pipeline ended as {state}. What was finished is kept: the same "
                "command goes on"
            )

    return run


def _local(options: PipelineOptions) -> Any:
    """Return the DirectRunner in Python; by default it would download a program from GitHub."""
    log = options.view_as(WorkerOptions)
    if log.default_sdk_harness_log_level is None:  # otherwise each traceback is printed three times
        log.default_sdk_harness_log_level = "CRITICAL"
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    values = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=values)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))


def _finished(pipeline: Any) -> Any:
    """Run a pipeline on the DirectRunner, which would wait forever for a killed worker."""
    found: SimpleQueue[Any] = SimpleQueue()
    before = threading.excepthook

    def lost(arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread is not None and arguments.thread.name == "run_worker":
            reason = f"a worker process was killed, or memory was too small: {arguments.exc_value}"
            found.put(RuntimeError(reason))
        else:
            before(arguments)

    def run() -> None:
        try:
            found.put(pipeline.run().wait_until_finish())
        except Exception as error:
            found.put(error)

    threading.excepthook = lost
    try:
        threading.Thread(target=run, daemon=True).start()
        result = found.get()
    finally:
        threading.excepthook = before
    if isinstance(result, Exception):
        raise result
    return result


def _explain(runner: str, error: Exception) -> str:
    """Explain an error in one line; runners put the traceback of a worker into its text."""
    lines = [line.strip() for line in str(error).splitlines()]
    found = next((line for line in reversed(lines) if _ERROR.match(line)), "")
    reason = found or next(filter(None, lines), type(error).__name__)
    reason = re.sub(
        r"^RuntimeError: (?=[A-Za-z_][\w.]*: )|\s*\[while running [^\]]*\]$", "", reason
    )
    return f"{runner}: {reason}. What was finished is kept: the same command goes on"
