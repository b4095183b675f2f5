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
"""An embedded XAPI host: real XenAPI over HTTP(S), real VHD disks, guests that are timed or real.

``from xapikit.host import EmbeddedHost`` runs a pool in this process; ``xapi-host serve`` runs one by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xapikit.host.embedded import EmbeddedHost as EmbeddedHost

__all__ = ["EmbeddedHost"]


def __getattr__(name: str) -> Any:
    # loaded on demand: parts of the host import each other through this package
    if name == "EmbeddedHost":
        from xapikit.host.embedded import EmbeddedHost

        return EmbeddedHost
    raise AttributeError(name)
