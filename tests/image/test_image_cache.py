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
"""One base copy per image and SR, whole and proven, however many ask and whatever goes wrong on the way."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nova import exception
from nova.context import RequestContext

from glance_server import GlanceServer, StoredImage
from image_services import Service, ServiceFactory, meta_of
from nova_xapi.image import errors, marks
from nova_xapi.image.cache import Base
from nova_xapi.image.description import Kind
from nova_xapi.storage import vdi
from xapikit.client import EventCache
from xapikit.host import EmbeddedHost
from xapikit.vhd import stream

MIB = 1 << 20
RAW = os.urandom(3 * MIB) + bytes(9 * MIB) + os.urandom(MIB + 300)


def vhd_of(raw: bytes) -> bytes:
    return b"".join(bytes(part) for part in stream.from_raw([raw], len(raw)))


def empty_vhd(path: Path, size: str) -> bytes:
    options = "subformat=dynamic,force_size=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", "-o", options, path, size], check=True, timeout=60)
    return path.read_bytes()


def iso() -> bytes:
    descriptor = b"\x01CD001\x01\0".ljust(2048, b"\0")
    return bytes(16 * 2048) + descriptor + b"\xffCD001\x01".ljust(2048, b"\0") + os.urandom(1 * MIB)


def content(one: Service, ref: str) -> bytes:
    with one.client.export_vdi(ref) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


def locks(one: Service) -> list[str]:
    return [
        key
        for number in (0, 1)
        for key in one.client.call("SR.get_other_config", one.sr(number))
        if key.startswith((marks.LOCK, marks.BEAT))
    ]


def is_locked(cache: EventCache) -> bool:
    return any(key.startswith(marks.LOCK) for record in cache.records("SR").values() for key in record["other_config"])


def tasks(one: Service) -> list[str]:
    return [task["name_label"] for task in one.client.call("task.get_all_records").values()]


def files(xapi: EmbeddedHost) -> set[str]:
    """All disk files of the pool."""
    return {path.name for path in xapi.settings.state.rglob("*.vhd")}


class Nothing:
    """Counts VDIs, files, locks and tasks before and after."""

    def __init__(self, one: Service, xapi: EmbeddedHost) -> None:
        self._one, self._xapi = one, xapi
        self._before = self._count()

    def _count(self) -> tuple[set[str], set[str], list[str], list[str]]:
        return set(self._one.vdis()), files(self._xapi), locks(self._one), tasks(self._one)

    def is_left(self) -> bool:
        return self._count() == self._before


def calls(xapi: EmbeddedHost) -> dict[str, int]:
    return {name: count for name, count in xapi.call_counts().items() if name != "event.from"}


@pytest.fixture
def offered(glance: GlanceServer) -> StoredImage:
    return glance.add(RAW, "raw")


# ---------------------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize(("kind", "data", "disk"), [("raw", RAW, RAW), ("vhd", vhd_of(RAW), RAW), ("iso", iso(), None)])
def test_the_base_copy_holds_the_image_byte_for_byte(
    glance: GlanceServer, context: RequestContext, service: ServiceFactory, kind: str, data: bytes, disk: bytes | None
) -> None:
    one = service()
    base = one.images().provide(context, meta_of(glance.add(data, kind)), one.sr(), 0)
    expected = data if disk is None else disk
    size = -(-len(expected) // 512) * 512 if kind == "vhd" else len(expected)
    assert (base.kind, base.virtual_size) == (Kind(kind), size) and base.vdi_size % (2 * MIB) == 0
    assert content(one, base.ref) == expected.ljust(base.vdi_size, b"\0")


def test_zeros_of_a_raw_image_take_no_room(
    glance: GlanceServer, context: RequestContext, service: ServiceFactory
) -> None:
    one = service()
    sparse = os.urandom(MIB) + bytes(62 * MIB) + os.urandom(MIB)
    base = one.images().provide(context, meta_of(glance.add(sparse, "raw")), one.sr(), 0)
    assert int(one.client.call("VDI.get_physical_utilisation", base.ref)) < 6 * MIB
    assert content(one, base.ref) == sparse


def test_an_import_costs_seven_calls_and_a_cached_image_none(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost
) -> None:
    one = service()
    images = one.images()
    xapi.faults.reset_counts()
    first = images.provide(context, meta_of(offered), one.sr(), 0)
    assert calls(xapi) == {
        "SR.add_to_other_config": 1, "VDI.create": 1, "task.create": 1, "put_import_raw_vdi": 1, "task.destroy": 1,
        "VDI.set_other_config": 1, "SR.remove_from_other_config": 1,
    }  # fmt: skip
    xapi.faults.reset_counts()
    assert images.provide(context, meta_of(offered), one.sr(), 1) == first
    assert calls(xapi) == {} and offered.downloads == 1


def test_another_service_finds_the_base_copy(
    offered: StoredImage, context: RequestContext, service: ServiceFactory
) -> None:
    a, b = service("a"), service("b")
    made = a.images().provide(context, meta_of(offered), a.sr(), 0)
    b.client.cache.catch_up()
    assert b.images().provide(context, meta_of(offered), b.sr(), 0) == made
    assert offered.downloads == 1


def test_each_sr_has_a_copy_of_its_own(offered: StoredImage, context: RequestContext, service: ServiceFactory) -> None:
    one = service()
    images = one.images()
    bases = [images.provide(context, meta_of(offered), one.sr(number), 0) for number in (0, 1)]
    assert bases[0].ref != bases[1].ref and offered.downloads == 2


def test_fifty_at_once_on_three_services_import_once(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost
) -> None:
    several = [service(name) for name in "abc"]
    caches = [one.images() for one in several]
    offered.gate.clear()

    def provide(number: int) -> Base:
        return caches[number % 3].provide(context, meta_of(offered), several[0].sr(), 0)

    with ThreadPoolExecutor(50) as threads:
        asked = [threads.submit(provide, number) for number in range(50)]
        several[0].client.cache.wait_for(is_locked, 30)
        offered.gate.set()
        bases = {one.result(60) for one in asked}
    assert len(bases) == 1 and offered.downloads == 1
    assert calls(xapi)["put_import_raw_vdi"] == 1 and locks(several[0]) == []


def test_clones_are_not_taken_for_base_copies(
    offered: StoredImage, context: RequestContext, service: ServiceFactory
) -> None:
    one = service()
    images = one.images()
    base = images.provide(context, meta_of(offered), one.sr(), 0)
    one.client.call("VDI.clone", base.ref, {})
    one.client.call("VDI.destroy", base.ref)
    one.client.cache.catch_up()
    assert images.provide(context, meta_of(offered), one.sr(), 0).uuid != base.uuid
    assert offered.downloads == 2


# ----------------------------------------------------------------------------------------------------- what goes wrong


def lie_about_the_hash(image: StoredImage) -> None:
    image.record["os_hash_value"] = "0" * 128


def lie_about_the_hash_unseen_by_the_client(image: StoredImage) -> None:
    image.record.update(os_hash_algo=None, os_hash_value=None, checksum="0" * 32)


def cut_the_stream(image: StoredImage) -> None:
    image.cut_after = 2_000_000


def have_no_data(image: StoredImage) -> None:
    image.data_status = 404


def be_of_another_format(image: StoredImage) -> None:
    image.record["disk_format"] = "vhd"


def be_unsupported(image: StoredImage) -> None:
    image.record["disk_format"] = "qcow2"


def be_queued(image: StoredImage) -> None:
    image.record["status"] = "queued"


def announce_less(image: StoredImage) -> None:
    image.record["size"] = len(RAW) - 600_000


def announce_more(image: StoredImage) -> None:
    image.record["size"] = len(RAW) + 600_000


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lie_about_the_hash, errors.ImageRefused),
        (lie_about_the_hash_unseen_by_the_client, errors.ImageRefused),
        (cut_the_stream, errors.ImageFetchFailed),
        (have_no_data, exception.ImageNotFound),
        (be_of_another_format, errors.ImageRefused),
        (be_unsupported, errors.UnsupportedImage),
        (be_queued, exception.ImageNotActive),
        (announce_less, errors.ImageRefused),
        (announce_more, errors.ImageFetchFailed),
    ],
)
def test_a_bad_image_has_a_clear_error_and_leaves_nothing(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost, spoil: Any, told: Any
) -> None:
    one = service()
    nothing = Nothing(one, xapi)
    spoil(offered)
    with pytest.raises(told):
        one.images().provide(context, meta_of(offered), one.sr(), 0)
    assert nothing.is_left()


@pytest.mark.parametrize("kind", ["raw", "vhd"])
def test_an_image_larger_than_the_flavor_is_refused_before_a_byte_lands(
    glance: GlanceServer,
    context: RequestContext,
    service: ServiceFactory,
    xapi: EmbeddedHost,
    kind: str,
    tmp_path: Path,
) -> None:
    one = service()
    nothing = Nothing(one, xapi)
    offered = glance.add(RAW if kind == "raw" else empty_vhd(tmp_path / "2G", "2G"), kind)
    if kind == "raw":
        # a larger raw image than this machine wants to make: the record says so, that is enough
        offered.record["size"] = 2 << 30
    with pytest.raises(errors.ImageTooLarge) as caught:
        one.images().provide(context, meta_of(offered), one.sr(), 1)
    assert (caught.value.image_size, caught.value.flavor_size) == (2 << 30, 1 << 30)
    assert nothing.is_left()
    assert "VDI.create" not in calls(xapi) and "put_import_raw_vdi" not in calls(xapi)


def test_a_small_flavor_does_not_spoil_it_for_a_large_one(
    glance: GlanceServer, context: RequestContext, service: ServiceFactory, tmp_path: Path
) -> None:
    one = service()
    images, offered = one.images(), glance.add(empty_vhd(tmp_path / "2G", "2G"), "vhd")
    offered.gate.clear()
    with ThreadPoolExecutor() as threads:
        small = threads.submit(images.provide, context, meta_of(offered), one.sr(), 1)
        one.client.cache.wait_for(is_locked, 30)
        large = threads.submit(images.provide, context, meta_of(offered), one.sr(), 3)
        offered.gate.set()
        with pytest.raises(errors.ImageTooLarge):
            small.result(60)
        assert large.result(60).virtual_size == 2 << 30
    with pytest.raises(errors.ImageTooLarge):
        images.provide(context, meta_of(offered), one.sr(), 1)


def test_an_sr_that_is_full_before_the_import(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost
) -> None:
    one = service()
    nothing = Nothing(one, xapi)
    xapi.faults.add(
        "error", method="VDI.create", error=["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
    )
    with pytest.raises(exception.ComputeResourcesUnavailable, match=r"Local storage has no room for image"):
        one.images().provide(context, meta_of(offered), one.sr(), 0)
    assert nothing.is_left()


def test_an_sr_that_gets_full_during_the_import(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost
) -> None:
    one = service()
    nothing = Nothing(one, xapi)
    xapi.pool.storage.set_limit(one.sr(), 2 * MIB)
    with pytest.raises((errors.ImportFailed, errors.StorageFull), match="Local storage"):
        one.images().provide(context, meta_of(offered), one.sr(), 0)
    assert nothing.is_left()


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("VDI.create", "cut_after"),
        ("VDI.create", "cut_before"),
        ("SR.add_to_other_config", "cut_after"),
        ("VDI.set_other_config", "cut_after"),
        ("VDI.set_other_config", "cut_before"),
        ("SR.remove_from_other_config", "cut_after"),
        ("task.destroy", "cut_after"),
    ],
)
def test_a_lost_answer_is_no_lost_image(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost, method: str, kind: Any
) -> None:
    one = service()
    before = set(one.vdis())
    xapi.faults.add(kind, method=method, count=1)
    base = one.images().provide(context, meta_of(offered), one.sr(), 0)
    assert set(one.vdis()) - before == {base.ref}
    assert locks(one) == [] and content(one, base.ref)[: len(RAW)] == RAW


@pytest.mark.parametrize("method", ["VDI.create", "task.create", "put_import_raw_vdi", "VDI.set_other_config"])
def test_a_call_that_fails_leaves_nothing(
    offered: StoredImage, context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost, method: str
) -> None:
    one = service()
    nothing = Nothing(one, xapi)
    xapi.faults.add("error", method=method, error=["INTERNAL_ERROR", "injected"], count=1)
    with pytest.raises(Exception, match=r"injected|HTTP 500"):
        one.images().provide(context, meta_of(offered), one.sr(), 0)
    assert nothing.is_left()
    assert one.images().provide(context, meta_of(offered), one.sr(), 0)


# ---------------------------------------------------------------------------------------------------------- crashes


@pytest.fixture
def killed(
    offered: StoredImage, service: ServiceFactory, xapi: EmbeddedHost, glance: GlanceServer
) -> Iterator[tuple[Service, StoredImage]]:
    """A service "a" of the past, killed in the middle of an import; and a service "b" that looks on."""
    onlooker = service("b")
    offered.record["disk_format"] = "raw"
    sent = threading.Event()
    whole = offered.chunks

    def halting() -> Iterator[bytes]:
        for number, chunk in enumerate(whole()):
            if number == 6 and not sent.is_set():
                offered.gate.clear()
            yield chunk

    offered.chunks = halting
    script = Path(__file__).parent / "import_until_killed.py"
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    process.stdin.write(
        json.dumps(
            {
                "glance": glance.url, "url": xapi.urls[0], "username": xapi.username, "password": xapi.password,
                "service": "a", "run": "an earlier one", "image": offered.record, "sr": onlooker.sr(),
            }
        ).encode()
    )  # fmt: skip
    process.stdin.close()
    onlooker.client.cache.wait_for(
        lambda cache: any(marks.importer_of(record) for record in cache.records("VDI").values()), 90
    )
    process.kill()
    process.wait(30)
    sent.set()
    offered.gate.set()
    assert locks(onlooker)
    yield onlooker, offered


def test_a_service_that_was_killed_cleans_up_when_it_comes_back(
    killed: tuple[Service, StoredImage], context: RequestContext, service: ServiceFactory, xapi: EmbeddedHost
) -> None:
    again = service("a")
    images = again.images()
    assert images.reap() == 2
    assert locks(again) == [] and not any(marks.importer_of(record) for record in again.vdis().values())
    base = images.provide(context, meta_of(killed[1]), again.sr(), 0)
    assert content(again, base.ref)[: len(RAW)] == RAW and set(again.vdis()) >= {base.ref}


def test_another_service_takes_over_from_one_that_is_dead(
    offered: StoredImage, service: ServiceFactory, context: RequestContext
) -> None:
    onlooker = service("b")
    # what the test above sees a killed service leave
    key, value = f"{marks.LOCK}{offered.id}:1", json.dumps({"service": "a", "run": "dead", "number": 1, "since": 0})
    onlooker.client.call("SR.add_to_other_config", onlooker.sr(), key, value)
    config = {marks.IMAGE: offered.id, marks.IMPORTING: "a/dead/1"}
    record = {"name_label": "half", "name_description": "", "SR": onlooker.sr(), "virtual_size": MIB}
    half = vdi.create(onlooker.client, {**record, "other_config": config}, marks.IMPORTING)
    onlooker.client.cache.catch_up()
    assert onlooker.images().reap() == 0 and locks(onlooker), "what others left is not this service's"
    base = onlooker.images(lease=1.0).provide(context, meta_of(offered), onlooker.sr(), 0)
    assert content(onlooker, base.ref)[: len(RAW)] == RAW
    assert locks(onlooker) == [] and half not in onlooker.vdis()
