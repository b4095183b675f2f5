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
"""Which disks a client may read over NBD: networks with the purpose, sessions, and the dom0's hold on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from xapikit.host.errors import ApiError
from xapikit.host.storage.disks import Disk
from xapikit.host.storage.nbd import ExportRefused
from xapikit.host.store import View

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

NBD, INSECURE = "nbd", "insecure_nbd"
MARK = "xapi-nbd"
"""Key of ``VBD.other_config`` of the control domain's hold on a disk that a client reads."""
PERMISSION = "VDI.get_nbd_info"
ROLE = "vm-admin"


def addresses(view: View, host: str) -> dict[str, str]:
    """Addresses at which a host serves NBD, each with the purpose of its network."""
    found: dict[str, str] = {}
    for network in view.all("network").values():
        purpose = next((name for name in (NBD, INSECURE) if name in network["purpose"]), None)
        for ref in network["PIFs"] if purpose is not None else ():
            pif = view.peek("PIF", ref)
            if pif is None or pif["host"] != host or not pif["currently_attached"]:
                continue
            for address in (pif["IP"], *pif["IPv6"]):
                if address and purpose is not None:
                    found[address.partition("/")[0]] = purpose
    return found


def export_name(vdi_uuid: str, session: str) -> str:
    return f"/{vdi_uuid}?session_id={session}"


def parse_export(name: str) -> tuple[str, str]:
    """uuid of the VDI and session of an export's name. Raises ExportRefused."""
    try:
        parts = urlsplit(name)
        (session,) = parse_qs(parts.query, strict_parsing=True)["session_id"]
    except (ValueError, KeyError):
        raise ExportRefused("an export is called /VDI-UUID?session_id=SESSION") from None
    return parts.path.removeprefix("/"), session


class Export:
    """The disk that one client reads: the control domain has it attached read-only meanwhile. Close it at the end."""

    def __init__(self, pool: Pool, host: str) -> None:
        self._pool = pool
        self._host = host
        self._held = ExitStack()
        self.session = ""
        """Reference of the session that the client named."""

    def open(self, name: str) -> Disk:
        """The disk of an export. Raises ExportRefused with what a call would have failed with."""
        vdi_uuid, session = parse_export(name)
        self.close()
        try:
            vdi = self._permitted(vdi_uuid, session)
            disk: Disk = self._held.enter_context(attached_to_dom0(self._pool, self._host, vdi))
        except ApiError as error:
            raise ExportRefused(" ".join([error.code, *error.params])) from error
        self.session = session
        return disk

    def _permitted(self, vdi_uuid: str, session: str) -> str:
        sessions = self._pool.sessions
        sessions.check(session)
        if sessions.is_local(session):
            raise ApiError("SESSION_INVALID", session)
        sessions.require(session, PERMISSION, ROLE)
        vdi = self._pool.store.by_uuid("VDI", vdi_uuid)
        if vdi is None:
            raise ApiError("UUID_INVALID", "VDI", vdi_uuid)
        sr = self._pool.store.get("VDI", vdi)["SR"]
        if self._host not in self._pool.storage.hosts_with(sr):
            raise ApiError("SR_NOT_ATTACHED", sr)
        return vdi

    def close(self) -> None:
        self._held.close()


@contextmanager
def attached_to_dom0(pool: Pool, host: str, vdi: str) -> Iterator[Disk]:
    """A disk as the control domain of a host has it for a reader. Raises what attaching raises."""
    store = pool.store
    dom0 = store.get("host", host)["control_domain"]
    with store.transaction() as tx:
        used = {tx.get("VBD", ref)["userdevice"] for ref in tx.get("VM", dom0)["VBDs"]}
        device = next(str(number) for number in range(len(used) + 1) if str(number) not in used)
        fields = {"mode": "RO", "type": "Disk", "userdevice": device, "unpluggable": True, "other_config": {MARK: ""}}
        vbd = tx.create("VBD", {"VM": dom0, "VDI": vdi, **fields})
    try:
        with pool.storage.opened(vdi, read_only=True, holder=vbd, host=host) as disk:
            with store.transaction() as tx:
                tx.update("VBD", vbd, currently_attached=True)
            yield disk
    finally:
        with store.transaction() as tx:
            if tx.peek("VBD", vbd) is not None:
                tx.delete("VBD", vbd)


def forget_readers(pool: Pool) -> None:
    """Remove what a killed server's readers left."""
    with pool.store.transaction() as tx:
        for ref, row in list(tx.all("VBD").items()):
            if MARK in row["other_config"]:
                with suppress(ApiError):  # the row went with its disk
                    tx.delete("VBD", ref)
