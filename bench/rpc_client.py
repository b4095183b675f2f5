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
"""One client process (see bench.clients): calls a getter as fast as it is answered, on all objects in turn.

Reads its orders as one JSON line from standard input (the password is no business of a process list), says "ready" when
connected, starts when a line comes, and prints the number of calls.
"""

import itertools
import json
import sys
import time

from xapikit.client import Secret, TlsPolicy, XapiClient


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    with XapiClient(
        orders["url"],
        username=orders["username"],
        password=Secret(orders["password"]),
        originator=f"nova-xapi-bench:{orders['number']}",
        tls=TlsPolicy(fingerprint=orders["fingerprint"]),
    ) as client:
        getter = orders["getter"]
        objects = itertools.cycle(client.call(f"{getter.partition('.')[0]}.get_all"))
        print("ready", flush=True)
        sys.stdin.readline()
        count, end = 0, time.monotonic() + orders["seconds"]
        while time.monotonic() < end:
            client.call(getter, next(objects))
            count += 1
    print(count, flush=True)


if __name__ == "__main__":
    main()
