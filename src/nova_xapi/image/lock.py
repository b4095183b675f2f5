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
"""One import per image and SR in a whole pool: a lock that the pool itself keeps, in ``SR.other_config``.

``SR.add_to_other_config`` fails with MAP_DUPLICATE_KEY when the key is there: that is the only atomic step needed.
Keys end in a generation. Who holds the highest generation holds the lock; a lock whose owner died is not taken away, it
is outdone by the next generation, which again only one can add. Only the owner, or a holder of a later generation,
removes a key, so nobody ever removes a living owner's lock, however late he is.

An owner that takes long gives signs of life: it counts in a second key. Whoever waits measures the lease on his own
clock, from the last change that he saw, so clocks of different machines are never compared. All waiting is on the event
cache.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from oslo_log import log as logging

from xapikit.client import XapiClient
from xapikit.client.errors import ClientError, MaybeSent, WaitTimeout, XapiError

from . import marks

LOG = logging.getLogger(__name__)
T = TypeVar("T")

LEASE: Final = 60.0
"""Seconds without a sign of life after which an owner of another service is taken for dead."""
BARRIER: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lock as the pool shows it."""

    generation: int
    value: str
    beat: str

    @property
    def owner(self) -> tuple[str, str, int]:
        """Service, run and number of the owner; empty when the value is none of ours."""
        try:
            value = json.loads(self.value)
            return str(value["service"]), str(value["run"]), int(value["number"])
        except (ValueError, KeyError, TypeError):
            return "", "", 0


@dataclass
class Held:
    """A lock that this service holds."""

    image_id: str
    sr: str
    generation: int
    number: int
    _lost: Callable[[Held], bool]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def lost(self) -> bool:
        """Whether another service has taken over meanwhile: then nothing may be published any more."""
        return self._lost(self)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """Either the lock, or what was waited for, which somebody else has finished meanwhile."""

    held: Held | None
    found: T | None


class ImportLock:
    """The locks of one run of one service."""

    def __init__(self, client: XapiClient, service: str, run: str, lease: float = LEASE) -> None:
        self._client = client
        self._service = service
        self._run = run
        self._lease = lease
        self._numbers = itertools.count(1)
        self._living: set[int] = set()
        self._guard = threading.Lock()

    @contextmanager
    def held(self, image_id: str, sr: str, ready: Callable[[], T | None]) -> Iterator[Outcome[T]]:
        """Hold the lock, or wait for what its holder makes: ``ready`` looks it up in the event cache, and is quick.

        Raises what calls to the host raise.
        """
        held, found = self._acquire(image_id, sr, ready)
        if held is None:
            yield Outcome(None, found)
            return
        thread = threading.Thread(target=self._beat, args=(held,), name="image-import-lease", daemon=True)
        thread.start()
        try:
            yield Outcome(held, None)
        finally:
            held.stop.set()
            thread.join()
            with self._guard:
                self._living.discard(held.number)
            self._release(held)

    def reap(self) -> int:
        """Remove the locks of earlier runs of this service, which are dead for certain. Answers how many."""
        reaped = 0
        for sr, record in self._client.cache.records("SR").items():
            for key, value in record["other_config"].items():
                image_id, _, generation = key.removeprefix(marks.LOCK).rpartition(":")
                if not key.startswith(marks.LOCK) or not generation.isdigit():
                    continue
                if self._is_mine_and_dead(Sighting(int(generation), value, "")):
                    self._remove(sr, image_id, int(generation))
                    reaped += 1
        return reaped

    # ----------------------------------------------------------------------------------------------- taking

    def _acquire(self, image_id: str, sr: str, ready: Callable[[], T | None]) -> tuple[Held | None, T | None]:
        dead: Sighting | None = None
        while True:
            found = ready()
            if found is not None:
                return None, found
            seen = self._sight(image_id, sr)
            if seen is None:
                generation = 1
            elif seen == dead or self._is_mine_and_dead(seen):
                LOG.info("import of image %s: taking over from %s", image_id, seen.owner[:2])
                generation = seen.generation + 1
            else:
                dead = self._watch(image_id, sr, seen, ready)
                continue
            held = self._add(image_id, sr, generation)
            if held is None:
                continue
            # the cache has seen everything that was published before this lock as soon as it shows the lock itself
            found = ready()
            if found is None:
                return held, None
            with self._guard:
                self._living.discard(held.number)
            self._release(held)
            return None, found

    def _add(self, image_id: str, sr: str, generation: int) -> Held | None:
        """Try to add the key; None when somebody else was faster."""
        key = _key(marks.LOCK, image_id, generation)
        number = next(self._numbers)
        value = json.dumps({"service": self._service, "run": self._run, "number": number, "since": int(time.time())})
        with self._guard:
            self._living.add(number)
        try:
            if self._add_key(sr, key, value):
                self._client.cache.wait_for(lambda _: self._other_config(sr).get(key) == value, BARRIER)
                return Held(image_id, sr, generation, number, self._is_lost)
        except BaseException:
            with self._guard:
                self._living.discard(number)
            raise
        with self._guard:
            self._living.discard(number)
        try:
            # the cache is behind: it will show the key, unless that came and went in between
            self._client.cache.wait_for(lambda _: key in self._other_config(sr), 1.0)
        except WaitTimeout:
            pass
        return None

    def _add_key(self, sr: str, key: str, value: str) -> bool:
        """Whether the key is there with this value, which nobody else has; False when it is there with another."""
        for last in (False, True):
            try:
                self._client.call("SR.add_to_other_config", sr, key, value)
                return True
            except MaybeSent:
                if self._client.call("SR.get_other_config", sr).get(key) == value:
                    return True
                if last:
                    raise
            except XapiError as error:
                if error.code != "MAP_DUPLICATE_KEY":
                    raise
                # the second time it may be the first one that came late
                return bool(last and self._client.call("SR.get_other_config", sr).get(key) == value)
        raise AssertionError("unreachable")

    def _watch(self, image_id: str, sr: str, seen: Sighting, ready: Callable[[], T | None]) -> Sighting | None:
        """Wait until something changes; the sighting itself when nothing has for the whole lease."""
        cache = self._client.cache
        cache.wait_in_step(self._lease)
        try:
            cache.wait_for(lambda _: ready() is not None or self._sight(image_id, sr) != seen, self._lease)
        except WaitTimeout:
            # being cut off from the pool is no sign of the owner's death
            return seen if cache.in_step else None
        return None

    # --------------------------------------------------------------------------------------------- keeping

    def _beat(self, held: Held) -> None:
        key = _key(marks.BEAT, held.image_id, held.generation)
        for count in itertools.count(1):
            if held.stop.wait(self._lease / 4):
                return
            try:
                self._client.call("SR.remove_from_other_config", held.sr, key)
                self._client.call("SR.add_to_other_config", held.sr, key, str(count))
            except ClientError as error:
                LOG.warning("no sign of life for the import of image %s: %s", held.image_id, error)

    def _is_lost(self, held: Held) -> bool:
        seen = self._sight(held.image_id, held.sr)
        return seen is None or seen.generation != held.generation

    def _release(self, held: Held) -> None:
        generations = {held.generation, *self._generations(held.image_id, held.sr)}
        for generation in sorted(one for one in generations if one <= held.generation):
            try:
                self._remove(held.sr, held.image_id, generation)
            except ClientError as error:
                LOG.warning("lock of image %s is left for the next import of it: %s", held.image_id, error)

    def _remove(self, sr: str, image_id: str, generation: int) -> None:
        # the beat first: a lock without one is complete, a beat without a lock would stay for ever
        beat = _key(marks.BEAT, image_id, generation)
        if beat in self._other_config(sr):
            self._client.call("SR.remove_from_other_config", sr, beat)
        self._client.call("SR.remove_from_other_config", sr, _key(marks.LOCK, image_id, generation))

    # --------------------------------------------------------------------------------------------- looking

    def _other_config(self, sr: str) -> dict[str, str]:
        record = self._client.cache.get("SR", sr)
        return {} if record is None else dict(record["other_config"])

    def _generations(self, image_id: str, sr: str) -> list[int]:
        prefix = f"{marks.LOCK}{image_id}:"
        endings = [key.removeprefix(prefix) for key in self._other_config(sr) if key.startswith(prefix)]
        return [int(ending) for ending in endings if ending.isdigit()]

    def _sight(self, image_id: str, sr: str) -> Sighting | None:
        generation = max(self._generations(image_id, sr), default=0)
        if not generation:
            return None
        config: dict[str, Any] = self._other_config(sr)
        value = config.get(_key(marks.LOCK, image_id, generation), "")
        return Sighting(generation, value, config.get(_key(marks.BEAT, image_id, generation), ""))

    def _is_mine_and_dead(self, seen: Sighting) -> bool:
        service, run, number = seen.owner
        if service != self._service:
            return False
        with self._guard:
            return run != self._run or number not in self._living


def _key(prefix: str, image_id: str, generation: int) -> str:
    return f"{prefix}{image_id}:{generation}"
