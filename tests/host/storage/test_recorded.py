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
"""What a running XAPI answered to VDI, SR and PBD calls is what this host answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from observed import Replayer, scenarios
from reference import reference_directory
from xapikit.host import EmbeddedHost
from xapikit.host.registry import calls

NEED_RUNNING_VMS = {"attached_restrictions", "vm_uses_sr"}


class StorageReplayer(Replayer):
    """Does what happened between the recorded steps, and was left out of the recording."""

    def between(self, scenario: str, step: int) -> None:
        made: dict[tuple[str, int], Callable[[], None]] = {
            ("shared_sr", 6): self._unplug_all_of_sr3,
            ("indestructible_and_busy", 5): self._put_a_disk_into_sr5,
            ("iso_vdi", 0): self._put_an_image_into_the_library,
            ("sm_class", 0): self._name_the_iso_driver,
        }
        action = made.get((scenario, step))
        if action is not None:
            action()

    def _ok(self, method: str, *params: Any) -> Any:
        outcome = self.call(method, list(params), session=self.session)
        assert outcome["status"] == "Success", outcome
        return outcome["value"]

    def _unplug_all_of_sr3(self) -> None:
        pbds = self._ok("SR.get_PBDs", self.symbols["sr3"])
        for pbd in pbds:
            self._ok("PBD.unplug", pbd)
        for pbd in pbds[1:]:
            self._ok("PBD.destroy", pbd)

    def _put_a_disk_into_sr5(self) -> None:
        record = {"SR": self.symbols["sr5"], "virtual_size": "4194304", "type": "user", "sharable": False}
        self._ok("VDI.create", {**record, "read_only": False, "other_config": {}})

    def _put_an_image_into_the_library(self) -> None:
        (self.xapi.settings.state / "iso" / "host1" / "test.iso").write_bytes(bytes(4096))
        self._ok("SR.scan", self.symbols["iso_sr1"])
        vdis = self._ok("SR.get_VDIs", self.symbols["iso_sr1"])
        self.symbols["iso_vdi"] = next(ref for ref in vdis if self._ok("VDI.get_location", ref) == "test.iso")

    def _name_the_iso_driver(self) -> None:
        (self.symbols["SM_1"],) = self.xapi.pool.store.find("SM", type="iso")


@pytest.mark.parametrize("group", ["vdi", "sr_pbd"])
def test_recorded_answers_are_given_here(xapi_pool: EmbeddedHost, group: str) -> None:
    reference = reference_directory()
    if reference is None:
        pytest.skip("the reference data is not on this machine (set NOVA_XAPI_REFERENCE to its directory)")
    replayer = StorageReplayer(xapi_pool, reference / "observed")
    differences = []
    for scenario in scenarios(reference / "observed", group):
        if scenario["name"] in NEED_RUNNING_VMS and "VM.start_on" not in calls():
            continue
        for number, step in enumerate(scenario["steps"]):
            replayer.between(scenario["name"], number)
            differences += replayer.play({"name": f"{scenario['name']}[{number}]", "steps": [step]})
    assert not differences, "\n".join(map(str, differences))
