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
"""A compute service that imports an image until it is killed: started as a process by the tests."""

import json
import sys

import nova.conf
from nova import objects
from nova.context import RequestContext

from nova_xapi.image.cache import ImageCache
from xapikit.client import XapiClient


def main() -> None:
    given = json.loads(sys.stdin.read())
    objects.register_all()
    nova.conf.CONF.set_override("api_servers", [given["glance"]], "glance")
    client = XapiClient(
        given["url"],
        username=given["username"],
        password=given["password"],
        originator=f"nova-xapi:{given['service']}",
        cache_classes=("pool", "host", "SR", "VDI"),
    )
    client.connect()
    client.cache.start()
    context = RequestContext(user_id="user", project_id="project", auth_token="token", is_admin=False)
    images = ImageCache(client, given["service"], given["run"])
    images.provide(context, objects.ImageMeta.from_dict(given["image"]), given["sr"], 0)


if __name__ == "__main__":
    main()
