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
"""Fast, safe, typed access to any XAPI host: pooled JSON-RPC, verified TLS, tasks as futures, an event cache, streams.

::

    with XapiClient("https://host", username="root", password=Secret(...), originator="mine:1") as client:
        client.cache.start()
        vm = client.call("VM.clone", template, "name")
        client.run("VM.start", vm, False, False, timeout=60)
        client.cache.wait_for(lambda cache: cache.get("VM", vm)["power_state"] == "Running", timeout=60)
"""

from xapikit.client.cache import CacheEvent, EventCache, Record
from xapikit.client.client import XapiClient
from xapikit.client.secret import Secret
from xapikit.client.tasks import TaskFuture
from xapikit.client.tls import TlsPolicy, format_fingerprint, normalize_fingerprint
from xapikit.wire import NULL_REF, DateTime

__all__ = [
    "NULL_REF",
    "CacheEvent",
    "DateTime",
    "EventCache",
    "Record",
    "Secret",
    "TaskFuture",
    "TlsPolicy",
    "XapiClient",
    "format_fingerprint",
    "normalize_fingerprint",
]
