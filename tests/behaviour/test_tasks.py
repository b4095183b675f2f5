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
"""Promises about tasks."""

import pytest

from behaviour.conftest import Caller, Maker
from xapikit.client import NULL_REF, XapiClient, errors
from xapikit.wire import EPOCH


def test_a_task_of_a_client_is_pending_until_its_owner_says_otherwise(xapi: Caller, make: Maker) -> None:
    task = make.task()
    record = xapi("task.get_record", task)
    assert (record["status"], record["progress"], record["finished"]) == ("pending", 0.0, EPOCH)
    assert (record["type"], record["subtask_of"], record["allowed_operations"]) == ("<none/>", NULL_REF, [])
    xapi("task.set_progress", task, 0.5)
    xapi("task.set_status", task, "success")
    record = xapi("task.get_record", task)
    assert (record["status"], record["progress"], record["finished"]) == ("success", 0.5, EPOCH)


def test_destroying_a_pending_task_only_marks_it(xapi: Caller, make: Maker) -> None:
    task = make.task()
    xapi("task.destroy", task)
    assert xapi("task.get_current_operations", task) == {"task": "destroy"}
    xapi("task.set_status", task, "success")
    xapi("task.destroy", task)
    assert xapi.error("task.get_status", task) == ["HANDLE_INVALID", "task", task]


def test_nobody_acts_on_cancelling_a_task_of_a_client(xapi: Caller, make: Maker) -> None:
    task = make.task()
    xapi("task.cancel", task)
    assert xapi("task.get_status", task) == "pending"
    assert list(xapi("task.get_current_operations", task).values()) == ["cancel"]


def test_an_async_call_gives_its_result_as_an_xml_value(xapi: Caller, make: Maker, client: XapiClient) -> None:
    record = {"name_label": "behaviour-async", "name_description": "", "MTU": 1500, "other_config": {}}
    future = client.start("network.create", record, cleanup=False)
    network = future.result(60)
    make.later("task.destroy", future.ref)
    make.later("network.destroy", network)
    record = xapi("task.get_record", future.ref)
    assert record["result"] == f"<value>{network}</value>"
    assert (record["name_label"], record["progress"], record["error_info"]) == ("Async.network.create", 1.0, [])
    assert record["finished"] != EPOCH


def test_errors_of_an_async_call_surface_in_its_task(client: XapiClient) -> None:
    with pytest.raises(errors.HandleInvalid) as failure:
        client.run("VM.start", "OpaqueRef:nope", False, False, timeout=60)
    assert failure.value.task and failure.value.params == ("VM", "OpaqueRef:nope")
