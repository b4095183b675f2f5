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
"""Tasks end as futures, told by events, and leave nothing behind on the server."""

import threading
import time
from typing import Any

import pytest

from client.small_pool import SmallPool, running
from xapikit.client import TaskFuture, errors


def end_soon(pool: SmallPool, future: TaskFuture, delay: float = 0.05, **outcome: Any) -> None:
    threading.Timer(delay, pool.end, (future.ref,), outcome).start()


def test_a_result_arrives_typed_and_the_task_is_removed() -> None:
    with running() as (pool, client):
        future = client.start("VM.clone", "vm", "name")
        assert not future.done and future.status == "pending"
        end_soon(pool, future, result="OpaqueRef:new")
        assert future.result(5) == "OpaqueRef:new"
        assert future.result(0) == "OpaqueRef:new"
        assert pool.server.calls["Async.VM.clone"] == pool.server.calls["task.destroy"] == 1
        assert not pool.rows["task"]
        assert not [call for call in pool.server.calls if call.startswith("task.get")], "no polling"

        future = client.start("host.compute_free_memory", "host")
        end_soon(pool, future, result=12345)
        assert future.result(5) == 12345  # text in the fragment, an integer by its declared type


def test_void_and_bare_text_results() -> None:
    with running() as (pool, client):
        future = client.start("VM.start", "vm", False, False)
        end_soon(pool, future)
        assert future.result(5) is None
        future = client.start("host.call_plugin", "host", "p", "f", {})
        threading.Timer(0.05, pool.put, ("task", future.ref), {"status": "success", "result": "plain <text>"}).start()
        assert future.result(5) == "plain <text>"


def test_the_error_of_a_task_is_the_same_type_as_that_of_a_call() -> None:
    with running() as (pool, client):
        future = client.start("VM.start", "vm", False, False)
        end_soon(pool, future, status="failure", error=["VM_BAD_POWER_STATE", "vm", "halted", "running"])
        with pytest.raises(errors.VmBadPowerState) as failure:
            future.result(5)
        assert failure.value.task == future.ref
        assert failure.value.actual == "running"
        assert pool.server.calls["task.destroy"] == 1


def test_a_cancelled_task() -> None:
    with running() as (pool, client):
        future = client.start("VM.clean_shutdown", "vm")
        future.cancel()
        assert pool.server.calls["task.cancel"] == 1
        end_soon(pool, future, status="cancelled", error=["TASK_CANCELLED", future.ref])
        with pytest.raises(errors.TaskCancelled):
            future.result(5)


def test_waiting_in_vain_leaves_the_task_alone() -> None:
    with running() as (pool, client):
        future = client.start("VM.clean_shutdown", "vm")
        with pytest.raises(errors.WaitTimeout, match="pending"):
            future.result(0.1)
        assert pool.server.calls["task.destroy"] == 0
        end_soon(pool, future)
        assert future.result(5) is None  # the same future can be asked again


def test_progress_and_callbacks() -> None:
    with running() as (pool, client):
        future = client.start("VDI.copy", "vdi", "sr")
        seen: list[str] = []
        called = threading.Event()
        future.add_done_callback(lambda done: (seen.append(done.status), called.set()))
        pool.put("task", future.ref, progress=0.5)
        deadline = time.monotonic() + 5
        while future.progress != 0.5 and time.monotonic() < deadline:
            future.wait(0.05)
        assert future.progress == 0.5
        pool.end(future.ref, result="vdi")
        assert called.wait(5) and seen == ["success"]
        future.add_done_callback(lambda done: seen.append("at once"))
        assert seen == ["success", "at once"]


@pytest.mark.parametrize("remembered", [True, False])
def test_a_task_that_vanished_is_a_lost_result(remembered: bool) -> None:
    with running() as (pool, client):
        future = client.start("VM.start", "vm", False, False)
        future.wait(0.2)
        pool.delete("task", future.ref, remembered=remembered)
        if not remembered:
            # nothing tells of it: the next batch of a new session does
            pool.server.sessions.clear()
        with pytest.raises(errors.TaskResultLost):
            future.result(10)
        assert pool.server.calls["task.destroy"] == 0


def test_a_task_that_was_gone_before_its_reference_came_is_a_lost_result() -> None:
    with running() as (pool, client):
        original = pool.answer

        def vanish(method: str, params: list[Any]) -> Any:
            ref = original(method, params)
            if method.startswith("Async."):
                pool.delete("task", ref)
            return ref

        pool.server.handler = vanish
        future = client.start("VM.start", "vm", False, False)
        for _ in range(50):
            pool.put("task", status="pending")  # any task event makes the server answer
            if future.wait(0.1):
                break
        with pytest.raises(errors.TaskResultLost):
            future.result(10)


def test_a_task_that_ended_before_its_reference_came() -> None:
    with running() as (pool, client):
        original = pool.answer

        def at_once(method: str, params: list[Any]) -> Any:
            ref = original(method, params)
            if method.startswith("Async."):
                with pool.condition:
                    told = pool.told
                    pool.end(ref, result="OpaqueRef:x")
                    pool.condition.wait_for(lambda: pool.told > told, 5)  # the event overtakes the answer
            return ref

        pool.server.handler = at_once
        for _ in range(3):
            assert client.run("VM.clone", "vm", "n", timeout=5) == "OpaqueRef:x"


def test_a_restart_of_the_server_loses_tasks_but_not_waiters() -> None:
    with running() as (pool, client):
        future = client.start("VM.start", "vm", False, False)
        future.wait(0.1)
        pool.rows["task"].clear()
        pool.server.restart()
        with pytest.raises(errors.TaskResultLost):
            future.result(10)


def test_a_cut_stream_loses_no_end_of_a_task() -> None:
    with running() as (pool, client):
        future = client.start("VM.clone", "vm", "n")
        future.wait(0.1)
        pool.server.close_connections()
        pool.end(future.ref, result="OpaqueRef:y")
        assert future.result(10) == "OpaqueRef:y"


def test_the_stream_rests_while_nobody_waits() -> None:
    with running() as (pool, client):
        future = client.start("VM.clone", "vm", "n")
        end_soon(pool, future, result="OpaqueRef:y")
        future.result(5)
        polls = pool.server.calls["event.from"]
        for number in range(20):
            pool.put("task", status="pending", n=number)
            client.call("VM.get_all")
        assert pool.server.calls["event.from"] - polls <= 1  # the one under way when the task ended
        future = client.start("VM.clone", "vm", "n")
        end_soon(pool, future, result="OpaqueRef:z")
        assert future.result(5) == "OpaqueRef:z"


def test_many_tasks_at_once() -> None:
    with running(connections=4) as (pool, client):
        futures: list[TaskFuture] = []
        lock = threading.Lock()

        def work(number: int) -> None:
            future = client.start("VM.clone", "vm", str(number))
            with lock:
                futures.append(future)
            pool.end(future.ref, result=f"OpaqueRef:{future.ref}")
            assert future.result(10) == f"OpaqueRef:{future.ref}"

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(futures) == 40 and all(future.done for future in futures)
        assert not pool.rows["task"]


def test_a_task_of_others_can_be_adopted() -> None:
    with running() as (pool, client):
        ref = pool.put("task", status="pending", progress=0.25, result="", error_info=[])
        future = client.adopt_task(ref, "VM.clone")
        assert future.progress == 0.25
        end_soon(pool, future, result="OpaqueRef:a")
        assert future.result(5) == "OpaqueRef:a"
        assert pool.server.calls["task.destroy"] == 0
        with pytest.raises(errors.HandleInvalid):
            client.adopt_task("OpaqueRef:nope", "VM.clone")


def test_closing_the_client_wakes_whoever_waits_for_a_task() -> None:
    with running() as (_, client):
        future = client.start("VM.clean_shutdown", "vm")
        threading.Timer(0.1, client.close).start()
        with pytest.raises(errors.ClientClosed):
            future.result(10)
