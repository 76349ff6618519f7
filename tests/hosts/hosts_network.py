"""Hosts made of network namespaces: each has an address, a name and a link of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
NET = "10.77.0."
BRIDGE = "ocrjaxbr"
CONFIG = Path(__file__).parent / "tiny_hosts.py"


def unusable():
    """Why there can be no such hosts here; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "ip (iproute2) or unshare (util-linux) is missing"
    tried = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True)
    return f"namespaces are not allowed: {tried.stderr.strip()}" if tried.returncode else None


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """Some hosts on a bridge: host0, host1, ...; remove it with `close`."""

    def __init__(self, count):
        self.count, self.processes = count, []
        self.close()
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")
        names = "".join(f"{NET}{i + 1} host{i}\n" for i in range(count))
        for i in range(count):
            etc = Path(f"/etc/netns/ocrjax{i}")  # ip netns exec lays these over /etc
            etc.mkdir(parents=True, exist_ok=True)
            (etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
            ip("netns", "add", f"ocrjax{i}")
            ip(
                "link",
                "add",
                f"ocrjaxv{i}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"ocrjax{i}",
            )
            ip("link", "set", f"ocrjaxv{i}", "master", BRIDGE, "up")
            for arguments in (
                ("addr", "add", f"{NET}{i + 1}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", f"ocrjax{i}", *arguments)

    def cut(self, host):
        """Takes the link of a host down, as a broken cable or switch does."""
        ip("link", "set", f"ocrjaxv{host}", "down")

    def mend(self, host):
        """Takes it up again."""
        ip("link", "set", f"ocrjaxv{host}", "up")

    def start(self, host, *arguments, env=None, root=ROOT, over=None, labels=""):
        """Starts the recognizer's training on a host; returns its process.

        `over`: a folder that the host has in the place of another one. `labels`: of crops to train
        on, instead of synthetic words.
        """
        config = f"{CONFIG}:{labels}" if labels else CONFIG
        inside = [
            *(sys.executable, "-m", "crnnjax.main", f"--config={config}"),
            *("--coordinator=host0:7700", f"--process_id={host}"),
            *(f"--process_count={self.count}", *map(str, arguments)),
        ]
        mount = f"mount --bind {over[0]} {over[1]};" if over else ""
        script = f'hostname host{host}; {mount} exec "$@"'
        named = ["unshare", "--uts", "sh", "-c", script, "sh", *inside]
        return Process(["ip", "netns", "exec", f"ocrjax{host}", *named], root, env or {}, self)

    def start_all(self, *arguments, **options):
        """Starts it on all hosts."""
        return [self.start(host, *arguments, **options) for host in range(self.count)]

    def close(self):
        """Kills what runs there, and removes the hosts."""
        for process in self.processes:
            process.kill()
        for number in range(8):
            subprocess.run(["ip", "netns", "del", f"ocrjax{number}"], capture_output=True)
            shutil.rmtree(f"/etc/netns/ocrjax{number}", ignore_errors=True)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


class Process:
    """A process whose output is read while it runs."""

    def __init__(self, command, root, env, network=None):
        self.started, self.ended, self.lines = time.monotonic(), None, []
        settings = {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
        environment = os.environ | settings | env
        self._process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if network is not None:
            network.processes.append(self)

    def _read(self):
        with self._process.stdout as output:
            for line in output:
                self.lines.append((time.monotonic() - self.started, line.rstrip("\n")))

    @property
    def output(self):
        return "\n".join(line for _, line in self.lines)

    def wait_for(self, start, seconds=1200):
        """Waits for a line that begins so; returns when it came, in seconds since the start."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for when, line in list(self.lines):
                if line.startswith(start):
                    return when
            assert self._process.poll() is None, self.output
            time.sleep(0.05)
        raise AssertionError(f"no line {start!r} in {seconds} s: {self.output}")

    def send(self, number):
        self._process.send_signal(number)

    def finish(self, seconds=1200):
        """Waits for the end; returns the exit status."""
        status = self._process.wait(timeout=seconds)
        self._reader.join(timeout=30)
        return status

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=30)


def train_alone(workdir, *arguments, devices=1):
    """The same training in one process."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "crnnjax.main", f"--config={CONFIG}", f"--workdir={workdir}"]
    return Process([*command, *map(str, arguments)], ROOT, {"XLA_FLAGS": flags})
