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
"""The program of a data path: ``python -m xapikit.host.storage.datapath --disk FILE --nbd SOCKET ...``.

Started by the host; by hand it serves any VHD chain of a directory, which is handy for looking at one::

    python -m xapikit.host.storage.datapath --disk a.vhd --read-only --nbd /tmp/a.nbd --control /tmp/a.ctl
    qemu-img info nbd+unix:///?socket=/tmp/a.nbd
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from xapikit.host.storage.datapath.server import Server
from xapikit.host.storage.processes import ProcessIdentity


def main() -> int:
    parser = argparse.ArgumentParser(prog="xapikit.host.storage.datapath", description="Serve a disk over NBD.")
    parser.add_argument("--disk", type=Path, required=True, help="VHD or raw file")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--nbd", type=Path, required=True, help="Unix socket to make for NBD clients")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket to make for pause, resume and close")
    parser.add_argument("--owner", help="PID:START of the server: without it and without clients the process ends")
    parser.add_argument("--ready-fd", type=int, help="descriptor that gets one line when the disk is served")
    given = parser.parse_args()
    owner = ProcessIdentity.parse(given.owner) if given.owner else None
    if owner is not None and not owner.alive():
        print("the server that wanted this is gone", file=sys.stderr)
        return 1
    try:
        server = Server(
            given.disk,
            given.nbd,
            given.control,
            read_only=given.read_only,
            owner=owner,
        )
    except Exception as error:
        # the one place where the reason can still be told: to whoever waits for the start
        text = f"failed {type(error).__name__}: {error}"
        if given.ready_fd is not None:
            os.write(given.ready_fd, text.encode(errors="replace")[:4000])
        print(text, file=sys.stderr)
        return 1
    if given.ready_fd is not None:
        os.write(given.ready_fd, b"ready\n")
        os.close(given.ready_fd)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
