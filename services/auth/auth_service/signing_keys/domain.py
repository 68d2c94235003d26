"""Signing keys: published a day before they sign, signing for thirty, kept until the last token is dead."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from auth_service.sealing import Sealer

ALGORITHM = "ES256"
PUBLISHED_AHEAD = timedelta(hours=24)
SIGNS_FOR = timedelta(days=30)
# The same when somebody rotates them: verifiers ask every five minutes, replicas of auth every minute.
ROTATED_AHEAD = timedelta(minutes=10)
# An access token's ten minutes and the verifiers' leeway, twice over.
KEPT_AFTER = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair, its private half encrypted."""

    kid: str
    public_key: EllipticCurvePublicKey
    private_key: bytes
    not_before: datetime
    retires_at: datetime

    def signs_at(self, now: datetime) -> bool:
        return self.not_before <= now < self.retires_at


class Cipher:
    """Encrypts private keys at rest."""

    def __init__(self, *from_secrets: str) -> None:
        self._sealer = Sealer(b"propmubi auth signing keys", *from_secrets)

    def encrypt(self, kid: str, key: EllipticCurvePrivateKey) -> bytes:
        clear = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return self._sealer.seal(clear, kid.encode())

    def decrypt(self, kid: str, encrypted: bytes) -> EllipticCurvePrivateKey:
        """The reverse; raises WrongSecret."""
        key = load_der_private_key(self._sealer.open(encrypted, kid.encode()), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        return key

    def renewed(self, key: SigningKey) -> bytes | None:
        """Its private half encrypted with the first secret; None when it is. Raises WrongSecret."""
        return self._sealer.renewed(key.private_key, key.kid.encode())


def new_key(cipher: Cipher, not_before: datetime) -> SigningKey:
    """A new key that signs from `not_before` on."""
    kid = secrets.token_urlsafe(12)
    private = generate_private_key(SECP256R1())
    encrypted = cipher.encrypt(kid, private)
    return SigningKey(kid, private.public_key(), encrypted, not_before, not_before + SIGNS_FOR)


def due(keys: Sequence[SigningKey], now: datetime) -> datetime | None:
    """When a key that is missing should begin to sign: at once when none does, next when the last will soon retire."""
    if not any(key.signs_at(now) for key in keys):
        return now
    last = max(key.retires_at for key in keys)
    return last if last - now <= PUBLISHED_AHEAD else None


def is_dead(key: SigningKey, now: datetime) -> bool:
    """Whether the last token it signed is dead."""
    return key.retires_at < now - KEPT_AFTER


def signing(keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
    """The key to sign with: the newest that has begun; where none has, by a clock that is behind, the first to."""
    begun = [key for key in keys if key.not_before <= now]
    if begun:
        return max(begun, key=lambda key: key.not_before)
    return min(keys, key=lambda key: key.not_before, default=None)


def to_der(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def from_der(der: bytes) -> EllipticCurvePublicKey:
    key = load_der_public_key(der)
    assert isinstance(key, EllipticCurvePublicKey)
    return key


def coordinate(number: int) -> str:
    """A coordinate of a point on P-256 as RFC 7518 wants it."""
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
