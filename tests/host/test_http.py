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
"""HTTP as a host speaks it: routing, limits, early refusals, hostile input that never stops the server."""

import http.client
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost


def exchange(xapi: EmbeddedHost, data: bytes) -> bytes:
    """Send bytes, read until the server closes or falls silent."""
    where = urlsplit(xapi.urls[0])
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.sendall(data)
        connection.settimeout(1)
        found = b""
        try:
            while chunk := connection.recv(65536):
                found += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return found


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET / HTTP/1.1", "403 Forbidden"),
        ("PUT /nothing HTTP/1.1", "403 Forbidden"),
        ("DELETE / HTTP/1.1", "501 Method not implemented"),
        ("BREW / HTTP/1.1", "501 Method not implemented"),
        ("OPTIONS /anything HTTP/1.1", "200 OK"),
        ("POST / HTTP/1.1", "500 Internal Error"),
        ("GET /export_raw_vdi?vdi=x HTTP/1.1", "401 Unauthorised"),
        ("nonsense", "400 Bad Request"),
        ("GET  / HTTP/1.1", "400 Bad Request"),
    ],
)
def test_routing(xapi_host: EmbeddedHost, request_line: str, status: str) -> None:
    reply = exchange(xapi_host, f"{request_line}\r\nConnection: close\r\n\r\n".encode())
    assert reply.startswith(f"HTTP/1.1 {status}\r\n".encode()), reply[:200]


def test_a_reply_has_the_headers_of_a_host_in_their_order(xapi_host: EmbeddedHost) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"method":"system.listMethods"}'
    head = f"POST /jsonrpc HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    lines = exchange(xapi_host, head + body).split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert lines[0] == "HTTP/1.0 200 OK"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "content-length", "connection", "cache-control", "content-type",
        "Access-Control-Allow-Origin", "Access-Control-Allow-Headers",
    ]  # fmt: skip
    assert "content-type: application/json" in lines and "connection: close" in lines


def test_a_long_header_and_a_large_body_are_refused(xapi_host: EmbeddedHost) -> None:
    assert exchange(xapi_host, b"GET / HTTP/1.1\r\nX: " + b"x" * 1100 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    head = b"POST / HTTP/1.1\r\nContent-Length: 307201\r\n\r\n"
    assert exchange(xapi_host, head).startswith(b"HTTP/1.1 500 Internal Error")


def test_a_split_and_a_pipelined_request_are_both_answered(xapi_host: EmbeddedHost) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"x.y"}'
    one = b"POST /jsonrpc HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    where = urlsplit(xapi_host.urls[0])
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(0, len(one), 7):
            connection.sendall(one[position : position + 7])
        connection.sendall(one + one)
        found = b""
        while found.count(b"MESSAGE_METHOD_UNKNOWN") < 3:
            chunk = connection.recv(65536)
            assert chunk
            found += chunk


def test_malformed_bodies_get_the_page_of_a_host_and_close(xapi_host: EmbeddedHost) -> None:
    for path, body in (("/", b""), ("/", b"<x/>"), ("/jsonrpc", b"["), ("/jsonrpc", b"[]"), ("/json", b"{}")):
        head = f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        reply = exchange(xapi_host, head + body)
        assert reply.startswith(b"HTTP/1.1 500 Internal Error\r\n") and b"Additional information" in reply


def test_https_is_verified_by_the_certificate_that_the_host_made(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(hosts=2, https=True)
    assert xapi.certificate and xapi.fingerprint
    context = ssl.create_default_context(cadata=xapi.certificate.pem)
    for url in xapi.urls:
        assert url.startswith("https://")
        connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=context, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_the_certificate_stays_over_restarts(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(https=True)
    before = xapi.fingerprint
    xapi.restart()
    assert xapi.fingerprint == before


def test_a_blob_comes_back_as_it_was_put(xapi_host: EmbeddedHost, call: Caller) -> None:
    blob = call("pool.create_new_blob", call("pool.get_all")[0], "b", "text/plain", False)
    connection = http.client.HTTPConnection(urlsplit(xapi_host.urls[0]).netloc, timeout=10)
    where = f"/blob?session_id={call.session}&ref={blob}"
    connection.request("PUT", where, b"hello blob")
    assert connection.getresponse().read() == b""
    connection.request("GET", where)
    reply = connection.getresponse()
    assert (reply.read(), reply.headers["content-type"]) == (b"hello blob", "text/plain")
    connection.close()
    assert call("blob.get_size", blob) == 10
    assert exchange(xapi_host, f"GET /blob?ref={blob} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 401")
