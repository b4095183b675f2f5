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
"""``pool.guests``: the XenStores of the hosts, the trees of their domains, and the guests' end of them.

It follows the domains that :mod:`xapikit.host.domains.service` builds and ends, and puts what guests say into rows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xapikit.host.domains.model import Domain, DomainConfig, DomainFailed
from xapikit.host.domains.sockets import leave_socket_directory, socket_directory
from xapikit.host.domains.timed.kind import TimedDomain, TimedKind
from xapikit.host.guests import tree
from xapikit.host.guests.agent import SimulatedGuest
from xapikit.host.guests.metrics import SPOKEN, UPDATED, free_memory_kib, guest_fields
from xapikit.host.guests.settings import GuestSettings
from xapikit.host.guests.side import GuestSide, PowerButton
from xapikit.host.xenstore import Edit, XenStore
from xapikit.host.xenstore.log import FileLog
from xapikit.host.xenstore.server import XenstoreServer
from xapikit.host.xenstore.store import INTRODUCED, RELEASED, home_of
from xapikit.model import NULL_REF
from xapikit.wire import DateTime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xapikit.host.pool import Pool
    from xapikit.host.store import Commit, Transaction

LOG = logging.getLogger(__name__)

SOCKET: Final = "run/xenstored/socket"
"""Where dom0 finds its XenStore, below the directory that stands for its root."""
SHORT: Final = 13
"""Characters of a host's uuid that name its socket: paths of sockets are short."""
_SHUTDOWN: Final = "control/shutdown"
_FOLLOWED: Final = {
    "VM": ("memory_static_max", "memory_dynamic_min", "memory_dynamic_max"),
    "VIF": ("network", "locking_mode", "ipv4_allowed", "ipv6_allowed"),
}
"""Fields of records whose changes a running domain's tree follows."""


class Guests:
    """All XenStores and guests of one pool. A :class:`xapikit.host.pool.Part`. Domains are known by uuid of the VM and
    number."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._lock = threading.Lock()
        self._stores: dict[str, XenStore] = {}
        self._sides: dict[tuple[str, int], GuestSide] = {}
        self._run = pool.state / "run" / "xenstore"
        self._sockets: Path | None = None
        self._server: XenstoreServer | None = None
        options = pool.settings.options
        self.acknowledgement_seconds = float(options.get("shutdown_acknowledgement_seconds", "60"))
        """How long a guest may take to take a request."""
        self.shutdown_seconds = float(options.get("shutdown_seconds", "1200"))
        """How long a guest may take for what it was asked to do."""

    def start(self) -> None:
        """Open the stores, and serve them to programs."""
        self._sockets = socket_directory(self._run, "0" * SHORT + ".s")
        self._server = XenstoreServer()
        self._server.start()
        self.pool.store.on_commit(self._rows_changed)
        for row in self.pool.store.all("host").values():
            self.xenstore(row["uuid"])

    def stop(self, *, stop_guests: bool) -> None:
        with self._lock:
            sides, stores = list(self._sides.values()), list(self._stores.values())
        for side in sides:
            side.close()
        if self._server is not None:
            self._server.stop()
        for store in stores:
            store.close()
        if self._sockets is not None:
            leave_socket_directory(self._run, self._sockets)

    def xenstore(self, host_uuid: str) -> XenStore:
        """The XenStore of a host; opened when it is not yet."""
        with self._lock:
            known = self._stores.get(host_uuid)
            if known is not None:
                return known
            log = FileLog(self._run / f"{host_uuid}.log")
            store = self._stores[host_uuid] = XenStore(root=log.root, log=log)
        store.on_commit(lambda edit: self._committed(store, edit))
        if self._server is not None and self._sockets is not None:
            socket = self._sockets / f"{host_uuid[:SHORT]}.s"
            self._server.listen(socket, store)
            link = self.pool.state / "dom0" / host_uuid / SOCKET
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(socket)
        host = self.pool.store.peek("host", self.pool.store.by_uuid("host", host_uuid) or "")
        dom0 = self.pool.store.peek("VM", host["control_domain"]) if host is not None else None
        if dom0 is not None:
            with store.edit() as edit:
                tree.write_dom0(edit, dom0["uuid"], dom0["memory_target"])
        return store

    def socket(self, host_uuid: str) -> Path:
        """Where the XenStore of a host is served."""
        self.xenstore(host_uuid)
        assert self._sockets is not None
        return self._sockets / f"{host_uuid[:SHORT]}.s"

    # domains -----------------------------------------------------------------------------------------------------

    def build(self, config: DomainConfig) -> None:
        """Write the tree of a domain that is about to be built."""
        store, rows = self.xenstore(config.host), self.pool.store
        row = rows.get("VM", rows.by_uuid("VM", config.vm) or NULL_REF)
        with store.edit() as edit:
            tree.write_domain(edit, rows, config, row, rows.new_uuid())
        store.announce(INTRODUCED)

    def adopt(self, domain: Domain) -> None:
        """A domain of an earlier server was found again: its tree is as it was left."""
        if self.xenstore(domain.config.host).find(home_of(domain.config.domid)) is None:
            self.build(domain.config)
        self.refresh(domain)
        self._side(domain)  # known from now on, one that stands still too
        if not domain.paused:
            with suppress(DomainFailed):  # it ends this moment, which is told by itself
                self.runs(domain)

    def forget_others(self) -> None:
        """Remove trees of domains that are gone; call it when all that were found again are known."""
        with self._lock:
            known, stores = set(self._sides), list(self._stores.values())
        for store in stores:
            there = store.find("/local/domain")
            for name in there.children if there is not None else ():
                uuid = store.value(f"/local/domain/{name}/vm").removeprefix("/vm/")
                if name != "0" and name.isdecimal() and (uuid, int(name)) not in known:
                    self._remove(store, uuid, int(name))

    def runs(self, domain: Domain) -> None:
        """A domain was set going: its guest boots, or goes on. Raises DomainFailed when it has ended since."""
        try:
            self._side(domain).runs()
        except DomainFailed:
            self.remove(domain.config)
            raise

    def refresh(self, domain: Domain, media: Mapping[str, str] | None = None) -> None:
        """Devices or processors of a domain changed; ``media`` names VDIs by VBD where the records do not yet."""
        config = domain.config
        store, home = self.xenstore(config.host), home_of(config.domid)
        with store.edit() as edit:
            if not edit.exists(home):
                return
            tree.write_devices(edit, self.pool.store, config, media)
            for number in range(max(config.vcpus, config.vcpus_max)):
                _set(edit, f"{home}/cpu/{number}/availability", "online" if number < config.vcpus else "offline")

    def set_memory_target(self, domain: Domain, size: int) -> None:
        """The balloon of a domain was set, in bytes."""
        path = f"{home_of(domain.config.domid)}/memory/target"
        with self.xenstore(domain.config.host).edit() as edit:
            if edit.exists(path):
                _set(edit, path, str(size // tree.KIB))

    def _rows_changed(self, commit: Commit) -> None:
        """Memory limits, networks and locks of NICs of a running VM changed: dom0 sees them in XenStore."""
        for change in commit.changes:
            before, after = change.before, change.after
            fields = _FOLLOWED.get(change.class_name)
            if fields is None or before is None or after is None or all(before[f] == after[f] for f in fields):
                continue
            vm = change.ref if change.class_name == "VM" else after["VM"]
            domain = self.pool.domains.peek(vm) if self.pool.domains is not None else None
            if domain is None:
                continue
            if change.class_name == "VIF":
                self.refresh(domain)
                continue
            home = home_of(domain.config.domid)
            with self.xenstore(domain.config.host).edit() as edit:
                for name, size in tree.memory_limits(after).items() if edit.exists(home) else ():
                    _set(edit, f"{home}/memory/{name}", str(size))

    def remove(self, config: DomainConfig) -> None:
        """A domain is gone, and its tree goes with it."""
        with self._lock:
            side = self._sides.pop((config.vm, config.domid), None)
        if side is not None:
            side.close()
        self._remove(self.xenstore(config.host), config.vm, config.domid)

    def _remove(self, store: XenStore, uuid: str, domid: int) -> None:
        with store.edit() as edit:
            tree.remove_domain(edit, domid, uuid)
        store.announce(RELEASED)

    def side(self, vm_uuid: str) -> GuestSide | None:
        """The guest's end of the domain of a VM; None when it has none."""
        with self._lock:
            return next((side for (uuid, _), side in reversed(self._sides.items()) if uuid == vm_uuid), None)

    def _side(self, domain: Domain) -> GuestSide:
        config = domain.config
        key = (config.vm, config.domid)
        with self._lock:
            side = self._sides.get(key)
        if side is None:
            side = self._made(domain)
            with self._lock:
                side = self._sides.setdefault(key, side)
        return side

    def _made(self, domain: Domain) -> GuestSide:
        store = self.xenstore(domain.config.host)
        kind = self.pool.domains.kind
        if not isinstance(domain, TimedDomain) or not isinstance(kind, TimedKind):
            return PowerButton(store, domain)
        settings = GuestSettings(self.pool, domain.config.vm)
        return SimulatedGuest(
            store, domain, settings, kind.clock,
            addresses=lambda: self._addresses(domain.config), shutdown_seconds=kind.delays.shutdown,
        )  # fmt: skip

    def _addresses(self, config: DomainConfig) -> dict[int, list[str]]:
        """Addresses that a timed guest claims to have: those configured, else one per VIF from 10.0.0.0/8."""
        found: dict[int, list[str]] = {}
        for nic in config.nics:
            vif = self.pool.store.peek("VIF", self.pool.store.by_uuid("VIF", nic.uuid) or "")
            given = [*vif["ipv4_addresses"], *vif["ipv6_addresses"]] if vif is not None else []
            own = f"10.{nic.position % 256}.{config.domid // 250 % 256}.{config.domid % 250 + 2}"
            found[nic.position] = [address.partition("/")[0] for address in given] or [own]
        return found

    # requests ----------------------------------------------------------------------------------------------------

    @contextmanager
    def asked(self, domain: Domain, reason: str, acknowledged: Callable[[], None]) -> Iterator[None]:
        """Ask a guest for ``poweroff``, ``reboot`` or ``suspend``; the request is taken back at the end of the block
        when the guest did not take it."""
        store = self.xenstore(domain.config.host)
        path = f"{home_of(domain.config.domid)}/{_SHUTDOWN}"

        def changed(_: str) -> None:
            if not store.value(path):
                acknowledged()

        with store.edit() as edit:
            _set(edit, path, "")
        watch = store.watch(path, changed)
        try:
            with store.edit() as edit:
                _set(edit, path, reason)
            yield
        finally:
            store.unwatch(watch)
            with store.edit() as edit:
                if edit.exists(path):
                    _set(edit, path, "")

    def set_data(self, domain: Domain, data: dict[str, str]) -> None:
        """Replace what a running guest sees of ``VM.xenstore_data``."""
        config = domain.config
        home = home_of(config.domid)
        trees = tree.data_trees(config.domid, config.vm, data)
        with self.xenstore(config.host).edit() as edit:
            for prefix in tree.DATA_PREFIXES:
                if prefix in trees:
                    edit.graft(f"{home}/{prefix}", trees[prefix])
                elif edit.exists(f"{home}/{prefix}"):
                    edit.rm(f"{home}/{prefix}")

    def free_memory_kib(self, vm_uuid: str) -> float | None:
        """Free memory as the agent of a running guest says; None when it does not."""
        side = self.side(vm_uuid)
        home = side.store.find(side.home) if side is not None else None
        return free_memory_kib(home) if home is not None else None

    # what guests say ---------------------------------------------------------------------------------------------

    def _committed(self, store: XenStore, edit: Edit) -> None:
        spoken: dict[int, bool] = {}
        written: dict[int, dict[str, str | None]] = {}
        for kind, path, given in edit.steps:
            parts = path.split("/", 5)
            if len(parts) < 5 or parts[1:3] != ["local", "domain"] or parts[3] == "0":
                continue
            domid, below = int(parts[3]), path.split("/", 4)[4]
            if parts[4] in SPOKEN:
                spoken[domid] = spoken.get(domid, False) or below == UPDATED
            elif parts[4] in tree.DATA_PREFIXES and kind in ("write", "rm"):
                text = given.decode("utf-8", "replace") if isinstance(given, bytes) else None
                written.setdefault(domid, {})[below] = text
        for domid, updated in spoken.items():
            self._learn(store, domid, updated)
        for domid, changes in written.items():
            self._take_data(store, domid, changes)

    def first_metrics(self, tx: Transaction, host_uuid: str, domid: int) -> str:
        """The ``VM_guest_metrics`` of a domain that was just built."""
        home = self.xenstore(host_uuid).find(home_of(domid))
        return tx.create("VM_guest_metrics", {**(guest_fields(home) if home is not None else {}), **_now()})

    def _row(self, store: XenStore, domid: int) -> str | None:
        """The VM whose domain this is, when its record says so, too."""
        uuid = store.value(f"{home_of(domid)}/vm").removeprefix("/vm/")
        vm = self.pool.store.by_uuid("VM", uuid)
        row = self.pool.store.peek("VM", vm or "")
        return vm if row is not None and row["domid"] == domid else None

    def _learn(self, store: XenStore, domid: int, updated: bool) -> None:
        """Put what a guest says into its ``VM_guest_metrics``."""
        home = store.find(home_of(domid))
        if home is None:
            return
        fields = guest_fields(home)
        with self.pool.store.transaction() as tx:
            vm = self._row(store, domid)
            if vm is None:
                return
            metrics = tx.get("VM", vm)["guest_metrics"]
            known = tx.peek("VM_guest_metrics", metrics)
            if known is None:
                tx.update("VM", vm, guest_metrics=tx.create("VM_guest_metrics", {**fields, **_now()}))
            elif updated or any(known[name] != value for name, value in fields.items()):
                tx.update("VM_guest_metrics", metrics, **fields, **_now())

    def _take_data(self, store: XenStore, domid: int, changes: dict[str, str | None]) -> None:
        """Keep what was written below ``vm-data`` of a running guest in the record of its VM."""
        with self.pool.store.transaction() as tx:
            vm = self._row(store, domid)
            if vm is None:
                return
            data = dict(tx.get("VM", vm)["xenstore_data"])
            for path, text in changes.items():
                if text is None:
                    data = {key: kept for key, kept in data.items() if key != path and not key.startswith(f"{path}/")}
                else:
                    data[path] = text
            tx.update("VM", vm, xenstore_data=data)


def _now() -> dict[str, Any]:
    return {"live": True, "last_updated": DateTime.now()}


def _set(edit: Edit, path: str, text: str) -> None:
    if not edit.exists(path) or edit.read(path) != text.encode():
        edit.write(path, text)
