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
"""A compute service that is killed in the middle leaves marks; its next start cleans up by them."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from sweep.run import Stage

from driver_rig import CONF, Rig
from glance_server import StoredImage
from nova_xapi import conf as options

SCRIPT = Path(__file__).with_name("compute_process.py")
OPTIONS = (
    "connection_url", "connection_password", "connection_host_uuid", "sr_matching_filter", "console_relay_address",
    "console_log_directory",
)  # fmt: skip


def killed_at(stage: Stage, name: str, operation: str, call: str, image: StoredImage, server: str) -> None:
    """Run a service in a process of its own and kill it when the server has received ``call`` of its operation."""
    rig = stage.rig
    rig.configure(name)
    given = {
        "name": name,
        "operation": operation,
        "glance": rig.glance.url,
        "image": image.record,
        "server": server,
        "options": {option: CONF[options.host_group(name)][option] for option in OPTIONS},
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with process.stdin as stdin:
            json.dump(given, stdin)
        assert process.stdout.readline() == "started\n"
        rig.xapi.faults.reset_counts()
        held = rig.xapi.faults.add("delay", method=call, seconds=10)
        deadline = time.monotonic() + 30
        while not held.fired and time.monotonic() < deadline and process.poll() is None:
            rig.xapi.pool.store.wait(lambda: held.fired, 0.05)
        assert held.fired, f"{operation} never called {call}"
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
    # what the server had taken in is carried out, although nobody waits for it any more
    rig.xapi.faults.clear()


@pytest.fixture(scope="module")
def stage() -> Any:
    with Rig() as rig:
        yield Stage.set_up(rig)


# each takes a new process that imports Nova: the rest runs with "make sweep"
REST = [
    pytest.param(call, marks=pytest.mark.slow)
    for call in ("VDI.resize", "VBD.create", "VM.start_on", "VM.remove_from_other_config")
]


@pytest.mark.parametrize("call", ["VDI.add_to_other_config", "VM.unpause", *REST])
def test_a_spawn_that_was_killed_is_cleaned_up_at_the_next_start(stage: Stage, call: str) -> None:
    name = f"killed-{call.replace('.', '-')}"
    killed_at(stage, name, "spawn", call, stage.image, str(uuid.uuid4()))
    driver = stage.rig.driver(name)
    # once more for what was under way in the server at the first look; the service does that by itself
    driver.service.reconciler.run()
    assert stage.remaining(10.0) == {}
    assert driver.list_instance_uuids() == []


def test_an_import_that_was_killed_is_cleaned_up_and_can_be_made_again(stage: Stage) -> None:
    image = stage.rig.image()
    name = "killed-import"
    killed_at(stage, name, "spawn", "*import_raw_vdi", image, str(uuid.uuid4()))
    driver = stage.rig.driver(name)
    driver.service.reconciler.run()
    assert stage.remaining(30.0) == {}
    server = stage.rig.spawn(driver, image)
    driver.destroy(stage.rig.context, server, None)
    stage.forget(image)
    assert stage.remaining(10.0) == {}


@pytest.mark.parametrize("call", [pytest.param("VM.destroy", marks=pytest.mark.slow), "VDI.destroy"])
def test_a_destroy_that_was_killed_is_finished_by_the_next(stage: Stage, call: str) -> None:
    name = f"killed-{call.replace('.', '-')}"
    first = stage.rig.driver(name)
    server = stage.rig.spawn(first, stage.image)
    stage.rig.stop(name)
    killed_at(stage, name, "destroy", call, stage.image, server.uuid)
    driver = stage.rig.driver(name)
    driver.destroy(stage.rig.context, server, None)
    assert stage.remaining(10.0) == {}


@pytest.mark.slow
def test_a_server_that_was_complete_survives_a_kill(stage: Stage) -> None:
    name = "complete"
    first = stage.rig.driver(name)
    server = stage.rig.spawn(first, stage.image)
    domid = stage.rig.vm(server)[1]["domid"]
    stage.rig.stop(name)
    killed_at(stage, name, "spawn", "VM.create", stage.image, str(uuid.uuid4()))
    driver = stage.rig.driver(name)
    driver.service.reconciler.run()
    assert driver.list_instance_uuids() == [server.uuid]
    assert stage.rig.vm(server)[1]["domid"] == domid
    driver.destroy(stage.rig.context, server, None)
    assert stage.remaining(10.0) == {}


def test_clean_up_leaves_the_work_of_other_services_and_of_people_alone(pool: Rig) -> None:
    stage = Stage(pool, pool.driver(host=0), pool.image())
    mine = stage.spawn(stage.image)
    other = pool.driver(host=1)
    theirs = pool.spawn(other, stage.image)
    base = next(ref for ref, row in pool.rows("VDI").items() if row["other_config"].get("image-id") == stage.image.id)
    copied = pool.client.call("VDI.clone", base, {})
    pool.client.call("VDI.set_name_label", copied, "somebody's copy of it")
    vm, _ = pool.vm(theirs)
    pool.client.call("VM.add_to_other_config", vm, "nova_xapi_unfinished", "an operation of theirs")
    before = pool.settled_census()
    stage.driver.service.conn.cache.catch_up()
    assert not stage.driver.service.reconciler.run()
    assert pool.settled_census() == before
    assert copied in pool.rows("VDI")
    assert stage.driver.get_info(mine).state == 1
