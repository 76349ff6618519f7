"""Watches the hosts of a run: a small process beside each training process.

Where a process of the run is lost, the others would wait for it in the middle of a step, for
minutes, and jax would end them with a C++ error. This process notices, says on each host what has
happened and what to do, and ends the training process there. It is a process of its own because
jax may end the training process before any Python of it runs.

It is started by `ocrcore.runtime.hosts`, by its file. Host code: no jax; the standard library only.
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
"""Bytes of a message; a config has some thousand."""
VERDICT = b"verdict\n"
"""What the training process reads when it must end."""
_BEATS = 6  # signs of life within the time after which a host without any is given up
_LINGER = 3.0  # seconds that a verdict may take to arrive where the training process has ended
_GRACE = 3.0  # seconds that the training process has to end by itself
_AGAIN = (
    "All processes of the run end now. What was saved is whole: when the cause is mended, start "
    "the same command on all hosts again, and the run goes on from its last checkpoint"
)


class Lines:
    """Messages of a socket or pipe, one JSON value a line, read without waiting."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._rest = b""

    def read(self) -> list[Any] | None:
        """The messages that have come since; None at the end, or where they are none of ours."""
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
    """A message as a line."""
    return json.dumps(message).encode() + b"\n"


def describe_loss(process: int, host: str, why: str) -> str:
    """What to print on every host when one is lost."""
    return f"process {process} ({host}) {why}. {_AGAIN}"


class Watch:
    """The state of a watch.

    Args:
        process: the number of the training process.
        hosts: names of the hosts of all processes.
        peers: sockets by number of the process: in process 0 those of all others, in the others
            that of process 0.
        timeout: seconds without a sign of life after which a host is given up.

    Attributes:
        told: whether a loss was told by another process, not found.
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
        """Sends a message to all peers; who cannot take it is found lost when he is read."""
        for number, peer in self.peers.items():
            if number not in but:
                with suppress(OSError):
                    peer.send(encode(message))

    def turn(self, ready: Iterable[int], now: float) -> str | None:
        """Takes what has come, and gives a sign of life.

        Args:
            ready: files that can be read.
            now: by the clock.

        Returns:
            What to print, where a process is lost; None while all are there.
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
        """Tells the others that a process is lost; returns what to print."""
        self.tell({"failed": process, "why": why}, but=() if told is None else (told,))
        return describe_loss(process, self.hosts[process], why)

    def _forget(self, number: int) -> None:
        self.peers.pop(number).close()
        del self._lines[number], self._heard[number]


def run(watch: Watch, parent: int) -> None:
    """Watches until the training process ends, or must.

    Args:
        watch: with the sockets of the others.
        parent: file by which the training process says how it ends; its end is that process's.
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
            elif watch.told:  # else it is the others who end because of this one
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
            # It may have been ended by jax, because another one is lost: that is told in a moment.
            why = "has ended without a word: it was killed (out of memory?), or it crashed"
            watch.tell({"failed": watch.process, "why": why})
            from_parent, until = None, time.monotonic() + _LINGER


def say(text: str) -> None:
    """Prints where the training process does."""
    with suppress(OSError):
        os.write(2, f"\nocrjax: {text}\n".encode(errors="backslashreplace"))


def end_parent() -> None:
    """Has the training process end itself, and kills it where it does not."""
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
    """The process: its argument is JSON, see `ocrcore.runtime.hosts`."""
    given = json.loads(sys.argv[1])
    peers = {int(number): socket.socket(fileno=file) for number, file in given["peers"].items()}
    for peer in peers.values():
        peer.setblocking(False)
    run(Watch(given["process"], given["hosts"], peers, given["timeout"]), 0)


if __name__ == "__main__":
    main()
