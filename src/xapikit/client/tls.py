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
"""Which certificate of a server is accepted, and what is said about one that is not."""

from __future__ import annotations

import functools
import hashlib
import re
import socket
import ssl
from dataclasses import dataclass, replace

from xapikit.client.endpoint import Endpoint
from xapikit.client.errors import CertificateRefused

_HEX = re.compile(r"[0-9a-f]{64}")


def normalize_fingerprint(text: str) -> str:
    """``SHA256:AB:CD...``, ``sha-256:abcd...`` or bare hex -> 64 lower-case hex digits. Raises ValueError."""
    digits = re.sub(r"(?i)^sha-?256[:=]", "", text.strip()).replace(":", "").replace(" ", "").lower()
    if not _HEX.fullmatch(digits):
        raise ValueError(f"not a SHA-256 fingerprint: {text!r} (expected SHA256: and 32 pairs of hex digits)")
    return digits


def format_fingerprint(certificate: bytes) -> str:
    """``SHA256:AB:CD...`` of a certificate in DER form, as the host's console shows it."""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    return "SHA256:" + ":".join(re.findall("..", digest))


@dataclass(frozen=True)
class TlsPolicy:
    """How https servers prove who they are.

    Without anything: the system's certificate authorities and the host name. ``ca_file``: that authority (a pool's
    CA) instead of the system's. ``fingerprint``: one or more pinned SHA-256 fingerprints, separated by commas; the
    certificate must be one of these, whoever signed it and whatever name it carries.
    ``option_line`` is how the caller's user would accept a fingerprint, with ``{fingerprint}`` in it.
    """

    ca_file: str | None = None
    fingerprint: str | None = None
    option_line: str = "TlsPolicy(fingerprint='{fingerprint}')"

    def __post_init__(self) -> None:
        if self.fingerprint is not None and not self.pins:
            raise ValueError("an empty fingerprint pins nothing")

    @functools.cached_property
    def pins(self) -> frozenset[str]:
        words = (self.fingerprint or "").split(",")
        return frozenset(normalize_fingerprint(word) for word in words if word.strip())

    def also_trusting(self, fingerprint: str) -> TlsPolicy:
        """This policy with one more pin. Raises ValueError for what is no fingerprint."""
        return replace(self, fingerprint=f"{self.fingerprint or ''},{normalize_fingerprint(fingerprint)}")

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """Made once: reading the system's authorities takes tens of milliseconds."""
        if self.pins:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the pin is checked instead, in secure()
        else:
            context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def secure(self, raw: socket.socket, endpoint: Endpoint) -> ssl.SSLSocket:
        """TLS over a connected socket, whose timeout applies. Raises :class:`CertificateRefused` and OSError.

        Nothing was sent over a connection whose certificate is refused.
        """
        try:
            secured = self.context.wrap_socket(raw, server_hostname=endpoint.host)
        except ssl.SSLCertVerificationError as error:
            raise self._refusal(endpoint, error.verify_message, _presented(endpoint, raw.gettimeout())) from None
        if self.pins:
            presented = secured.getpeercert(binary_form=True) or b""
            if hashlib.sha256(presented).hexdigest() not in self.pins:
                secured.close()
                raise self._refusal(endpoint, "it is not the pinned one", format_fingerprint(presented))
        return secured

    def _refusal(self, endpoint: Endpoint, reason: str, fingerprint: str) -> CertificateRefused:
        option = self.option_line.format(fingerprint=fingerprint)
        return CertificateRefused(str(endpoint), reason, fingerprint, option)


def _presented(endpoint: Endpoint, timeout: float | None) -> str:
    """Fingerprint of the certificate that the server shows, for the message; empty when it cannot be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent; only the certificate is looked at
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout or 10.0) as raw,
            context.wrap_socket(raw, server_hostname=endpoint.host) as secured,
        ):
            return format_fingerprint(secured.getpeercert(binary_form=True) or b"")
    except OSError:
        return ""
