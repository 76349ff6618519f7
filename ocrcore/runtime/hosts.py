"""The hosts of a run: a roll call before jax starts, and a watch during training.

All processes report to process 0 what must be the same everywhere: versions, code, config. Every
host prints differences and missing processes. During training, a small watch process beside each
training process (`ocrcore.runtime.host_watch`) ends all of them if one is lost. With jax alone they
would hang, or end with an error that does not name the lost process.

Host code: no jax.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import select
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from ocrcore.runtime import host_watch
from ocrcore.runtime.facts import HostsError, refuse_differences
from ocrcore.runtime.host_watch import LONGEST, VERDICT, encode

WAIT = 300.0
"""Seconds to wait for the other processes at the start."""
TIMEOUT = 30.0
"""Seconds without a heartbeat after which a host counts as lost."""
_HELLO = "ocrjax hosts 1"
_NOTICE = 10.0  # seconds between two log lines about missing processes
_SAME = "Start the same command on all hosts, with the same checkout and the same environment"
_SLOW = 15.0  # seconds that a failed process has to clean up its run directory


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a process in a run.

    Attributes:
        coordinator: `host:port` of process 0, which holds the roll call.
        count: number of processes.
        process: index of this process, from 0.
    """

    coordinator: str
    count: int
    process: int


@dataclass(frozen=True, slots=True)
class Roll:
    """The result of a roll call.

    Attributes:
        hosts: host names, by process index.
        port: port of process 0 for jax.
        peers: sockets by process index: to all others in process 0, to process 0 in the others.
    """

    hosts: list[str]
    port: int
    peers: dict[int, socket.socket]


def slurm_place(environ: Mapping[str, str]) -> Place | None:
    """Return the place of a task in a Slurm step; None outside a step of several tasks.

    The port is computed from the job and step ids: all tasks know them, and they differ between
    runs.
    """
    count = int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    if count < 2:
        return None
    nodes = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:  # node7, or node7,gpu[1-4]
        first = prefix.partition(",")[0]
    else:  # node[001-015,020],gpu1
        inside, _, behind = rest.partition("]")
        first = prefix + inside.replace("-", ",").partition(",")[0] + behind.partition(",")[0]
    numbers = int(environ.get("SLURM_JOB_ID", 0)), int(environ.get("SLURM_STEP_ID", 0))
    port = 61440 + (numbers[0] + 61 * numbers[1]) % 4096
    return Place(f"{first}:{port}", count, int(environ["SLURM_PROCID"]))


def call_roll(
    place: Place,
    facts: Mapping[str, Any],
    *,
    wait: float = WAIT,
    log: Callable[[str], object] = print,
) -> Roll:
    """Wait until all processes of a run have reported, and compare their facts.

    Args:
        place: place of this process.
        facts: facts of this process: values by name, possibly nested.
        wait: seconds to wait for the others.
        log: called every ten seconds with a line about missing processes.

    Raises:
        HostsError: processes are missing after `wait`, two have the same index, or their facts
            differ; all get the same message.
    """
    mine = {
        "hello": _HELLO,
        "process": place.process,
        "count": place.count,
        "host": platform.node(),
        "facts": dict(facts),
    }
    host, _, port = place.coordinator.rpartition(":")
    if not port.isdecimal() or not host:
        raise HostsError(f"coordinator is {place.coordinator!r}, expected host:port of process 0")
    until = time.monotonic() + wait
    if place.process == 0:
        return _gather(place, int(port), mine, until, wait, log)
    return _report(place, host.strip("[]"), int(port), mine, until, wait, log)


def _gather(
    place: Place,
    port: int,
    mine: dict[str, Any],
    until: float,
    wait: float,
    log: Callable[[str], object],
) -> Roll:
    """Hold the roll call in process 0."""
    come: dict[int, tuple[socket.socket, dict[str, Any]]] = {}
    notice = time.monotonic() + _NOTICE

    def refuse(message: str) -> HostsError:
        for peer, _ in come.values():
            with suppress(OSError), closing(peer):
                peer.sendall(encode({"refused": message}))
        return HostsError(message)

    with closing(_listen(port)) as server:
        server.settimeout(0.5)
        while len(come) < place.count - 1:
            for number, (peer, _) in list(come.items()):
                if _has_left(peer):  # it may connect again
                    log(f"process {number} ({come.pop(number)[1]['host']}) has gone away again")
                    peer.close()
            now = time.monotonic()
            if now > until:
                raise refuse(_missing(place, {0: mine["host"]} | _names(come), wait))
            if now > notice:
                notice = now + _NOTICE
                lacking = f"{_numbers(place, come)} of {place.count}"
                text = f"waiting for {lacking}, {until - now:.0f} s more"
                log(text)
                for peer, _ in come.values():
                    with suppress(OSError):
                        peer.sendall(encode({"waiting": text}))
            try:
                peer, address = server.accept()
            except TimeoutError:
                continue
            hello = _hello(peer)
            if hello is None:
                log(f"{address[0]} is no process of this run: it is ignored")
                peer.close()
                continue
            number, host = hello["process"], hello["host"]
            if hello["count"] != place.count or not 0 < number < place.count:
                come[-1] = peer, hello
                raise refuse(
                    f"process {number} ({host}) was started with process_count={hello['count']}, "
                    f"process 0 ({mine['host']}) with {place.count}: give all the same number, and "
                    f"process_id from 0 to {place.count - 1}"
                )
            if number in come:
                other = come[number][1]["host"]
                come[-1] = peer, hello
                raise refuse(
                    f"process_id {number} was given twice, on {other} and on {host}: each process "
                    "needs its own"
                )
            come[number] = peer, hello
    hellos = [mine, *(come[number][1] for number in range(1, place.count))]
    hosts = [hello["host"] for hello in hellos]
    try:
        refuse_differences([hello["facts"] for hello in hellos], hosts, remedy=_SAME)
    except HostsError as error:
        raise refuse(str(error)) from None
    port = _free_port()
    for peer, _ in come.values():
        with suppress(OSError):  # the watch notices a process that has gone
            peer.sendall(encode({"hosts": hosts, "port": port}))
    return Roll(hosts, port, {number: peer for number, (peer, _) in come.items()})


def _report(
    place: Place,
    host: str,
    port: int,
    mine: dict[str, Any],
    until: float,
    wait: float,
    log: Callable[[str], object],
) -> Roll:
    """Report to process 0, and wait for its answer."""
    notice = time.monotonic() + _NOTICE
    while True:
        try:
            peer = socket.create_connection((host, port), timeout=5)
            peer.sendall(encode(mine))
            break
        except OSError as error:
            now = time.monotonic()
            if now > until:
                raise HostsError(
                    f"process 0 did not answer at {place.coordinator} within {wait:g} s "
                    f"({error.strerror or error}): is it started, is that its address, and may "
                    f"{mine['host']} connect to it? --host_wait sets the time"
                ) from error
            if now > notice:
                notice = now + _NOTICE
                log(f"waiting for process 0 at {place.coordinator}, {until - now:.0f} s more")
            time.sleep(0.5)
    # Process 0 may have started later, and then waits longer.
    until, told = time.monotonic() + wait + _NOTICE, False
    with ExitStack() as stack:
        stack.callback(peer.close)
        while (left := until - time.monotonic()) > 0:
            message = _receive(peer, left)
            if message is None:
                break
            if "refused" in message:
                raise HostsError(str(message["refused"]))
            if "waiting" not in message:
                stack.pop_all()
                return Roll(**message, peers={0: peer})
            log(str(message["waiting"]))
            told = True
    raise HostsError(
        f"process 0 at {place.coordinator} has ended before all processes were there"
        f"{'' if told else ', or is no process of this run'}: its own output says why"
    )


def _receive(peer: socket.socket, timeout: float) -> dict[str, Any] | None:
    """Receive one message without reading past it; return None if there is none."""
    peer.settimeout(timeout)
    try:
        with peer.makefile("rb", buffering=0) as file:
            found = json.loads(file.readline(LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise HostsError(
            f"process 0 cannot listen on port {port} ({error.strerror}): does another run use it? "
            "Name another port in --coordinator"
        ) from error


def _hello(peer: socket.socket) -> dict[str, Any] | None:
    """Receive the report of a process; return None if it does not belong to a run."""
    found = _receive(peer, 5) or {}
    kinds = {"process": int, "count": int, "host": str, "facts": dict}
    good = found.get("hello") == _HELLO and all(
        isinstance(found.get(name), kind) for name, kind in kinds.items()
    )
    return found if good else None


def _has_left(peer: socket.socket) -> bool:
    """Return whether the other end is closed; it sends nothing else before the answer."""
    try:
        return bool(select.select([peer], [], [], 0)[0]) and not peer.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _free_port() -> int:
    with closing(socket.create_server(("", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def _names(come: Mapping[int, tuple[socket.socket, dict[str, Any]]]) -> dict[int, str]:
    return {number: hello["host"] for number, (_, hello) in sorted(come.items())}


def _numbers(place: Place, come: Mapping[int, object]) -> str:
    lacking = [str(number) for number in range(1, place.count) if number not in come]
    return f"process{'es' * (len(lacking) > 1)} {', '.join(lacking)}"


def _missing(place: Place, come: Mapping[int, str], wait: float) -> str:
    there = ", ".join(f"{number} ({host})" for number, host in come.items())
    return (
        f"{_numbers(place, come)} of {place.count} did not come within {wait:g} s; there are "
        f"{there}. Is the command started there, with --coordinator={place.coordinator} and a "
        "process_id of its own, and may that host connect to this address? --host_wait sets the "
        "time"
    )


class Joined:
    """The watch process of this process; see `ocrcore.runtime.host_watch`.

    Attributes:
        left: whether the watch knows how this process ends.
    """

    def __init__(self, place: Place, roll: Roll, timeout: float) -> None:
        self.left, self._timeout = False, timeout
        self._lock = threading.Lock()
        files = {number: peer.fileno() for number, peer in roll.peers.items()}
        given = {
            "process": place.process,
            "hosts": roll.hosts,
            "peers": files,
            "timeout": timeout,
        }
        # A process group of its own, since signals that stop a run are for the training process.
        self._process = subprocess.Popen(
            [sys.executable, "-E", "-S", host_watch.__file__, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=list(files.values()),
            start_new_session=True,
        )
        for peer in roll.peers.values():
            peer.close()
        threading.Thread(target=self._listen, name="hosts", daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.read(len(VERDICT)) == VERDICT or not self.left:
            # The watch has printed the reason. This process may hang in a collective operation.
            _end_now()

    def leave(self, error: str | None = None) -> None:
        """Tell the other hosts that this process ends, normally or by an error."""
        with self._lock:
            if self.left:
                return
            self.left = True
        message = {"done": True} if error is None else {"failed": f"ended with an error: {error}"}
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        with suppress(OSError):
            pipe.write(encode(message))
            pipe.close()
        self._process.wait()

    def await_verdict(self) -> None:
        """Wait for the watch's verdict on an error that another host may have caused."""
        time.sleep(self._timeout + 5)


_joined: Joined | None = None


def join(
    place: Place,
    facts: Mapping[str, Any],
    *,
    wait: float = WAIT,
    timeout: float = TIMEOUT,
    log: Callable[[str], object] = print,
) -> Roll:
    """Join the processes of a run: roll call, comparison of facts, start of the watch.

    Args:
        place: place of this process.
        facts: facts from `facts_of`.
        wait: seconds to wait for the others.
        timeout: seconds without a heartbeat after which a host counts as lost.
        log: called with a line about missing processes.

    Raises:
        HostsError: invalid times, missing processes, or different facts.
    """
    global _joined
    if wait <= 0 or timeout < 1:
        raise HostsError(
            f"host_wait is {wait:g} and host_timeout {timeout:g}, expected more than 0 and at "
            "least 1 second"
        )
    roll = call_roll(place, facts, wait=wait, log=log)
    _joined = Joined(place, roll, timeout)
    atexit.register(leave)  # before jax's own, which waits for all processes
    return roll


def leave(error: BaseException | None = None) -> None:
    """Tell the other hosts that this process ends; do nothing in a run of one process.

    After an error the process has some seconds to clean up its files. Then it is ended, since its
    cleanup may wait for processes that have ended.
    """
    if _joined is None or _joined.left:
        return
    if error is None:
        _joined.leave()
        return
    if _is_of_jax(error):
        _joined.await_verdict()
    _joined.leave(_one_line(error))
    timer = threading.Timer(_SLOW, _give_up, [_one_line(error)])
    timer.daemon = True
    timer.start()


def _give_up(text: str) -> None:
    host_watch.say(text)
    _end_now()


def _end_now() -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(1)  # jax would wait for the others


@contextmanager
def told_to_hosts() -> Iterator[None]:
    """Run a program, and tell the other hosts how it ends, so that none waits for a failed one."""
    try:
        yield
    except BaseException as error:
        if _joined is None or (isinstance(error, SystemExit) and not error.code):
            leave()
            raise
        leave(error)
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        elif isinstance(error.code, str):
            print(error.code, file=sys.stderr, flush=True)
        _end_now()
    leave()


def _one_line(error: BaseException) -> str:
    text = str(error.code) if isinstance(error, SystemExit) else str(error)
    return " ".join(text.split())[:2000] or type(error).__name__


def _is_of_jax(error: BaseException) -> bool:
    """Return whether a device computation failed, as it does when another host is lost."""
    errors = sys.modules.get("jax.errors")
    return errors is not None and isinstance(error, errors.JaxRuntimeError)
