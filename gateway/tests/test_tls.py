"""The gateway with certificates: HTTPS, and a renewed certificate is shown without a restart."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from chassis import tls
from devstack.testing_authority import Authority
from devstack.testing_authority import settings as tls_settings
from gateway.server import listen, serve, server
from gateway.tests.conftest import eventually, settings_for


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def test_https_with_whichever_certificate_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    authority = Authority()
    first = authority.issue(tmp_path)
    settings = settings_for(0, "redis://x", **tls_settings(tmp_path))
    listener, stopped = listen(settings), asyncio.get_running_loop().create_future()
    port = listener.getsockname()[1]

    async def shows(number: int) -> bool:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number == number

    serving = asyncio.create_task(serve(server(app, settings), listener, stopped))
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trust) as client:
        assert (await client.get("/healthz")).status_code == 204
        assert await shows(first)
        (tmp_path / "tls.key").write_text("half of it")
        second = authority.issue(tmp_path)
        await eventually(lambda: shows(second))
        assert (await client.get("/healthz")).status_code == 204
    stopped.set_result(None)
    await serving
