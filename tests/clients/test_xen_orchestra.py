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
"""Xen Orchestra's packages from npm: client library and object cache, operations on VMs and disks, VHD library."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run
from xapi_caller import Caller
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
HERE = Path(__file__).parent


def node(modules: Path, script: str, *arguments: str | Path) -> list[str]:
    """Run a script with node; its lines."""
    copy = modules / script  # node resolves packages from where the script lies
    copy.write_text((HERE / script).read_text())
    return run("node", copy, *arguments, cwd=modules).splitlines()


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_xen_api_works_and_its_cache_is_right_after_a_storm(
    xapi_factory: XapiFactory,  # noqa: F811
    node_with: Callable[..., Path],
    https: bool,
) -> None:
    xapi = xapi_factory(hosts=2, https=https)
    told = node(node_with("xen-api@4.7.6"), "xen_orchestra.mjs", xapi.url, xapi.password)
    print(told[-2])
    assert told[-1] == "done" and told[-2].startswith("400 operations")


def test_xen_orchestra_makes_backs_up_and_restores_a_vm_and_vhd_lib_reads_the_chain(
    xapi_factory: XapiFactory,  # noqa: F811
    node_with: Callable[..., Path],
    tmp_path: Path,
) -> None:
    modules = node_with("@xen-orchestra/xapi@8.10.5", "xen-api@4.7.6", "vhd-lib@4.15.0")
    xapi = xapi_factory()
    assert node(modules, "xo_vm.mjs", xapi.url, xapi.password, tmp_path)[-1] == "done"
    assert node(modules, "vhd_chain.cjs", tmp_path)[-1] == "done"


@pytest.mark.parametrize("purpose", ["nbd", "insecure_nbd"])
def test_xen_orchestra_reads_disks_over_nbd(
    xapi_factory: XapiFactory,  # noqa: F811
    node_with: Callable[..., Path],
    purpose: str,
) -> None:
    modules = node_with("@xen-orchestra/xapi@8.10.5", "xen-api@4.7.6", "vhd-lib@4.15.0")
    xapi = xapi_factory()
    call = Caller(xapi.url, password=xapi.password)
    size = 16 << 20
    record = {"SR": xapi.pool.row["default_SR"], "virtual_size": size, "type": "user", "sharable": False}
    vdi = call("VDI.create", {**record, "read_only": False, "other_config": {}})
    with xapi.pool.storage.opened(vdi, read_only=False, holder="test", host=xapi.hosts[0].ref) as disk:
        disk.pwrite((3 << 20) + 7, b"content" * 100_000)
        content = bytearray(size)
        disk.pread_into(0, content)
    (pif,) = (row for row in call("PIF.get_all_records").values() if row["management"])
    call("network.add_purpose", pif["network"], purpose)
    infos = call("VDI.get_nbd_info", vdi)
    for info in infos if purpose == "insecure_nbd" else ():
        del info["cert"]  # it is what makes the client ask for TLS
    told = node(modules, "xo_nbd.mjs", json.dumps(infos))
    assert told == [hashlib.sha256(content).hexdigest()] * 2 + ["done"]
    call.close()


def test_archives_that_xen_orchestra_writes_are_imported(
    xapi_factory: XapiFactory,  # noqa: F811
    node_with: Callable[..., Path],
) -> None:
    modules = node_with("@xen-orchestra/xapi@8.10.5", "xen-api@4.7.6", "vhd-lib@4.15.0", "@xen-orchestra/xva@1.0.3")
    xapi = xapi_factory()
    assert node(modules, "xo_xva.mjs", xapi.url, xapi.password)[-1] == "done"
