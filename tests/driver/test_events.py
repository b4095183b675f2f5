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
"""Power states reach Nova at once; a stop only when nothing explains it."""

from nova.virt import event

from driver_rig import Gathered, Rig


def test_what_a_person_does_is_told(rig: Rig) -> None:
    driver = rig.driver()
    server = rig.spawn(driver, rig.image())
    vm, _ = rig.vm(server)
    gathered = Gathered(driver)
    for method, transition in (
        ("VM.pause", event.EVENT_LIFECYCLE_PAUSED),
        ("VM.unpause", event.EVENT_LIFECYCLE_RESUMED),
        ("VM.hard_shutdown", event.EVENT_LIFECYCLE_STOPPED),
    ):
        rig.client.call(method, vm)
        assert gathered.wait_for((server.uuid, transition)), method
    rig.client.call("VM.start", vm, False, False)
    assert gathered.wait_for((server.uuid, event.EVENT_LIFECYCLE_STARTED))


def test_a_stop_is_held_back_and_dropped_when_the_guest_runs_again(rig: Rig) -> None:
    driver = rig.driver(stopped_event_delay=1.0)
    server = rig.spawn(driver, rig.image())
    vm, _ = rig.vm(server)
    gathered = Gathered(driver)
    rig.client.call("VM.hard_shutdown", vm)
    rig.client.call("VM.start", vm, False, False)
    # told later than a stop would have been
    rig.client.call("VM.pause", vm)
    assert gathered.wait_for((server.uuid, event.EVENT_LIFECYCLE_PAUSED))
    assert not gathered.wait_for((server.uuid, event.EVENT_LIFECYCLE_STOPPED), timeout=1.5)


def test_a_stop_that_an_operation_of_ours_explains_is_dropped(rig: Rig) -> None:
    driver = rig.driver(stopped_event_delay=0.2)
    server = rig.spawn(driver, rig.image())
    gathered = Gathered(driver)
    # halted for longer than the delay within one operation
    rig.xapi.faults.add("delay", method="VM.destroy", seconds=0.8)
    driver.destroy(rig.context, server, None)
    assert not gathered.wait_for((server.uuid, event.EVENT_LIFECYCLE_STOPPED), timeout=0.5)


def test_vms_of_others_are_not_told(pool: Rig) -> None:
    one, other = pool.driver(host=0), pool.driver(host=1)
    server = pool.spawn(other, pool.image())
    mine, theirs = Gathered(one), Gathered(other)
    pool.client.call("VM.pause", pool.vm(server)[0])
    assert theirs.wait_for((server.uuid, event.EVENT_LIFECYCLE_PAUSED))
    one.service.conn.cache.catch_up()
    assert mine.seen == []
