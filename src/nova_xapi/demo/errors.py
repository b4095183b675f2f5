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
"""What the demo says when it cannot go on: a sentence about what is wrong, and one about what to do."""

from __future__ import annotations

from pathlib import Path

# exit codes of `nova-xapi demo ...` (2 is argparse's, for a wrong command line)
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_MISSING = 3
EXIT_INTERRUPTED = 130


class DemoError(Exception):
    """Something the user must know about. `hint` says what to do; `code` is the exit code of the command."""

    code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Missing(DemoError):
    """The machine lacks something that the demo needs and cannot or may not provide itself."""

    code = EXIT_MISSING


class PortInUse(Missing):
    """A port that a service needs is taken by somebody else."""

    def __init__(self, service: str, port: int, holder: str, base: int) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(
            f"port {port} on 127.0.0.1, wanted for {service}, is already in use{by}",
            f"stop what uses it, or choose other ports with --port-base (this was --port-base {base})",
        )
        self.service, self.port = service, port


class ServiceFailed(DemoError):
    """A service ended or did not become ready; carries the end of its log."""

    def __init__(self, service: str, what: str, log: Path, tail: str) -> None:
        text = f"{service} {what}; the end of {log}:\n{tail}" if tail.strip() else f"{service} {what}; {log} is empty"
        super().__init__(text, f"the whole log: nova-xapi demo logs {service}")
        self.service, self.log = service, log
