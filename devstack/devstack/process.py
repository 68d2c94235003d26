"""Child processes that end with us, and the ports they listen on."""

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import psutil


class Problem(Exception):
    """What keeps the platform from starting, said in one line that names what to do about it."""


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def dies_with_us(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program, so that the kernel signals it when we die, even by kill -9.

    Linux only; elsewhere the next start finds and ends what was left over. The signal comes when the *thread* that
    started the child ends: start children from the main thread.
    """
    if _libc is None:
        return None
    libc, parent = _libc, os.getpid()

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # We died before the kernel knew.
            os._exit(1)

    return before_exec


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    account: Mapping[str, object] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, so that a Ctrl-C meant for us does not end it out of order.

    Not in a session of its own: Linux shares a machine's time among sessions first, and a thread that steps back behind
    all others (bcrypt's) would then step back behind its own process alone.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]  # account: user, group, extra_groups
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            process_group=0,
            preexec_fn=dies_with_us(death_signal),  # noqa: PLW1509 -- only grpc has threads
            **(account or {}),
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals, within: float = 8.0) -> None:
    """Ask a child to end, insist when it does not, and leave no zombie."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_ready(
    process: subprocess.Popen[bytes],
    ready: Callable[[], bool],
    *,
    name: str,
    log: Path,
    within: float = 60.0,
) -> None:
    """Return once `ready()`; a child that ends or takes too long is a Problem that quotes its last words."""
    deadline = time.monotonic() + within
    while not ready():
        if process.poll() is not None:
            raise Problem(f"{name} ended while starting: {last_line(log)} (see {log})")
        if time.monotonic() > deadline:
            raise Problem(f"{name} is not ready after {within:.0f} s (see {log})")
        time.sleep(0.02)


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def end_leftovers(home: Path, gently: signal.Signals) -> None:
    """End the servers an earlier, killed run left in `home`: the caller holds the lock that makes `home` its own."""
    leftovers = [process for process in psutil.process_iter() if _works_in(process, home)]
    for process in leftovers:
        _signal(process, gently)
    _, stubborn = psutil.wait_procs(leftovers, timeout=10)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def _works_in(process: psutil.Process, home: Path) -> bool:
    try:
        return Path(process.cwd()) == home
    except (psutil.Error, OSError):  # Gone, or somebody else's.
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def port_is_free(port: int, host: str = "127.0.0.1", *, rested: bool = False) -> bool:
    """Whether a server can listen there; `rested`, also one that does not say SO_REUSEADDR."""
    with socket.socket() as probe:
        if not rested:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


BLOCK = 100
_ports: Iterator[int] = iter(())


def free_port(in_a_row: int = 1) -> int:
    """The first of so many ports that nobody listens on and that no other call gets, in this process or in another.

    They lie below the range from which the kernel takes ports for outgoing connections.
    """
    global _ports  # noqa: PLW0603 -- the process's own block of ports, as long as it lives
    while True:
        ports = list(islice(_ports, in_a_row))
        if len(ports) < in_a_row:
            _ports = _lease_block()
        elif all(port_is_free(port, rested=True) for port in ports):
            return ports[0]


def _lease_block() -> Iterator[int]:
    """A block of ports, ours until this process ends: its first is held as a UDP port, which nobody else asks for."""
    while True:
        first = random.randrange(20_000, 32_000, BLOCK)  # noqa: S311 -- not a secret
        lease = socket.socket(type=socket.SOCK_DGRAM)
        try:
            lease.bind(("127.0.0.1", first))
        except OSError:
            lease.close()
            continue
        atexit.register(lease.close)
        return iter(range(first, first + BLOCK))
