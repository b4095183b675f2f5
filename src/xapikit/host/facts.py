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
"""What an embedded host says about itself: an XCP-ng 8.3 (wire reference 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Mapping

API_VERSION = (2, 21)
CPU_VENDOR = "GenuineIntel"
CPU_MODEL = "Intel(R) Xeon(R) CPU (embedded)"
CPU_MHZ = 2400

CAPABILITIES = ("xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_32p", "hvm-3.0-x86_64")

# feature words of a plain Broadwell-class CPU; clients only compare them
_FEATURES_HVM = (
    "1fcbfbff-f7fa3223-2c100800-00000121-0000000f-001cbfbb-00000000-00000000-00000000-00000000-00000000-00000000"
)
_FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "rdtscp lm constant_tsc rep_good nopl cpuid pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx "
    "f16c rdrand hypervisor lahf_lm abm fsgsbase bmi1 avx2 bmi2 erms rdseed adx"
)

HOST_MEMORY_OVERHEAD = 512 * 2**20
DOM0_MEMORY = 2 * 2**30


def software_version(hostname: str) -> dict[str, str]:
    """``host.software_version``."""
    return {
        "product_version": "8.3.0",
        "product_version_text": "8.3",
        "product_version_text_short": "8.3",
        "platform_name": "XCP",
        "platform_version": "3.4.0",
        "product_brand": "XCP-ng",
        "build_number": "8.3.0",
        "git_id": "0",
        "hostname": hostname,
        "date": "20260401T00:00:00Z",
        "dbv": "0.0.1",
        "is_preview_release": "false",
        "xapi": "26.1",
        "xapi_build": "26.1.3",
        "xen": "4.17.5-13",
        "linux": "4.19.0+1",
        "xencenter_min": "2.21",
        "xencenter_max": "2.21",
        "network_backend": "openvswitch",
        "db_schema": "5.784",
    }


def cpu_info(cpus: int) -> dict[str, str]:
    """``host.cpu_info``."""
    return {
        "cpu_count": str(cpus),
        "socket_count": "1",
        "threads_per_core": "1",
        "nr_nodes": "1",
        "vendor": CPU_VENDOR,
        "speed": f"{CPU_MHZ}.000",
        "modelname": CPU_MODEL,
        "family": "6",
        "model": "61",
        "stepping": "4",
        "flags": _FLAGS,
        "features": "7ffefbff-bfebfbff-00000021-2c100800",
        "features_pv": _FEATURES_HVM,
        "features_hvm": _FEATURES_HVM,
        "features_pv_host": _FEATURES_HVM,
        "features_hvm_host": _FEATURES_HVM,
    }


def pool_cpu_info(cpus: int, hosts: int) -> dict[str, str]:
    """``pool.cpu_info``: what the hosts have in common."""
    info = cpu_info(cpus)
    kept = ("vendor", "features_pv", "features_hvm", "features_pv_host", "features_hvm_host")
    return {**{key: info[key] for key in kept}, "cpu_count": str(cpus * hosts), "socket_count": str(hosts)}


def license_params() -> Mapping[str, str]:
    """An edition without restrictions and without an end."""
    restricted = (
        "vswitch_controller", "lab", "stage", "storage_xen_motion", "live_patching", "hotfix_apply", "vlan",
        "cpu_masks",
        "connection", "pool_attached_storage", "qos", "guest_agent_auto_update", "gpu", "dr", "wlb", "rbac", "ad",
        "checkpoint", "vif_locking", "intellicache", "read_caching", "ssl_legacy_switch", "nested_virt",
        "set_vcpus_number_live", "pvs_proxy", "igmp_snooping", "corosync", "pool_size", "cbt", "usb_passthrough",
        "network_sriov", "storage_streaming", "vtpm", "vm_groups", "vm_start", "vm_appliance_start",
    )  # fmt: skip
    return {
        "sku_type": "free",
        "version": "8.3.0",
        "sockets": "1",
        "expiry": "20990101T00:00:00Z",
        "grace": "no",
        **{f"restrict_{name}": "false" for name in restricted},
    }


BIOS_STRINGS: Mapping[str, str] = {
    "bios-vendor": "embedded",
    "bios-version": "1.0",
    "system-manufacturer": "embedded",
    "system-product-name": "xapi-host",
    "system-version": "1.0",
    "system-serial-number": "",
    "baseboard-manufacturer": "",
    "baseboard-product-name": "",
    "baseboard-version": "",
    "baseboard-serial-number": "",
    "oem-1": "Xen",
    "oem-2": "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d",
    "hp-rombios": "",
}
