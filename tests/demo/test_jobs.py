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
"""Jobs run in the order of their needs, as many at once as that allows, and fail as one."""

import io
import threading

import pytest
from rich.console import Console

from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.jobs import Job, Note, run_jobs
from nova_xapi.demo.progress import LiveProgress, Progress


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO()))


def test_a_job_starts_after_what_it_needs_and_beside_what_it_does_not() -> None:
    both = threading.Barrier(2, timeout=20)
    order = []

    def together(note: Note, stop: threading.Event) -> str:
        both.wait()
        return "met"

    def last(note: Note, stop: threading.Event) -> None:
        order.append("last")

    timings = run_jobs(
        [Job("last", "Last", last, ("a", "b")), Job("a", "A", together), Job("b", "B", together)], quiet()
    )
    assert [one.name for one in timings][-1] == "last"
    assert {one.name for one in timings} == {"a", "b", "last"}


def test_a_failure_stops_the_others_and_what_needs_it_never_starts() -> None:
    started = threading.Event()

    def fails(note: Note, stop: threading.Event) -> None:
        assert started.wait(20)
        raise DemoError("the database is on fire")

    def waits(note: Note, stop: threading.Event) -> None:
        started.set()
        assert stop.wait(20), "nobody told it to stop"

    def never(note: Note, stop: threading.Event) -> None:
        raise AssertionError("its need has failed")

    with pytest.raises(DemoError, match="on fire"):
        run_jobs([Job("f", "F", fails), Job("w", "W", waits), Job("n", "N", never, ("f",))], quiet())


def test_needs_that_nobody_meets_are_a_mistake() -> None:
    def nothing(note: Note, stop: threading.Event) -> None: ...

    with pytest.raises(ValueError, match="which nobody does"):
        run_jobs([Job("a", "A", nothing, ("z",))], quiet())
    with pytest.raises(ValueError, match="circular"):
        run_jobs([Job("a", "A", nothing, ("b",)), Job("b", "B", nothing, ("a",))], quiet())


@pytest.mark.parametrize("kind", [Progress, LiveProgress])
def test_progress_tells_what_is_done_and_what_failed(kind: type[Progress]) -> None:
    text = io.StringIO()
    with kind(Console(file=text, force_terminal=kind is LiveProgress, width=100)) as progress:
        progress.start("a", "Databases")
        progress.note("a", "tables")
        progress.done("a", "7 of them")
        progress.start("b", "Guest")
        progress.fail("b")
    assert "Databases" in text.getvalue()
    assert "7 of them" in text.getvalue()
    assert ("FAILED" if kind is Progress else "✗") in text.getvalue()
