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
"""Passwords and session references are in no log, repr or exception."""

import copy
import logging
from typing import Any

import pytest

from client.small_server import serving
from xapikit.client import Secret, XapiClient, errors
from xapikit.client.secret import LOG, Redactor
from xapikit.wire import Failure

PASSWORD = "hunter2-hunter2"


def test_no_log_line_repr_or_exception_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    def echo(method: str, params: list[Any]) -> Any:
        raise Failure(["HANDLE_INVALID", "session", *params, PASSWORD])

    caplog.set_level(logging.DEBUG, "xapikit.client")
    shown: list[str] = []
    with serving(echo) as server:
        server.password = PASSWORD
        client = XapiClient(server.url, username="root", password=Secret(PASSWORD), originator="t", patience=0.3)
        client.connect()
        session = client.session()
        shown.append(repr(client))
        with pytest.raises(errors.HandleInvalid) as invalid:
            client.call("session.get_uuid", session)
        shown += [str(invalid.value), repr(invalid.value)]
        LOG.info("carelessly %s session_id=OpaqueRef:other", session)
        try:
            raise ValueError(session)
        except ValueError:
            LOG.exception("with a traceback")
        server.cut("VM.create", "after")
        with pytest.raises(errors.MaybeSent) as cut:
            client.call("VM.create", {"x": PASSWORD})
        shown += [str(cut.value), repr(cut.value)]
        client.close()
    text = caplog.text + "".join(shown)
    assert "logged in" in text and "carelessly" in text
    for secret in (PASSWORD, session, "OpaqueRef:other"):
        assert secret not in text


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "s3cret"
    with pytest.raises(TypeError):
        copy.copy(secret)


def test_the_redactor_leaves_other_texts_alone() -> None:
    redactor = Redactor()
    redactor.hide("", "ab")
    assert redactor.redact("abba session") == "abba session"
