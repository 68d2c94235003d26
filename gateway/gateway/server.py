"""uvicorn, run as one of our processes: it stops when told, in the order that load balancers need."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from chassis.tls import Certificates, open_certificates
from gateway.exchange import App
from gateway.protocol import EdgeProtocol
from gateway.settings import GatewaySettings

# Longer than the load balancer in front keeps idle connections, so that it is the one who closes them.
KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 6
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which the process has itself, and with renewed certificates."""

    def __init__(self, config: uvicorn.Config, certificates: Certificates | None) -> None:
        super().__init__(config)
        self._certificates = certificates
        self._shown = certificates.current() if certificates else None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn calls ten times a second: new connections are shown a renewed certificate."""
        if self._certificates and (pems := self._certificates.current()) is not self._shown:
            assert self.config.ssl is not None
            assert self.config.ssl_certfile is not None
            with contextlib.suppress(OSError):  # Renewed again just now: the next tick takes it.
                self.config.ssl.load_cert_chain(self.config.ssl_certfile, self.config.ssl_keyfile)
                self._shown = pems
        return await super().on_tick(counter)


def listen(settings: GatewaySettings) -> socket.socket:
    """The socket to serve on; raises SystemExit with one line when it can't be had."""
    host, port = settings.host, settings.gateway_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SystemExit(
            f"GATEWAY_PORT: {host}:{port} can't be listened on ({error.strerror}); is it taken?"
        ) from error
    listener.set_inheritable(False)
    return listener


def server(app: App, settings: GatewaySettings) -> Server:
    """A server of `app` that leaves logs, headers and addresses to us."""
    return Server(
        uvicorn.Config(
            app,
            http=EdgeProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=str(settings.tls_key_file) if settings.tls_key_file else None,
        ),
        open_certificates(settings),
    )


async def serve(running: Server, listener: socket.socket, stopped: asyncio.Future[None]) -> None:
    """Serve until `stopped`, then answer what is under way."""
    serving = asyncio.ensure_future(running.serve([listener]))
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    running.should_exit = True
    await serving
