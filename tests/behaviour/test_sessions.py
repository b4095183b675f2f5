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
"""Promises about sessions."""

import threading
import time

import pytest

from behaviour.conftest import Caller, Target, Wire
from xapikit.client import XapiClient, errors
from xapikit.wire import Failure


def test_a_session_knows_who_opened_it(xapi: Caller, client: XapiClient, target: Target) -> None:
    record = xapi("session.get_record", client.session())
    assert record["originator"] == "nova-xapi behaviour suite"
    assert record["this_host"] in xapi("host.get_all")
    assert record["auth_user_name"] == target.user or record["is_local_superuser"] is False


def test_a_wrong_password_is_refused_with_the_user_name(target: Target) -> None:
    client = XapiClient(target.url, username="nobody-here", password="x", originator="behaviour", tls=target.tls)
    with pytest.raises(errors.AuthenticationFailed) as refusal:
        client.connect(30)
    assert refusal.value.user == "nobody-here"
    client.close()


def test_after_logout_the_session_is_invalid(wire: Wire, target: Target) -> None:
    session = wire.json("session.login_with_password", target.user, target.password.reveal())
    assert wire.json("session.logout", session) == ""
    for method in ("VM.get_all", "session.logout"):
        with pytest.raises(Failure) as refusal:
            wire.json(method, session)
        assert refusal.value.error == ["SESSION_INVALID", session]


@pytest.mark.parametrize("session", ["", "nope", "OpaqueRef:NULL"])
def test_what_is_no_session_is_refused_by_its_text(wire: Wire, session: str) -> None:
    with pytest.raises(Failure) as refusal:
        wire.json("pool.get_all", session)
    assert refusal.value.error == ["SESSION_INVALID", session]


def test_logout_wakes_a_blocked_event_from(wire: Wire, target: Target) -> None:
    session = wire.json("session.login_with_password", target.user, target.password.reveal(), "1.0", "behaviour")
    woken: list[list[str]] = []
    listening = threading.Event()

    def listen() -> None:
        own = Wire(target)
        own.json("session.get_uuid", session, session)
        listening.set()
        try:
            own.json("event.from", session, ["vm_appliance/OpaqueRef:none"], "", 25.0)
        except Failure as failure:
            woken.append(failure.error)
        own.connection.close()

    started = time.monotonic()
    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(10)
    wire.json("session.logout", session)
    thread.join(29)
    assert woken == [["SESSION_INVALID", session]]
    assert time.monotonic() - started < 20, "the blocked call waited for its time-out"
