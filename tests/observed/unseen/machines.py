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
"""What happened between the steps of the files about VMs, their snapshots and their copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer
    from observed.unseen import Action, Moment


def on_host(number: int) -> Action:
    """A host chooses between equals by chance: the other ones get no VM until the call after."""

    def keep_to_it(replayer: Replayer) -> None:
        for other in replayer.ok("host.get_all"):
            replayer.ok("host.enable" if other == replayer.symbols[f"host{number}"] else "host.disable", other)

    return keep_to_it


def any_host(replayer: Replayer) -> None:
    for host in replayer.ok("host.get_all"):
        replayer.ok("host.enable", host)


def devices(vm: str, *, disk: str = "", **symbols: str) -> Action:
    """Symbols of devices of a VM that a cut record had shown: ``VBD_1="0"`` is the VBD with that ``userdevice``,
    ``VIF_1="0"`` the VIF with that ``device``; the VDI of the VBD has the same number."""

    def name(replayer: Replayer) -> None:
        for symbol, number in symbols.items():
            class_name, _, own_number = symbol.partition("_")
            field = "userdevice" if class_name == "VBD" else "device"
            found = replayer.ok(f"VM.get_{class_name}s", f"${vm}")
            (ref,) = (ref for ref in found if replayer.ok(f"{class_name}.get_{field}", ref) == number)
            replayer.symbols[symbol] = ref
            vdi = replayer.ok("VBD.get_VDI", ref) if class_name == "VBD" else "OpaqueRef:NULL"
            if vdi != "OpaqueRef:NULL":
                replayer.symbols[disk or f"VDI_{own_number}"] = vdi

    return name


def field(symbol: str, call: str, vm: str) -> Action:
    """A symbol for what a field of a VM says."""

    def name(replayer: Replayer) -> None:
        replayer.symbols[symbol] = replayer.ok(call, f"${vm}")

    return name


def made(symbol: str, call: str, *params: object) -> Action:
    """A call whose result is the symbol."""

    def make(replayer: Replayer) -> None:
        replayer.symbols[symbol] = replayer.ok(call, *params)

    return make


def done(call: str, *params: object) -> Action:
    def act(replayer: Replayer) -> None:
        replayer.ok(call, *params)

    return act


def both(*actions: Action) -> Action:
    def act(replayer: Replayer) -> None:
        for action in actions:
            action(replayer)

    return act


def console(vm: str, protocol: str) -> Action:
    """``$console`` for the console of a VM that speaks a protocol."""

    def name(replayer: Replayer) -> None:
        consoles = replayer.ok("VM.get_consoles", f"${vm}")
        (found,) = (ref for ref in consoles if replayer.ok("console.get_protocol", ref) == protocol)
        replayer.symbols["console"] = found

    return name


def without_disks(vm: str) -> Action:
    def remove(replayer: Replayer) -> None:
        for vbd in replayer.ok("VM.get_VBDs", f"${vm}"):
            replayer.ok("VBD.destroy", vbd)

    return remove


BEFORE: dict[Moment, Action] = {
    ("tasks", "cancel_async", 0): done("VM.start", "$vm", False, False),
    ("vm_lifecycle",): done("pool.set_suspend_image_SR", "$pool", "OpaqueRef:NULL"),
    ("clone_copy", "clone_with_devices", 8): devices("clone", VBD_1="0", VBD_2="3", VIF_1="0"),
    ("clone_copy", "copy", 2): devices("copy", VBD_3="0", disk="VDI_2"),
    ("clone_copy", "copy", 5): devices("copy3", VBD_4="0", disk="VDI_3"),
    ("clone_copy", "vdi_of_clone_is_independent", 0): devices("clone", VBD_1="0", disk="clone_disk"),
    ("http", "console", 1): console("vm", "rfb"),
    ("misc", "console_on_other_host", 0): without_disks("vm"),
    ("misc", "console_on_other_host", 1): console("vm", "rfb"),
    ("snapshot", "snapshot_of_halted", 9): devices("snap", VBD_1="0", VBD_2="3", VIF_1="0"),
    ("snapshot", "revert", 0): done("VM.destroy", "$snap9"),
    ("snapshot", "revert", 10): devices("vm", VBD_3="0", disk="VDI_2"),
    ("snapshot", "ignore_vdis", 0): devices("vm", VBD_4="0", disk="disk"),
    ("snapshot", "destroy_vm_keeps_snapshots", 6): field("recreated", "VM.get_snapshot_of", "snap4"),
    ("vm_errors", "matrix_snapshot", 0): made("snapshot", "VM.snapshot", "$vm", "golden-s"),
    ("vm_errors", "matrix_checkpoint", 0): made("checkpoint", "VM.checkpoint", "$vm", "golden-c"),
    ("vm_errors", "real_calls_running", 0): on_host(2),
    ("vm_errors", "real_calls_running", 1): any_host,
    ("vm_lifecycle", "minimal_create", 2): field("VM_metrics_1", "VM.get_metrics", "vm"),
    ("vm_lifecycle", "full_cycle", 1): on_host(2),
    ("vm_lifecycle", "full_cycle", 18): any_host,
    ("vm_lifecycle", "hard_shutdown_of_suspended", 0): on_host(2),
    ("vm_lifecycle", "hard_shutdown_of_suspended", 2): both(any_host, field("suspend_vdi", "VM.get_suspend_VDI", "vm")),
    ("vm_lifecycle", "vm_record_running", 1): on_host(1),
    ("vm_lifecycle", "vm_record_running", 2): any_host,
    ("vm_lifecycle", "vm_record_running", 3): field("VM_metrics_2", "VM.get_metrics", "rvm"),
    ("vm_lifecycle", "vm_record_running", 5): console("rvm", "vt100"),
    ("vm_lifecycle", "template_operations", 15): on_host(2),
    ("vm_lifecycle", "template_operations", 16): any_host,
    ("vm_lifecycle", "provision_with_disks", 0): made("pv", "VM.clone", "$other_install_media", "golden-pv"),
    ("vm_lifecycle", "provision_with_disks", 3): devices("pv", VBD_1="0", VBD_2="2"),
    ("vm_lifecycle", "provision_with_disks", 9): made("pv2", "VM.clone", "$other_install_media", "golden-pv2"),
    ("vm_lifecycle", "messages_of_life_cycle", 1): on_host(1),
    ("vm_lifecycle", "messages_of_life_cycle", 8): on_host(2),
    ("vm_lifecycle", "messages_of_life_cycle", 9): any_host,
    ("vm_lifecycle", "messages_of_life_cycle", 13): field("uuid_6", "VM.get_uuid", "mclone"),
}
