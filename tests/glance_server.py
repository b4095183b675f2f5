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
"""A small image service that speaks as much of Glance's v2 API as Nova's client uses, and can be made to misbehave."""

import hashlib
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BASE = (
    "id", "name", "status", "visibility", "protected", "checksum", "owner", "size", "virtual_size", "container_format",
    "disk_format", "created_at", "updated_at", "tags", "min_ram", "min_disk", "os_hash_algo", "os_hash_value",
    "os_hidden", "self", "file", "schema", "direct_url", "locations",
)  # fmt: skip
SCHEMA = {
    "name": "image",
    "properties": {name: {"type": ["null", "string"]} for name in _BASE},
    "additionalProperties": {"type": "string"},
}


@dataclass
class StoredImage:
    """An image as it is offered. What it says about itself may be changed after it was added."""

    record: dict[str, Any]
    chunks: Callable[[], Iterable[bytes]]
    #: bytes that really come
    length: int
    #: close the connection after so many bytes
    cut_after: int | None = None
    #: HTTP status instead of the data
    data_status: int = 200
    #: wait here before each chunk
    gate: threading.Event = field(default_factory=threading.Event)
    downloads: int = 0

    @property
    def id(self) -> str:
        return str(self.record["id"])


class GlanceServer:
    """Listens on loopback; use as a context manager."""

    def __init__(self) -> None:
        self.images: dict[str, StoredImage] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                outer.answer(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "GlanceServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for image in self.images.values():
            image.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(
        self, data: bytes | Callable[[], Iterable[bytes]], disk_format: str, *, hashed: bool = True, **fields: Any
    ) -> StoredImage:
        """Offer an image. ``data`` may be a function that answers the chunks of a large one."""
        chunks: Callable[[], Iterable[bytes]] = data if callable(data) else lambda: _cut(data)
        sha, md5, size = hashlib.sha512(), hashlib.md5(usedforsecurity=False), 0
        for chunk in chunks():
            sha.update(chunk)
            md5.update(chunk)
            size += len(chunk)
        record: dict[str, Any] = {
            "id": str(uuid.uuid4()), "name": f"an image of {disk_format}", "status": "active", "visibility": "public",
            "protected": False, "owner": "owner", "size": size, "virtual_size": None, "tags": [], "min_ram": 0,
            "container_format": "bare", "disk_format": disk_format, "min_disk": 0, "os_hidden": False,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "schema": "/v2/schemas/image",
            "checksum": md5.hexdigest() if hashed else None, "os_hash_algo": "sha512" if hashed else None,
            "os_hash_value": sha.hexdigest() if hashed else None,
        }  # fmt: skip
        image = StoredImage({**record, **fields}, chunks, size)
        image.gate.set()
        self.images[image.id] = image
        return image

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = handler.path.partition("?")[0].strip("/").split("/")
        if parts == ["v2", "schemas", "image"]:
            self._json(handler, 200, SCHEMA)
            return
        image = self.images.get(parts[2]) if parts[:2] == ["v2", "images"] and len(parts) > 2 else None
        if image is None:
            self._refuse(handler, 404)
        elif len(parts) == 3:
            self._json(handler, 200, image.record)
        elif image.data_status != 200:
            self._refuse(handler, image.data_status)
        else:
            self._data(handler, image)

    def _json(self, handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _refuse(self, handler: BaseHTTPRequestHandler, status: int) -> None:
        body = b"" if status == 204 else b"<html><body>no data for you</body></html>"
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _data(self, handler: BaseHTTPRequestHandler, image: StoredImage) -> None:
        image.downloads += 1
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(image.length))
        handler.end_headers()
        sent = 0
        for chunk in image.chunks():
            image.gate.wait(60)
            if image.cut_after is not None and sent + len(chunk) > image.cut_after:
                handler.wfile.write(chunk[: image.cut_after - sent])
                handler.close_connection = True
                handler.connection.close()
                return
            handler.wfile.write(chunk)
            sent += len(chunk)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a client that gives up is what some tests are about
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _cut(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 1 << 18):
        yield data[at : at + (1 << 18)]
