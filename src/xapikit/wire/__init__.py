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
"""How XenAPI values and calls look on the wire, shared by client and embedded host.

:mod:`~xapikit.wire.xmlrpc` and :mod:`~xapikit.wire.jsonrpc` offer the same functions for both sides:
``encode_request``, ``decode_request``, ``encode_success``, ``encode_failure``, ``decode_response``.
:mod:`~xapikit.wire.coerce` turns what arrived into values of a declared type. Nothing here does I/O.
"""

from xapikit.wire.coerce import coerce
from xapikit.wire.envelope import MAX_REQUEST_BYTES, Request
from xapikit.wire.errors import CoercionError, Failure, MalformedRequest, MalformedResponse, WireError
from xapikit.wire.values import EPOCH, NULL_REF, DateTime, Int32, Raw, new_ref

__all__ = [
    "EPOCH",
    "MAX_REQUEST_BYTES",
    "NULL_REF",
    "CoercionError",
    "DateTime",
    "Failure",
    "Int32",
    "MalformedRequest",
    "MalformedResponse",
    "Raw",
    "Request",
    "WireError",
    "coerce",
    "new_ref",
]
