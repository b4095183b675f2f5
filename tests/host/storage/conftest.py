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
"""The local SR of an embedded host, its files and its calls."""

from pathlib import Path
from typing import Any

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.storage.service import Storage

MIB = 1 << 20


class Sr:
    """The local SR of a pool of one host, its files and its calls."""

    def __init__(self, xapi: EmbeddedHost, call: Caller) -> None:
        self.call = call
        self.storage: Storage = xapi.pool.storage
        self.ref: str = xapi.pool.row["default_SR"]
        self.host = xapi.hosts[0].ref
        self.directory = self.storage.plugged(self.ref).directory

    def create(self, size: int = 8 * MIB, **members: Any) -> str:
        record = {"SR": self.ref, "virtual_size": size, "type": "user", "sharable": False, "read_only": False}
        vdi: str = self.call("VDI.create", {**record, "other_config": {}, **members})
        return vdi

    def row(self, vdi: str) -> dict[str, Any]:
        record: dict[str, Any] = self.call("VDI.get_record", vdi)
        return record

    def file(self, vdi: str) -> Path:
        return self.directory / f"{self.row(vdi)['uuid']}.vhd"

    def write(self, vdi: str, offset: int, data: bytes) -> None:
        with self.storage.opened(vdi, read_only=False, holder="test", host=self.host) as disk:
            disk.pwrite(offset, data)

    def read(self, vdi: str, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        with self.storage.opened(vdi, read_only=True, holder="test", host=self.host) as disk:
            disk.pread_into(offset, buffer)
        return bytes(buffer)

    def collected(self) -> list[dict[str, Any]]:
        """Rows of the SR after garbage collection."""
        assert self.storage.collector.wait_idle(30)
        return [self.row(ref) for ref in self.call("SR.get_VDIs", self.ref)]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def sr(xapi_host: EmbeddedHost, call: Caller) -> Sr:
    return Sr(xapi_host, call)
