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
"""Consoles through Nova: the log by its API, a picture the way its proxy gets one, token and validation included."""

import random
import socket
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from nova import context, objects
from nova.console.websocketproxy import NovaProxyRequestHandler

from cloud.base import MIB, CloudTestCase
from nova_xapi.demo.rfb import RfbClient, SocketStream

DISK = random.Random(2).randbytes(MIB)


class ConsolesTest(CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.image = self.glance.add("disk", DISK, "raw")

    def log_of(self, server: Any, marker: str) -> str:
        """The console log through the API, once it holds the marker."""
        never = threading.Event()
        for _ in range(200):
            answer = self.api.post_server_action(server["id"], {"os-getConsoleOutput": {}})
            if marker in answer["output"]:
                return str(answer["output"])
            never.wait(0.1)
        raise AssertionError(f"{marker!r} is not in the console log: {answer['output'][-500:]!r}")

    @pytest.mark.feature("console.serial.log")
    def test_the_console_log_through_the_api(self) -> None:
        servers = [self.boot(f"log-{compute}", self.image, compute) for compute in self.COMPUTES]
        for server in servers:
            _, vm = self.vm_of(server)
            assert f"Booting {vm['name_label']}" in self.log_of(server, "login: ")
        tail = self.api.post_server_action(servers[0]["id"], {"os-getConsoleOutput": {"length": 1}})["output"]
        assert tail.endswith("login: ")
        self._stop_server(servers[0])
        assert "login: " in self.log_of(servers[0], "login: "), "a log outlives the guest that wrote it"

    @pytest.mark.feature("console.vnc")
    def test_a_picture_the_way_novas_proxy_gets_it(self) -> None:
        server = self.boot("picture", self.image, "compute2")
        remote = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
        url = self.api.api_post(f"/servers/{server['id']}/remote-consoles", remote).body["remote_console"]["url"]
        token = parse_qs(urlsplit(parse_qs(urlsplit(url).query)["path"][0]).query)["token"][0]
        admin = context.get_admin_context()
        # what the proxy does with the token, the RPC to the compute service included
        connect_info = NovaProxyRequestHandler._get_connect_info(_Handler(), admin, token)
        with socket.create_connection((connect_info.host, int(connect_info.port)), timeout=30) as sock:
            sock.sendall(f"CONNECT {connect_info.internal_access_path} HTTP/1.1\r\n\r\n".encode())
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
            while not sock.recv(4096, socket.MSG_PEEK).startswith(b"\r\n\r\n"):
                sock.recv(1)
            sock.recv(4)
            picture = RfbClient(SocketStream(sock)).picture(30)
        assert picture.drawn() > 0.01


class _Handler(NovaProxyRequestHandler):  # type: ignore[misc]
    """The proxy's request handler without a request."""

    def __init__(self) -> None:
        self._compute_rpcapi = None


objects.register_all()
