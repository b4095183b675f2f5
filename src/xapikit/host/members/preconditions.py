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
"""What a host checks before it joins a pool, in the order of real ones; the first that fails is what it says."""

from __future__ import annotations

from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.members.remote import Remote
from xapikit.host.store import Row, View
from xapikit.model import NULL_REF

_VERSIONS = ("product_version", "product_brand", "platform_version")
_NO_VLAN = -1


def check(view: View, host: str, remote: Remote, *, force: bool) -> None:
    """Raises why the host of a pool of one may not join the pool at ``remote``; ``force`` accepts other CPUs."""
    pool = next(iter(view.all("pool").values()))
    their_pool = next(iter(remote("pool.get_all_records").values()))
    their_hosts = remote("host.get_all_records")
    master = their_hosts[their_pool["master"]]
    mine = view.get("host", host)
    if not any(row["management"] for row in view.find("PIF", host=host).values()):
        raise ApiError("HOST_HAS_NO_MANAGEMENT_IP")
    if pool["ha_enabled"] or their_pool["ha_enabled"]:
        raise ApiError("HA_IS_ENABLED")
    _check_drivers(view, remote)
    if mine["uuid"] in {row["uuid"] for row in their_hosts.values()}:
        already = "Host is already part of a pool"
        raise ApiError(
            "OPERATION_NOT_ALLOWED", already if len(their_hosts) > 1 else "Host cannot become slave of itself"
        )
    if len(view.all("host")) > 1:
        raise ApiError("JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS")
    _check_vms(view)
    _check_versions(mine, master)
    if not force and mine["cpu_info"].get("vendor") != their_pool["cpu_info"].get("vendor"):
        raise ApiError("HOSTS_NOT_HOMOGENEOUS", "CPUs differ")
    if any(row["shared"] and not row["is_tools_sr"] for row in view.all("SR").values()):
        raise ApiError("JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS")
    for field in ("external_auth_type", "external_auth_service_name"):
        if mine[field] != master[field]:
            raise ApiError("POOL_JOINING_EXTERNAL_AUTH_MISMATCH")
    _check_networks(view, host, remote, their_pool["master"])
    if pool["tls_verification_enabled"] != their_pool["tls_verification_enabled"]:
        raise ApiError("POOL_JOINING_HOST_TLS_VERIFICATION_MISMATCH")


def _check_drivers(view: View, remote: Remote) -> None:
    theirs = {row["type"]: (ref, row) for ref, row in remote("SM.get_all_records").items()}
    for ref, row in view.all("SM").items():
        other = theirs.get(row["type"])
        if other is not None and not set(other[1]["features"]) <= set(row["features"]):
            raise ApiError("POOL_JOINING_SM_FEATURES_INCOMPATIBLE", other[0], ref)


def _check_vms(view: View) -> None:
    vms = [row for row in view.all("VM").values() if not row["is_control_domain"]]
    if any(row["power_state"] in ("Running", "Paused") for row in vms):
        raise ApiError("JOINING_HOST_CANNOT_HAVE_RUNNING_VMS")
    if any(row["current_operations"] for row in vms):
        raise ApiError("JOINING_HOST_CANNOT_HAVE_VMS_WITH_CURRENT_OPERATIONS")


def _check_versions(mine: Row, master: dict[str, Any]) -> None:
    ours, theirs = mine["software_version"], master["software_version"]
    versions = [f"{row['API_version_major']}.{row['API_version_minor']}" for row in (mine, master)]
    if versions[0] != versions[1]:
        raise ApiError("POOL_JOINING_HOST_MUST_HAVE_SAME_API_VERSION", *versions)
    schemas = ours.get("db_schema", ""), theirs.get("db_schema", "")
    if schemas[0] != schemas[1]:
        raise ApiError("POOL_JOINING_HOST_MUST_HAVE_SAME_DB_SCHEMA", *schemas)
    if any(ours.get(name) != theirs.get(name) for name in _VERSIONS):
        raise ApiError("POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION")


def _check_networks(view: View, host: str, remote: Remote, master: str) -> None:
    found = view.find("PIF", host=host)
    pifs = found.values()
    ref, management = next((ref, row) for ref, row in found.items() if row["management"])
    if view.all("Bond"):
        raise ApiError("POOL_JOINING_HOST_HAS_BONDS")
    if view.all("network_sriov"):
        raise ApiError("POOL_JOINING_HOST_HAS_NETWORK_SRIOVS")
    if view.all("tunnel"):
        raise ApiError("POOL_JOINING_HOST_HAS_TUNNELS")
    if any(row["VLAN"] != _NO_VLAN and not row["management"] for row in pifs):
        raise ApiError("POOL_JOINING_HOST_HAS_NON_MANAGEMENT_VLANS")
    if not management["physical"] or management["bond_master_of"] or management["bond_slave_of"] != NULL_REF:
        raise ApiError("POOL_JOINING_HOST_MUST_HAVE_PHYSICAL_MANAGEMENT_NIC")
    theirs = [row for row in remote("PIF.get_all_records").values() if row["host"] == master and row["management"]]
    for row in theirs:
        if int(row["VLAN"]) != management["VLAN"]:
            raise ApiError("POOL_JOINING_HOST_MANAGEMENT_VLAN_DOES_NOT_MATCH", management["VLAN"], int(row["VLAN"]))
        if row["primary_address_type"] != management["primary_address_type"]:
            raise ApiError("PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE", ref)
