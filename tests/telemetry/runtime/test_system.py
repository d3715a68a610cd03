"""What the system says: `/proc` against psutil, limits of containers, and what becomes of the numbers."""

import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from asgi_resilience.telemetry.runtime import system as systems
from asgi_resilience.telemetry.runtime.machine import Machine
from asgi_resilience.telemetry.runtime.own_process import OwnProcess
from asgi_resilience.telemetry.runtime.procfs import ProcFS
from asgi_resilience.telemetry.runtime.system import find_system

psutil = pytest.importorskip("psutil", reason="psutil is not installed")

from asgi_resilience.telemetry.runtime.portable import Portable  # noqa: E402

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def numbers(readings):
    """What a probe says, by name and tags."""
    return {" ".join((metric.name, *tags)): value for metric, value, tags in readings}


@pytest.fixture(params=[pytest.param(ProcFS, marks=linux), Portable], ids=["proc", "psutil"])
def system(request):
    """Each way to ask this system."""
    return request.param()


def test_memory_of_this_process(system):
    """It grows by what is allocated and touched."""
    before = system.rss()
    block = bytearray(os.urandom(64)) * 1_000_000
    assert 50_000_000 < system.rss() - before < 100_000_000
    del block


def test_files_of_this_process(system):
    """It counts what is opened and closed; the looking itself does not count."""
    before = system.open_files()
    sockets = [socket.socket() for _ in range(10)]
    assert system.open_files() == before + 10
    for each in sockets:
        each.close()
    assert system.open_files() == before


def test_cpu_times(system):
    """Busy and total seconds only grow, and there are not more of the one than of the other."""
    busy, total = system.cpu_times()
    began = time.monotonic()
    while time.monotonic() < began + 0.3:
        pass
    busier, later = system.cpu_times()
    assert later > total
    assert busier > busy
    assert busier - busy <= later - total + 0.1


def test_network(system):
    """What goes over the loopback interface is not counted."""
    before = system.network_bytes()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as near,
    ):
        far, _ = server.accept()
        sender = threading.Thread(target=near.sendall, args=(bytes(20_000_000),))
        sender.start()
        left = 20_000_000
        while left:
            left -= len(far.recv(1_000_000))
        sender.join()
        far.close()
    assert sum(system.network_bytes()) - sum(before) < 10_000_000


@linux
def test_proc_and_psutil_agree():
    """On Linux both ways give the same numbers, where no container has a limit."""
    mine, theirs = ProcFS(cgroups=Path("/nowhere")), Portable()
    assert mine.rss() == pytest.approx(theirs.rss(), rel=0.05)
    assert mine.open_files() == theirs.open_files() - 1  # psutil counts the directory that it reads
    assert mine.memory_usage() == pytest.approx(theirs.memory_usage(), abs=0.05)
    assert mine.network_bytes() == pytest.approx(theirs.network_bytes(), rel=0.05, abs=1e6)
    for ours, others in zip(mine.cpu_times(), theirs.cpu_times(), strict=True):
        assert ours == pytest.approx(others, rel=0.05, abs=1.0)


@pytest.fixture
def container(tmp_path):
    """Files as Linux shows them to a process in the group /kube/pod."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("1:name=systemd:/x\n0::/kube/pod\n")
    (proc / "stat").write_text("cpu  100 20 30 800 50 0 0 0 7 7\ncpu0 1 1 1 1\n")
    (proc / "meminfo").write_text(
        "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n\nHugePages_Total: 0\n"
    )
    (groups / "kube" / "pod").mkdir(parents=True)
    return ProcFS(proc, groups), groups


def write(group, **files):
    """The files of a control group."""
    for name, text in files.items():
        (group / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_a_machine_without_limits(container):
    """Without a limit the numbers are the machine's: its idle and waiting times, its memory that could be had."""
    system, groups = container
    write(groups / "kube" / "pod", cpu_max="max 100000", memory_max="max")
    ticks = os.sysconf("SC_CLK_TCK")
    assert system.cpu_times() == (150 / ticks, 1000 / ticks)
    assert system.memory_usage() == 0.75


def test_a_container_with_limits(container):
    """A limit of the group, or of one around it, is what counts; of several the tightest, and caches are free."""
    system, groups = container
    write(groups / "kube", cpu_max="400000 100000", memory_max="8000")
    write(
        groups / "kube", cpu_stat="usage_usec 9000000", memory_current="6000", memory_stat="inactive_file 0"
    )
    write(groups / "kube" / "pod", cpu_max="50000 100000", memory_max="1000")
    write(groups / "kube" / "pod", cpu_stat="usage_usec 1500000\nuser_usec 1", memory_current="900")
    write(groups / "kube" / "pod", memory_stat="anon 1\ninactive_file 700")
    busy, total = system.cpu_times()
    assert busy == 1.5
    assert total == pytest.approx(time.monotonic() / 2, abs=5)
    assert system.memory_usage() == 0.75
    write(groups / "kube" / "pod", memory_stat="anon 1")
    assert system.memory_usage() == 0.9


def test_the_way_to_ask(monkeypatch):
    """Linux is asked through `/proc`; another system through psutil; without psutil it is not asked."""
    assert isinstance(find_system(), ProcFS if sys.platform == "linux" else Portable)
    monkeypatch.setattr(systems, "_PLATFORM", "darwin")
    assert isinstance(find_system(), Portable)
    monkeypatch.setitem(sys.modules, "asgi_resilience.telemetry.runtime.portable", None)
    assert find_system() is None


def test_handles_of_windows(monkeypatch):
    """Where psutil has no files to count it counts handles."""

    class Process:
        def num_handles(self):
            return 123

    portable = Portable()
    monkeypatch.setattr(portable, "_process", Process())
    assert portable.open_files() == 123


class Scripted:
    """A system whose numbers are given."""

    def __init__(self, cpu=(), network=()):
        self.cpu, self.network = list(cpu), list(network)

    def rss(self):
        return 1024

    def open_files(self):
        return 7

    def cpu_times(self):
        return self.cpu.pop(0)

    def memory_usage(self):
        return 0.25

    def network_bytes(self):
        return self.network.pop(0)


def test_cpu_of_the_process():
    """CPU time over time, in percent of one core; the others are as they are."""
    now, taken = [0.0], [0.0]
    probe = OwnProcess(Scripted(), clock=lambda: now[0], cpu_clock=lambda: taken[0])
    now[0], taken[0] = 10.0, 15.0
    expected = {"runtime.memory.rss": 1024, "runtime.open_files": 7}
    assert numbers(probe()) == {"runtime.cpu.usage": 150.0, **expected}
    assert numbers(probe()) == expected
    assert numbers(OwnProcess(None, clock=lambda: now[0])()) == {}


def test_cpu_of_a_forked_child(monkeypatch):
    """A child, whose CPU time begins at 0, does not tell of its parent's."""
    now = [0.0]
    probe = OwnProcess(None, clock=lambda: now[0], cpu_clock=lambda: now[0])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    now[0] = 10.0
    assert numbers(probe()) == {}
    now[0] = 20.0
    assert numbers(probe()) == {"runtime.cpu.usage": 100.0}


def test_the_machine():
    """CPU and network are rates since the last time; what went backwards, as an interface that is gone, is 0."""
    now = [0.0]
    cpu = [(10, 100), (25, 120), (25, 120), (20, 130)]
    network = [(1000, 500), (3000, 600), (9999, 999), (0, 2000)]
    probe = Machine(Scripted(cpu, network), clock=lambda: now[0])
    first = numbers(probe())
    assert 0 < first.pop("disk.usage path:/") < 100
    assert first == {"memory.usage": 25.0}
    now[0] = 10.0
    second = numbers(probe())
    assert second.pop("disk.usage path:/") > 0
    rates = {"network.throughput direction:received": 200.0, "network.throughput direction:sent": 10.0}
    assert second == {"cpu.usage": 75.0, "memory.usage": 25.0, **rates}
    assert numbers(probe()).keys() == {"disk.usage path:/", "memory.usage"}
    now[0] = 11.0
    fourth = numbers(probe())
    assert fourth["cpu.usage"] == 0.0
    assert fourth["network.throughput direction:received"] == 0.0
    assert fourth["network.throughput direction:sent"] == 1001.0


def test_a_disk_with_a_reserve(monkeypatch):
    """What only root may use is neither used nor free, as df has it: a disk that is full for us is at 100 %."""
    usage = {"total": 1000, "used": 900, "free": 0}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(**usage))
    assert numbers(Machine(None)()) == {"disk.usage path:/": 100.0}


def test_a_machine_that_cannot_be_asked():
    """Without psutil there is the disk all the same, of each path that is asked for."""
    found = numbers(Machine(None, paths=("/", "/tmp"))())
    assert found.keys() == {"disk.usage path:/", "disk.usage path:/tmp"}
