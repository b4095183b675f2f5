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
"""https is verified; a refusal tells the fingerprint found and the option line that would accept it."""

import logging
from pathlib import Path
from typing import Any

import pytest

from client.small_server import SmallServer, make_certificate, serving
from xapikit.client import TlsPolicy, XapiClient, errors, normalize_fingerprint
from xapikit.wire import Failure


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def client_of(server: SmallServer, tls: TlsPolicy | None = None) -> XapiClient:
    return XapiClient(server.url, username="root", password="right", originator="test", tls=tls, patience=1.0)


def answer(method: str, params: list[Any]) -> Any:
    return "ok"


def test_a_self_signed_certificate_is_refused_with_what_would_accept_it(certificate: tuple[Path, str]) -> None:
    path, digest = certificate
    with serving(answer, path) as server:
        policy = TlsPolicy(option_line="connection_fingerprint = {fingerprint}")
        with pytest.raises(errors.CertificateRefused) as refusal:
            client_of(server, policy).connect()
        assert normalize_fingerprint(refusal.value.fingerprint) == digest
        assert refusal.value.option == f"connection_fingerprint = {refusal.value.fingerprint}"
        assert refusal.value.fingerprint in str(refusal.value)
        assert not server.calls
        # and that line does accept it
        with client_of(server, TlsPolicy(fingerprint=refusal.value.fingerprint)) as client:
            assert client.call("VM.get_all") == "ok"


def test_another_certificate_than_the_pinned_one_is_refused(certificate: tuple[Path, str]) -> None:
    path, digest = certificate
    with serving(answer, path) as server:
        with pytest.raises(errors.CertificateRefused, match="not the pinned one") as refusal:
            client_of(server, TlsPolicy(fingerprint="00" * 32)).connect()
        assert normalize_fingerprint(refusal.value.fingerprint) == digest
        with client_of(server, TlsPolicy(fingerprint=f"{'00' * 32},{digest}")) as client:
            assert client.call("VM.get_all") == "ok"


def test_a_given_authority_is_trusted_for_its_name_only(certificate: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = certificate
    with serving(answer, path) as server, client_of(server, TlsPolicy(ca_file=str(path))) as client:
        assert client.call("VM.get_all") == "ok"
    other, _ = make_certificate(tmp_path, "elsewhere")
    with serving(answer, other) as server:
        server.address = "localhost"
        with pytest.raises(errors.CertificateRefused, match="match"):
            client_of(server, TlsPolicy(ca_file=str(other))).connect()
        server.address = "127.0.0.1"


@pytest.mark.parametrize("told", ["right", "wrong", "nonsense", ""])
def test_a_pinned_member_vouches_for_the_certificate_of_its_coordinator(
    certificate: tuple[Path, str], tmp_path: Path, told: str
) -> None:
    path, digest = certificate
    member_path, member_digest = make_certificate(tmp_path, "member")
    with serving(answer, path) as coordinator, serving(answer, member_path) as member:

        def slave(method: str, params: list[Any]) -> Any:
            raise Failure(["HOST_IS_SLAVE", "10.0.0.9"])

        member._call = slave  # type: ignore[method-assign]
        value = {"right": f"sha-256:{digest}", "wrong": "ab" * 32, "nonsense": "zzz", "": ""}[told]
        member.extra_headers = f"x-xenapi-response-host-certificate-thumbprint: {value}\r\n" if value else ""
        client = XapiClient(
            member.url, username="root", password="right", originator="test", patience=1.0,
            tls=TlsPolicy(fingerprint=member_digest), addresses={"10.0.0.9": coordinator.url},
        )  # fmt: skip
        if told == "right":
            assert client.call("VM.get_all") == "ok"
        else:
            with pytest.raises(errors.CertificateRefused) as refusal:
                client.connect()
            # who knows better can accept it
            assert normalize_fingerprint(refusal.value.fingerprint) == digest
        client.close()


def test_kept_tls_connections_that_the_server_closed_are_noticed(certificate: tuple[Path, str]) -> None:
    path, digest = certificate
    with serving(answer, path) as server, client_of(server, TlsPolicy(fingerprint=digest)) as client:
        for _ in range(5):
            client.call("VM.create", {})
        assert server.connections == 1
        server.close_connections()
        client.call("VM.create", {})
        assert server.calls["VM.create"] == 6


def test_plain_http_works_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answer) as server, caplog.at_level(logging.WARNING, "xapikit.client"), client_of(server) as client:
        assert client.call("VM.get_all") == "ok"
    assert [record for record in caplog.records if "clear text" in record.getMessage()]


def test_a_server_that_does_not_speak_tls_is_told_as_such(certificate: tuple[Path, str]) -> None:
    with serving(answer) as server:
        client = XapiClient(
            server.url.replace("http:", "https:"), username="root", password="right", originator="t", patience=0.2
        )
        with pytest.raises(errors.NotSent, match="cannot connect"):
            client.connect()


@pytest.mark.parametrize("text", ["", "abc", "SHA256:" + "zz" * 32, "AA:" * 31])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        TlsPolicy(fingerprint=text)
