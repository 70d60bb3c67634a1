"""SLURM on this machine: a node with two GPUs that are none, one without, gone after `stop`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")
LOOPBACK = "127.0.0.1"
NODES = ("node", "plain")
"""Each of two cores; only the first has GPUs, and takes the jobs that name no partition."""
START_TIMEOUT_S = 30
# What it says of the machine is not what the machine is: every test is to find the same cluster.
CONFIGURATION = """\
ClusterName=crossfold
SlurmctldHost={host}({loopback})
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={nodes[0]} NodeAddr={loopback} Port={ports[1]} CPUs=2 RealMemory=64000 Gres=gpu:2
NodeName={nodes[1]} NodeAddr={loopback} Port={ports[2]} CPUs=2 RealMemory=64000
PartitionName=main Nodes={nodes[0]} Default=YES MaxTime=2-00:00:00
PartitionName=plain Nodes={nodes[1]} MaxTime=2-00:00:00
"""
GPUS = "AutoDetect=off\n" + "".join(
    f"NodeName={NODES[0]} Name=gpu File={device}\n" for device in ("/dev/null", "/dev/zero")
)
FIELDS = ("JobID", "Comment", "State", "RestartCnt", "tres-per-job", "cpus-per-task", "MinMemory")


class SlurmMissingError(RuntimeError):
    """SLURM cannot run here; the message says what it needs."""


@dataclass(frozen=True)
class BatchJob:
    """What SLURM has recorded of a job."""

    id: str
    comment: str
    """What Snakemake's executor writes: the rule and its wildcards."""
    state: str
    restarts: int
    """How often SLURM itself has begun it again."""
    gpus: str
    cpus: str
    memory: str


class SlurmCluster:
    """A running SLURM; `environment` leads its commands, and Snakemake, to it."""

    def __init__(self) -> None:
        if missing := [name for name in (*DAEMONS, "sbatch") if not find(name)]:
            packages = "slurmctld slurmd slurm-client munge"
            raise SlurmMissingError(f"no {', '.join(missing)}: install {packages}")
        if os.geteuid() != 0:
            raise SlurmMissingError("only root can start SLURM's daemons")
        # Short: the path of a socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        self._daemons: list[subprocess.Popen] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and the daemons, the last one started first."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", "--user", "root")
            self.wait_until(lambda: not self.run("squeue", "--noheader"), "no job is left")
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def jobs(self) -> list[BatchJob]:
        """All jobs in the order of their submission, also those that have ended."""
        form = ",".join(f"{field}:|" for field in FIELDS)
        lines = self.run("squeue", "--states=all", "--noheader", "--Format", form).splitlines()
        rows = sorted((line.split("|") for line in lines), key=lambda row: int(row[0]))
        return [BatchJob(*row[:3], int(row[3]), *row[4:7]) for row in rows]

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 180) -> None:
        """Look at something until it is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds} s until {what}\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        """What the daemons have written: of a job that never ran there is nothing else."""
        return "\n".join(file.read_text(errors="replace") for file in self.folder.glob("*.log"))

    def _start(self) -> None:
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        configuration = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().partition(".")[0],
            loopback=LOOPBACK,
            nodes=NODES,
            ports=free_ports(1 + len(NODES)),
        )
        self._write("slurm.conf", configuration)
        self._write("gres.conf", GPUS)
        self._write("cgroup.conf", "")
        self._wrap_clients()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        files |= {"seed-file": "munge.seed", "log-file": "munged.log"}
        options = (f"--{name}={self.folder / file}" for name, file in files.items())
        self._run_daemon("munged", "--foreground", "--force", *options)
        self.wait_until((self.folder / "munge.socket").exists, "munged listens", START_TIMEOUT_S)
        self._run_daemon("slurmctld", "-D", "-i")
        for node in NODES:
            self._run_daemon("slurmd", "-D", "-N", node)
        self.wait_until(self._are_idle, "the nodes are idle", START_TIMEOUT_S)

    def _wrap_clients(self) -> None:
        """Name the configuration in each command: in its jobs the executor drops SLURM_CONF."""
        folder = self.folder / "bin"
        folder.mkdir()
        configuration = self.environment["SLURM_CONF"]
        for name in filter(find, CLIENTS):
            text = f'#!/bin/sh\nSLURM_CONF={configuration} exec {find(name)} "$@"\n'
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)

    def _are_idle(self) -> bool:
        try:
            return self.run("sinfo", "--noheader", "--Node", "--format=%T").split() == [
                "idle" for _ in NODES
            ]
        except subprocess.SubprocessError:  # it does not listen yet
            return False

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _run_daemon(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}-{len(self._daemons)}.printed.log").open("w") as printed:
            daemon = subprocess.Popen(
                [str(find(name)), *options],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        self._daemons.append(daemon)


@contextlib.contextmanager
def running_cluster() -> Iterator[SlurmCluster]:
    """A cluster for as long as a block runs."""
    cluster = SlurmCluster()
    try:
        yield cluster
    finally:
        cluster.stop()


def find(program: str) -> str | None:
    """The path of a program, also of those for root alone."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
