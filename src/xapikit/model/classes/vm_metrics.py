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
"""Class ``VM_metrics``."""

from xapikit.model.schema import ClassSpec, F, life

VM_METRICS = ClassSpec(
    "VM_metrics",
    life("published@rio"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("memory_actual", "int", "DynamicRO", "published@rio", persist=False),
        F("VCPUs_number", "int", "DynamicRO", "published@rio"),
        F(
            "VCPUs_utilisation",
            "map(int,float)",
            "DynamicRO",
            "published@rio deprecated@tampa removed@tampa",
            default={},
            persist=False,
        ),
        F("VCPUs_CPU", "map(int,int)", "DynamicRO", "published@rio", persist=False),
        F("VCPUs_params", "map(string,string)", "DynamicRO", "published@rio", persist=False),
        F("VCPUs_flags", "map(int,set(string))", "DynamicRO", "published@rio", persist=False),
        F("state", "set(string)", "DynamicRO", "published@rio", persist=False),
        F("start_time", "datetime", "DynamicRO", "published@rio"),
        F("install_time", "datetime", "DynamicRO", "published@rio"),
        F("last_updated", "datetime", "DynamicRO", "published@rio", persist=False),
        F(
            "other_config",
            "map(string,string)",
            "RW",
            "published@orlando",
            default={},
            persist=False,
            write_role="vm-admin",
        ),
        F("hvm", "bool", "DynamicRO", "published@ely", default=False, persist=False),
        F("nested_virt", "bool", "DynamicRO", "published@ely", default=False, persist=False),
        F("nomigrate", "bool", "DynamicRO", "published@ely", default=False, persist=False),
        F(
            "current_domain_type",
            "enum:domain_type",
            "DynamicRO",
            "prototyped@jura published@kolkata",
            default="unspecified",
        ),
        F("numa_optimised", "bool", "StaticRO", "prototyped@26.2.0", default=False),
        F("numa_nodes", "int", "StaticRO", "prototyped@26.2.0", default=0),
        F("numa_node_memory", "map(int,int)", "DynamicRO", "prototyped@26.2.0", default={}),
    ),
)
