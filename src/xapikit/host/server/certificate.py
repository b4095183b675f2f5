# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The server's own certificate: made at the first start, kept in the state directory, self-signed as on a fresh host.

One certificate serves all hosts of a pool: its alternative names are their addresses, so that a client which pinned
it follows HOST_IS_SLAVE without asking again.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 3650


@dataclass(frozen=True)
class ServerCertificate:
    """The certificate in use."""

    path: Path
    """PEM file that holds the key, then the certificate (mode 0600)."""
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """``SHA256:AB:CD:...`` of the DER form: what a client pins."""
        return "SHA256:" + self.digest(hashes.SHA256())

    def digest(self, algorithm: hashes.HashAlgorithm) -> str:
        """Colon-separated upper-case hex digits."""
        return self.certificate.fingerprint(algorithm).hex(":").upper()

    @property
    def subject(self) -> str:
        """A DNS name that it is for."""
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return next(iter(found.get_values_for_type(x509.DNSName)), "")

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context(self) -> ssl.SSLContext:
        """A TLS context for a server: TLS 1.2 and later."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.path)
        return context


def server_certificate(
    path: Path, addresses: Sequence[str], names: Sequence[str] = ("localhost",)
) -> ServerCertificate:
    """The certificate kept at ``path``; a new one when there is none, it expired or lacks one of the addresses."""
    if path.exists():
        kept = x509.load_pem_x509_certificate(path.read_bytes())
        now = dt.datetime.now(dt.timezone.utc)
        if set(addresses) <= _addresses(kept) and kept.not_valid_after_utc > now:
            return ServerCertificate(path, kept)
    return _make(path, addresses, names)


def _addresses(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(address) for address in found.get_values_for_type(x509.IPAddress)}


def _make(path: Path, addresses: Sequence[str], names: Sequence[str]) -> ServerCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, addresses[0])])
    now = dt.datetime.now(dt.timezone.utc)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        # a client that is given this very certificate as its CA must accept it
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return ServerCertificate(path, certificate)
