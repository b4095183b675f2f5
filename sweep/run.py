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
"""One operation, its k-th call failing: how it ended, and what was left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from driver_rig import Rig, flavor, port
from glance_server import StoredImage
from nova_xapi.driver import XenAPIDriver
from nova_xapi.image.marks import is_base

Kind = Literal["error", "cut_before", "cut_after"]
KINDS: tuple[Kind, ...] = ("error", "cut_before", "cut_after")


@dataclass
class Stage:
    """Where operations are carried out: one pool, one driver, one image that is cached and stays so."""

    rig: Rig
    driver: XenAPIDriver
    image: StoredImage
    baseline: Counter[str] = field(default_factory=Counter)
    settling: float = 10.0
    """Seconds that the host may take to remove files and end domains."""

    @classmethod
    def set_up(cls, rig: Rig) -> Stage:
        driver = rig.driver()
        stage = cls(rig, driver, rig.image())
        stage.remove(stage.spawn(stage.image))
        rig.settled_census()
        stage.baseline = stage.census()
        return stage

    def spawn(self, image: StoredImage, *, rich: bool = False) -> Any:
        """A server with a disk and a VIF; ``rich``: with blank disks and a port that is waited for besides."""
        shape = flavor(root_gb=1, swap=64, ephemeral_gb=1) if rich else flavor(root_gb=1)
        ports = [port(), port(active=False)] if rich else [port()]
        return self.rig.spawn(self.driver, image, ports, flavor_=shape)

    def remove(self, server: Any) -> None:
        self.driver.destroy(self.rig.context, server, None)

    def forget(self, image: StoredImage) -> None:
        """Take an image out of the cache, if it is there as a whole."""
        for ref, row in self.rig.rows("VDI").items():
            if row["other_config"].get("image-id") == image.id and is_base(row):
                self.rig.client.call("VDI.destroy", ref)

    def remaining(self, timeout: float) -> Counter[str]:
        """How the census differs from what it was at the start, once it does not or ``timeout`` seconds are over."""
        deadline = time.monotonic() + timeout
        while (left := difference(self.baseline, self.census())) and time.monotonic() < deadline:
            self.rig.xapi.pool.store.wait(lambda: False, 0.05)
        return left

    def census(self) -> Counter[str]:
        """Objects and files, the locks of imports, and tasks that nobody ended."""
        counts = self.rig.census()
        counts["lock"] = sum("nova_xapi" in key for sr in self.rig.rows("SR").values() for key in sr["other_config"])
        counts["task"] = sum(task["status"] == "pending" for task in self.rig.rows("task").values())
        return counts


@dataclass
class Attempt:
    """``run`` is what fails; ``after`` is called when it has succeeded, with its result, and puts all back."""

    run: Callable[[], Any]
    after: Callable[[Any], None]
    retry: Callable[[], None] = lambda: None
    """Called when it has failed, after the reconcile: what Nova would do next."""


@dataclass(frozen=True)
class Operation:
    name: str
    prepare: Callable[[Stage], Attempt]


def _spawn_cached(stage: Stage, rich: bool = False) -> Attempt:
    return Attempt(lambda: stage.spawn(stage.image, rich=rich), stage.remove)


def _spawn_uncached(stage: Stage) -> Attempt:
    image = stage.rig.image()

    def after(server: Any) -> None:
        stage.remove(server)
        stage.forget(image)

    return Attempt(lambda: stage.spawn(image), after, lambda: stage.forget(image))


def _destroy(stage: Stage) -> Attempt:
    server = stage.spawn(stage.image, rich=True)

    def run() -> None:
        stage.remove(server)

    # a destroy that failed is carried out again when the user asks for it again
    return Attempt(run, lambda _: None, run)


OPERATIONS = (
    Operation("spawn, image cached", _spawn_cached),
    Operation("spawn, image cached, more devices", lambda stage: _spawn_cached(stage, rich=True)),
    Operation("spawn, image not cached", _spawn_uncached),
    Operation("destroy", _destroy),
)


@dataclass(frozen=True)
class Outcome:
    """``failed``: what the operation raised, empty when it succeeded all the same. ``left``: differences after all."""

    operation: str
    kind: Kind
    k: int
    fired: bool
    failed: str
    left_after_unwinding: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not self.left


def difference(before: Counter[str], after: Counter[str]) -> Counter[str]:
    """What is more (or, negative, less) than before."""
    changed = Counter({name: after[name] - before[name] for name in before.keys() | after.keys()})
    return Counter({name: number for name, number in changed.items() if number})


def attempt(stage: Stage, operation: Operation, kind: Kind, k: int) -> Outcome:
    """Carry ``operation`` out with its ``k``-th call failing."""
    faults = stage.rig.xapi.faults
    prepared = operation.prepare(stage)
    faults.reset_counts()
    rule = faults.add(kind, nth_received=k, error=["INTERNAL_ERROR", "a fault was injected"])
    failed, result = "", None
    try:
        result = prepared.run()
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
    finally:
        faults.remove(rule)
    unwound: Counter[str] = Counter()
    if failed:
        unwound = stage.remaining(0.5)
        stage.driver.service.reconciler.run()
        prepared.retry()
    else:
        prepared.after(result)
        stage.driver.service.reconciler.run()
    return Outcome(operation.name, kind, k, rule.fired > 0, failed, unwound, stage.remaining(stage.settling))


def sweep(stage: Stage, operation: Operation, kind: Kind, limit: int = 100) -> Iterator[Outcome]:
    """All k, until an operation has fewer calls than k."""
    for k in range(1, limit):
        outcome = attempt(stage, operation, kind, k)
        if not outcome.fired:
            return
        yield outcome
    raise AssertionError(f"{operation.name} makes more than {limit} calls")
