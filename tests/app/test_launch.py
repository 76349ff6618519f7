"""The launch files of examples/launch, with stand-ins for the commands of a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "examples" / "launch"


def stand_in(path, script):
    """A command that does something else; prints its arguments, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def run(command, tmp_path, **env):
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env={"PATH": path, "HOME": str(tmp_path), **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_slurm_starts_a_task_on_each_node(tmp_path):
    stand_in(tmp_path / "bin" / "srun", 'pwd; printf "%s\\n" "$@"')
    script = str(LAUNCH / "slurm.sh")
    lines = run([script], tmp_path, SLURM_SUBMIT_DIR=str(ROOT))
    assert lines == [
        str(ROOT),
        "--kill-on-bad-exit=1",
        "./launch.sh",
        "--config=configs/synth_scene.py",
    ]
    other = run([script, "--config=a b.py"], tmp_path, SLURM_SUBMIT_DIR=str(ROOT))
    assert other[-1] == "--config=a b.py"


@pytest.mark.parametrize(
    ("endpoints", "first"),
    [("t1v-0,t1v-1,t1v-2", "t1v-0"), ("a:1:10.0.0.5,b:2:10.0.0.6", "10.0.0.5")],
)
def test_each_host_of_a_tpu_finds_its_place(endpoints, first, tmp_path):
    stand_in(tmp_path / "bin" / "gcloud", 'eval "${8#--command=}"')
    answers = f'case "${{@: -1}}" in */agent-worker-number) echo 1;; *) echo {endpoints};; esac'
    stand_in(tmp_path / "bin" / "curl", answers)
    stand_in(tmp_path / "ocrjax" / ".venv" / "bin" / "python", 'printf "%s\\n" "$@"')
    given = {"TPU_NAME": "mine", "ZONE": "here", "WORKDIR": "/shared/a run"}
    lines = run([str(LAUNCH / "tpu_pod.sh"), "--config=x.py"], tmp_path, **given)
    assert lines == [
        "-m",
        "craftjax.main",
        f"--coordinator={first}:8476",
        f"--process_count={endpoints.count(',') + 1}",
        "--process_id=1",
        "--workdir=/shared/a run",
        "--config=x.py",
    ]
    (tmp_path / "bin" / "gcloud").unlink()
    lines = run([str(LAUNCH / "tpu_pod.sh")], tmp_path, **given, DRY_RUN="1")
    assert lines[:7] == [*["gcloud", "compute", "tpus", "tpu-vm", "ssh", "mine"], "--zone=here"]


def test_pods_of_a_jobset_agree(tmp_path):
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    stand_in(tmp_path / ".venv" / "bin" / "python", 'printf "%s\\n" "$@"')
    lines = run(container["command"], tmp_path, JOB_COMPLETION_INDEX="1")
    arguments = dict(line.removeprefix("--").split("=", 1) for line in lines[2:])
    name = (
        f"{jobset['metadata']['name']}-{job['name']}-0-0.{jobset['spec']['network']['subdomain']}"
    )
    assert arguments["coordinator"].partition(":")[0] == name
    assert int(arguments["process_count"]) == spec["completions"] == spec["parallelism"]
    assert arguments["process_id"] == "1"
    volumes = {one["name"] for one in spec["template"]["spec"]["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
