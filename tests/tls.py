"""A certificate authority made up for a test run, and servers that speak TLS with its papers."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from http_stand_in import HttpStandIn, served
from werkzeug.wrappers import Request, Response

PEM = serialization.Encoding.PEM
HERE = "127.0.0.1"


@dataclass(frozen=True)
class Papers:
    """Hold a certificate and its key, in one file."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        private = self.key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + self.certificate.public_bytes(PEM))
        return path


def issue(name: str, by: Papers | None = None, *, days: int = 1) -> Papers:
    """Issue papers for a name; without an issuer they are signed by themselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    is_number = name.replace(".", "").isdigit()
    known = x509.IPAddress(ip_address(name)) if is_number else x509.DNSName(name)
    issuer = by.certificate if by else None
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([known]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                (by.key if by else key).public_key()
            ),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(by.key if by else key, hashes.SHA256())
    )
    return Papers(certificate, key)


class Recorder(HttpStandIn):
    """Answer whatever is asked with nothing much; `fault` says with what instead."""

    def reply(self, request: Request) -> Response:
        """Answer one request."""
        return Response("{}", content_type="application/json")

    @property
    def heard(self) -> str:
        """Return every header and body that was sent to it."""
        return "".join(f"{each.url}{each.headers}{each.get_data()!r}" for each in self.asked)


@contextmanager
def recorder(papers: Path | None = None) -> Iterator[Recorder]:
    """Serve a recorder on this machine, with TLS where there are papers."""
    context = None
    if papers:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(papers)
    with served(Recorder(), context) as running:
        yield running
