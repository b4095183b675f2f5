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
"""Promises about changed blocks and disks over NBD."""

from __future__ import annotations

import base64
import socket

import pytest

from behaviour.conftest import MIB, Caller, Maker
from xapikit.client import XapiClient

BLOCK = 64 << 10


@pytest.fixture
def tracked(xapi: Caller, make: Maker) -> str:
    """A disk whose changes are tracked."""
    vdi = make.disk(8 * MIB)
    if "enable_cbt" not in xapi("VDI.get_allowed_operations", vdi):
        pytest.skip("the storage of this host does not track changed blocks")
    xapi("VDI.enable_cbt", vdi)
    return vdi


def snapshot(xapi: Caller, make: Maker, vdi: str) -> str:
    made: str = xapi("VDI.snapshot", vdi)
    make.later("VDI.destroy", made)
    return made


def test_changed_blocks_are_those_written_between_two_snapshots(
    xapi: Caller, make: Maker, client: XapiClient, tracked: str
) -> None:
    first = snapshot(xapi, make, tracked)
    client.import_vdi(tracked, [b"x" * BLOCK * 2], BLOCK * 2)
    second = snapshot(xapi, make, tracked)
    bitmap = base64.b64decode(xapi("VDI.list_changed_blocks", first, second))
    assert bitmap == b"\xc0" + bytes(8 * MIB // BLOCK // 8 - 1)
    assert xapi.error("VDI.list_changed_blocks", second, first)[0].startswith("SR_BACKEND_FAILURE_")


def test_tracking_shows_and_is_inherited_by_snapshots_alone(xapi: Caller, make: Maker, tracked: str) -> None:
    clone = xapi("VDI.clone", tracked)
    make.later("VDI.destroy", clone)
    told = [xapi("VDI.get_cbt_enabled", ref) for ref in (tracked, snapshot(xapi, make, tracked), clone)]
    assert told == [True, True, False]
    xapi("VDI.disable_cbt", tracked)
    assert not xapi("VDI.get_cbt_enabled", tracked)


def test_the_data_of_a_tracked_snapshot_can_go_alone(xapi: Caller, make: Maker, tracked: str) -> None:
    taken = snapshot(xapi, make, tracked)
    xapi("VDI.data_destroy", taken)
    record = xapi("VDI.get_record", taken)
    assert record["type"] == "cbt_metadata" and record["cbt_enabled"] and record["is_a_snapshot"]
    assert xapi.error("VDI.clone", taken) == ["VDI_INCOMPATIBLE_TYPE", taken, "CBT metadata"]


def test_only_tracked_snapshots_lose_their_data(xapi: Caller, make: Maker, tracked: str) -> None:
    assert xapi.error("VDI.data_destroy", tracked)[0] == "OPERATION_NOT_ALLOWED"
    plain = make.disk(8 * MIB)
    taken = snapshot(xapi, make, plain)
    assert xapi.error("VDI.data_destroy", taken) == ["VDI_NO_CBT_METADATA", taken]
    assert xapi.error("VDI.enable_cbt", taken)[0] == "OPERATION_NOT_ALLOWED"


@pytest.fixture
def nbd_network(xapi: Caller, make: Maker) -> str:
    """The management network, for NBD over TLS while the test runs."""
    networks = xapi("network.get_all_records")
    if any("insecure_nbd" in row["purpose"] for row in networks.values()):
        pytest.skip("a network of this host is for NBD in plain")
    pif = next(row for row in xapi("PIF.get_all_records").values() if row["management"])
    network: str = pif["network"]
    if "nbd" not in networks[network]["purpose"]:
        xapi("network.add_purpose", network, "nbd")
        make.later("network.remove_purpose", network, "nbd")
    return network


def test_a_disk_tells_where_it_is_read_over_nbd(
    xapi: Caller, make: Maker, client: XapiClient, nbd_network: str
) -> None:
    vdi = make.disk(8 * MIB)
    (info, *_) = xapi("VDI.get_nbd_info", vdi)
    path, _, session = info["exportname"].partition("?session_id=")
    assert path == "/" + xapi("VDI.get_uuid", vdi) and session.startswith("OpaqueRef:")
    assert info["cert"].startswith("-----BEGIN CERTIFICATE-----") and info["subject"]
    with socket.create_connection((info["address"], info["port"]), timeout=30) as plain:
        assert plain.recv(18, socket.MSG_WAITALL)[:16] == b"NBDMAGICIHAVEOPT"


def test_a_pool_has_one_way_of_nbd(xapi: Caller, make: Maker, nbd_network: str) -> None:
    other = make.network()
    assert xapi.error("network.add_purpose", other, "insecure_nbd") == [
        "NETWORK_INCOMPATIBLE_PURPOSES", "insecure_nbd", "nbd"
    ]  # fmt: skip
