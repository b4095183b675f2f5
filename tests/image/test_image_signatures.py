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
"""Signed images: what Nova's ``verify_glance_signatures`` and trusted certificates promise holds for this driver."""

import base64
import datetime
import os
import uuid
from collections.abc import Iterator

import nova.conf
import pytest
from castellan import key_manager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from cursive.exception import SignatureVerificationError
from nova import exception, objects
from nova.context import RequestContext

from certificate_store import STORED
from glance_server import GlanceServer, StoredImage
from image_services import ServiceFactory
from nova_xapi.image import marks
from nova_xapi.image.errors import ImageRefused
from nova_xapi.image.source import GlanceSource

CONF = nova.conf.CONF
SOURCE = GlanceSource()
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate() -> bytes:
    """A self-signed one, DER."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer of images")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


@pytest.fixture
def signer() -> Iterator[str]:
    """Identity of the certificate of ``KEY`` in the key manager."""
    identity = str(uuid.uuid4())
    STORED[identity] = certificate()
    CONF.register_opts(key_manager.key_manager_opts, group="key_manager")
    CONF.set_override("backend", "certificate_store.KeyManager", "key_manager")
    CONF.set_override("verify_glance_signatures", True, "glance")
    yield identity
    CONF.clear_override("backend", "key_manager")
    CONF.clear_override("verify_glance_signatures", "glance")
    del STORED[identity]


def offer(glance: GlanceServer, data: bytes, signer: str, signed: bytes | None = None) -> StoredImage:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    signature = KEY.sign(data if signed is None else signed, pss, hashes.SHA256())
    return glance.add(
        data, "raw", img_signature=base64.b64encode(signature).decode(), img_signature_hash_method="SHA-256",
        img_signature_key_type="RSA-PSS", img_signature_certificate_uuid=signer,
    )  # fmt: skip


def test_a_signed_image_arrives_whole(glance: GlanceServer, context: RequestContext, signer: str) -> None:
    data = os.urandom(5_000_000)
    offered = offer(glance, data, signer)
    assert b"".join(SOURCE.open(context, offered.id)) == data
    assert offered.downloads == 1


def test_other_data_than_was_signed_are_refused(glance: GlanceServer, context: RequestContext, signer: str) -> None:
    offered = offer(glance, os.urandom(1_000_000), signer, signed=b"something else")
    with pytest.raises(ImageRefused, match="signature"):
        list(SOURCE.open(context, offered.id))


def test_an_image_without_signature_is_refused_before_its_data_come(
    glance: GlanceServer, context: RequestContext, signer: str
) -> None:
    offered = glance.add(b"data", "raw")
    with pytest.raises(SignatureVerificationError):
        list(SOURCE.open(context, offered.id))
    assert offered.downloads == 0


def test_trusted_certificates_decide_who_may_sign(glance: GlanceServer, context: RequestContext, signer: str) -> None:
    CONF.set_override("verify_glance_signatures", False, "glance")
    data = os.urandom(1_000_000)
    offered = offer(glance, data, signer)
    assert b"".join(SOURCE.open(context, offered.id, objects.TrustedCerts(ids=[signer]))) == data
    other = str(uuid.uuid4())
    with pytest.raises((exception.CertificateValidationFailed, SignatureVerificationError)):
        list(SOURCE.open(context, offered.id, objects.TrustedCerts(ids=[other])))


def test_a_reader_that_gives_up_ends_the_transfer(glance: GlanceServer, context: RequestContext, signer: str) -> None:
    offered = offer(glance, os.urandom(20_000_000), signer)
    body = SOURCE.open(context, offered.id)
    next(iter(body))
    body.close()
    assert list(body) == []


def test_nothing_is_kept_of_an_image_with_a_false_signature(
    glance: GlanceServer, context: RequestContext, signer: str, service: ServiceFactory
) -> None:
    one = service("a")
    images, before = one.images(), set(one.vdis())
    false = offer(glance, os.urandom(3 << 20), signer, signed=b"something else")
    with pytest.raises(ImageRefused, match="signature"):
        images.fetch(context, false.id, one.sr())
    assert set(one.vdis()) == before
    true = offer(glance, os.urandom(3 << 20), signer)
    assert images.fetch(context, true.id, one.sr())
    kept = [vdi for ref, vdi in one.vdis().items() if ref not in before]
    assert [vdi["other_config"][marks.IMAGE] for vdi in kept] == [true.id]
