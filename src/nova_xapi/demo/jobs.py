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
"""Run jobs that depend on each other, as many at once as their dependencies allow, and time each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from nova_xapi.demo.progress import Progress

Note = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A unit of work. `run(note, stop)` reports through `note`, gives up soon when `stop` is set, and returns a
    summary; it may start once all jobs named in `needs` are done."""

    name: str
    title: str
    run: Callable[[Note, Event], str | None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """How long a job took (s), and when it began after the first job (s)."""

    name: str
    title: str
    began: float
    seconds: float


def run_jobs(jobs: Sequence[Job], progress: Progress, workers: int = 16) -> list[Timing]:
    """Run all jobs. The first exception of a job stops the others at their next check and is raised; jobs that need
    a failed one never start. Raises ValueError for an unknown or circular dependency."""
    names = {job.name for job in jobs}
    for job in jobs:
        if unknown := set(job.needs) - names:
            raise ValueError(f"{job.name} needs {sorted(unknown)}, which nobody does")
    stop = Event()
    waiting, done, timings = list(jobs), set[str](), list[Timing]()
    running: dict[Future[str | None], tuple[Job, float]] = {}
    failure: BaseException | None = None

    def run(job: Job) -> str | None:
        return job.run(lambda text: progress.note(job.name, text), stop)

    with ThreadPoolExecutor(workers, thread_name_prefix="job") as pool:
        try:
            while running or (waiting and failure is None):
                if failure is None:
                    ready = [job for job in waiting if done.issuperset(job.needs)]
                    if not ready and not running:
                        raise ValueError(f"circular: {[job.name for job in waiting]}")
                    for job in ready:
                        waiting.remove(job)
                        progress.start(job.name, job.title)
                        running[pool.submit(run, job)] = (job, progress.elapsed)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job, began = running.pop(future)
                    error = future.exception()
                    if error is None:
                        timings.append(
                            Timing(job.name, job.title, began, progress.done(job.name, future.result() or ""))
                        )
                        done.add(job.name)
                    else:
                        progress.fail(job.name)
                        failure = failure or error
                        stop.set()
        except BaseException:
            stop.set()
            raise
    if failure is not None:
        raise failure
    return timings
