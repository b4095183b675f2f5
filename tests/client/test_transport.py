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
"""Each call has its effect once: what is sent again after which failure, and what never is."""

import socket
import threading
from typing import Any

import pytest

from client.small_server import SmallServer, serving
from xapikit.client import XapiClient, errors
from xapikit.wire import Failure


def connect(server: SmallServer | list[str], **settings: Any) -> XapiClient:
    url: Any = server if isinstance(server, list) else server.url
    given = {"username": "root", "password": "right", "originator": "test", "patience": 3.0, "call_timeout": 10.0}
    return XapiClient(url, **{**given, **settings})


def test_one_login_and_one_connection_serve_many_calls() -> None:
    with serving(lambda method, params: [method, *params]) as server, connect(server) as client:
        for number in range(20):
            assert client.call("VM.get_record", number) == ["VM.get_record", number]
        assert server.calls == {"session.login_with_password": 1, "VM.get_record": 20}
        assert server.connections == 1


def test_closing_logs_out() -> None:
    with serving() as server:
        with connect(server) as client:
            client.call("VM.start", "vm", False, False)
            assert len(server.sessions) == 1
        assert not server.sessions
        with pytest.raises(errors.ClientClosed):
            client.call("VM.get_all")


def test_a_wrong_password_is_told_at_once_and_tried_once() -> None:
    with serving() as server:
        client = connect(server, password="wrong-secret")
        with pytest.raises(errors.AuthenticationFailed) as refusal:
            client.connect()
        assert refusal.value.user == "root"
        assert server.calls["session.login_with_password"] == 1
        assert "wrong-secret" not in str(refusal.value) + repr(client)


def test_a_lost_session_is_renewed_once_and_the_call_carried_out() -> None:
    with serving(lambda method, params: "done") as server, connect(server) as client:
        server.sessions.clear()
        assert client.call("VM.clone", "vm", "name") == "done"
        assert server.calls["session.login_with_password"] == 2
        assert client.generation == 2


def test_threads_that_lose_their_session_together_log_in_once() -> None:
    with serving(lambda method, params: "done") as server, connect(server) as client:
        server.sessions.clear()
        results: list[Any] = []
        threads = [threading.Thread(target=lambda: results.append(client.call("VM.get_all"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert results == ["done"] * 8
        assert server.calls["session.login_with_password"] == 2


def test_a_session_that_is_refused_right_after_login_is_an_error() -> None:
    def refuse(method: str, params: list[Any]) -> Any:
        raise Failure(["SESSION_INVALID", "OpaqueRef:x"])

    with serving(refuse) as server, connect(server) as client:
        with pytest.raises(errors.SessionInvalid):
            client.call("VM.get_all")
        assert server.calls["VM.get_all"] == 2


@pytest.mark.parametrize("when", ["before", "after", "inside"])
def test_a_read_whose_connection_is_cut_is_sent_again(when: str) -> None:
    with serving(lambda method, params: "on") as server, connect(server) as client:
        server.cut("VM.get_power_state", when)
        assert client.call("VM.get_power_state", "vm") == "on"


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1), ("inside", 1)])
def test_a_constructor_whose_connection_is_cut_is_never_sent_again(when: str, effects: int) -> None:
    with serving(lambda method, params: "ref") as server, connect(server) as client:
        server.cut("VM.create", when)
        with pytest.raises(errors.MaybeSent) as failure:
            client.call("VM.create", {})
        assert not isinstance(failure.value, errors.NotSent)
        assert failure.value.method == "VM.create"
        assert server.calls["VM.create"] == effects
        assert client.call("VM.create", {}) == "ref"  # the client itself is as good as before


def test_a_caller_can_vouch_for_a_call() -> None:
    with serving(lambda method, params: "") as server, connect(server) as client:
        server.cut("task.destroy", "after")
        client.call("task.destroy", "task", repeatable=True)
        assert server.calls["task.destroy"] == 2
        server.cut("VM.get_all", "after")
        with pytest.raises(errors.MaybeSent):
            client.call("VM.get_all", repeatable=False)


def test_setters_are_repeated_but_additions_to_maps_are_not() -> None:
    with serving(lambda method, params: "") as server, connect(server) as client:
        server.cut("VM.set_name_label", "after")
        client.call("VM.set_name_label", "vm", "x")
        server.cut("VM.add_to_other_config", "after")
        with pytest.raises(errors.MaybeSent):
            client.call("VM.add_to_other_config", "vm", "k", "v")
        server.cut("Async.VM.get_all", "after")
        with pytest.raises(errors.MaybeSent):
            client.call("Async.VM.get_all")


def test_a_kept_connection_that_the_server_closed_is_noticed_before_anything_is_sent() -> None:
    with serving(lambda method, params: "ref") as server, connect(server) as client:
        client.call("VM.get_all")
        server.close_connections()
        assert client.call("VM.create", {}) == "ref"
        assert server.calls["VM.create"] == 1


def test_a_restarted_server_is_waited_for_and_logged_in_to() -> None:
    effects = []
    with serving(lambda method, params: effects.append(method) or "ref") as server, connect(server) as client:
        server.stop()
        server.sessions.clear()
        back = threading.Timer(0.5, server.start)
        back.start()
        assert client.call("VM.create", {}) == "ref"
        assert effects == ["VM.create"]
        assert server.calls["session.login_with_password"] == 2
        back.join()


def test_a_server_that_stays_away_is_given_up_after_the_patience() -> None:
    with serving() as server:
        client = connect(server, patience=0.4)
        client.connect()
        server.stop()
        with pytest.raises(errors.NotSent):
            client.call("VM.create", {})
        client.close()


def test_a_booting_host_is_waited_for() -> None:
    answers = iter(["HOST_STILL_BOOTING", "HOST_STILL_BOOTING", "TOO_MANY_PENDING_TASKS"])

    def booting(method: str, params: list[Any]) -> Any:
        for code in answers:
            raise Failure([code])
        return "up"

    with serving(booting) as server, connect(server) as client:
        assert client.call("VM.clone", "vm", "x") == "up"
        assert server.calls["VM.clone"] == 4


def test_a_silent_server_times_out_and_the_call_is_not_sent_again() -> None:
    release = threading.Event()

    def silent(method: str, params: list[Any]) -> Any:
        release.wait(10)

    with serving(silent) as server, connect(server) as client:
        with pytest.raises(errors.CallTimedOut):
            client.call("VM.get_all", timeout=0.3)
        assert server.calls["VM.get_all"] == 1
        release.set()


def test_the_pool_is_bounded_and_who_waits_too_long_has_sent_nothing() -> None:
    busy, release = threading.Semaphore(0), threading.Event()

    def slow(method: str, params: list[Any]) -> Any:
        busy.release()
        release.wait(10)
        return ""

    with serving(slow) as server, connect(server, connections=2) as client:
        threads = [threading.Thread(target=client.call, args=("VM.get_all",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert busy.acquire(timeout=5)
        with pytest.raises(errors.NotSent, match="stayed busy"):
            client.call("VM.create", {}, timeout=0.2)
        release.set()
        for thread in threads:
            thread.join(5)
        assert server.calls["VM.create"] == 0
        assert server.connections <= 2


def test_a_member_sends_us_to_its_coordinator() -> None:
    with serving(lambda method, params: "done") as coordinator, SmallServer() as member:

        def slave(method: str, params: list[Any]) -> Any:
            raise Failure(["HOST_IS_SLAVE", "10.9.8.7"])

        member.handler = slave
        member._call = slave  # type: ignore[method-assign]
        with connect(member, addresses={"10.9.8.7": coordinator.url}) as client:
            assert client.call("VM.clone", "vm", "x") == "done"
            assert client.endpoint == coordinator.url


def test_the_coordinator_moves_while_we_are_logged_in() -> None:
    moved = False

    def old(method: str, params: list[Any]) -> Any:
        if moved:
            raise Failure(["HOST_IS_SLAVE", "new"])
        return "old"

    with (
        serving(lambda method, params: "new") as second,
        serving(old) as first,
        connect(first, addresses={"new": second.url}) as client,
    ):
        assert client.call("VM.clone", "vm", "x") == "old"
        moved = True
        assert client.call("VM.clone", "vm", "x") == "new"
        assert first.calls["VM.clone"] == 2
        assert second.calls["VM.clone"] == 1


def test_another_known_host_is_asked_when_the_first_is_gone() -> None:
    with serving(lambda method, params: "done") as second:
        with SmallServer() as first:
            gone = first.url
        with connect([gone, second.url]) as client:
            assert client.call("VM.create", {}) == "done"


def test_ipv6_addresses_get_their_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    with serving(lambda method, params: "six", address="::1") as server, SmallServer() as member:

        def slave(method: str, params: list[Any]) -> Any:
            raise Failure(["HOST_IS_SLAVE", "::1"])

        member._call = slave  # type: ignore[method-assign]
        with connect(server) as client:
            assert client.call("VM.get_all") == "six"
        member.stop()
        member.port = server.port
        member.start()
        with connect(member) as client:
            assert client.call("VM.get_all") == "six"
            assert client.endpoint == server.url


def test_errors_are_typed_and_know_their_parameters() -> None:
    def fail(method: str, params: list[Any]) -> Any:
        raise Failure(params[0])

    with serving(fail) as server, connect(server) as client:
        with pytest.raises(errors.VmBadPowerState) as wrong:
            client.call("VM.start", ["VM_BAD_POWER_STATE", "OpaqueRef:vm", "halted", "suspended", "running"])
        assert (wrong.value.vm, wrong.value.expected, wrong.value.actual) == (
            "OpaqueRef:vm",
            "halted, suspended",
            "running",
        )
        with pytest.raises(errors.SrFull) as full:
            client.call("VDI.create", ["SR_FULL", "5", "4"])
        assert "VDI.create: SR_FULL" in str(full.value)
        with pytest.raises(errors.SrBackendFailure) as backend:
            client.call("VDI.create", ["SR_BACKEND_FAILURE_46", "", "in use", ""])
        assert backend.value.number == 46
        with pytest.raises(errors.XapiError) as unknown:
            client.call("VDI.create", ["NOBODY_KNOWS", "x"])
        assert (unknown.value.code, unknown.value.params) == ("NOBODY_KNOWS", ("x",))
        with pytest.raises(errors.OtherOperationInProgress) as short:
            client.call("VM.start", ["OTHER_OPERATION_IN_PROGRESS", "VM", "OpaqueRef:vm", "start"])
        assert short.value.operation_ref == ""


def test_every_error_of_the_data_model_has_a_class_of_its_own() -> None:
    from xapikit.model import MODEL

    names = set()
    for code, parameters in MODEL.errors.items():
        raised = errors.xapi_error([code, *(parameters or ["x"])], "VM.start")
        assert isinstance(raised, errors.XapiError) and type(raised) is not errors.XapiError
        names.add(type(raised).__name__)
        assert code in str(raised)
    assert len(names) == len(MODEL.errors)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 500 Internal Error\r\ncontent-length: 30\r\n\r\n<h1>x</h1>parser</body></html>",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    ],
)
def test_what_is_no_xapi_server_is_told_as_such(reply: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    client = connect([f"http://127.0.0.1:{listener.getsockname()[1]}"])
    with pytest.raises(errors.HttpError):
        client.connect()
    thread.join(5)
    listener.close()
    client.close()


def test_a_call_that_no_server_would_read_is_refused_here() -> None:
    with serving() as server, connect(server) as client:
        with pytest.raises(ValueError, match="307200"):
            client.call("VM.set_name_label", "vm", "x" * 400_000)
        assert server.calls["VM.set_name_label"] == 0


@pytest.mark.parametrize("url", ["ftp://host", "https://", "https://root:pw@host"])
def test_urls_that_are_none_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        connect([url])
    assert "pw" not in str(refusal.value)
