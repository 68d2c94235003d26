"""A throw-away certificate authority, for tests of TLS: what cert-manager is to the platform in Kubernetes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

VALID = timedelta(hours=1)


class Authority:
    """Signs certificates for one hour, for "localhost"."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away authority")])
        self.certificate = self._sign(self._name, self._key, authority=True)

    def issue(self, folder: Path) -> int:
        """Write tls.key, tls.crt and ca.crt into `folder`, each whole, as a kubelet does; the certificate's number."""
        key = generate_private_key(SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = self._sign(name, key, authority=False)
        for file, pem in {
            "tls.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "tls.crt": certificate.public_bytes(Encoding.PEM),
            "ca.crt": self.certificate.public_bytes(Encoding.PEM),
        }.items():
            fresh = folder / f"{file}.new"
            fresh.write_bytes(pem)
            fresh.replace(folder / file)
        return certificate.serial_number

    def _sign(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(
                issuer_name=self._name,
                subject_name=subject,
                public_key=key.public_key(),
                serial_number=x509.random_serial_number(),
                not_valid_before=now - VALID,
                not_valid_after=now + VALID,
            )
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def settings(folder: Path) -> dict[str, Any]:
    """The settings that name what `Authority.issue` wrote."""
    return {
        "tls_key_file": folder / "tls.key",
        "tls_cert_file": folder / "tls.crt",
        "tls_ca_file": folder / "ca.crt",
    }
