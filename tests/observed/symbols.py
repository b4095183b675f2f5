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
"""What the symbols of a recording (``$vm``, ``$uuid_3``) stand for here.

A symbol is bound when it is first seen in an answer and must keep its value within one file.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from xapikit.host import EmbeddedHost
from xapikit.host.store.values import STORED_CLASSES

SYMBOL = re.compile(r"\$([A-Za-z_]\w*)")
# what stands for a value that must be there and is not compared
ANYTHING = {
    "time",
    "token",
    "generation",
    "any",
    "trackid",
    "backtrace",
    "n",
    "record",
    "counts",
    "text",
    "domid",
    "uuid",
}


class Symbols(dict[str, Any]):
    """Symbol (without its dollar sign) -> value."""

    def __init__(self, xapi: EmbeddedHost) -> None:
        super().__init__()
        self._xapi = xapi
        self["password"] = xapi.password
        for number, (host, url) in enumerate(zip(xapi.hosts, xapi.urls, strict=True), 1):
            self[f"host{number}_address"] = host.address
            self[f"host{number}_url"] = url.rstrip("/")
        self["trackid"] = "?"
        self._inventory()

    def _inventory(self) -> None:
        """Bind what a pool has from the beginning."""
        store = self._xapi.pool.store
        self["pool"] = self._xapi.pool.ref
        for number, host in enumerate(store.all("host"), 1):
            row = store.get("host", host)
            self |= {f"host{number}": host, f"host{number}_uuid": row["uuid"], f"host{number}_name": row["name_label"]}
            self |= {f"host{number}_metrics": row["metrics"], f"dom0_{number}": row["control_domain"]}
            for ref, pif in store.find("PIF", host=host, physical=True).items():
                self[f"pif_{pif['device']}_host{number}"] = ref
            for ref, pbd in store.find("PBD", host=host).items():
                sr = store.peek("SR", pbd["SR"])
                if sr is not None and sr["type"] == "ext":
                    self |= {f"sr{number}": pbd["SR"], f"sr{number}_pbd": ref, f"sr{number}_uuid": sr["uuid"]}
                elif sr is not None and sr["type"] == "iso" and not sr["is_tools_sr"]:
                    self[f"iso_sr{number}"] = pbd["SR"]
        for ref, network in store.all("network").items():
            self[f"net_{network['bridge']}"] = ref
        for ref in store.find("VM", name_label="Other install media"):
            self["other_install_media"] = self["default_template"] = ref
        for ref, role in store.all("role").items():
            self[f"role_{role['name_label'].replace('-', '_')}"] = ref

    def known(self, name: str) -> Any:
        """A symbol's value; one that no answer has shown becomes something plausible."""
        owner = self.get(name.removesuffix("_uuid"), "") if name.endswith("_uuid") else ""
        if owner and name not in self:
            row = self.row(str(owner))
            if row is not None:
                self[name] = row["uuid"]
        if name not in self:
            fresh = str(uuid.uuid4())
            self[name] = fresh if "uuid" in name else f"OpaqueRef:{fresh}"
        return self[name]

    def row(self, ref: str) -> Any:
        """The object behind a reference, of whatever class; None when there is none."""
        for class_name in STORED_CLASSES:
            row = self._xapi.pool.store.peek(class_name, ref)
            if row is not None:
                return row
        return None

    def made(self, symbol: Any, ref: Any) -> None:
        """A fresh object stands for its symbol from now on, whatever had that name before in the file; its uuid and,
        for an SR, its PBD are known under names that follow from it."""
        if not (isinstance(symbol, str) and SYMBOL.fullmatch(symbol) and isinstance(ref, str)):
            return
        name = symbol[1:]
        if not ref.startswith("OpaqueRef:") or ref in self.values():
            return
        row = self.row(ref)
        if row is not None:
            self[name] = ref
            if "uuid" in row:
                self[f"{name}_uuid"] = row["uuid"]
            if "PBDs" in row and "VDIs" in row and row["PBDs"]:
                self[f"pbd{name.removeprefix('sr')}"] = row["PBDs"][0]
