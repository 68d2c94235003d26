"""What auth keeps encrypted in its database: sealed with the first secret of KEY_ENCRYPTION_KEY, opened with any."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class WrongSecret(Exception):
    """What the database holds was sealed with another secret."""

    def __init__(self) -> None:
        super().__init__("KEY_ENCRYPTION_KEY: does not open what the database holds")


class Sealer:
    """Seals one kind of thing, its `purpose`, with AES-256-GCM under keys derived from the secrets."""

    def __init__(self, purpose: bytes, *from_secrets: str) -> None:
        self._keys = [
            AESGCM(HKDF(SHA256(), length=32, salt=None, info=purpose).derive(secret.encode()))
            for secret in from_secrets
        ]

    def seal(self, clear: bytes, bound_to: bytes) -> bytes:
        """`clear`, bound to the row it is of so that rows can't be exchanged."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, clear, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The reverse; raises WrongSecret."""
        return self._opened(sealed, bound_to)[0]

    def renewed(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """The same sealed with the first secret; None when it is. Raises WrongSecret."""
        clear, key = self._opened(sealed, bound_to)
        return None if key is self._keys[0] else self.seal(clear, bound_to)

    def _opened(self, sealed: bytes, bound_to: bytes) -> tuple[bytes, AESGCM]:
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        for key in self._keys:
            try:
                return key.decrypt(nonce, body, bound_to), key
            except InvalidTag:
                continue
        raise WrongSecret
