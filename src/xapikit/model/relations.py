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
"""Fields that are two views of one link."""

from xapikit.model.schema import Relation

RELATIONS: tuple[Relation, ...] = (
    Relation("VM", "snapshot_of", "VM", "snapshots"),
    Relation("VDI", "snapshot_of", "VDI", "snapshots"),
    Relation("VM", "parent", "VM", "children"),
    Relation("task", "subtask_of", "task", "subtasks"),
    Relation("task", "session", "session", "tasks"),
    Relation("PIF", "bond_slave_of", "Bond", "slaves"),
    Relation("Bond", "master", "PIF", "bond_master_of"),
    Relation("VLAN", "tagged_PIF", "PIF", "VLAN_slave_of"),
    Relation("tunnel", "access_PIF", "PIF", "tunnel_access_PIF_of"),
    Relation("tunnel", "transport_PIF", "PIF", "tunnel_transport_PIF_of"),
    Relation("PBD", "host", "host", "PBDs"),
    Relation("PBD", "SR", "SR", "PBDs"),
    Relation("VBD", "VDI", "VDI", "VBDs"),
    Relation("crashdump", "VDI", "VDI", "crash_dumps"),
    Relation("VBD", "VM", "VM", "VBDs"),
    Relation("crashdump", "VM", "VM", "crash_dumps"),
    Relation("VIF", "VM", "VM", "VIFs"),
    Relation("VIF", "network", "network", "VIFs"),
    Relation("Cluster_host", "cluster", "Cluster", "cluster_hosts"),
    Relation("PIF", "host", "host", "PIFs"),
    Relation("PIF", "network", "network", "PIFs"),
    Relation("VDI", "SR", "SR", "VDIs"),
    Relation("VTPM", "VM", "VM", "VTPMs"),
    Relation("console", "VM", "VM", "consoles"),
    Relation("VM", "resident_on", "host", "resident_VMs"),
    Relation("host_cpu", "host", "host", "host_CPUs"),
    Relation("host_crashdump", "host", "host", "crashdumps"),
    Relation("host_patch", "host", "host", "patches"),
    Relation("host_patch", "pool_patch", "pool_patch", "host_patches"),
    Relation("host", "updates", "pool_update", "hosts"),
    Relation("subject", "roles", "subject", "roles"),
    Relation("role", "subroles", "role", "subroles"),
    Relation("VM", "protection_policy", "VMPP", "VMs"),
    Relation("VM", "snapshot_schedule", "VMSS", "VMs"),
    Relation("VM", "appliance", "VM_appliance", "VMs"),
    Relation("PGPU", "GPU_group", "GPU_group", "PGPUs"),
    Relation("VGPU", "GPU_group", "GPU_group", "VGPUs"),
    Relation("VGPU", "type", "VGPU_type", "VGPUs"),
    Relation("VGPU", "VM", "VM", "VGPUs"),
    Relation("VGPU", "resident_on", "PGPU", "resident_VGPUs"),
    Relation("PGPU", "supported_VGPU_types", "VGPU_type", "supported_on_PGPUs"),
    Relation("PGPU", "enabled_VGPU_types", "VGPU_type", "enabled_on_PGPUs"),
    Relation("GPU_group", "supported_VGPU_types", "VGPU_type", "supported_on_GPU_groups"),
    Relation("GPU_group", "enabled_VGPU_types", "VGPU_type", "enabled_on_GPU_groups"),
    Relation("PCI", "host", "host", "PCIs"),
    Relation("PGPU", "host", "host", "PGPUs"),
    Relation("PCI", "attached_VMs", "VM", "attached_PCIs"),
    Relation("PCI", "physical_function", "PCI", "virtual_functions"),
    Relation("VDI", "metadata_of_pool", "pool", "metadata_VDIs"),
    Relation("SR", "introduced_by", "DR_task", "introduced_SRs"),
    Relation("PVS_server", "site", "PVS_site", "servers"),
    Relation("PVS_proxy", "site", "PVS_site", "proxies"),
    Relation("PVS_cache_storage", "site", "PVS_site", "cache_storage"),
    Relation("PUSB", "host", "host", "PUSBs"),
    Relation("PUSB", "USB_group", "USB_group", "PUSBs"),
    Relation("VUSB", "USB_group", "USB_group", "VUSBs"),
    Relation("VUSB", "VM", "VM", "VUSBs"),
    Relation("Feature", "host", "host", "features"),
    Relation("network_sriov", "physical_PIF", "PIF", "sriov_physical_PIF_of"),
    Relation("network_sriov", "logical_PIF", "PIF", "sriov_logical_PIF_of"),
    Relation("Certificate", "host", "host", "certificates"),
    Relation("VM", "groups", "VM_group", "VMs"),
    Relation("Driver_variant", "driver", "Host_driver", "variants"),
    Relation("Caller", "rate_limit", "Rate_limit", "callers"),
)
