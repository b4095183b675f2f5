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
"""Builds subtrees from nested maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xapikit.host.xenstore.node import Node, Perms


def tree(content: Mapping[str, Any] | str | int, perms: Perms, special: Mapping[str, Perms] | None = None) -> Node:
    """A node from a value or a nested map; keys may be paths (``"memory/target"``).

    ``special`` gives other permissions to children of this node by name, and to what is below them.
    """
    if not isinstance(content, Mapping):
        return Node(str(content).encode(), perms)
    grouped: dict[str, Any] = {}
    for key, value in content.items():
        head, slash, rest = key.partition("/")
        if slash:
            below = grouped.setdefault(head, {})
            if not isinstance(below, dict):  # a value and nodes below it
                below = grouped[head] = {"": below}
            below[rest] = value
        elif isinstance(grouped.get(head), dict):
            grouped[head] |= value if isinstance(value, Mapping) else {"": value}
        else:
            grouped[head] = dict(value) if isinstance(value, Mapping) else value
    own = grouped.pop("", "")
    chosen = special or {}
    children = {name: tree(value, chosen.get(name, perms)) for name, value in grouped.items()}
    return Node(str(own).encode(), perms, children) if children else Node(str(own).encode(), perms)
