"""A real SLURM on this machine: one controller, two nodes of eight accelerators that are empty files.

Needs the packages slurm-wlm and munge, and root. Each node is a daemon with its own name, port and loopback address.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NODES = ("gpu1", "gpu2")
GPUS = 8
CPUS = 16
START_S = 30
MISSING = "needs slurm-wlm, munge and root: tests/real/install_system_parts.sh"
CONFIGURATION = """
ClusterName=sizewell
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
KillWait=15
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs={cpus} RealMemory=1000000 Gres=gpu:{gpus}"
)


def available() -> bool:
    """Return whether a cluster can be started here."""
    daemons = all(Path("/usr/sbin", name).exists() for name in ("slurmctld", "slurmd", "munged"))
    return daemons and os.geteuid() == 0


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run the daemons; yield the environment in which their commands work."""
    configuration = _configure(folder)
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    munged = None if _munge_answers() else _start_munge()
    daemons = [["/usr/sbin/slurmctld", "-D", "-c"], *(["/usr/sbin/slurmd", "-D", "-N", name] for name in NODES)]
    running = [subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) for words in daemons]
    try:
        _wait_until_idle(environment)
        yield environment
        _end_jobs(environment)
    finally:
        for each in reversed(running):
            each.send_signal(signal.SIGTERM)
        for each in running:
            each.wait(30)
        if munged is not None:
            munged.terminate()
            munged.wait(10)


def _configure(folder: Path) -> Path:
    host = socket.gethostname().partition(".")[0]
    first, *ports = _free_ports(1 + len(NODES))
    lines = [CONFIGURATION.format(host=host, port=first, folder=folder)]
    for number, name in enumerate(NODES, start=1):
        (folder / f"spool-{name}").mkdir()
        place = {"address": f"127.0.0.{number + 1}", "port": ports[number - 1]}
        lines.append(NODE.format(name=name, host=host, cpus=CPUS, gpus=GPUS, **place))
    lines.append(f"PartitionName=gpu Nodes={','.join(NODES)} Default=YES State=UP")
    (folder / "state").mkdir()
    for number in range(GPUS):
        (folder / f"accelerator{number}").touch()
    gres = [f"NodeName={name} Name=gpu File={folder}/accelerator[0-{GPUS - 1}]" for name in NODES]
    (folder / "gres.conf").write_text("\n".join([*gres, ""]))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nConstrainDevices=no\n")
    path = folder / "slurm.conf"
    path.write_text("\n".join([*lines, ""]))
    return path


def _end_jobs(environment: dict[str, str]) -> None:
    """Cancel what a failed test left running: its processes would outlive the daemons."""
    subprocess.run(["scancel", "--user", "root"], env=environment, check=False)
    with suppress(TimeoutError):
        _wait_until_idle(environment)


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in listening]
    for one in listening:
        one.close()
    return ports


def _munge_answers() -> bool:
    return subprocess.run(["munge", "-n"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _start_munge() -> subprocess.Popen[bytes]:
    for folder in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(folder).mkdir(exist_ok=True)
        shutil.chown(folder, "munge", "munge")
    return subprocess.Popen(
        ["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--foreground"], stderr=subprocess.DEVNULL
    )


def _wait_until_idle(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        asked = ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"]
        said = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False).stdout
        if len(said.split()) == len(NODES):
            return
        time.sleep(0.25)
    raise TimeoutError(f"no idle nodes after {START_S} s")
