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
"""curl as back-up tools use it, and qemu-img on what it brought."""

import json
import random
import shutil
from pathlib import Path

import pytest

from clients.conftest import run
from xapikit.client import XapiClient
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = pytest.mark.slow
SIZE = 8 << 20


def test_curl_carries_disks_that_qemu_img_reads(xapi_factory: XapiFactory, tmp_path: Path) -> None:  # noqa: F811
    for tool in ("curl", "qemu-img"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    xapi = xapi_factory()
    given = f"root:{xapi.password}"
    raw = tmp_path / "disk.raw"
    raw.write_bytes(random.Random(1).randbytes(3 << 20) + bytes(SIZE - (3 << 20)))
    with XapiClient(
        xapi.url, username="root", password=xapi.password, originator="tools", cache_classes=["SR"]
    ) as client:
        client.cache.start()
        sr = next(ref for ref, record in client.cache.records("SR").items() if record["type"] == "ext")
        record = {
            "SR": sr,
            "virtual_size": SIZE,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        first, second = (client.call("VDI.create", record) for _ in range(2))
        uuid = client.call("VDI.get_uuid", first)

        def curl(*words: str | Path) -> str:
            return run("curl", "-sS", "-f", "-u", given, "-m", "60", *words)

        curl("-T", raw, f"{xapi.url}/import_raw_vdi?vdi={uuid}&format=raw")
        vhd, back = tmp_path / "disk.vhd", tmp_path / "back.raw"
        curl("-o", vhd, f"{xapi.url}/export_raw_vdi?vdi={uuid}&format=vhd")
        info = json.loads(run("qemu-img", "info", "--output=json", "-f", "vpc", vhd))
        assert info["format"] == "vpc"
        run("qemu-img", "convert", "-f", "vpc", "-O", "raw", vhd, back)
        assert back.read_bytes()[:SIZE] == raw.read_bytes()
        made = tmp_path / "made.vhd"
        run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on", raw, made)
        curl("-T", made, f"{xapi.url}/import_raw_vdi?vdi={second}&format=vhd")
        curl("-o", back, f"{xapi.url}/export_raw_vdi?vdi={second}&format=raw")
        assert back.read_bytes() == raw.read_bytes()
        assert not client.call("task.get_all_where", 'field "status" = "pending"')


def test_curl_backs_up_and_restores_a_vm(xapi_factory: XapiFactory, tmp_path: Path) -> None:  # noqa: F811
    """As scripts do it that know nothing but curl: an archive per compression, tar looks inside, and it comes back."""
    for tool in ("curl", "tar", "zstd"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    xapi = xapi_factory()
    given = f"root:{xapi.password}"
    content = random.Random(5).randbytes(3 << 20) + bytes(SIZE - (3 << 20))
    with XapiClient(
        xapi.url, username="root", password=xapi.password, originator="tools", cache_classes=["SR", "VM"]
    ) as client:
        client.cache.start()
        sr = next(ref for ref, record in client.cache.records("SR").items() if record["type"] == "ext")
        template = client.call("VM.get_by_name_label", "Other install media")[0]
        vm = client.run("VM.clone", template, "curled")
        client.run("VM.provision", vm)
        vdi = client.call("VDI.create", {"SR": sr, "virtual_size": SIZE, "type": "user", "sharable": False,
                                         "read_only": False, "other_config": {}})  # fmt: skip
        client.import_vdi(vdi, [content], SIZE)
        client.call("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
                                   "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
                                   "qos_algorithm_type": "", "qos_algorithm_params": {}})  # fmt: skip
        uuid = client.call("VM.get_uuid", vm)

        def curl(*words: str | Path) -> str:
            return run("curl", "-sS", "-f", "-u", given, "-m", "60", *words)

        sizes = {}
        for compression in ("false", "true", "zstd"):
            archive = tmp_path / f"{compression}.xva"
            curl("-o", archive, f"{xapi.url}/export?uuid={uuid}&use_compression={compression}")
            sizes[compression] = archive.stat().st_size
            listed = run("tar", "tf", archive).splitlines()  # GNU tar tells the compressions by itself
            assert listed[0] == "ova.xml" and listed[1].startswith("Ref:")
            curl("-T", archive, f"{xapi.url}/import?sr_id={client.call('SR.get_uuid', sr)}")
        assert max(sizes["true"], sizes["zstd"]) < sizes["false"]
        copies = [ref for ref in client.call("VM.get_by_name_label", "curled") if ref != vm]
        assert len(copies) == 3
        for copy in copies:
            (vbd,) = client.call("VM.get_VBDs", copy)
            with client.export_vdi(client.call("VBD.get_VDI", vbd)) as chunks:
                assert b"".join(chunks) == content
        client.run("VM.start", vm, False, False)
        picture = tmp_path / "screen.jpg"
        curl("-o", picture, f"{xapi.url}/vncsnapshot?uuid={uuid}")
        assert picture.read_bytes()[:3] == b"\xff\xd8\xff"
        metadata = tmp_path / "metadata.xva"
        curl("-o", metadata, f"{xapi.url}/export_metadata?all=true")
        assert run("tar", "tf", metadata).split() == ["ova.xml"]
        curl("-T", metadata, f"{xapi.url}/import_metadata?dry_run=true&restore=true&force=true")
        assert not client.call("task.get_all_where", 'field "status" = "pending"')
