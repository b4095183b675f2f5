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
"""Who may have a disk beside whom: the rule of the server, before the storage manager's own (wire reference 3.7)."""

from __future__ import annotations

from xapikit.host.errors import ApiError
from xapikit.host.store import View


def check_sharing(view: View, vbd: str, vdi: str, *, read_only: bool) -> None:
    """Raise VDI_IN_USE when a guest has the disk and both do not only read.

    Disks in dom0 are not counted, and those of suspended guests are out of use until they resume.
    """
    row = view.get("VDI", vdi)
    if row["sharable"] or view.get("VM", view.get("VBD", vbd)["VM"])["is_control_domain"]:
        return
    for other in row["VBDs"]:
        use = view.get("VBD", other)
        if other == vbd or not use["currently_attached"] or _apart(view, use["VM"]):
            continue
        if not (read_only and use["mode"] == "RO"):
            raise ApiError("VDI_IN_USE", vdi)


def _apart(view: View, vm: str) -> bool:
    row = view.peek("VM", vm)
    return row is not None and (row["is_control_domain"] or row["power_state"] == "Suspended")
