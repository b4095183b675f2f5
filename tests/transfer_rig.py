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
"""Requests to the handlers of transfers by hand, over sockets: what is sent and what comes back is all there is."""

import random
import socket
from typing import Any
from urllib.parse import urlsplit

from xapi_caller import Caller
from xapikit.host import EmbeddedHost

SIZE = 8 << 20
"""Bytes of a disk, unless a test wants another size."""


class Answer:
    """One reply: status line, headers in lower case, and everything behind them."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = lines[0]
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}


class Handlers:
    """Requests by hand, over a socket, against a pool of two hosts."""

    def __init__(self, xapi: EmbeddedHost) -> None:
        self.xapi = xapi
        self.call = Caller(xapi.urls[0], password=xapi.password)
        self.sr: str = xapi.pool.row["default_SR"]
        self.address = urlsplit(xapi.urls[0])

    def create(self, size: int = SIZE, sr: str = "") -> str:
        record = {"SR": sr or self.sr, "virtual_size": size, "type": "user", "sharable": False, "read_only": False}
        vdi: str = self.call("VDI.create", {**record, "other_config": {}})
        return vdi

    def task(self) -> str:
        task: str = self.call("task.create", "http", "")
        return task

    def outcome(self, task: str) -> tuple[str, Any]:
        """(status, result or error_info) of a finished task."""
        pending = ("pending", "cancelling")
        self.xapi.pool.store.wait(lambda: self.xapi.pool.store.get("task", task)["status"] not in pending, 20)
        record = self.call("task.get_record", task)
        return record["status"], record["result"] if record["status"] == "success" else record["error_info"]

    def send(
        self, method: str, path: str, query: str, body: bytes = b"", *, length: int | None = -1, headers: str = "",
        timeout: float = 20, url: str = "",
    ) -> Answer:  # fmt: skip
        """``length`` None leaves Content-Length out."""
        where = urlsplit(url) if url else self.address
        with socket.create_connection((where.hostname, where.port), timeout=timeout) as connection:
            lines = f"{method} {path}?session_id={self.call.session}&{query} HTTP/1.1\r\nHost: x\r\n{headers}"
            if method == "PUT" and length is not None:
                lines += f"Content-Length: {len(body) if length < 0 else length}\r\n"
            connection.sendall(lines.encode() + b"\r\n")
            try:
                connection.sendall(body)
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # the host answered and went before all was sent
                pass
            data = bytearray()
            while True:
                try:
                    part = connection.recv(1 << 20)
                except (TimeoutError, ConnectionResetError):
                    break
                if not part:
                    break
                data += part
            return Answer(bytes(data))

    def put(self, query: str, body: bytes = b"", **more: Any) -> tuple[Answer, tuple[str, Any]]:
        task = self.task()
        answer = self.send("PUT", "/import_raw_vdi", f"task_id={task}&{query}", body, **more)
        return answer, self.outcome(task)

    def get(self, query: str) -> tuple[Answer, tuple[str, Any]]:
        task = self.task()
        answer = self.send("GET", "/export_raw_vdi", f"task_id={task}&{query}")
        return answer, self.outcome(task)

    def content(self, vdi: str) -> bytes:
        return self.send("GET", "/export_raw_vdi", f"vdi={vdi}").body


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)
