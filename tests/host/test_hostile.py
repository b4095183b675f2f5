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
"""Hostile input never stops the server, and nothing it names is read or written outside the state directory.

``XAPI_HOSTILE_REQUESTS=20000`` makes the long form (``make fuzz``). Disk images are in
``storage/test_hostile_transfers``, archives in ``handlers/test_hostile_archives``.
"""

import json
import os
import random
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.model import MODEL

REQUESTS = int(os.environ.get("XAPI_HOSTILE_REQUESTS", "400"))
SECRET = b"nobody may read this"
PATHS = [
    "../" * 8,
    "..%2f" * 8,
    "%2e%2e/" * 8,
    "..\\" * 8,
    "....//" * 8,
    "/",
    "//",
    "file://",
    "%2fetc/../",
    "%00/",
    "",
]
ARGUMENTS = [
    "uuid", "ref", "vdi", "vm", "sr_id", "sr_uuid", "host", "base", "format", "task_id", "subtask_of", "name", "path",
    "filename", "fn", "pack", "label", "output", "start", "cf", "use_compression", "force", "restore", "session_id",
]  # fmt: skip


def send(xapi: EmbeddedHost, data: bytes) -> bytes:
    where = urlsplit(xapi.urls[0])
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.settimeout(2)
        found = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                found += chunk
        except OSError:
            pass
        return found


def post(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def hostile(choose: random.Random, session: str) -> bytes:
    """One request that nobody should send."""
    method = choose.choice(
        ["VM.create", "VM.get_record", "event.from", "host.call_plugin", "VM.add_tags", "x", "Async."]
    )
    junk = choose.choice(
        [
            None,
            True,
            2**70,
            -1.5,
            "",
            "\x01",
            "../../etc/passwd",
            [],
            {},
            [[[]]],
            {"a": {"b": []}},
            "x" * 70000,
            "\ud800",
        ]
    )
    params = [session, *[junk] * choose.randrange(5)]
    match choose.randrange(9):
        case 0:
            return bytes(choose.randrange(256) for _ in range(choose.randrange(300)))
        case 1:
            return post(
                "/jsonrpc", json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
            )
        case 2:
            depth = choose.choice([10, 1000, 60000])
            body = b'{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":' + b"[" * depth + b"]" * depth + b"}"
            return post("/jsonrpc", body)
        case 3:
            depth = choose.choice([10, 1000, 8000])
            value = b"<value><array><data>" * depth + b"</data></array></value>" * depth
            body = (
                b"<methodCall><methodName>VM.get_all</methodName><params><param>"
                + value
                + b"</param></params></methodCall>"
            )
            return post("/", body)
        case 4:
            entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
                b'<!ENTITY a%d "%b">' % (n, b"&a;" * 10 if n == 0 else b"&a%d;" % (n - 1) * 10) for n in range(9)
            )
            body = entities + b"]><methodCall><methodName>&a8;</methodName></methodCall>"
            return post("/", body)
        case 5:
            name = choose.choice(
                ["../../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "a" * 500, "\\..\\x"]
            )
            action = choose.choice(["blob", "export_raw_vdi", "console", "vm_rrd", "services/plugin", "update/"])
            method = choose.choice(["GET", "PUT", "CONNECT"])
            query = f"session_id={session}&uuid={name}&vdi={name}&ref={name}"
            return f"{method} /{action}/{name}?{query} HTTP/1.1\r\n\r\n".encode()
        case 6:
            return (
                b"POST / HTTP/1.1\r\nContent-Length: "
                + choose.choice([b"-1", b"9" * 30, b"x", b"0x10", b"+5"])
                + b"\r\n\r\n"
            )
        case 7:
            body = bytearray(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": [session]}).encode())
            for _ in range(3):
                body[choose.randrange(len(body))] = choose.randrange(256)
            return post("/jsonrpc", bytes(body))
        case _:
            lines = b"".join(b"%c: %c\r\n" % (choose.randrange(256), choose.randrange(256)) for _ in range(10))
            return b"GET /blob HTTP/1.1\r\n" + lines + b"\r\n"


def odd_path(choose: random.Random, secret: Path) -> str:
    """The way to a file that is none of the client's business, in one of many spellings."""
    way = choose.choice(PATHS) + choose.choice([str(secret), str(secret).lstrip("/"), "etc/passwd", "db/journal"])
    return choose.choice([way, quote(way), quote(way, safe=""), quote(quote(way))])


def odd_transfer(choose: random.Random, session: str, known: str, secret: Path) -> bytes:
    """Any HTTP action of the data model with names in its path, query and headers that are ways out."""
    spec = choose.choice([spec for spec in MODEL.http_handlers if not spec.action.startswith("post_")])
    query = {"session_id": session}
    for name in choose.sample(ARGUMENTS, choose.randrange(4)):
        query[name] = choose.choice([odd_path(choose, secret), known, "", "\u202e", "%"])
    path = spec.path + choose.choice(["", "/", "/" + odd_path(choose, secret)])
    line = f"{spec.method} {path}?{'&'.join(f'{name}={value}' for name, value in query.items())} HTTP/1.1"
    body = choose.randbytes(choose.choice([0, 0, 10, 3000]))
    head = f"{line}\r\nContent-Length: {choose.choice([len(body), len(body), 0, 5])}\r\n"
    if choose.random() < 0.2:
        head += choose.choice(
            ["Host: ..", "Cookie: session_id=../../x", "Transfer-Encoding: chunked", "Range: bytes=-9"]
        )
        head += "\r\n"
    return head.encode("utf-8", "replace") + b"\r\n" + body


def files_beside(state: Path) -> list[str]:
    """All names next to a state directory and below, the directory itself left out."""
    return sorted(str(path) for path in state.parent.rglob("*") if state not in path.parents and path != state)


@pytest.mark.timeout(120 + REQUESTS // 10)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_server_goes_on_whatever_it_is_sent(xapi_host: EmbeddedHost, call: Caller, seed: int) -> None:
    choose = random.Random(seed)
    statuses: Counter[str] = Counter()
    for _ in range(REQUESTS // 2):
        reply = send(xapi_host, hostile(choose, call.session))
        assert b"root:x:0:0" not in reply
        statuses[reply[9:12].decode() if reply.startswith(b"HTTP/1.") else "none"] += 1
    print(f"{REQUESTS // 2} hostile requests, answers by status: {dict(sorted(statuses.items()))}")
    assert sum(statuses.values()) - statuses["none"] > REQUESTS // 4
    again = Caller(xapi_host.urls[0], password=xapi_host.password)
    assert len(again("pool.get_all")) == 1


@pytest.mark.timeout(120 + REQUESTS // 5)
def test_no_action_reads_or_writes_outside_its_directory(
    xapi_factory: Callable[..., EmbeddedHost], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    xapi = xapi_factory(state=tmp_path / "a" / "state")
    call = Caller(xapi.url, password=xapi.password)
    choose = random.Random(3)
    known = [call("VM.get_all")[0], call("pool.get_all_records").popitem()[1]["default_SR"], call("host.get_all")[0]]
    before = files_beside(xapi.settings.state)
    statuses: Counter[str] = Counter()
    for _ in range(REQUESTS // 2):
        reply = send(xapi, odd_transfer(choose, call.session, choose.choice(known), secret))
        assert b"root:x:0:0" not in reply and SECRET not in reply
        statuses[reply[9:12].decode() if reply.startswith(b"HTTP/1.") else "none"] += 1
    print(f"{REQUESTS // 2} requests with ways out, answers by status: {dict(sorted(statuses.items()))}")
    assert files_beside(xapi.settings.state) == before and secret.read_bytes() == SECRET
    assert not [record.exc_info for record in caplog.records if record.exc_info], "errors that nobody foresaw"
    assert len(Caller(xapi.url, password=xapi.password)("pool.get_all")) == 1


def test_names_are_never_paths(xapi_host: EmbeddedHost, call: Caller) -> None:
    outside = Path(xapi_host.settings.state).parent
    before = sorted(path.name for path in outside.iterdir())
    pool = call("pool.get_all")[0]
    for name in ("../escape", "/tmp/escape", "a/../../escape"):
        call("pool.set_name_label", pool, name)
        blob = call("pool.create_new_blob", pool, name, "text/plain", True)
        send(
            xapi_host, f"PUT /blob?session_id={call.session}&ref={blob} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".encode()
        )
        call("secret.create", {"value": name, "other_config": {name: name}})
    assert sorted(path.name for path in outside.iterdir()) == before
