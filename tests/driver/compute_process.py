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
"""A compute service in a process of its own, to be killed: makes one server and says so.

Run by test_killed.py: ``python compute_process.py`` with a JSON object on standard input.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import nova.conf
from nova.context import RequestContext
from nova.network import model

from driver_rig import Ports, flavor, instance, meta_of, port
from nova_xapi import conf as options
from nova_xapi.driver import XenAPIDriver

CONF = nova.conf.CONF


def main() -> None:
    given = json.load(sys.stdin)
    CONF([], project="nova", default_config_files=[])
    CONF.set_override("api_servers", [given["glance"]], "glance")
    options.register_for_host(CONF, given["name"])
    for option, value in given["options"].items():
        CONF.set_override(option, value, options.host_group(given["name"]))
    driver = XenAPIDriver(Ports())
    driver.init_host(given["name"])
    context = RequestContext(user_id="user", project_id="project", auth_token="token", is_admin=True)
    server = instance(given["image"]["id"], flavor(root_gb=1), uuid=given["server"])
    print("started", flush=True)
    ports = model.NetworkInfo([port(active=False)])
    if given["operation"] == "destroy":
        driver.destroy(context, server, ports)
    else:
        driver.spawn(context, server, meta_of(given["image"]), [], "secret", {}, network_info=ports)
    print("done", flush=True)


if __name__ == "__main__":
    main()
