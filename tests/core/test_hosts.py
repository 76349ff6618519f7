from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from ocrcore.runtime import host_watch, hosts
from ocrcore.runtime.facts import HostsError, differences, facts_of
from ocrcore.runtime.host_watch import Watch
from ocrcore.runtime.hosts import Place, call_roll, slurm_place


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]


def call(facts, *, wait=20.0, count=None, numbers=None):
    """A roll call of threads: what each got, or the error it ended with; and the log's lines."""
    port, said = free_port(), []
    numbers = range(len(facts)) if numbers is None else numbers

    def one(number, own):
        place = Place(f"127.0.0.1:{port}", count or len(facts), number)
        try:
            return call_roll(place, own, wait=wait, log=said.append)
        except HostsError as error:
            return str(error)

    with ThreadPoolExecutor(len(facts)) as pool:
        return list(pool.map(one, numbers, facts)), said


def close(rolls):
    for roll in rolls:
        for peer in roll.peers.values():
            peer.close()


def test_all_come_and_are_the_same():
    facts = {"version": {"jax": "1"}, "config": {"steps": 3}}
    rolls, _ = call([facts] * 3)
    assert not [roll for roll in rolls if isinstance(roll, str)]
    assert len({roll.port for roll in rolls}) == 1
    assert [sorted(roll.peers) for roll in rolls] == [[1, 2], [0], [0]]
    assert all(len(roll.hosts) == 3 for roll in rolls)
    close(rolls)


def test_what_differs_is_refused_on_all_hosts():
    facts = [{"config": {"steps": 3}}, {"config": {"steps": 3}}, {"config": {"steps": 4}}]
    (first, *others), _ = call(facts)
    assert "the hosts differ: config.steps is 3 in processes 0 (" in first
    assert "; 4 in process 2 (" in first and "Start the same command on all hosts" in first
    assert others == [first, first]


def test_differences_are_named():
    facts = [
        {"version": {"jax": "0.10.2", "numpy": "2"}, "code": "aa"},
        {"version": {"jax": "0.11.0"}, "code": "aa"},
    ]
    assert differences(facts, ["red", "blue"]) == [
        'version.jax is "0.10.2" in process 0 (red); "0.11.0" in process 1 (blue)',
        'version.numpy is "2" in process 0 (red); missing in process 1 (blue)',
    ]
    assert differences(facts[:1] * 2, ["red", "blue"]) == []


def test_facts_leave_out_what_is_a_hosts_own():
    facts = facts_of({"data": {"workers": 3, "threads": 2, "size": 64}, "steps": 5})
    assert facts["config"] == {"data": {"size": 64}, "steps": 5}
    assert {"ocrjax", "jax", "numpy", "python"} <= facts["version"].keys()
    assert len(facts["code"]) == 8


def test_who_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(hosts, "_NOTICE", 0.2)
    (first, second), said = call([{}, {}], wait=1, count=4)
    assert "processes 2, 3 of 4 did not come within 1 s; there are 0 (" in first
    assert second == first
    assert any(line.startswith("waiting for processes 2, 3 of 4, ") for line in said)


def test_without_process_0_the_others_say_so(monkeypatch):
    monkeypatch.setattr(hosts, "_NOTICE", 0.2)
    (only,), said = call([{}], numbers=[1], wait=1, count=2)
    assert "process 0 did not answer at 127.0.0.1:" in only and "within 1 s" in only
    assert said[0].startswith("waiting for process 0 at 127.0.0.1:")


def test_two_processes_of_one_number_and_other_counts_are_refused():
    found, _ = call([{}, {}, {}], numbers=[0, 1, 1], count=3)
    assert all("process_id 1 was given twice, on " in text for text in found)
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(call_roll, Place(f"127.0.0.1:{port}", count, number), {}, wait=20)
            for number, count in ((0, 2), (1, 4))
        ]
        for run in runs:
            with pytest.raises(HostsError, match=r"process 1 .* process_count=4, process 0 .*2"):
                run.result()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.0\r\n\r\n", b'{"hello": 1}\n', b"[]\n", b""])
def test_strangers_are_ignored(garbage):
    port, said = free_port(), []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(
            call_roll, Place(f"127.0.0.1:{port}", 2, 0), {}, wait=20, log=said.append
        )
        while True:
            try:
                stranger = socket.create_connection(("127.0.0.1", port), timeout=1)
                break
            except OSError:
                time.sleep(0.01)
        stranger.sendall(garbage)
        stranger.close()
        second = pool.submit(call_roll, Place(f"127.0.0.1:{port}", 2, 1), {}, wait=20)
        close([first.result(), second.result()])
    assert any("is no process of this run" in line for line in said)


def test_a_used_port_is_named():
    with closing(hosts._listen(0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HostsError, match=f"process 0 cannot listen on port {port} "):
            call_roll(Place(f"127.0.0.1:{port}", 2, 0), {}, wait=1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("node7,gpu[1-4]", "node7"),
        ("node[001-015,020],gpu1", "node001"),
        ("node[3,7-9]", "node3"),
        ("rack[1-2]-gpu,other", "rack1-gpu"),
    ],
)
def test_place_of_a_slurm_task(nodes, first):
    environ = {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_JOB_ID": "5000",
        "SLURM_STEP_ID": "1",
        "SLURM_PROCID": "3",
    }
    assert slurm_place(environ) == Place(f"{first}:{61440 + 965}", 4, 3)
    assert slurm_place({"SLURM_STEP_NUM_TASKS": "1"}) is None


@pytest.fixture
def pair():
    """Makes the watches of two processes, connected."""
    ends = []

    def make(timeout=30.0):
        one, two = socket.socketpair()
        ends.extend((one, two))
        one.setblocking(False)
        two.setblocking(False)
        names = ["red", "blue"]
        return Watch(0, names, {1: one}, timeout), Watch(1, names, {0: two}, timeout)

    yield make
    for end in ends:
        end.close()


def turn(watch, now=None):
    files = [peer.fileno() for peer in watch.peers.values()]
    return watch.turn(select.select(files, [], [], 0)[0], time.monotonic() if now is None else now)


def test_hosts_that_live_are_left_alone(pair):
    first, second = pair()
    for seconds in range(0, 300, 5):
        now = time.monotonic() + seconds
        assert turn(first, now) is None and turn(second, now) is None
    first.tell({"done": 0})
    assert turn(second) is None and second.peers == {}


def test_a_silent_host_is_given_up(pair):
    first, second = pair(timeout=10)
    later = time.monotonic() + 11
    text = first.turn([], later)
    assert text.startswith("process 1 (blue) has given no sign of life for 10 s: that host is down")
    assert "start the same command on all hosts again" in text
    text = second.turn([], later)
    assert "process 0 (red) has given no sign of life" in text and "or that of this host" in text


def test_a_lost_connection_and_an_error_are_told_to_all(pair):
    first, second = pair()
    second.peers[0].close()
    assert turn(first).startswith("process 1 (blue) is gone: its connection is closed. All")
    first, second = pair()
    second.tell({"failed": 1, "why": "ended with an error: no such file: x"})
    text = turn(first)
    assert text.startswith("process 1 (blue) ended with an error: no such file: x. All processes")


WATCHED = """
import json, os, subprocess, sys, time
watch = subprocess.Popen(
    [sys.executable, "-E", "-S", sys.argv[1], sys.argv[2]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[int(sys.argv[3])],
)
os.close(int(sys.argv[3]))
print("ready", flush=True)
time.sleep(60)
"""


def watched():
    """A process that waits, with a watch beside it; the other end of its connection."""
    mine, its = socket.socketpair()
    given = {"process": 1, "hosts": ["red", "blue"], "peers": {0: its.fileno()}, "timeout": 30}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, host_watch.__file__, json.dumps(given), str(its.fileno())],
        pass_fds=[its.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    its.close()
    assert process.stdout.readline() == "ready\n"
    return process, mine


def test_the_watch_ends_a_process_that_does_not_end_itself(monkeypatch):
    process, mine = watched()
    with closing(mine):
        mine.sendall(b'{"failed": 0, "why": "ended with an error: disk full"}\n')
        _, err = process.communicate(timeout=30)
    assert process.returncode == -9
    assert "ocrjax: process 0 (red) ended with an error: disk full. All processes" in err


def test_the_watch_tells_the_others_of_a_kill():
    process, mine = watched()
    process.kill()
    mine.settimeout(30)
    with closing(mine), mine.makefile("rb") as file:
        messages = [json.loads(line) for line in file]
    process.communicate()
    assert {k: v for k, v in messages[-1].items() if k == "failed"} == {"failed": 1}
    assert "has ended without a word" in messages[-1]["why"]


JOINED = """
import sys, time
from ocrcore.runtime import hosts
number, port, end = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with hosts.told_to_hosts():
    hosts.join(hosts.Place(f"127.0.0.1:{port}", 2, number), {}, timeout=5)
    if end == "well":
        sys.exit(0)
    if end == "error":
        sys.exit("a.txt: no such file")
    time.sleep(60)
"""


def joined(*ends):
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOINED, str(number), port, end],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number, end in enumerate(ends)
    ]
    found = [process.communicate(timeout=60) for process in processes]
    return [process.returncode for process in processes], [err for _, err in found]


def test_an_error_ends_all_processes_with_its_message():
    codes, errors = joined("wait", "error")
    assert codes == [1, 1], errors
    assert errors[1].strip() == "a.txt: no such file"
    assert (
        "process 1 (" in errors[0] and "ended with an error: a.txt: no such file. All" in errors[0]
    )


def test_processes_that_end_well_say_nothing():
    codes, errors = joined("well", "well")
    assert codes == [0, 0] and errors == ["", ""]


def test_a_process_alone_is_not_watched():
    hosts.leave()
    with pytest.raises(SystemExit, match="no"), hosts.told_to_hosts():
        sys.exit("no")
    with pytest.raises(HostsError, match=r"host_timeout 0\.5, expected more than 0"):
        hosts.join(Place("a:1", 2, 0), {}, timeout=0.5)
    with pytest.raises(HostsError, match="coordinator is 'a:b', expected host:port"):
        call_roll(Place("a:b", 2, 0), {})
