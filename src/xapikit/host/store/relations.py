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
"""Which fields are two views of one link, and which end is the truth.

The end that holds one reference is stored (``VBD.VM``); the set at the other end (``VM.VBDs``) mirrors it, is
maintained by the transaction and is not persisted. Where both ends are sets, the left one of the data model counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xapikit.model import MODEL, Kind


@dataclass(frozen=True)
class Mirror:
    """``class_name.field`` is the set that mirrors a link to rows of ``class_name``."""

    class_name: str
    field: str


def _links() -> dict[str, dict[str, Mirror]]:
    links: dict[str, dict[str, Mirror]] = {}
    for relation in MODEL.relations:
        left = (relation.left_class, relation.left_field)
        right = (relation.right_class, relation.right_field)
        if left == right:  # subject.roles and role.subroles name themselves: no second view
            continue
        if MODEL.classes[left[0]].fields[left[1]].type.kind is not Kind.REF and (
            MODEL.classes[right[0]].fields[right[1]].type.kind is Kind.REF
        ):
            left, right = right, left
        links.setdefault(left[0], {})[left[1]] = Mirror(*right)
    return links


LINKS: Mapping[str, Mapping[str, Mirror]] = _links()
"""Per class: field that holds the truth -> the set that mirrors it."""

MIRRORS: frozenset[tuple[str, str]] = frozenset(
    (mirror.class_name, mirror.field) for fields in LINKS.values() for mirror in fields.values()
)

COMPANIONS: Mapping[str, str] = {"VBD": "VBD_metrics", "VIF": "VIF_metrics"}
"""Classes whose rows come and go with a row of another one, to which their field ``metrics`` refers. No call reaches
those rows any more, but events and ``valid_ref_counts`` tell of them (recorded in observed/events)."""
