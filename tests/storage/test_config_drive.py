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
"""A config drive is a VDI of its own, made in few calls, and nothing is left of one that could not be made."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from image_services import Service, ServiceFactory, services
from nova_xapi.storage import configdrive, iso9660, vdi
from xapikit.host import EmbeddedHost

MARK = "owner"
ISO = iso9660.build([("openstack/latest/meta_data.json", b'{"admin_pass": "s3cret"}')], configdrive.LABEL)


@pytest.fixture
def xapi() -> Iterator[EmbeddedHost]:
    with EmbeddedHost(hosts=2) as host:
        yield host


@pytest.fixture
def service(xapi: EmbeddedHost) -> Iterator[ServiceFactory]:
    with services(xapi) as start:
        yield start


def made(one: Service) -> str:
    owner = {MARK: uuid.uuid4().hex}
    return configdrive.create(one.client, one.sr(), ISO, name="a server", other_config=owner, mark=MARK)


def test_it_costs_three_calls_and_one_transfer(service: ServiceFactory, xapi: EmbeddedHost) -> None:
    one = service()
    xapi.faults.reset_counts()
    made(one)
    calls = {name: count for name, count in xapi.call_counts().items() if name != "event.from"}
    assert calls == {"VDI.create": 1, "task.create": 1, "put_import_raw_vdi": 1, "task.destroy": 1}


def test_the_vdi_holds_the_iso(service: ServiceFactory) -> None:
    one = service()
    ref = made(one)
    with one.client.export_vdi(ref) as chunks:
        found = b"".join(bytes(chunk) for chunk in chunks)
    assert found[: len(ISO)] == ISO and not any(found[len(ISO) :])
    assert one.client.call("VDI.get_name_label", ref) == "config-2"


def test_secrets_are_in_the_disk_and_nowhere_else(service: ServiceFactory, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    one = service()
    ref = made(one)
    assert "s3cret" not in caplog.text
    assert "s3cret" not in str(one.client.call("VDI.get_record", ref))


@pytest.mark.parametrize("method", ["VDI.create", "task.create", "put_import_raw_vdi"])
def test_a_failure_leaves_nothing(service: ServiceFactory, xapi: EmbeddedHost, method: str) -> None:
    one = service()
    before = set(one.vdis())
    xapi.faults.add("error", method=method, error=["INTERNAL_ERROR", "injected"], count=1)
    with pytest.raises(Exception, match=r"injected|HTTP 500"):
        made(one)
    assert set(one.vdis()) == before and not one.client.call("task.get_all")


def test_a_lost_answer_is_no_second_vdi(service: ServiceFactory, xapi: EmbeddedHost) -> None:
    one = service()
    before = set(one.vdis())
    xapi.faults.add("cut_after", method="VDI.create", count=1)
    ref = made(one)
    assert set(one.vdis()) - before == {ref}


def test_a_creation_that_never_arrived_is_sent_again_once(service: ServiceFactory, xapi: EmbeddedHost) -> None:
    one = service()
    before = set(one.vdis())
    xapi.faults.add("cut_before", method="VDI.create", count=1)
    ref = made(one)
    assert set(one.vdis()) - before == {ref}
    xapi.faults.add("cut_before", method="VDI.create")
    with pytest.raises(Exception, match=r"VDI\.create"):
        made(one)
    assert set(one.vdis()) - before == {ref}


def test_a_busy_vdi_is_waited_for_and_then_discarded(service: ServiceFactory, xapi: EmbeddedHost) -> None:
    one = service()
    ref = made(one)
    xapi.faults.add("error", method="VDI.destroy", error=["VDI_IN_USE", ref, "destroy"], count=1)
    assert vdi.discard(one.client, ref)
    assert ref not in one.vdis()
    assert vdi.discard(one.client, ref), "what is gone is gone"


def test_a_vdi_that_stays_busy_is_left_and_logged(service: ServiceFactory, xapi: EmbeddedHost, caplog: Any) -> None:
    one = service()
    ref = made(one)
    xapi.faults.add("error", method="VDI.destroy", error=["VDI_IN_USE", ref, "destroy"])
    assert not vdi.discard(one.client, ref)
    assert "is left to a later clean-up" in caplog.text and ref in one.vdis()
