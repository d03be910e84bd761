"""Processes of the benchmark: pinned to a core, measured, and ended by their own pid.

Their CPU time is the sum over every thread of the process and its children of
/proc/PID/task/TID/schedstat, which counts nanoseconds; where the kernel does not keep it, the
sum of utime and stime in /proc/PID/stat, which counts ticks of 10 ms.
"""

import os
import pathlib
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
# Seconds; valgrind's start and end are slow.
START_LIMIT = 60.0
STOP_LIMIT = 40.0


def free_port() -> int:
    """A TCP port of loopback that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Pinned:
    """A server that runs on one core until it is stopped."""

    def __init__(self, name: str, command: list[str], core: int, log: pathlib.Path):
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """Its process id: taskset becomes the program."""
        return self._process.pid

    def wait_for(self, port: int) -> None:
        """Returns once the port accepts; raises with the process's own words if it does not."""
        limit = time.monotonic() + START_LIMIT
        while not listens(port):
            if self._process.poll() is not None or time.monotonic() > limit:
                words = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not listen on {port}:\n{words}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """CPU time that the process and its children have used so far."""
        return sum(_cpu_seconds(pid) for pid in _family(self._process.pid))

    def resident_mib(self) -> float:
        """Memory that the process and its children hold, in MiB."""
        page = os.sysconf("SC_PAGE_SIZE")
        family = _family(self._process.pid)
        pages = [pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in family]
        return sum(map(int, pages)) * page / 2**20

    def signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Asks it to end, and kills it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()


def _family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    members = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            members += _family(int(child))
    return members


def _cpu_seconds(pid: int) -> float:
    tasks = list(pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if tasks:
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
