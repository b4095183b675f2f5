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
"""The smaller handlers: lists of services, daemons of dom0, and features that are not set up."""

import http.server
import json
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any

from archive_rig import Archives
from xapikit.host.handlers.service_lists import PLUGINS


def test_storage_drivers_are_listed(archives: Archives) -> None:
    answer = archives.send("GET", "/services", "")
    assert answer.status == "HTTP/1.0 200 OK" and json.loads(answer.body)["features"] == ["/services/SM"]
    drivers = json.loads(archives.send("GET", "/services/SM", "").body)
    assert {driver["driver"] for driver in drivers} == {row["type"] for row in archives.store.all("SM").values()}
    (ext,) = (driver for driver in drivers if driver["driver"] == "ext")
    assert "VDI_CREATE" in ext["features"] and ext["smapi_version"] == "SMAPIv1"
    assert json.loads(archives.send("GET", "/services/SM/ext", "").body) == ext
    for path in ("/services/SM/none", "/services/plugin/none", "/services/else", "/services/plugin/../../x"):
        assert archives.send("GET", path, "").status == "HTTP/1.0 404 Not Found"
        assert archives.send("PUT", path, "").status == "HTTP/1.0 404 Not Found"


class Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def test_a_daemon_of_dom0_is_reached_through_its_host(archives: Archives, tmp_path: Path) -> None:
    seen: list[tuple[str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            seen.append((self.command, self.path.partition("?")[0], body))
            assert "Authorization" not in self.headers
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from dom0")

        do_GET = do_PUT = do_POST = _answer

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def address_string(self) -> str:
            return "dom0"

    # an address of a Unix socket is short, the place where it is to be found is not
    with Daemon(str(tmp_path / "d"), Handler) as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        plugins = archives.xapi.pool.programs.root(archives.xapi.hosts[0].uuid) / PLUGINS
        plugins.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d").rename(plugins / "mine")
        assert archives.send("GET", "/services/plugin/mine/list", "a=b").body == b"from dom0"
        assert archives.send("PUT", "/services/plugin/mine", "", b"content").body == b"from dom0"
        daemon.shutdown()
    assert seen == [("GET", "/services/plugin/mine/list", b""), ("PUT", "/services/plugin/mine", b"content")]
    assert archives.send("GET", "/services/plugin/mine", "").status == "HTTP/1.0 404 Not Found", "it is gone"


ABSENT: list[tuple[str, str, str, int, list[Any]]] = [
    ("GET", "/wlb_report", "report=pool_health", 500, ["WLB_NOT_INITIALIZED"]),
    ("GET", "/wlb_report", "", 500, ["INTERNAL_ERROR", "500 Internal Error"]),
    ("GET", "/wlb_diagnostics", "", 500, ["WLB_NOT_INITIALIZED"]),
    ("PUT", "/pool_patch_upload", "", 200, ["INVALID_UPDATE", "the upload has no update metadata"]),
    ("GET", "/updates", "", 404, ["NO_REPOSITORY_ENABLED"]),
    ("GET", "/updates", "host_refs=OpaqueRef:nope", 400, ["INTERNAL_ERROR", "no hosts"]),
    ("GET", "/host_updates", "", 500, ["NO_REPOSITORY_ENABLED"]),
    ("GET", "/repository/enabled", "", 500, ["NO_REPOSITORY_ENABLED"]),
    ("PUT", "/bundle", "", 400, ["NO_REPOSITORY_ENABLED"]),
    ("GET", "/repository", "", 403, ["INTERNAL_ERROR", "403 Forbidden"]),
    ("GET", "/update/x/y", "", 403, ["INTERNAL_ERROR", "403 Forbidden"]),
]


def test_what_is_not_set_up_says_so(archives: Archives) -> None:
    for method, path, query, status, error in ABSENT:
        task = archives.task()
        answer = archives.send(method, path, f"task_id={task}&{query}", b"upload" if method == "PUT" else b"")
        assert answer.status.split(" ")[1] == str(status), path
        assert archives.outcome(task) == ("failure", error)


def test_updates_are_nobodys_secret(archives: Archives) -> None:
    with socket.create_connection((archives.address.hostname, archives.address.port), timeout=20) as connection:
        connection.sendall(b"GET /update/x/y HTTP/1.0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.0 403 Forbidden")
