"""Ctrl-C and SIGTERM: what is under way is answered, then every process ends, within ten seconds, without orphans."""

import json
import signal
import socket
import time

import psutil
import pytest

from devstack.testing_town import Town
from tests.chaos.conftest import processes_of

WITHIN_SECONDS = 10.0
REQUESTS = 20


def begin(town: Town, body: bytes) -> socket.socket:
    """A request whose head the gateway has read, and whose body it waits for: it says "100 Continue"."""
    port = int(town.platform.environment["GATEWAY_PORT"])
    connection = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_SECONDS)
    connection.sendall(
        b"POST /v1/enquiries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    return connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """The status and the whole body of the answer."""
    with connection, connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = dict(
            line.decode().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n")
        )
        return status, json.loads(stream.read(int(headers["content-length"])))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_what_is_under_way_is_answered_and_nothing_stays(
    town: Town, how: signal.Signals
) -> None:
    supervisor, processes = town.platform.supervisor, processes_of(town.platform)
    assert supervisor is not None
    bodies = [json.dumps(town.enquiry()).encode() for _ in range(REQUESTS)]
    connections = [begin(town, body) for body in bodies]

    supervisor.send_signal(how)
    began = time.monotonic()
    for connection, body in zip(connections, bodies, strict=True):
        connection.sendall(body)
    answers = [answer(connection) for connection in connections]
    code = supervisor.wait(WITHIN_SECONDS)
    _, alive = psutil.wait_procs(processes, timeout=0)

    assert time.monotonic() - began < WITHIN_SECONDS
    assert alive == []
    assert code == 0
    assert [status for status, _ in answers] == [201] * REQUESTS
    town.platform.start()
    leads = [lead["id"] for _, lead in answers]
    stored = await town.value("select count(*) from crm.leads where id = any($1::uuid[])", leads)
    assert stored == REQUESTS
