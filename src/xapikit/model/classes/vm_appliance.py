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
"""Class ``VM_appliance``."""

from xapikit.model.schema import ClassSpec, F, M, life

VM_APPLIANCE = ClassSpec(
    "VM_appliance",
    life("published@boston"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name_label", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F("name_description", "string", "RW", "published@rio", default="", write_role="pool-operator"),
        F(
            "allowed_operations",
            "set(enum:vm_appliance_operation)",
            "DynamicRO",
            "published@rio",
            default=[],
            persist=False,
        ),
        F(
            "current_operations",
            "map(string,enum:vm_appliance_operation)",
            "DynamicRO",
            "published@rio",
            default={},
            persist=False,
        ),
        F("VMs", "set(ref:VM)", "DynamicRO", "published@rio"),
    ),
    declared_messages=(
        M(
            "start",
            "self=ref:VM_appliance paused=bool",
            "",
            "published@boston",
            "pool-operator",
            errors=("OPERATION_PARTIALLY_FAILED",),
            is_async=True,
        ),
        M(
            "clean_shutdown",
            "self=ref:VM_appliance",
            "",
            "published@boston",
            "pool-operator",
            errors=("OPERATION_PARTIALLY_FAILED",),
            is_async=True,
        ),
        M(
            "hard_shutdown",
            "self=ref:VM_appliance",
            "",
            "published@boston",
            "pool-operator",
            errors=("OPERATION_PARTIALLY_FAILED",),
            is_async=True,
        ),
        M(
            "shutdown",
            "self=ref:VM_appliance",
            "",
            "published@boston",
            "pool-operator",
            errors=("OPERATION_PARTIALLY_FAILED",),
            is_async=True,
        ),
        M(
            "assert_can_be_recovered",
            "self=ref:VM_appliance session_to=ref:session",
            "",
            "published@boston",
            "read-only",
            errors=("VM_REQUIRES_SR",),
            is_async=True,
        ),
        M(
            "get_SRs_required_for_recovery",
            "self=ref:VM_appliance session_to=ref:session",
            "set(ref:SR)",
            "published@creedence",
            "read-only",
            is_async=True,
        ),
        M(
            "recover",
            "self=ref:VM_appliance session_to=ref:session force=bool",
            "",
            "published@boston",
            "read-only",
            errors=("VM_REQUIRES_SR",),
            is_async=True,
        ),
        M("create", "args=record:VM_appliance", "ref:VM_appliance", "published@boston", "pool-operator", is_async=True),
        M("destroy", "self=ref:VM_appliance", "", "published@boston", "pool-operator", is_async=True),
    ),
    ctor_dtor=True,
)
