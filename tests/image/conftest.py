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
"""An image service, Nova's own client configured to use it, and services on an embedded pool."""

from collections.abc import Iterator

import nova.conf
import pytest
from nova import objects
from nova.context import RequestContext

from glance_server import GlanceServer
from image_services import ServiceFactory, services
from xapikit.host import EmbeddedHost


@pytest.fixture
def glance() -> Iterator[GlanceServer]:
    with GlanceServer() as server:
        nova.conf.CONF.set_override("api_servers", [server.url], "glance")
        nova.conf.CONF.set_override("num_retries", 0, "glance")
        yield server
        nova.conf.CONF.clear_override("api_servers", "glance")
        nova.conf.CONF.clear_override("num_retries", "glance")


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(user_id="user", project_id="project", auth_token="token", is_admin=False)


@pytest.fixture
def xapi() -> Iterator[EmbeddedHost]:
    with EmbeddedHost(hosts=2) as host:
        yield host


@pytest.fixture
def service(xapi: EmbeddedHost) -> Iterator[ServiceFactory]:
    """``service("a")``: a compute service of that name, started now."""
    with services(xapi) as start:
        yield start


@pytest.fixture(scope="session", autouse=True)
def nova_objects() -> None:
    objects.register_all()
