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
"""XenStore: a tree of small values per host, with permissions, transactions and watches, and its wire protocol.

Rules follow Xen's public description (``docs/misc/xenstore.txt``). What a domain's part of the tree looks like is not
known here: :mod:`xapikit.host.guests` writes it.
"""

from xapikit.host.xenstore.node import Node, Perms, XenstoreError
from xapikit.host.xenstore.store import Edit, Watch, XenStore
from xapikit.host.xenstore.tree import tree

__all__ = ["Edit", "Node", "Perms", "Watch", "XenStore", "XenstoreError", "tree"]
