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
"""XAPI's framing of raw disk contents: offset and length, little endian, before each piece, and zeros at the end."""

import pytest

from xapikit.client.transfer import frames


def test_extents_are_framed_and_the_end_is_marked() -> None:
    sent = b"".join(
        bytes(part) for part in frames([(512, b"a" * 512), (1 << 40, memoryview(b"b" * 1024)), (9 << 40, b"")])
    )
    assert sent == (
        (512).to_bytes(8, "little") + (512).to_bytes(4, "little") + b"a" * 512
        + (1 << 40).to_bytes(8, "little") + (1024).to_bytes(4, "little") + b"b" * 1024
        + bytes(12)
    )  # fmt: skip


@pytest.mark.parametrize("extent", [(1, b"a" * 512), (0, b"a" * 511)])
def test_extents_that_are_not_whole_sectors_are_not_sent(extent: tuple[int, bytes]) -> None:
    with pytest.raises(ValueError, match="not whole sectors"):
        list(frames([extent]))
