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
"""The driver is what Nova's base class says a driver is, no less and no more."""

import inspect

import pytest
from nova.virt import driver

from nova_xapi.driver import XenAPIDriver

BASE = driver.ComputeDriver
OVERRIDDEN = sorted(
    name for name, member in vars(XenAPIDriver).items() if inspect.isfunction(member) and not name.startswith("_")
)
REQUIRED = {
    "init_host", "cleanup_host", "list_instances", "list_instance_uuids", "get_num_instances", "instance_exists",
    "get_info", "spawn", "destroy", "cleanup", "power_on", "power_off", "reboot", "pause", "unpause",
    "get_console_output", "get_vnc_console", "get_diagnostics", "get_instance_diagnostics", "get_host_uptime",
    "get_host_ip_addr", "plug_vifs", "unplug_vifs", "default_root_device_name", "default_device_names_for_instance",
    "get_device_name_for_instance", "get_available_nodes", "get_available_resource", "update_provider_tree",
}  # fmt: skip


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_method_takes_what_the_base_class_takes(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(cls, name)) for cls in (XenAPIDriver, BASE))
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]


def test_every_method_that_nova_needs_is_there() -> None:
    assert not REQUIRED - set(OVERRIDDEN)


def test_no_method_is_made_up() -> None:
    assert not [name for name in OVERRIDDEN if not hasattr(BASE, name)]


def test_capabilities_are_known_to_nova_and_true() -> None:
    assert XenAPIDriver.capabilities.keys() == BASE.capabilities.keys()
    assert {name for name, claimed in XenAPIDriver.capabilities.items() if claimed} == {
        "supports_image_type_vhd",
        "supports_image_type_raw",
        "supports_image_type_iso",
        "supports_trusted_certs",
    }


def test_a_method_is_a_line_or_two_of_delegation() -> None:
    for name in OVERRIDDEN:
        body = inspect.getsource(getattr(XenAPIDriver, name)).partition(":\n")[2]
        assert len(body.splitlines()) <= 16, name


def test_making_a_driver_touches_nothing() -> None:
    made = XenAPIDriver(None)
    assert isinstance(made, BASE)
