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
"""A state directory works where it is moved or copied to."""

from __future__ import annotations

import subprocess
from pathlib import Path

from host.storage.conftest import MIB, Sr
from xapi_caller import Caller
from xapikit.host import EmbeddedHost


def furnished(xapi: EmbeddedHost) -> tuple[str, str]:
    """An SR in a directory of the state, with a disk, and an image in the library."""
    sr = Sr(xapi, Caller(xapi.urls[0], password=xapi.password))
    state = xapi.settings.state
    (state / "mine").mkdir()
    config = {"location": str(state / "mine")}
    made = sr.call("SR.create", sr.host, config, 0, "mine", "", "file", "user", False, {})
    disk = sr.create(SR=made)
    sr.write(disk, 0, b"data")
    (state / "iso" / "host1" / "some.iso").write_bytes(bytes(4096))
    sr.call.close()
    return made, disk


def check(xapi: EmbeddedHost, made: str, disk: str) -> None:
    sr = Sr(xapi, Caller(xapi.urls[0], password=xapi.password))
    state = str(xapi.settings.state)
    assert sr.read(disk, 0, 4) == b"data"
    (pbd,) = sr.call("SR.get_PBDs", made)
    assert sr.call("PBD.get_device_config", pbd) == {"location": f"{state}/mine"}
    (library,) = sr.call("SR.get_by_name_label", "ISO library")
    for one in (made, library, sr.ref):
        sr.call("SR.scan", one)
    assert [sr.row(ref)["location"] for ref in sr.call("SR.get_VDIs", library)] == ["some.iso"]
    sr.call("VDI.destroy", sr.call("VDI.snapshot", disk))
    sr.create(4 * MIB, SR=made)
    sr.call.close()


def test_a_moved_state_directory_works(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path / "a") as xapi:
        made, disk = furnished(xapi)
    for before, after in (("a", "b"), ("b", "a rather long name with blanks")):
        (tmp_path / before).rename(tmp_path / after)
        with EmbeddedHost(tmp_path / after, password=xapi.password) as moved:
            check(moved, made, disk)


def test_a_copy_leaves_what_runs_to_its_original(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path / "a") as xapi:
        made, disk = furnished(xapi)
        use = xapi.pool.storage.attach(disk, False, holder="vbd")
        subprocess.run(["cp", "-a", tmp_path / "a", tmp_path / "b"], check=True)  # sockets, too
        with EmbeddedHost(tmp_path / "b", password=xapi.password) as copied:
            assert copied.pool.storage.data_paths.live() == []
            check(copied, made, disk)
        assert use.data_path is not None and use.data_path.status()["paused"] is False
        xapi.pool.storage.detach(disk, holder="vbd")
        check(xapi, made, disk)
