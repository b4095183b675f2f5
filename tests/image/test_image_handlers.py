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
"""A host without plug-ins serves images all the same, and the log says which way they go."""

from typing import Any

import pytest

from nova_xapi.image import handlers


def host_of(one: Any) -> str:
    return next(iter(one.client.cache.records("host")))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("direct_vhd", "which the host does not have"), ("vdi_local_dev", "disks attached to the domain")],
)
def test_other_handlers_give_way_and_say_why(service: Any, caplog: Any, wanted: str, told: str) -> None:
    one = service()
    assert handlers.choose(one.client, host_of(one), wanted) == "vdi_remote_stream"
    assert f"image_handler = {wanted} gives way to vdi_remote_stream" in caplog.text and told in caplog.text


def test_the_streaming_handler_asks_nothing(service: Any, xapi: Any, caplog: Any) -> None:
    one = service()
    before = xapi.faults.total()
    assert handlers.choose(one.client, host_of(one), "vdi_remote_stream") == "vdi_remote_stream"
    assert xapi.faults.total() == before and "gives way" not in caplog.text


def test_plugins_tell_their_version(service: Any, xapi: Any, caplog: Any) -> None:
    one = service()
    assert handlers.plugin_version(one.client, host_of(one)) is None
