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
"""Disks made by cloning a base copy.

``VDI.clone`` copies ``other_config`` and takes none, so that a clone cannot carry an operation's id from the start. But
all clones of a base that nobody has claimed yet are the same, and claiming one is atomic: ``add_to_other_config`` of
the owner mark succeeds once. So who loses the answer to his clone may take any that is unclaimed, and who finds his
clone taken makes another. Clean-up claims before it destroys, for the same reason.
"""

from __future__ import annotations

import logging
from typing import Final

from nova_xapi.hosts.connection import HostConnection
from nova_xapi.marks import BASE, OWNER, Owner
from xapikit.client import Record
from xapikit.client import errors as xapi

LOG = logging.getLogger(__name__)

ATTEMPTS: Final = 5


def clone(conn: HostConnection, base: str, base_uuid: str, owner: Owner) -> str:
    """A clone that belongs to ``owner``; two calls. Raises what ``VDI.clone`` raises."""
    for _ in range(ATTEMPTS):
        vdi = _new_clone(conn, base, base_uuid)
        if claim(conn, vdi, owner):
            return vdi
        LOG.info("a clone of base %s was taken by somebody else; making another", base_uuid)
    raise xapi.WaitTimeout(f"{ATTEMPTS} clones of base {base_uuid} were all taken by others")


def claim(conn: HostConnection, vdi: str, owner: Owner) -> bool:
    """Make an unclaimed clone one's own; False when somebody else was faster."""
    text = owner.text()
    try:
        try:
            # sent again when the answer is lost: the value is unique, so that it tells then who added it
            conn.call("VDI.add_to_other_config", vdi, OWNER, text, repeatable=True)
            return True
        except xapi.XapiError as error:
            if error.code != "MAP_DUPLICATE_KEY":
                raise
            return bool(conn.call("VDI.get_other_config", vdi).get(OWNER) == text)
    except xapi.HandleInvalid:
        # somebody's clean-up took it, and has removed it already
        return False


def is_unclaimed(vdi: Record) -> bool:
    """Whether a VDI is a clone that was never claimed: a base's mark with another uuid, no owner, used by nobody."""
    config = vdi["other_config"]
    return bool(
        config.get(BASE, vdi["uuid"]) != vdi["uuid"] and OWNER not in config and not vdi["VBDs"]
        # people copy VDIs, too, other_config included; but they do not call the copy what a base is called
        and vdi["name_label"].startswith("Glance Image ") and not vdi["is_a_snapshot"] and vdi["managed"]
    )  # fmt: skip


def _new_clone(conn: HostConnection, base: str, base_uuid: str) -> str:
    try:
        vdi: str = conn.call("VDI.clone", base, {})
        return vdi
    except xapi.MaybeSent:
        conn.running.on_uncertain()
        conn.cache.catch_up()
        for ref, record in conn.cache.records("VDI").items():
            if record["other_config"].get(BASE) == base_uuid and is_unclaimed(record):
                return ref
    # should the first one come late all the same, it is a clone that nobody claims, and clean-up takes it
    again: str = conn.call("VDI.clone", base, {})
    return again
