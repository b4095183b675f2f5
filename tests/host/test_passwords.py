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
"""A password that was changed by a call holds over restarts, as a hash, until the operator gives another one."""

from __future__ import annotations

import stat
from pathlib import Path

from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost


def may_log_in(xapi: EmbeddedHost, password: str) -> bool:
    """Asked twice: the first time by its hash, then without."""
    caller = Caller(xapi.urls[0], password=None)
    try:
        for _ in range(2):
            caller.bare("session.login_with_password", "root", password)
    except CallFailed as refused:
        assert refused.error[0] == "SESSION_AUTHENTICATION_FAILED"
        return False
    finally:
        caller.close()
    return True


def test_a_changed_password_holds_until_the_operator_gives_another(tmp_path: Path) -> None:
    with EmbeddedHost(tmp_path, password="given") as xapi:
        caller = Caller(xapi.urls[0], password="given")
        caller("session.change_password", "", "änder me")
        assert may_log_in(xapi, "änder me") and not may_log_in(xapi, "given")
        xapi.restart()
        assert may_log_in(xapi, "änder me") and not may_log_in(xapi, "given")
        caller.close()
    (file,) = tmp_path.glob("passwords.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert "änder me".encode() not in path.read_bytes(), path
    with EmbeddedHost(tmp_path, password="given") as again:
        assert may_log_in(again, "änder me") and not may_log_in(again, "given")
    with EmbeddedHost(tmp_path, password="another") as other:
        assert may_log_in(other, "another") and not may_log_in(other, "änder me")
    with EmbeddedHost(tmp_path, password="given") as back:
        assert may_log_in(back, "given") and not may_log_in(back, "änder me")
