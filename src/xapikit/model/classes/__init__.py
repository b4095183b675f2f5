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
"""The declarations, one module per class, in the order of the published data model."""

from xapikit.model.classes.auth import AUTH
from xapikit.model.classes.blob import BLOB
from xapikit.model.classes.bond import BOND
from xapikit.model.classes.caller import CALLER
from xapikit.model.classes.certificate import CERTIFICATE
from xapikit.model.classes.cluster import CLUSTER
from xapikit.model.classes.cluster_host import CLUSTER_HOST
from xapikit.model.classes.console import CONSOLE
from xapikit.model.classes.crashdump import CRASHDUMP
from xapikit.model.classes.data_source import DATA_SOURCE
from xapikit.model.classes.diagnostics import DIAGNOSTICS
from xapikit.model.classes.dr_task import DR_TASK
from xapikit.model.classes.driver_variant import DRIVER_VARIANT
from xapikit.model.classes.event import EVENT
from xapikit.model.classes.feature import FEATURE
from xapikit.model.classes.gpu_group import GPU_GROUP
from xapikit.model.classes.host import HOST
from xapikit.model.classes.host_cpu import HOST_CPU
from xapikit.model.classes.host_crashdump import HOST_CRASHDUMP
from xapikit.model.classes.host_driver import HOST_DRIVER
from xapikit.model.classes.host_metrics import HOST_METRICS
from xapikit.model.classes.host_patch import HOST_PATCH
from xapikit.model.classes.lvhd import LVHD
from xapikit.model.classes.message import MESSAGE
from xapikit.model.classes.network import NETWORK
from xapikit.model.classes.network_sriov import NETWORK_SRIOV
from xapikit.model.classes.observer import OBSERVER
from xapikit.model.classes.pbd import PBD
from xapikit.model.classes.pci import PCI
from xapikit.model.classes.pgpu import PGPU
from xapikit.model.classes.pif import PIF
from xapikit.model.classes.pif_metrics import PIF_METRICS
from xapikit.model.classes.pool import POOL
from xapikit.model.classes.pool_patch import POOL_PATCH
from xapikit.model.classes.pool_update import POOL_UPDATE
from xapikit.model.classes.probe_result import PROBE_RESULT
from xapikit.model.classes.pusb import PUSB
from xapikit.model.classes.pvs_cache_storage import PVS_CACHE_STORAGE
from xapikit.model.classes.pvs_proxy import PVS_PROXY
from xapikit.model.classes.pvs_server import PVS_SERVER
from xapikit.model.classes.pvs_site import PVS_SITE
from xapikit.model.classes.rate_limit import RATE_LIMIT
from xapikit.model.classes.repository import REPOSITORY
from xapikit.model.classes.role import ROLE
from xapikit.model.classes.sdn_controller import SDN_CONTROLLER
from xapikit.model.classes.secret import SECRET
from xapikit.model.classes.session import SESSION
from xapikit.model.classes.sm import SM
from xapikit.model.classes.sr import SR
from xapikit.model.classes.sr_stat import SR_STAT
from xapikit.model.classes.subject import SUBJECT
from xapikit.model.classes.task import TASK
from xapikit.model.classes.tunnel import TUNNEL
from xapikit.model.classes.usb_group import USB_GROUP
from xapikit.model.classes.user import USER
from xapikit.model.classes.vbd import VBD
from xapikit.model.classes.vbd_metrics import VBD_METRICS
from xapikit.model.classes.vdi import VDI
from xapikit.model.classes.vdi_nbd_server_info import VDI_NBD_SERVER_INFO
from xapikit.model.classes.vgpu import VGPU
from xapikit.model.classes.vgpu_type import VGPU_TYPE
from xapikit.model.classes.vif import VIF
from xapikit.model.classes.vif_metrics import VIF_METRICS
from xapikit.model.classes.vlan import VLAN
from xapikit.model.classes.vm import VM
from xapikit.model.classes.vm_appliance import VM_APPLIANCE
from xapikit.model.classes.vm_group import VM_GROUP
from xapikit.model.classes.vm_guest_metrics import VM_GUEST_METRICS
from xapikit.model.classes.vm_metrics import VM_METRICS
from xapikit.model.classes.vmpp import VMPP
from xapikit.model.classes.vmss import VMSS
from xapikit.model.classes.vtpm import VTPM
from xapikit.model.classes.vusb import VUSB
from xapikit.model.schema import ClassSpec

CLASSES: tuple[ClassSpec, ...] = (
    SESSION,
    AUTH,
    SUBJECT,
    ROLE,
    TASK,
    EVENT,
    POOL,
    POOL_PATCH,
    POOL_UPDATE,
    VM,
    VM_METRICS,
    VM_GUEST_METRICS,
    VMPP,
    VMSS,
    VM_APPLIANCE,
    DR_TASK,
    HOST,
    HOST_CRASHDUMP,
    HOST_PATCH,
    HOST_METRICS,
    HOST_CPU,
    NETWORK,
    VIF,
    VIF_METRICS,
    PIF,
    PIF_METRICS,
    BOND,
    VLAN,
    SM,
    SR,
    SR_STAT,
    PROBE_RESULT,
    LVHD,
    VDI,
    VBD,
    VBD_METRICS,
    PBD,
    CRASHDUMP,
    VTPM,
    CONSOLE,
    USER,
    DATA_SOURCE,
    BLOB,
    MESSAGE,
    SECRET,
    TUNNEL,
    NETWORK_SRIOV,
    PCI,
    PGPU,
    GPU_GROUP,
    VGPU,
    VGPU_TYPE,
    PVS_SITE,
    PVS_SERVER,
    PVS_PROXY,
    PVS_CACHE_STORAGE,
    FEATURE,
    SDN_CONTROLLER,
    VDI_NBD_SERVER_INFO,
    PUSB,
    USB_GROUP,
    VUSB,
    CLUSTER,
    CLUSTER_HOST,
    CERTIFICATE,
    DIAGNOSTICS,
    REPOSITORY,
    OBSERVER,
    VM_GROUP,
    HOST_DRIVER,
    DRIVER_VARIANT,
    CALLER,
    RATE_LIMIT,
)
