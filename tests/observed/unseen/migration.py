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
"""What happened between the steps of the file about moving VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer


def exchange_the_local_disk_for_a_shared_repository(replayer: Replayer) -> None:
    replayer.ok("VBD.destroy", "$vbd")
    replayer.ok("VDI.destroy", "$vdi")
    directory = replayer.xapi.settings.state / "shared"
    directory.mkdir()
    config = {"server": "127.0.0.1", "serverpath": str(directory)}
    args = ("0", "shared", "", "nfs", "user", True, {})
    replayer.symbols["shared_sr"] = replayer.ok("SR.create", "$host1", config, *args)


BEFORE = {("migration", "shared_disk", 0): exchange_the_local_disk_for_a_shared_repository}
