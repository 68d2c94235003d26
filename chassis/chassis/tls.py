"""TLS between the processes: each shows its certificate and asks for its peer's. Renewed files are picked up while it
runs, because a certificate is renewed by whoever issues it (in Kubernetes cert-manager), not by a restart.
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from chassis.settings import Settings

# A renewed certificate comes weeks before the old one ends; files are looked at this often at most.
LOOK_SECONDS = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pems:
    """A private key, its certificate (with intermediates) and whom peers' certificates must be signed by, as PEM."""

    key: bytes
    certificate: bytes
    authority: bytes


class Certificates:
    """What TLS_KEY_FILE, TLS_CERT_FILE and TLS_CA_FILE hold; raises SystemExit with one line when it is unusable."""

    def __init__(self, key: Path, certificate: Path, authority: Path) -> None:
        self._files = (key, certificate, authority)
        try:
            self._stamps, self._pems = self._stamp(), self._read()
        except (OSError, ValueError) as error:
            raise SystemExit(
                f"TLS_CERT_FILE, TLS_KEY_FILE, TLS_CA_FILE: can't be used: {error}"
            ) from error
        self._look_at = time.monotonic() + LOOK_SECONDS

    def current(self) -> Pems:
        """The same object until the files have changed and fit each other again."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            try:
                self._take_renewed()
            except (OSError, ValueError) as error:
                # Perhaps only half of them is written yet. What we have still serves.
                log.warning("renewed certificates can't be used", error=str(error))
        return self._pems

    def _take_renewed(self) -> None:
        stamps = self._stamp()
        if stamps != self._stamps:
            self._pems, self._stamps = self._read(), stamps
            log.info("certificates renewed")

    def _stamp(self) -> Sequence[tuple[int, int]]:
        return [(found.st_mtime_ns, found.st_ino) for found in (f.stat() for f in self._files)]

    def _read(self) -> Pems:
        key, certificate, authority = self._files
        # Raises an OSError or a ValueError unless the three are what they should be.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
        return Pems(key.read_bytes(), certificate.read_bytes(), authority.read_bytes())


def open_certificates(settings: Settings) -> Certificates | None:
    """The certificates that `settings` name; None where processes talk in clear."""
    key, certificate, authority = (
        settings.tls_key_file,
        settings.tls_cert_file,
        settings.tls_ca_file,
    )
    if key is None or certificate is None or authority is None:
        return None
    return Certificates(key, certificate, authority)
