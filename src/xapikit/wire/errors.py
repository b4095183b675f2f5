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
"""What can go wrong between bytes and values."""

from __future__ import annotations

from collections.abc import Sequence


class WireError(Exception):
    """Base of all errors of the codecs."""


class MalformedRequest(WireError):
    """A request body that is no call. A server answers HTTP 500 and a page that ends with this text, never a fault."""


class MalformedResponse(WireError):
    """A reply that is none of the envelopes of XenAPI."""


class CoercionError(WireError):
    """A value that does not have the declared type. A server answers ``INTERNAL_ERROR [text]``."""


class Failure(WireError):
    """The reply says that the call failed: ``error`` is ``[CODE, parameter...]`` (ErrorDescription)."""

    def __init__(self, error: Sequence[str]) -> None:
        super().__init__(list(error))
        self.error: list[str] = list(error)

    def __str__(self) -> str:
        # parameters can hold what the caller sent; whoever shows them decides what may be shown
        return self.error[0] if self.error else "failure without a code"
