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
"""``pool.domains``: builds and ends the domains of VMs, attaches what they need, finds them again.

Rows of VMs are changed by :mod:`xapikit.host.classes.vm.transitions`; what follows the end of a guest is decided by
``on_guest_end``, which the classes set.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xapikit.host.domains.config import disk_config, domain_config, nic_config, vbds_to_attach
from xapikit.host.domains.model import DiskSource, Domain, DomainConfig, DomainFailed, DomainKind, Ended, Readable
from xapikit.host.domains.qemu import QemuKind
from xapikit.host.domains.sharing import check_sharing
from xapikit.host.domains.timed import TimedKind
from xapikit.host.domains.timed.kind import Delays
from xapikit.host.domains.waiting import Waiter
from xapikit.host.errors import ApiError
from xapikit.host.positions import device_name, position_of

if TYPE_CHECKING:
    from xapikit.host.pool import Pool
from xapikit.host.storage.resetting import begin_epoch
from xapikit.host.store import Row, Transaction

LOG = logging.getLogger(__name__)

_MODES_READ_ONLY = "RO"


class Domains:
    """All domains of one pool. A :class:`xapikit.host.pool.Part`. VMs are named by reference."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = pool.store
        self.kind: DomainKind = _kind(pool)
        self.on_guest_end: Callable[[str, Ended], None] | None = None
        """Called with a VM whose guest ended while no call waited for it."""
        self._lock = threading.RLock()
        self._domains: dict[str, Domain] = {}
        self._waiters: dict[str, list[Waiter]] = {}
        self._early: list[tuple[Domain, Ended]] | None = []
        running = (row["domid"] for row in self.store.all("VM").values())
        self._domids = itertools.count(max([0, *running]) + 1)

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Find guests again. A VM whose guest is gone is told of as crashed."""
        from xapikit.host.classes.vm import ends

        ends.install(self)
        self.pool.migrations.tidy()
        ends.tidy(self.pool)
        try:
            self.kind.check()
        except DomainFailed as error:  # the pool is of use without guests, and each start says it again
            LOG.error("no VM can be started: %s", error.why)
        known: dict[str, str] = {}
        configs: dict[str, DomainConfig] = {}
        for ref, row in self.store.all("VM").items():
            if not self.pool.machines.is_on(row["resident_on"]):
                continue  # off with its host: it stays what the database says until the host is back or declared dead
            if row["power_state"] in ("Running", "Paused") and not row["is_control_domain"]:
                known[row["uuid"]] = ref
                configs[row["uuid"]] = domain_config(self.store, ref, row["resident_on"], row["domid"], {})
        found = self.kind.adopt(configs, self._ended)
        for uuid, ref in known.items():
            domain = found.get(uuid)
            if domain is not None:
                self._domains[ref] = domain
                self._settle(ref, domain, still=ref in self.pool.migrations.in_doubt)
                self.pool.guests.adopt(domain)
        self.pool.guests.forget_others()
        with self._lock:
            early, self._early = self._early or [], None
        told = set()
        for domain, ended in early:
            told.add(domain.config.vm)
            self._ended(domain, ended)
        for uuid, ref in known.items():
            if uuid not in found and uuid not in told:
                ends.lost(self, ref)
        self._give_back_unused()

    def _give_back_unused(self) -> None:
        """Detach disks whose guest never came to be, or ended, when an earlier server was killed."""
        for use in self.pool.storage.attachments.all():
            vbd = self.store.peek("VBD", use.holder)
            vm = vbd["VM"] if vbd is not None else ""
            row = self.store.peek("VM", vm)
            elsewhere = vbd is not None and vbd["VDI"] != use.vdi
            if row is None or elsewhere or not (row["is_control_domain"] or vm in self._domains):
                LOG.warning("a disk that no guest has is given back: VDI %s", use.vdi)
                try:
                    self.pool.storage.detach(use.vdi, holder=use.holder)
                except Exception:
                    LOG.exception("the disk %s was not given back", use.vdi)

    def _settle(self, vm: str, domain: Domain, *, still: bool) -> None:
        """Make a guest that was found again stand still or run, as its row says; ``still`` in any case."""
        paused = still or self.store.get("VM", vm)["power_state"] == "Paused"
        if paused != domain.paused:
            with contextlib.suppress(DomainFailed):
                domain.pause() if paused else domain.unpause()

    def stop(self, *, stop_guests: bool) -> None:
        """Let go of the guests, or end them all."""
        from xapikit.host.classes.vm import ends

        if stop_guests:
            with self._lock:
                running = list(self._domains)
            for vm in running:
                ends.switched_off(self.pool, vm)
        self.kind.stop(stop_guests=stop_guests)

    # power -------------------------------------------------------------------------------------------------------

    def get(self, vm: str) -> Domain:
        """The domain of a VM. Raises DomainFailed when it has none, HOST_OFFLINE and CANNOT_CONTACT_HOST when it went
        off with its host."""
        with self._lock:
            domain = self._domains.get(vm)
        if domain is None:
            row = self.store.peek("VM", vm)
            if row is not None and row["power_state"] in ("Running", "Paused"):
                self.pool.machines.reach(row["resident_on"])
            raise DomainFailed(vm, "it has no domain")
        return domain

    def peek(self, vm: str) -> Domain | None:
        with self._lock:
            return self._domains.get(vm)

    def build(
        self,
        vm: str,
        host: str,
        *,
        state: Readable | None = None,
        disks: Mapping[str, str] | None = None,
        beside: bool = False,
    ) -> Domain:
        """Attach the disks of a VM and build its domain on a host, standing still; ``state`` continues another one.

        ``disks`` names VDIs by VBD where they are not those of the rows yet. With ``beside`` the domain that the VM has
        goes on, and the new one is only known once :meth:`switch` was called; disks that both have are shared.
        Raises what attaching and reading raise, and what :func:`refused` makes of a failed start; everything is undone
        then.
        """
        attached: dict[str, str] = {}
        self.pool.machines.reach(host)
        config: DomainConfig | None = None
        try:
            sources: dict[str, DiskSource] = {}
            for vbd in vbds_to_attach(self.store, self.store.get("VM", vm)):
                vdi = (disks or {}).get(vbd) or self.store.get("VBD", vbd)["VDI"]
                shared = self.pool.storage.attached(vdi, holder=vbd) is not None
                if state is None and not shared:
                    begin_epoch(self.pool.storage, vdi)
                source = self._attach(vbd, host, vdi)
                if not (beside and shared):
                    attached[vbd] = vdi
                if source is not None:
                    sources[vbd] = source
            config = domain_config(self.store, vm, host, next(self._domids), sources)
            self.pool.guests.build(config)
            domain = self.kind.start(config, paused=True, on_end=self._ended, state=state)
        except BaseException as error:
            if config is not None:
                self.pool.guests.remove(config)
            for vbd, vdi in attached.items():
                self._detach(vbd, vdi)
            if isinstance(error, DomainFailed):
                raise refused(error) from error
            raise
        if beside:
            return domain
        with self._lock:
            self._domains[vm] = domain
        if not self.pool.machines.is_on(host):  # it went off meanwhile
            self.end(vm, only=domain)
            raise ApiError("CANNOT_CONTACT_HOST", host)
        if not domain.is_alive():
            self.end(vm, only=domain)
            raise refused(DomainFailed(config.vm, "it ended while it was built"))
        return domain

    def switch(self, vm: str, before: Domain, domain: Domain) -> None:
        """Let another domain be the one of a VM. Raises DomainFailed when either has ended."""
        with self._lock:
            if self._domains.get(vm) is not before or not domain.is_alive():
                raise DomainFailed(domain.config.vm, "it ended while it moved")
            self._domains[vm] = domain

    def release(self, vbd: str, vdi: str) -> None:
        """Give back one disk that a domain of the VM had or was to have."""
        self._detach(vbd, vdi)

    def end(self, vm: str, *, keep_disks: bool = False, only: Domain | None = None) -> None:
        """End the domain of a VM, if it has one (and it is ``only``), and give its disks back."""
        with self._lock:
            if only is not None and self._domains.get(vm) is not only:
                self.destroy(only)
                return
            domain = self._domains.pop(vm, None)
            waiters = list(self._waiters.get(vm, ()))
        if domain is not None:
            self.destroy(domain)
        for waiter in waiters:
            waiter.tell(None)
        if not keep_disks:
            self.give_back(vm)

    def let_run(self, domain: Domain) -> None:
        """Set a domain going; its guest boots, or goes on. Raises DomainFailed."""
        domain.unpause()
        self.pool.guests.runs(domain)

    def destroy(self, domain: Domain) -> None:
        """End a domain, with all that is known of its guest."""
        domain.destroy()
        self.pool.guests.remove(domain.config)

    def give_back(self, vm: str) -> None:
        """Detach all disks of a VM."""
        row = self.store.peek("VM", vm)
        for vbd in row["VBDs"] if row is not None else ():
            self._detach(vbd)

    @contextmanager
    def waiting(self, vm: str) -> Iterator[Waiter]:
        """Take the end of a guest upon oneself: it goes to the waiter instead of ``on_guest_end``."""
        waiter = Waiter()
        with self._lock:
            self._waiters.setdefault(vm, []).append(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiters[vm].remove(waiter)
                if not self._waiters[vm]:
                    del self._waiters[vm]

    def _ended(self, domain: Domain, ended: Ended) -> None:
        """A kind says that a guest ended by itself."""
        with self._lock:
            if self._early is not None:  # still starting: rows are not looked at yet
                self._early.append((domain, ended))
                return
            vm = self.store.by_uuid("VM", domain.config.vm)
            if vm is None or self._domains.get(vm) not in (domain, None):
                return
            self._domains.pop(vm, None)
            waiters = list(self._waiters.get(vm, ()))
        self.pool.guests.remove(domain.config)
        if waiters:
            for waiter in waiters:
                waiter.tell(ended)
        elif self.on_guest_end is not None:
            self.on_guest_end(vm, ended)

    # disks -------------------------------------------------------------------------------------------------------

    def _attach(self, vbd: str, host: str, vdi: str = "") -> DiskSource | None:
        row = self.store.get("VBD", vbd)
        if row["empty"]:
            return None
        return self._source(vbd, vdi or row["VDI"], host, read_only=row["mode"] == _MODES_READ_ONLY)

    def _source(self, vbd: str, vdi: str, host: str, *, read_only: bool) -> DiskSource:
        """Attach a disk for a VBD. Raises VDI_IN_USE and what the storage says."""
        check_sharing(self.store, vbd, vdi, read_only=read_only)
        serve = self.kind.name != "timed"
        try:
            use = self.pool.storage.attach(vdi, read_only, host=host, holder=vbd, serve=serve)
        except ApiError as error:
            if error.code == "VDI_IN_USE":  # told with one parameter by a start or a plug (wire reference 3.7)
                raise ApiError("VDI_IN_USE", vdi) from error
            raise
        if use.socket is not None:
            return DiskSource("nbd", str(use.socket))
        return DiskSource("file", str(use.file or ""))

    def _detach(self, vbd: str, vdi: str = "") -> None:
        row = self.store.peek("VBD", vbd)
        content = vdi or (row["VDI"] if row is not None else "")
        if self.store.peek("VDI", content) is not None:
            try:
                self.pool.storage.detach(content, holder=vbd)
            except Exception:
                LOG.exception("the disk of VBD %s was not given back", vbd)

    @contextmanager
    def _changing(self, vm: str, class_name: str, ref: str, medium: str = "") -> Iterator[Domain]:
        """The domain of a VM, to change one of its devices or itself; its guest sees that afterwards. ``medium`` is a
        VDI that the record of the VBD does not name yet."""
        with obeyed(class_name, ref):
            domain = self.get(vm)
            yield domain
        self.pool.guests.refresh(domain, media={ref: medium} if medium else {})

    def plug_vbd(self, vbd: str) -> None:
        """Attach a disk to a running VM, or to dom0 (which has it as ``/dev/<VBD.device>`` on a host)."""
        row = self.store.get("VBD", vbd)
        vm = self.store.get("VM", row["VM"])
        source = self._attach(vbd, vm["resident_on"])
        if not vm["is_control_domain"]:
            try:
                with self._changing(row["VM"], "VBD", vbd) as domain:
                    domain.plug_disk(disk_config(self.store, vbd, source))
            except BaseException:
                self._detach(vbd)
                raise
        with self.store.transaction() as tx:
            tx.update("VBD", vbd, currently_attached=True, device=_device(row))

    def unplug_vbd(self, vbd: str, *, force: bool) -> None:
        """The reverse. Raises DEVICE_DETACH_REJECTED when the guest keeps the disk."""
        row = self.store.get("VBD", vbd)
        if not self.store.get("VM", row["VM"])["is_control_domain"]:
            with self._changing(row["VM"], "VBD", vbd) as domain:
                domain.unplug_disk(row["uuid"], force=force)
        self._detach(vbd)
        with self.store.transaction() as tx:
            tx.update("VBD", vbd, currently_attached=False)

    def insert_medium(self, vbd: str, vdi: str) -> None:
        """Put a disk into the empty drive of a running VM; the row is changed by the caller."""
        row = self.store.get("VBD", vbd)
        host = self.store.get("VM", row["VM"])["resident_on"]
        source = self._source(vbd, vdi, host, read_only=True)
        try:
            with self._changing(row["VM"], "VBD", vbd, vdi) as domain:
                domain.insert(row["uuid"], source)
        except BaseException:
            self._detach(vbd, vdi)
            raise

    def eject_medium(self, vbd: str) -> None:
        row = self.store.get("VBD", vbd)
        with self._changing(row["VM"], "VBD", vbd) as domain:
            domain.eject(row["uuid"])
        self._detach(vbd)

    # NICs, processors, memory --------------------------------------------------------------------------------------

    def plug_vif(self, vif: str) -> None:
        row = self.store.get("VIF", vif)
        with self._changing(row["VM"], "VIF", vif) as domain:
            domain.plug_nic(nic_config(self.store, vif))

    def unplug_vif(self, vif: str, *, force: bool) -> None:
        row = self.store.get("VIF", vif)
        with self._changing(row["VM"], "VIF", vif) as domain:
            domain.unplug_nic(row["uuid"], force=force)

    def set_vcpus(self, vm: str, count: int) -> None:
        """Change the processors of a running VM."""
        with self._changing(vm, "VM", vm) as domain:
            domain.set_vcpus(count)
        with self.store.transaction() as tx:
            tx.update("VM_metrics", tx.get("VM", vm)["metrics"], VCPUs_number=count)

    def set_memory_target(self, vm: str, size: int) -> None:
        """Set the balloon of a running VM, in bytes; it is reached when this returns."""
        with self._changing(vm, "VM", vm) as domain:
            domain.set_memory(size)
        self.pool.guests.set_memory_target(domain, size)
        with self.store.transaction() as tx:
            tx.update("VM", vm, memory_target=size)
            tx.update("VM_metrics", tx.get("VM", vm)["metrics"], memory_actual=size)

    def discard_suspend_image(self, vdi: str) -> None:
        """Destroy the VDI of a suspended VM's state."""
        from xapikit.host.storage import vdis

        if self.store.peek("VDI", vdi) is not None:
            vdis.destroy(self.pool.storage, vdi)


def attach_rows(tx: Transaction, vm: Row) -> None:
    """Show the devices of a VM that starts as attached, with their names."""
    for vbd in vm["VBDs"]:
        row = tx.get("VBD", vbd)
        tx.update("VBD", vbd, currently_attached=True, device=_device(row))
    for vif in vm["VIFs"]:
        tx.update("VIF", vif, currently_attached=True)


def _device(vbd: Row) -> str:
    position = position_of(vbd["userdevice"])
    if vbd["type"] == "Floppy" or position is None or position < 0:
        return str(vbd["userdevice"])
    return device_name(position)


def refused(error: DomainFailed) -> ApiError:
    """What a client is told of a domain that was not built or did not obey."""
    return ApiError("INTERNAL_ERROR", f"xenopsd: {error}")


@contextmanager
def obeyed(class_name: str, ref: str) -> Iterator[None]:
    """Turns a failed order to a domain into the error of the device, or of the VM."""
    try:
        yield
    except DomainFailed as error:
        if class_name in ("VBD", "VIF") and "keeps the device" in error.why:
            raise ApiError("DEVICE_DETACH_TIMEOUT", class_name, ref) from error
        raise refused(error) from error


def _kind(pool: Pool) -> DomainKind:
    options = pool.settings.options
    if pool.settings.domains == "qemu":
        run = pool.state / "run" / "qemu"
        return QemuKind(run, pool.state / "nvram", accelerator=options.get("qemu_accelerator", "auto"))
    return TimedKind(Delays().scaled(float(options.get("timed_delay", "1"))))
