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
"""Run with ``pyxs`` as ``agent_with_pyxs.py SOCKET DOMID``: tells of itself as a guest, then answers one request."""

import json
import sys

import pyxs


def main(path: str, domid: str) -> None:
    with pyxs.Client(unix_socket_path=path) as client:
        home = client.get_domain_path(int(domid))
        while True:
            client.transaction()
            client.write(home + b"/attr/PVAddons/MajorVersion", b"9")
            client.write(home + b"/attr/PVAddons/MinorVersion", b"1")
            client.write(home + b"/data/os_name", client.read(home + b"/name"))
            client.write(home + b"/data/updated", b"1")
            if client.commit():
                break
        with client.monitor() as monitor:
            monitor.watch(home + b"/data/host", b"requests")
            for _ in monitor.wait():
                print("looking", flush=True)
                for name in client.list(home + b"/data/host") if client.exists(home + b"/data/host") else ():
                    asked = json.loads(client.read(home + b"/data/host/" + name))
                    client.delete(home + b"/data/host/" + name)
                    answer = json.dumps({"returncode": "0", "message": asked["name"]})
                    client.write(home + b"/data/guest/" + name, answer.encode())
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
