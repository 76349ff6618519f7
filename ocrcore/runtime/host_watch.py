"""Watch the hosts of a run: a small process beside each training process.

If a process of a run is lost, the others wait for it in the middle of a step for minutes, until jax
ends them with a C++ error. The watch notices the loss, prints on each host what happened and what
to do, and ends the training process there. It is a separate process because jax may end the
training process before any Python code of it runs.

`ocrcore.runtime.hosts` starts this file as a program. Host code: no jax; the standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

LONGEST = 16 << 20
"""Maximum bytes of a message; a config has a few thousand."""
VERDICT = b"verdict\n"
"""Line sent to the training process when it must end."""
_BEATS = 6  # heartbeats per timeout
_LINGER = 3.0  # seconds to wait for a verdict after the training process has ended
_GRACE = 3.0  # seconds that the training process has to exit by itself
_AGAIN = (
    "All processes of the run end now. What was saved is whole: when the cause is mended, start "
    "the same command on all hosts again, and the run goes on from its last checkpoint"
)


class Lines:
    """Messages of a socket or pipe, one JSON value per line, read without blocking."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._rest = b""

    def read(self) -> list[Any] | None:
        """Return the new messages; None at the end of the file or for malformed ones."""
        try:
            data = os.read(self.file, 1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        if not data or len(self._rest) > LONGEST:
            return None
        try:
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return None


def encode(message: Mapping[str, Any]) -> bytes:
    """Encode a message as a line of JSON."""
    return json.dumps(message).encode() + b"\n"


def describe_loss(process: int, host: str, why: str) -> str:
    """Return the message to print on every host when a process is lost."""
    return f"process {process} ({host}) {why}. {_AGAIN}"


class Watch:
    """The state of a watch.

    Args:
        process: index of the training process.
        hosts: host names of all processes.
        peers: sockets by process index: to all others in process 0, to process 0 in the others.
        timeout: seconds without a heartbeat after which a host counts as lost.

    Attributes:
        told: whether another process reported the loss, instead of this one noticing it.
    """

    def __init__(
        self, process: int, hosts: list[str], peers: Mapping[int, socket.socket], timeout: float
    ) -> None:
        self.process, self.hosts, self.timeout = process, hosts, timeout
        self.peers, self.told = dict(peers), False
        now = time.monotonic()
        self._heard = dict.fromkeys(peers, now)
        self._lines = {number: Lines(peer.fileno()) for number, peer in peers.items()}
        self._next = now

    def tell(self, message: Mapping[str, Any], *, but: Iterable[int] = ()) -> None:
        """Send a message to all peers; reading from a lost one will show that it is lost."""
        for number, peer in self.peers.items():
            if number not in but:
                with suppress(OSError):
                    peer.send(encode(message))

    def turn(self, ready: Iterable[int], now: float) -> str | None:
        """Read the messages of the peers, and send a heartbeat if it is due.

        Args:
            ready: file descriptors that are ready to read.
            now: time of the monotonic clock in seconds.

        Returns:
            The message to print if a process is lost; None while all are alive.
        """
        for number, lines in list(self._lines.items()):
            if lines.file not in ready:
                continue
            found = lines.read()
            if found is None:
                return self.lost(number, "is gone: its connection is closed")
            self._heard[number] = now
            for message in found:
                if "failed" in message:
                    self.told = True
                    return self.lost(int(message["failed"]), str(message["why"]), told=number)
                if "done" in message:
                    self._forget(number)
        if now >= self._next:
            self._next = now + self.timeout / _BEATS
            self.tell({"alive": self.process})
        for number, heard in self._heard.items():
            if now - heard > self.timeout:
                mine = ", or that of this host" if self.process else ""
                return self.lost(
                    number,
                    f"has given no sign of life for {self.timeout:g} s: that host is down, or its "
                    f"network{mine}",
                )
        return None

    def lost(self, process: int, why: str, *, told: int | None = None) -> str:
        """Tell the others that a process is lost; return the message to print."""
        self.tell({"failed": process, "why": why}, but=() if told is None else (told,))
        return describe_loss(process, self.hosts[process], why)

    def _forget(self, number: int) -> None:
        self.peers.pop(number).close()
        del self._lines[number], self._heard[number]


def run(watch: Watch, parent: int) -> None:
    """Watch until the training process ends or must end.

    Args:
        watch: the watch, with the sockets of its peers.
        parent: file descriptor on which the training process says how it ends; end of file means
            that the process has ended.
    """
    from_parent: Lines | None = Lines(parent)
    until = float("inf")
    while time.monotonic() < until:
        files = [peer.fileno() for peer in watch.peers.values()]
        if from_parent is not None:
            files.append(parent)
        ready, _, _ = select.select(files, [], [], min(1.0, watch.timeout / _BEATS))
        text = watch.turn(ready, time.monotonic())
        if text is not None:
            if from_parent is not None:
                say(text)
                end_parent()
            elif watch.told:  # otherwise the others end because of this process
                say(text)
            return
        if from_parent is None or parent not in ready:
            continue
        messages = from_parent.read()
        for message in messages or ():
            if "failed" in message:
                watch.tell({"failed": watch.process, "why": message["failed"]})
            else:
                watch.tell({"done": watch.process})
            return
        if messages is None:
            # jax may have ended it because another process is lost; that message arrives soon.
            why = "has ended without a word: it was killed (out of memory?), or it crashed"
            watch.tell({"failed": watch.process, "why": why})
            from_parent, until = None, time.monotonic() + _LINGER


def say(text: str) -> None:
    """Print a message on the stderr of the training process."""
    with suppress(OSError):
        os.write(2, f"\nocrjax: {text}\n".encode(errors="backslashreplace"))


def end_parent() -> None:
    """Tell the training process to exit, and kill it if it does not."""
    parent = os.getppid()
    with suppress(OSError):
        os.write(1, VERDICT)
    until = time.monotonic() + _GRACE
    while time.monotonic() < until:
        if os.getppid() != parent:
            return
        time.sleep(0.05)
    with suppress(OSError):
        os.kill(parent, signal.SIGKILL)


def main() -> None:
    """Run the watch process; its argument is JSON from `ocrcore.runtime.hosts`."""
    given = json.loads(sys.argv[1])
    peers = {int(number): socket.socket(fileno=file) for number, file in given["peers"].items()}
    for peer in peers.values():
        peer.setblocking(False)
    run(Watch(given["process"], given["hosts"], peers, given["timeout"]), 0)


if __name__ == "__main__":
    main()
