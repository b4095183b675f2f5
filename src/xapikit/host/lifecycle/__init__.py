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
"""Life-cycle of virtual machines, their devices, hosts and pools as data, and the pure functions that read it.

The tables are the JSON files beside this module; which error wins over which is the order of the rules in
:mod:`xapikit.host.lifecycle.vm`. Nothing here knows a store, a session or a domain.
"""

from xapikit.host.lifecycle.devices import DeviceFacts, allowed_device_operations, device_error
from xapikit.host.lifecycle.places import PlaceFacts, allowed_place_operations, place_error
from xapikit.host.lifecycle.tables import HALTED, PAUSED, RUNNING, SUSPENDED, Reset, message, reset
from xapikit.host.lifecycle.vm import VmFacts, allowed_operations, operation_error

__all__ = [
    "HALTED",
    "PAUSED",
    "RUNNING",
    "SUSPENDED",
    "DeviceFacts",
    "PlaceFacts",
    "Reset",
    "VmFacts",
    "allowed_device_operations",
    "allowed_operations",
    "allowed_place_operations",
    "device_error",
    "message",
    "operation_error",
    "place_error",
    "reset",
]
