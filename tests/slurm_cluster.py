"""A SLURM cluster of one node on this machine, of Debian's `slurm-wlm` and `munge`, while a command runs.

    python tests/slurm_cluster.py snakemake --workflow-profile profiles/slurm \\
        --configfile configs/smoke.yaml

Its daemons run as the user who starts it, listen on free ports and keep all their files in one folder. It
has no accounting database: jobs are asked after with `squeue`, and belong to no account (SETTINGS). A job
that takes more memory than it asked for is killed.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
# A cluster of this kind needs them on Snakemake's command line.
SETTINGS = (
    *("--slurm-status-command", "squeue", "--slurm-no-account", "--max-threads", "2"),
    *("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2"),
)
# where Debian keeps daemons; not every user's PATH has it
SBIN = "/usr/sbin"
MEMORY = 64_000  # MB that the node says it has, so that what jobs ask for keeps none waiting

CONFIG = """
ClusterName=camground
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=300
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoCluster(Exception):
    """SLURM is not here, or does not start; says why."""


def missing() -> list[str]:
    """The programs of PROGRAMS that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name, path=search_path())]


def search_path() -> str:
    return os.pathsep.join([*os.get_exec_path(), SBIN])


@contextmanager
def cluster(folder: Path, patience: float = 60.0) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach a cluster whose files are below `folder`.

    `patience`: seconds in which its node must be ready. Raises NoCluster.
    """
    if programs := missing():
        raise NoCluster(f"not installed: {', '.join(programs)} (Debian: slurm-wlm, munge)")
    folder.chmod(0o755)  # munge refuses a socket that others could not reach
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    host = socket.gethostname().partition(".")[0]
    controller, daemon = free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            **{"host": host, "folder": folder, "user": getpass.getuser()},
            **{"controller": controller, "daemon": daemon, "memory": MEMORY},
        )
    )
    # cards that are only counted
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null,/dev/zero\n")
    # Snakemake's job steps call `srun` without SLURM_CONF, as if the cluster were that of /etc/slurm.
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun", path=search_path())} "$@"\n')
    srun.chmod(0o755)
    path = os.pathsep.join([str(srun.parent), search_path()])
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    munged = [
        *("munged", "--foreground", "--force", "--num-threads", "2"),
        *("--key-file", str(key), "--socket", str(folder / "munge.socket")),
        *("--pid-file", str(folder / "munged.pid"), "--seed-file", str(folder / "munged.seed")),
        *("--log-file", str(folder / "munged.log")),
    ]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            stack.enter_context(running(command, folder / f"{command[0]}.out", environment))
            if command is munged:
                await_true(lambda: (folder / "munge.socket").exists(), folder, patience)
        state = ["sinfo", "--noheader", "--format=%T"]

        def ready() -> bool:
            done = subprocess.run(state, env=environment, capture_output=True, text=True)
            return done.stdout.strip() == "idle"

        await_true(ready, folder, patience)
        try:
            yield environment
        finally:  # a job outlives the daemons
            subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment)
            busy = ["squeue", "--noheader"]
            with suppress(NoCluster):
                await_true(
                    lambda: not subprocess.run(busy, env=environment, capture_output=True).stdout,
                    folder,
                    30.0,
                )


@contextmanager
def running(command: list[str], output: Path, environment: dict[str, str]) -> Iterator[None]:
    """The daemon, until the end of the block."""
    with output.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def await_true(condition: Callable[[], bool], folder: Path, patience: float) -> None:
    """Raise NoCluster with the last lines of the daemons if it does not hold in time."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            said = [
                f"{file.name}: {' / '.join(lines[-3:])}"
                for file in sorted(folder.glob("*.[lo][ou]*"))
                if (lines := file.read_text(errors="replace").splitlines())
            ]
            raise NoCluster(f"not ready after {patience:.0f} s; {'; '.join(said)}")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> int:
    """Run a command within a cluster; a call of `snakemake` gets SETTINGS."""
    command = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that the daemons end too
    if Path(command[0]).name == "snakemake":
        command[1:1] = SETTINGS
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        try:
            with cluster(Path(folder)) as environment:
                return subprocess.run(command, env=environment).returncode
        except NoCluster as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
