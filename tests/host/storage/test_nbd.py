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
"""Clients read disks over NBD where a network has the purpose: over TLS or in plain, with a session, and no longer."""

from __future__ import annotations

import base64
import random
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from host.storage.conftest import MIB, Sr
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.nbd.access import MARK
from xapikit.host.server.sessions import Account

EXPORT_NAME, LIST, STARTTLS, INFO, GO = 1, 3, 5, 6, 7
ACK, TLS_REQD, UNKNOWN, POLICY = 1, 0x80000005, 0x80000006, 0x80000002
BLOCK = 64 << 10
CONTENT = bytes(range(256)) * 1024


class Client:
    """A client that speaks NBD, a message at a time."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.create_connection((address, port), timeout=20)
        assert self.exactly(18) == b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
        self.socket.sendall(struct.pack(">I", 3))

    def exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def option(self, option: int, data: bytes = b"") -> tuple[int, bytes]:
        """The last reply to an option, and what the one before it said."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)
        told = b""
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.exactly(20))
            body = self.exactly(length)
            if kind == ACK or kind & 0x80000000:
                return kind, told or body
            told = told or body

    def start_tls(self, pem: str) -> None:
        assert self.option(STARTTLS) == (ACK, b"")
        context = ssl.create_default_context(cadata=pem)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def go(self, name: str, option: int = GO) -> tuple[int, bytes]:
        return self.option(option, struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0))

    def request(self, kind: int, offset: int, length: int, payload: bytes = b"") -> int:
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length) + payload)
        magic, error, handle = struct.unpack(">IIQ", self.exactly(16))
        assert magic == 0x67446698 and handle == 7
        return int(error)

    def read(self, offset: int, length: int) -> bytes:
        assert self.request(0, offset, length) == 0
        return self.exactly(length)


@contextmanager
def client(info: dict[str, Any]) -> Iterator[Client]:
    made = Client(info["address"], int(info["port"]))
    try:
        yield made
    finally:
        made.socket.close()


def purpose(call: Caller, value: str) -> str:
    """Give the management network a purpose."""
    pif = next(row for row in call("PIF.get_all_records").values() if row["management"])
    network: str = pif["network"]
    call("network.add_purpose", network, value)
    return network


@pytest.fixture
def snapshot(sr: Sr) -> str:
    vdi = sr.create()
    sr.write(vdi, MIB, CONTENT)
    made: str = sr.call("VDI.snapshot", vdi)
    return made


def dom0_vbds(call: Caller) -> list[dict[str, Any]]:
    return [row for row in call("VBD.get_all_records").values() if MARK in row["other_config"]]


def test_without_a_network_for_it_there_is_nothing_to_connect_to(sr: Sr, snapshot: str) -> None:
    assert sr.call("VDI.get_nbd_info", snapshot) == []


def test_the_info_names_the_export_and_where_it_is(sr: Sr, snapshot: str) -> None:
    purpose(sr.call, "nbd")
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    uuid = sr.row(snapshot)["uuid"]
    assert info["exportname"] == f"/{uuid}?session_id={sr.call.session}" and info["address"] == "127.0.0.1"
    assert info["subject"] == "localhost" and info["cert"].startswith("-----BEGIN CERTIFICATE-----")
    assert set(info) == {"exportname", "address", "port", "cert", "subject"} and int(info["port"]) > 0


def test_a_disk_is_read_over_tls_and_not_in_plain(sr: Sr, snapshot: str) -> None:
    purpose(sr.call, "nbd")
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    with client(info) as plain:
        assert plain.go(info["exportname"])[0] == TLS_REQD and plain.option(LIST)[0] == TLS_REQD
        name = info["exportname"].encode()
        plain.socket.sendall(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, len(name)) + name)
        assert plain.socket.recv(1) == b"", "an export by its old name ends the connection"
    with client(info) as one:
        one.start_tls(info["cert"])
        assert one.option(LIST)[0] == POLICY
        kind, told = one.go(info["exportname"])
        assert kind == ACK and struct.unpack(">HQH", told) == (0, 8 * MIB, 0b100001111)
        assert one.read(MIB, len(CONTENT)) == CONTENT and one.read(0, 512) == bytes(512)
        assert one.request(1, 0, 512, bytes(512)) == 1, "EPERM: nothing is written this way"
        (vbd,) = dom0_vbds(sr.call)
        assert vbd["VDI"] == snapshot and vbd["currently_attached"] and vbd["mode"] == "RO"
        assert sr.row(snapshot)["sm_config"][f"host_{sr.host}"] == "RO"
        assert sr.call.error("VDI.destroy", snapshot)[0] == "VDI_IN_USE"
    sr.storage.store.wait(lambda: not sr.storage.attachments.uses(snapshot), 20)
    sr.storage.store.wait(lambda: not dom0_rows(sr), 20)
    sr.call("VDI.destroy", snapshot)


def dom0_rows(sr: Sr) -> list[str]:
    return [ref for ref, row in sr.storage.store.all("VBD").items() if MARK in row["other_config"]]


def test_a_disk_is_read_in_plain_where_the_network_is_for_that(sr: Sr, snapshot: str, tmp_path: Path) -> None:
    network = purpose(sr.call, "insecure_nbd")
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    with client(info) as one:
        assert one.option(STARTTLS)[0] == POLICY and one.go(info["exportname"], INFO)[0] == ACK
        assert one.go(info["exportname"])[0] == ACK and one.read(MIB, 4096) == CONTENT[:4096]
    uri = f"nbd://{info['address']}:{info['port']}/{quote(info['exportname'], safe='')}"
    convert(uri, tmp_path / "disk.raw")
    assert (tmp_path / "disk.raw").read_bytes() == bytes(MIB) + CONTENT + bytes(7 * MIB - len(CONTENT))
    sr.call("network.remove_purpose", network, "insecure_nbd")
    assert sr.call("VDI.get_nbd_info", snapshot) == []
    with pytest.raises(OSError):
        Client(info["address"], int(info["port"]))


def test_qemu_reads_a_disk_over_tls(sr: Sr, snapshot: str, tmp_path: Path) -> None:
    purpose(sr.call, "nbd")
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    (tmp_path / "ca-cert.pem").write_text(info["cert"])
    options = {
        "driver": "nbd", "server.type": "inet", "server.host": info["address"], "server.port": info["port"],
        "export": info["exportname"], "tls-creds": "tls0", "tls-hostname": info["subject"],
    }  # fmt: skip
    image = ",".join(f"{key}={value}" for key, value in options.items())
    convert(image, tmp_path / "disk.raw", "--object", f"tls-creds-x509,id=tls0,endpoint=client,dir={tmp_path}")
    assert (tmp_path / "disk.raw").read_bytes()[MIB : MIB + len(CONTENT)] == CONTENT


def convert(source: str, target: Path, *options: str) -> None:
    named = ["--image-opts"] if source.startswith("driver=") else ["-f", "raw"]
    line = ["qemu-img", "convert", *options, *named, "-O", "raw", source, str(target)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_an_incremental_backup_is_the_disk(sr: Sr) -> None:
    purpose(sr.call, "nbd")
    vdi = sr.create()
    sr.write(vdi, MIB, CONTENT)
    sr.call("VDI.enable_cbt", vdi)
    backup, before = bytearray(8 * MIB), ""
    for offset in (3 * MIB + 5, 0, 8 * MIB - 70_000):
        taken = sr.call("VDI.snapshot", vdi)
        blocks = range(8 * MIB // BLOCK)
        if before:
            bitmap = base64.b64decode(sr.call("VDI.list_changed_blocks", before, taken))
            blocks = [block for block in blocks if bitmap[block // 8] & 0x80 >> block % 8]
            assert 0 < len(blocks) < 4
        (info,) = sr.call("VDI.get_nbd_info", taken)
        with client(info) as one:
            one.start_tls(info["cert"])
            assert one.go(info["exportname"])[0] == ACK
            for block in blocks:
                backup[block * BLOCK : (block + 1) * BLOCK] = one.read(block * BLOCK, BLOCK)
        sr.call("VDI.data_destroy", taken)  # it waits for the control domain to let go of the disk
        assert backup == sr.read(vdi, 0, 8 * MIB)
        if before:
            sr.call("VDI.destroy", before)
        before = taken
        sr.write(vdi, offset, CONTENT[:70_000])


def test_a_client_without_a_right_is_refused(sr: Sr, snapshot: str, xapi_host: EmbeddedHost) -> None:
    purpose(sr.call, "insecure_nbd")
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    uuid = sr.row(snapshot)["uuid"]
    local = sr.call.bare("session.slave_local_login_with_password", "root", xapi_host.password)
    for name, code in (
        (f"/{uuid}?session_id=OpaqueRef:none", b"SESSION_INVALID"),
        (f"/{uuid}?session_id={local}", b"SESSION_INVALID"),
        (f"/{sr.host}?session_id={sr.call.session}", b"UUID_INVALID"),
        (f"/{uuid}", b"an export is called"),
        ("", b"an export is called"),
        ("/%00../../etc?session_id=", b""),
    ):
        with client(info) as one:
            kind, told = one.go(name)
            assert kind == UNKNOWN and told.startswith(code), (name, told)
            assert one.go(info["exportname"])[0] == ACK, "it may try again"


def test_a_role_that_may_not_read_disks_may_not_read_them_here(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(accounts={"reader": Account("secret", "read-only", superuser=False)})
    sr = Sr(xapi, Caller(xapi.urls[0], password=xapi.password))
    vdi = sr.create()
    purpose(sr.call, "insecure_nbd")
    (info,) = sr.call("VDI.get_nbd_info", vdi)
    session = sr.call.bare("session.login_with_password", "reader", "secret", "1.0", "")
    with client(info) as one:
        kind, told = one.go(f"/{sr.row(vdi)['uuid']}?session_id={session}")
        assert kind == UNKNOWN and told.startswith(b"RBAC_PERMISSION_DENIED")
    sr.call.close()


def test_the_end_of_the_session_is_the_end_of_reading(sr: Sr, snapshot: str, xapi_host: EmbeddedHost) -> None:
    purpose(sr.call, "insecure_nbd")
    other = Caller(xapi_host.urls[0], password=xapi_host.password)
    (info,) = other("VDI.get_nbd_info", snapshot)
    with client(info) as one:
        assert one.go(info["exportname"])[0] == ACK and one.read(0, 512) == bytes(512)
        other("session.logout")
        assert one.socket.recv(1) == b""
    with client(info) as one:
        assert one.go(info["exportname"])[0] == UNKNOWN


def test_a_disk_that_a_guest_writes_to_is_not_read(sr: Sr) -> None:
    vdi = sr.create()
    purpose(sr.call, "insecure_nbd")
    (info,) = sr.call("VDI.get_nbd_info", vdi)
    sr.storage.attach(vdi, False, holder="vbd", serve=False)
    with client(info) as one:
        kind, told = one.go(info["exportname"])
        assert kind == UNKNOWN and told.startswith(b"VDI_IN_USE")
    assert dom0_rows(sr) == []


@pytest.mark.parametrize("kind", ["nbd", "insecure_nbd"])
def test_garbage_ends_a_connection_and_nothing_else(sr: Sr, snapshot: str, kind: str) -> None:
    purpose(sr.call, kind)
    (info,) = sr.call("VDI.get_nbd_info", snapshot)
    chance = random.Random(kind)
    option = b"IHAVEOPT" + struct.pack(">II", GO, 1 << 31)
    name = info["exportname"].encode()
    too_long = b"IHAVEOPT" + struct.pack(">III", GO, 6, 1 << 30) + b"\0\0"
    read = struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 1 << 62, 1 << 31)
    pieces = [option, too_long, read, b"IHAVEOPT" + struct.pack(">II", STARTTLS, 3) + b"abc", b"GET / HTTP/1.1\r\n\r\n",
              b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, len(name)) + name + read]  # fmt: skip
    for number in range(60):
        with client(info) as one, suppress(OSError):
            one.socket.sendall(pieces[number] if number < len(pieces) else chance.randbytes(chance.randrange(1, 400)))
            one.socket.shutdown(socket.SHUT_WR)
            while one.socket.recv(4096):
                continue
    with client(info) as one:
        if kind == "nbd":
            one.start_tls(info["cert"])
        assert one.go(info["exportname"])[0] == ACK and one.read(MIB, 512) == CONTENT[:512]
        assert one.request(0, 8 * MIB, 512) == 22, "EINVAL beyond the end"


def test_a_snapshot_of_which_only_the_log_is_left_has_no_export(sr: Sr) -> None:
    vdi = sr.create()
    sr.call("VDI.enable_cbt", vdi)
    snapshot = sr.call("VDI.snapshot", vdi)
    sr.call("VDI.data_destroy", snapshot)
    assert sr.call.error("VDI.get_nbd_info", snapshot) == ["VDI_INCOMPATIBLE_TYPE", snapshot, "CBT metadata"]


def test_each_host_serves_the_disks_that_it_has(xapi_factory: Callable[..., EmbeddedHost], tmp_path: Path) -> None:
    xapi = xapi_factory(hosts=2, state=tmp_path / "s", options={"storage_directories": str(tmp_path)})
    call = Caller(xapi.urls[0], password=xapi.password)
    purpose(call, "insecure_nbd")
    shared = call(
        "SR.create", xapi.hosts[0].ref, {"server": "filer", "serverpath": "/x"}, 0, "n", "", "nfs", "", True, {}
    )
    record = {"virtual_size": MIB, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    everywhere = call("VDI.create", {**record, "SR": shared})
    assert [info["address"] for info in call("VDI.get_nbd_info", everywhere)] == ["127.0.0.1", "127.0.0.2"]
    here = call("VDI.create", {**record, "SR": xapi.pool.row["default_SR"]})
    (info,) = call("VDI.get_nbd_info", here)
    (_, elsewhere) = call("VDI.get_nbd_info", everywhere)
    with client(elsewhere) as one:
        assert one.go(info["exportname"])[1].startswith(b"SR_NOT_ATTACHED")
        assert one.go(elsewhere["exportname"])[0] == ACK
        xapi.power_off("host2")
        assert one.socket.recv(1) == b"", "with its power its clients are gone"
    with pytest.raises(OSError):
        Client(elsewhere["address"], int(elsewhere["port"]))
    xapi.power_on("host2")
    (_, back) = call("VDI.get_nbd_info", everywhere)
    with client(back) as one:
        assert back["address"] == "127.0.0.2" and one.go(back["exportname"])[0] == ACK
    call.close()


def test_a_server_that_was_killed_leaves_no_reader_behind(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path / "s") as xapi:
        sr = Sr(xapi, Caller(xapi.urls[0], password=xapi.password))
        vdi = sr.create()
        network = purpose(sr.call, "insecure_nbd")
        (info,) = sr.call("VDI.get_nbd_info", vdi)
        dom0 = sr.storage.store.get("host", sr.host)["control_domain"]
        with sr.storage.store.transaction() as tx:
            fields = {"mode": "RO", "type": "Disk", "userdevice": "9", "currently_attached": True}
            tx.create("VBD", {"VM": dom0, "VDI": vdi, "other_config": {MARK: ""}, **fields})
        sr.call.close()
    with EmbeddedHost(tmp_path / "s", password=xapi.password) as again:
        sr = Sr(again, Caller(again.urls[0], password=xapi.password))
        assert dom0_rows(sr) == [] and sr.row(vdi)["sm_config"] == {"vdi_type": "vhd"}
        assert sr.call("network.get_purpose", network) == ["insecure_nbd"]
        (now,) = sr.call("VDI.get_nbd_info", vdi)
        assert now["port"] == info["port"], "clients that wait find it again"
        sr.call.close()
