"""The hosts of a cluster on one machine: PostgreSQL, a Ray head here, Ray workers in network namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from weather_backfill_tests.servers import free_port, until

HEAD = "10.77.0.1"
PROGRAMS = str(Path(sys.executable).parent)
RAY = f"{PROGRAMS}/ray"
JOBS = f"http://{HEAD}:8265"
FEW = ["--object-store-memory", "100000000", "--disable-usage-stats"]  # nothing of ours lies in Ray's object store


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server that the workers reach; the URL of its cluster, without a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    assert programs, "needs Debian's postgresql package"
    folder = Path(tempfile.mkdtemp(prefix="weather-pg-", dir="/tmp"))
    shutil.chown(folder, "postgres")

    def control(*arguments: str) -> None:
        command = [str(programs[-1]), "-D", f"{folder}/data", *arguments]
        subprocess.run(command, user="postgres", cwd=folder, check=True, capture_output=True, timeout=60)

    control("init", "-o", "-A trust -U weather --no-sync")
    with (folder / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all 10.77.0.0/24 trust\n")
    port = free_port(HEAD)
    flags = f"-p {port} -k {folder} -c fsync=off -c max_connections=300 -c listen_addresses={HEAD}"
    control("start", "-w", "-l", f"{folder}/log", "-o", flags)
    try:
        yield f"postgresql+psycopg2://weather@{HEAD}:{port}"
    finally:
        control("stop", "-m", "immediate")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Worker:
    """A Ray worker in the namespace `wb-worker<number>`."""

    number: int

    @property
    def namespace(self) -> str:
        return f"wb-worker{self.number}"

    def start(self, environment: Mapping[str, str]) -> None:
        """Join the cluster with one CPU, so that one run at a time lands here."""
        address = ["--address", f"{HEAD}:6379", "--node-ip-address", f"{HEAD}{self.number}", "--num-cpus", "1"]
        command = ["ip", "netns", "exec", self.namespace, RAY, "start", *address, *FEW]
        subprocess.run(command, env=dict(environment), check=True, capture_output=True, timeout=90)

    def processes(self) -> list[psutil.Process]:
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
        found = []
        for pid in listed.stdout.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def run_ids(self, known: set[str]) -> set[str]:
        """Which of the runs have a process here."""
        lines = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                lines.append(" ".join(process.cmdline()))
        return {run_id for run_id in known if any(run_id in line and "execute_run" in line for line in lines)}

    def kill(self) -> None:
        """Power off: every process of the host, -9."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def cut(self) -> None:
        """Pull the network cable; the processes go on."""
        subprocess.run(["ip", "link", "set", f"wb-v{self.number}", "down"], check=True)

    def mend(self) -> None:
        subprocess.run(["ip", "link", "set", f"wb-v{self.number}", "up"], check=True)


@contextmanager
def ray_cluster(count: int, environment: Mapping[str, str]) -> Iterator[list[Worker]]:
    """A head on this machine that takes no runs, and workers; all gone at the end."""
    folder = tempfile.mkdtemp(prefix="wray-", dir="/tmp")  # short: Ray's sockets lie below it
    surroundings = {**os.environ, **environment, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}  # jobs call `dagster`
    head = ["--head", "--node-ip-address", HEAD, "--port", "6379", "--num-cpus", "0", "--temp-dir", folder]
    dashboard = ["--dashboard-host", HEAD, "--dashboard-port", "8265"]
    workers = [Worker(number) for number in range(1, count + 1)]
    try:
        subprocess.run(
            [RAY, "start", *head, *dashboard, *FEW], env=surroundings, check=True, capture_output=True, timeout=90
        )
        for worker in workers:
            worker.mend()
            worker.start(surroundings)
        until(lambda: requests.get(f"{JOBS}/api/jobs/", timeout=5).ok, 60)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.mend()
        subprocess.run([RAY, "stop", "--force"], env=surroundings, capture_output=True, timeout=60, check=False)
        shutil.rmtree(folder, ignore_errors=True)
