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
"""What the result of a task named."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer


def the_imported_vm(replayer: Replayer) -> None:
    """Its reference stands in the result of the import's task, under another name."""
    replayer.symbols["imported_vm"] = replayer.symbols["ref_15"]


BEFORE = {("http", "xva_import", 3): the_imported_vm}
