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
"""Promises about HTTP itself: routing, limits, headers, authentication of handlers."""

import pytest

from behaviour.conftest import Caller, Maker, Wire
from xapikit.client import XapiClient

CALL = b'{"jsonrpc":"2.0","id":1,"method":"system.listMethods","params":[]}'


def ask(wire: Wire, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    wire.connection.close()
    wire.connection.request(
        method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    reply = wire.connection.getresponse()
    found = {name.lower(): value for name, value in reply.getheaders()}
    # some replies carry no length and leave the connection open: their body is nobody's business
    content = reply.read() if "content-length" in found or reply.status == 501 else b""
    return reply.status, found, content


@pytest.mark.parametrize("path", ["/jsonrpc", "/jsonrpc/", "/jsonrpc?x=1", "/jsonrpc/sub"])
def test_the_longest_prefix_finds_the_json_handler(wire: Wire, path: str) -> None:
    status, headers, _ = wire.post(path, CALL)
    assert (status, headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("path", ["/", "/RPC2", "/xmlrpc", "/json", "/anything"])
def test_every_other_path_speaks_xml(wire: Wire, path: str) -> None:
    body = b"<methodCall><methodName>system.listMethods</methodName><params></params></methodCall>"
    status, headers, _ = wire.post(path, body)
    assert (status, headers["content-type"]) == (200, "text/xml")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH", "BREW"])
def test_methods_without_a_handler_are_not_implemented(wire: Wire, method: str) -> None:
    assert ask(wire, method, "/")[0] == 501


def test_options_are_answered_everywhere(wire: Wire) -> None:
    for path in ("/", "/jsonrpc", "/nowhere"):
        status, headers, body = ask(wire, "OPTIONS", path)
        assert (status, body) == (200, b"")
        assert headers["access-control-allow-origin"] == "*"


def test_connections_are_kept(wire: Wire) -> None:
    status, headers, _ = wire.post("/jsonrpc", CALL)
    assert (status, headers["connection"]) == (200, "keep-alive")
    socket = wire.connection.sock
    wire.post("/jsonrpc", CALL)
    assert wire.connection.sock is socket


def test_bodies_up_to_the_limit_are_read(wire: Wire) -> None:
    assert wire.post("/jsonrpc", CALL.ljust(307_200))[0] == 200


def test_a_chunked_call_is_refused(wire: Wire) -> None:
    # headers alone: they decide, and the server need not read on
    wire.connection.putrequest("POST", "/jsonrpc")
    wire.connection.putheader("Transfer-Encoding", "chunked")
    wire.connection.endheaders()
    assert wire.connection.getresponse().status == 500


@pytest.mark.parametrize(
    ("method", "path", "realm"),
    [("GET", "/export_raw_vdi", "get_export_raw_vdi"), ("PUT", "/import_raw_vdi", "put_import_raw_vdi")],
)
def test_handlers_ask_for_credentials_and_leave_the_task_pending(
    xapi: Caller, make: Maker, wire: Wire, client: XapiClient, method: str, path: str, realm: str
) -> None:
    task = make.task()
    status, headers, _ = ask(wire, method, f"{path}?vdi=x&task_id={task}", Content_Length="0")
    assert status == 401
    assert headers["www-authenticate"] == f'Basic realm="{realm}"'
    assert xapi("task.get_status", task) == "pending"
    # a session in the cookie is as good as one in the query, and is not logged
    status, _, _ = ask(
        wire, method, f"{path}?task_id={task}", Cookie=f"session_id={client.session()}", Content_Length="0"
    )
    assert status not in (401, 403)
