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
"""HTTP steps of recorded exchanges: bodies that are only described are made, replies are read to their end."""

from __future__ import annotations

import base64
import http.client
import re
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20
LARGEST_REPLY = 64 << 20

LENGTH = re.compile(r"(\d+) bytes")
# bodies of which only the length was recorded, told by what the server found wrong with them
BY_LENGTH = {
    ("/", 4): b"<x/>",
    ("/", 15): b"5\r\nhello\r\n0\r\n\r\n",
    ("/jsonrpc", 1): b"{",
    ("/jsonrpc", 2): b"[]",
    ("/jsonrpc", 51): b'{"jsonrpc":"2.0","id":1,"method":"x","params":"ab"}',
    ("/jsonrpc", 53): b'{"jsonrpc":"2.0","method":"pool.get_all","params":[]}',
    ("/jsonrpc", 60): b'{"jsonrpc":"3.0","id":1,"method":"pool.get_all","params":[]}',
    ("/jsonrpc", 63): b'{"jsonrpc":"2.0","id":null,"method":"pool.get_all","params":[]}',
    ("/json", 60): b'{"jsonrpc":"2.0","id":1,"method":"pool.get_all","params":[]}',
}
EXPORTS = (
    ("VHD", "format=vhd"),
    ("tar", "format=tar"),
    ("XVA", "/export?"),
    ("metadata", "/export_metadata?"),
)
"""What is remembered for a later import, and what its path is known by."""


class HttpSteps:
    """Plays the HTTP steps of one file; remembers what was exported for a later import."""

    def __init__(self, urls: list[str], fill: Callable[[Any], Any]) -> None:
        self._urls = urls
        self._fill = fill
        self._exported: dict[str, bytes] = {}

    def play(self, step: dict[str, Any]) -> tuple[dict[str, Any], Any] | None:
        """``(expected, found)`` of what can be compared; None for a step that cannot be played."""
        body = self._body(step)
        if body is None and "body" in step:
            return None
        where = urlsplit(self._urls[1 if step.get("to") == "$host2_address" else 0])
        connection = http.client.HTTPConnection(where.netloc, timeout=TIMEOUT_SECONDS)
        if "/console" in step["path"]:  # as consoles are asked for everywhere
            connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
        try:
            connection.putrequest(step["http"], self._fill(step["path"]), skip_accept_encoding=True)
            for name, value in step.get("headers", {}).items():
                connection.putheader(name, self._credentials(self._fill(value)))
            if "header block above 1024 bytes" in step.get("note", ""):
                connection.putheader("X-Padding", "x" * 1100)
            if body is not None and "Transfer-Encoding" not in step.get("headers", {}):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if body:
                try:
                    connection.send(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # refused before it was read: the reply says why
            reply = connection.getresponse()
            version = {10: "1.0", 11: "1.1"}[reply.version]
            found: dict[str, Any] = {"status_line": f"HTTP/{version} {reply.status} {reply.reason}"}
            expected: dict[str, Any] = {"status_line": step["outcome"]["status_line"]}
            if "headers" in step["outcome"]:
                expected["headers"] = _headers(step)
                # a selection was recorded: what else comes cannot be judged
                found["headers"] = {name: reply.getheader(name) for name in expected["headers"]}
            content = self._read(step, reply)
            if "body_starts" in step["outcome"]:
                expected["start"] = _start(step["outcome"]["body_starts"])
                found["start"] = _start(content.decode("utf-8", "replace"))[: len(expected["start"]) or None]
            given = step["outcome"].get("body")
            if given is not None and "<<" not in given and step["http"] != "HEAD":
                length = LENGTH.fullmatch(given)
                if length is None:
                    expected["body"], found["body"] = given, content.decode("utf-8", "replace")
                elif "raw" in step["path"] and "format=" not in step["path"]:
                    expected["length"], found["length"] = int(length[1]), len(content)
            return expected, found
        except TimeoutError:
            return step["outcome"], f"nothing within {TIMEOUT_SECONDS} s"
        finally:
            connection.close()

    def _credentials(self, value: str) -> str:
        """``Basic base64(user:password)`` with those of this pool."""
        named = re.fullmatch(r"Basic base64\(user:(\w+)\)", value)
        if named is None:
            return value
        password = self._fill("$password") if named[1] == "password" else named[1]
        return "Basic " + base64.b64encode(f"root:{password}".encode()).decode()

    def _read(self, step: dict[str, Any], reply: http.client.HTTPResponse) -> bytes:
        if step["http"] == "CONNECT" or "<<TIMEOUT>>" in step["outcome"].get("body", ""):
            return b""
        try:
            content = reply.read(LARGEST_REPLY)
        except (ConnectionResetError, http.client.IncompleteRead):
            return b""
        for word, mark in EXPORTS:
            if mark in step["path"] and reply.status == 200:
                self._exported.setdefault(word, content)
        return content

    def _body(self, step: dict[str, Any]) -> bytes | None:
        text = step.get("body")
        if text is None:
            return None
        exported = re.fullmatch(r"the (\w+) exported above", text)
        if exported:
            return self._exported.get(exported[1])
        if "/import?" in step["path"] or "/import_metadata?" in step["path"]:
            return self._archive(text)
        length = re.match(r"(\d+) bytes", text)
        if text.startswith("own framing"):
            return struct.pack("<QI", 8192, 512) + b"f" * 512 + struct.pack("<QI", 0, 0)
        if text == "1 MiB":
            return b"m" * (1 << 20)
        if length and step["http"] == "PUT":
            return b"hello blob" if text == "10 bytes" else (b"body" * (int(length[1]) // 4 + 1))[: int(length[1])]
        if length and (step["path"], int(length[1])) in BY_LENGTH:
            return BY_LENGTH[step["path"], int(length[1])]
        if text == "0 bytes":
            return b""
        if text.startswith("XML-RPC"):
            return self._call(text)
        return None

    def _archive(self, text: str) -> bytes | None:
        """Bodies of imports are described by what is special about the request."""
        whole = self._exported.get("XVA")
        if text == "garbage":
            return b"garbage " * 512
        if text == "empty":
            return b""
        if text == "truncated XVA":
            return None if whole is None else whole[: len(whole) // 2]
        return self._exported.get("metadata") if text == "metadata export" else whole

    def _call(self, text: str) -> bytes:
        size = re.search(r"of (\d+) bytes", text)
        session = self._fill("$session")
        frame = (
            "<?xml version='1.0'?><methodCall><methodName>pool.get_all</methodName><params><param><value>"
            f"<string>{session}</string></value></param></params></methodCall>"
        )
        padding = int(size[1]) - len(frame) if size else 0
        return (frame + " " * padding).encode()


def _headers(step: dict[str, Any]) -> dict[str, str]:
    """The recorded headers; without the length of a body whose text is not compared."""
    outcome = step["outcome"]
    recorded = outcome["headers"]
    pairs = recorded.items() if isinstance(recorded, dict) else (line.split(": ", 1) for line in recorded)
    found = {name.lower(): value for name, value in pairs}
    if step["http"] == "CONNECT" or LENGTH.fullmatch(outcome.get("body", "")):
        found.pop("content-length", None)
    return found


def _start(text: str) -> str:
    """The beginning of a body of statistics, up to the names of what is measured; numbers are those of the moment."""
    text = re.sub(r"\$n\b|\d[\d.]*", "N", text)
    names = re.search(r'<entry>|"legend":\[|<ds>|"ds":\[', text)
    return text[: names.end()] if names else text
