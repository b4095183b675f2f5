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
"""``kill -9`` at random moments under load: nothing acknowledged is lost, nothing half-done is visible."""

from pathlib import Path

import pytest

from host.crash import ROUNDS, Killed, Load
from xapi_caller import Caller


class Rows(Load):
    """Makes and destroys rows, alone and in pairs."""

    def __init__(self, url: str, password: str, seed: str) -> None:
        super().__init__(url, password, seed)
        self.pool = self.caller("pool.get_all")[0]
        self.number = 0
        self.created: dict[str, str] = {}
        self.destroyed: set[str] = set()
        self.blobs: set[str] = set()

    def step(self) -> None:
        self.number += 1
        name = f"{self.seed}-{self.number}"
        self.created[self.caller("VM_appliance.create", {"name_label": name})] = name
        # two rows in one transaction: the blob, and the map of the pool that names it
        self.blobs.add(self.caller("pool.create_new_blob", self.pool, name, "text/plain", False))
        if self.choose.random() < 0.3:
            victim = self.choose.choice(sorted(self.created))
            del self.created[victim]
            self.caller("VM_appliance.destroy", victim)
            self.destroyed.add(victim)


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_acknowledged_changes_survive_kill_and_transactions_are_whole(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    gone: set[str] = set()

    def check(number: int, caller: Caller, loads: list[Rows]) -> None:
        appliances = {ref: row["name_label"] for ref, row in caller("VM_appliance.get_all_records").items()}
        blobs = set(caller("blob.get_all"))
        assert blobs == set(caller("pool.get_blobs", caller("pool.get_all")[0]).values())
        for load in loads:
            seen.update(load.created)
            gone.update(load.destroyed)
            assert load.blobs <= blobs
        assert seen.items() <= appliances.items()
        assert not gone & appliances.keys()

    Killed[Rows](tmp_path / "pool").rounds(ROUNDS, Rows, check, clients=4, seconds=(0.1, 0.8))
    assert len(seen) > ROUNDS
