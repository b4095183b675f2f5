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
"""A chain of VHD files read with libvhdi; run with an interpreter that has it, not by pytest."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pyvhdi


def main(expected: str, *chain: str) -> None:
    """``chain`` begins with the file that has no parent. The content of the last one must be ``expected``."""
    with ExitStack() as opened:
        parent = None
        for name in chain:
            file = pyvhdi.file()
            file.open(name)
            opened.callback(file.close)
            if parent is not None:
                assert file.get_parent_identifier() == parent.get_identifier(), name
                file.set_parent(parent)
            parent = file
        size = parent.get_media_size()
        content = b""
        while len(content) < size:
            content += parent.read_buffer(min(1 << 20, size - len(content)))
    assert content == Path(expected).read_bytes()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
