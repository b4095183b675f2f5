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
"""libvhdi reads what is exported, and the chains of files as they lie in an SR."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.conftest import run
from xapi_caller import Caller
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401
from xapikit.vhd import info, set_parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SCRIPT = Path(__file__).parent / "vhd_read.py"
MIB = 1 << 20
SIZE = 8 * MIB


def test_libvhdi_reads_exported_disks_differences_and_the_files_of_an_sr(
    xapi_factory: XapiFactory,  # noqa: F811
    python_with: Callable[..., Path],
    tmp_path: Path,
) -> None:
    python = python_with("libvhdi-python==20260901")
    xapi = xapi_factory()
    call = Caller(xapi.url, password=xapi.password)
    sr = next(ref for ref, row in call("SR.get_all_records").items() if row["type"] == "ext")
    disk = {"SR": sr, "virtual_size": SIZE, "type": "user", "sharable": False, "read_only": False, "other_config": {}}
    vdi = call("VDI.create", disk)
    content = bytearray(SIZE)
    files: list[Path] = []
    refs: list[str] = []
    for step, position in enumerate((0, 3 * MIB, 3 * MIB + 512)):
        content[position : position + MIB] = random.Random(step).randbytes(MIB)
        raw = tmp_path / f"{step}.raw"
        raw.write_bytes(content)
        run("curl", "-sSf", "-u", f"root:{xapi.password}", "-T", raw, f"{xapi.url}/import_raw_vdi?vdi={vdi}&format=raw")
        refs.append(call("VDI.snapshot", vdi))
        files.append(tmp_path / f"{step}.vhd")
        base = f"&base={refs[step - 1]}" if step else ""
        url = f"{xapi.url}/export_raw_vdi?vdi={refs[step]}&format=vhd{base}"
        run("curl", "-sSf", "-u", f"root:{xapi.password}", "-o", files[step], url)
        if step:  # what is exported names no parent that a file would be: back-up tools link the files themselves
            set_parent(files[step], files[step - 1])
        assert run(python, SCRIPT, raw, *files).split() == ["done"]
    if shutil.which("vhdiinfo"):  # Debian: libvhdi-utils
        assert "Differential" in run("vhdiinfo", files[-1])
    # the chain in the SR: hidden bases under the leaf
    directory = Path(xapi.settings.state) / "sr" / call("SR.get_uuid", sr)
    chain = [directory / f"{call('VDI.get_uuid', vdi)}.vhd"]
    while (parent := info(chain[0]).parent_name) is not None:
        chain.insert(0, directory / parent)
    assert len(chain) == 4
    assert run(python, SCRIPT, tmp_path / "2.raw", *chain).split() == ["done"]
