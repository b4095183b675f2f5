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
"""The SR for the disks of servers, as ``sr_matching_filter`` chooses it. Reads the cache only."""

from __future__ import annotations

from nova import exception

from nova_xapi.hosts.connection import HostConnection
from xapikit.client import NULL_REF, EventCache, Record

NOT_FOR_DISKS = ("iso", "udev")


class SrNotFound(exception.ComputeResourcesUnavailable):
    """No SR that this host can use matches the filter. The message lists the SRs there are."""

    def __init__(self, problem: str) -> None:
        super().__init__(reason=problem)


class BadFilter(exception.InvalidInput):
    """``sr_matching_filter`` is in none of its two forms."""

    def __init__(self, text: str) -> None:
        super().__init__(
            reason=f"[xenserver] sr_matching_filter = {text} is not understood: "
            f"it is default-sr:true or other-config:KEY=VALUE"
        )


def choose(conn: HostConnection) -> tuple[str, Record]:
    """Reference and record of the SR. Raises SrNotFound, BadFilter, VirtDriverNotReady."""
    text = conn.settings.sr_matching_filter.strip().strip("\"'")
    criterion, colon, pattern = text.partition(":")
    if not colon:
        raise BadFilter(text)
    if criterion == "default-sr":
        if pattern.lower() != "true":
            raise BadFilter(text)
        return _default(conn)
    key, equals, value = pattern.partition("=")
    if criterion != "other-config" or not equals or not key:
        raise BadFilter(text)
    return _by_other_config(conn, key, value)


def is_attached(cache: EventCache, sr: Record, host: str) -> bool:
    """Whether a host has an SR attached."""
    pbds = [cache.get("PBD", ref) for ref in sr["PBDs"]]
    return any(pbd is not None and pbd["host"] == host and pbd["currently_attached"] for pbd in pbds)


def _default(conn: HostConnection) -> tuple[str, Record]:
    ref = conn.pool["default_SR"]
    sr = None if ref in ("", NULL_REF) else conn.cache.get("SR", ref)
    if sr is None:
        raise SrNotFound(
            f"the pool has no default SR, which sr_matching_filter = default-sr:true asks for. {_list(conn)}"
        )
    if not _usable(conn, sr):
        raise SrNotFound(f"the pool's default SR {sr['name_label']} is of no use to this host. {_list(conn)}")
    return ref, sr


def _by_other_config(conn: HostConnection, key: str, value: str) -> tuple[str, Record]:
    matching = [
        (ref, sr)
        for ref, sr in conn.cache.records("SR").items()
        if sr["other_config"].get(key) == value and _usable(conn, sr)
    ]
    if not matching:
        raise SrNotFound(
            f"no SR that is attached to host {conn.host['name_label']} has the pair {key}={value} in its other-config, "
            f"which [xenserver] sr_matching_filter asks for. {_list(conn)}"
        )
    # the same one each time, whatever the order in which they are told
    return min(matching, key=lambda one: str(one[1]["uuid"]))


def _usable(conn: HostConnection, sr: Record) -> bool:
    return (
        sr["type"] not in NOT_FOR_DISKS and sr["content_type"] != "iso" and is_attached(conn.cache, sr, conn.host_ref)
    )


def _list(conn: HostConnection) -> str:
    lines = []
    default = conn.pool["default_SR"]
    for ref, sr in sorted(conn.cache.records("SR").items(), key=lambda one: str(one[1]["name_label"])):
        config = ", ".join(f"{key}={value}" for key, value in sorted(sr["other_config"].items()) if "nova" not in key)
        facts = [sr["type"], "attached" if is_attached(conn.cache, sr, conn.host_ref) else "not attached here"]
        if ref == default:
            facts.append("default")
        lines.append(f"{sr['name_label']} ({sr['uuid']}; {'; '.join(facts)}; other-config: {config or 'empty'})")
    return f"SRs there are: {' | '.join(lines) or 'none'}"
