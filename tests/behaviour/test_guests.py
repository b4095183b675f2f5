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
"""What a client sees of guests through XenAPI alone."""

from __future__ import annotations

import pytest

from behaviour.conftest import Caller, Maker
from xapikit.client import NULL_REF

pytestmark = pytest.mark.usefixtures("runs_vms")


def test_data_for_the_guest_may_change_while_it_runs(xapi: Caller, make: Maker) -> None:
    vm = make.vm(xenstore_data={"vm-data/behaviour/a": "1"})
    xapi("VM.start", vm, False, False)
    assert xapi("VM.get_xenstore_data", vm)["vm-data/behaviour/a"] == "1"
    xapi("VM.set_xenstore_data", vm, {"vm-data/behaviour/b": "2"})
    data = xapi("VM.get_xenstore_data", vm)
    assert data["vm-data/behaviour/b"] == "2" and "vm-data/behaviour/a" not in data
    xapi("VM.add_to_xenstore_data", vm, "vm-data/behaviour/c", "3")
    assert xapi.error("VM.add_to_xenstore_data", vm, "vm-data/behaviour/c", "4") == [
        "MAP_DUPLICATE_KEY", "VM", "xenstore_data", vm, "vm-data/behaviour/c",
    ]  # fmt: skip
    xapi("VM.hard_shutdown", vm)
    assert xapi("VM.get_xenstore_data", vm)["vm-data/behaviour/b"] == "2"


def test_metrics_of_a_guest_outlive_its_domain_and_are_new_at_the_next_start(xapi: Caller, make: Maker) -> None:
    vm = make.vm()
    assert xapi("VM.get_guest_metrics", vm) == NULL_REF
    xapi("VM.start", vm, False, False)
    first = xapi("VM.get_guest_metrics", vm)
    if first == NULL_REF:
        pytest.skip("the guest has said nothing yet")
    xapi("VM.hard_shutdown", vm)
    assert xapi("VM.get_guest_metrics", vm) == first
    xapi("VM.start", vm, False, False)
    assert xapi("VM.get_guest_metrics", vm) != first
    assert xapi.error("VM_guest_metrics.get_record", first)[0] == "HANDLE_INVALID"


def test_a_guest_without_the_features_is_not_asked(xapi: Caller, make: Maker) -> None:
    vm = make.vm(other_config={"timed_agent": "none"})  # a real guest without a disk has no drivers either
    xapi("VM.start", vm, False, False)
    metrics = xapi("VM.get_guest_metrics", vm)
    if metrics != NULL_REF and xapi("VM_guest_metrics.get_record", metrics)["PV_drivers_detected"]:
        pytest.skip("the guests of this host have drivers at once")
    assert not {"clean_shutdown", "clean_reboot", "suspend"} & set(xapi("VM.get_allowed_operations", vm))
    for method in ("VM.clean_shutdown", "VM.clean_reboot", "VM.suspend"):
        assert xapi.error(method, vm) == ["VM_LACKS_FEATURE", vm]


def test_the_addresses_of_a_guest_follow_its_nics(xapi: Caller, make: Maker) -> None:
    network = make.network()  # before the VM, so that it goes after it
    vm = make.vm()
    make.vif(vm, network, "0")
    make.later("VM.hard_shutdown", vm)  # before its VIFs go
    xapi("VM.start", vm, False, False)
    metrics = xapi("VM.get_guest_metrics", vm)
    if metrics == NULL_REF or "0/ip" not in xapi("VM_guest_metrics.get_networks", metrics):
        pytest.skip("the guest has no agent that tells its addresses")
    vif = make.vif(vm, network, "1")
    make.later("VM.hard_shutdown", vm)
    xapi("VIF.plug", vif)
    assert "1/ip" in xapi("VM_guest_metrics.get_networks", metrics)
    xapi("VIF.unplug", vif)
    assert "1/ip" not in xapi("VM_guest_metrics.get_networks", metrics)
