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
"""A plain caller of a XenAPI server: JSON-RPC by hand, no client library."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest


class CallFailed(Exception):
    """ErrorDescription of a call that failed."""

    def __init__(self, error: list[str]) -> None:
        super().__init__(error)
        self.error = error


class Caller:
    """One connection and one session of it."""

    def __init__(self, url: str, username: str = "root", password: str | None = None) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self.session = ""
        if password is not None:
            self.session = self.bare("session.login_with_password", username, password, "1.0", "tests")

    def bare(self, method: str, *params: Any) -> Any:
        """A call without the session."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._connection.request("POST", "/jsonrpc", body)
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise CallFailed([answer["error"]["message"], *answer["error"]["data"]])
        return answer["result"]

    def __call__(self, method: str, *params: Any) -> Any:
        return self.bare(method, self.session, *params)

    def error(self, method: str, *params: Any) -> list[str]:
        """What a call fails with."""
        with pytest.raises(CallFailed) as caught:
            self(method, *params)
        return caught.value.error

    def close(self) -> None:
        self._connection.close()
