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
"""Refuse, by name and while it streams, what is not the stand-alone image that it claims to be.

One inspector per image: `feed` it every chunk before the chunk goes anywhere, then `finish`. It keeps no data (a
few KiB, and for a VHD its block table, at most some 50 MiB for the largest disks), reads each byte once, and raises
`VhdRejected`, whose `reason` is a stable name, as soon as the bytes that prove it have come.
"""

from dataclasses import dataclass
from typing import Literal

from .errors import Reason, SizeRefused, VhdRejected
from .format import FOOTER_COOKIE, FOOTER_SIZE, NO_UUID, DiskType, Footer, check_virtual_size
from .rawio import Buffer
from .signatures import HEAD, foreign_format
from .stream.parser import StreamParser

Claim = Literal["vhd", "raw", "iso"]
CLAIMS: tuple[Claim, ...] = ("vhd", "raw", "iso")

# the volume descriptors of ISO 9660 (and of UDF) start at sector 16 of 2048 bytes
_DESCRIPTORS = 16 * 2048
_ISO_HEAD = _DESCRIPTORS + 8
_ISO_MARKS = (b"CD001", b"BEA01")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an accepted image is. Sizes in bytes."""

    claimed: Claim
    #: size of the disk (of the file, for raw and ISO)
    virtual_size: int
    #: length of the stream
    length: int
    #: only for VHDs
    type: DiskType | None = None
    allocated_blocks: int | None = None


class StreamInspector:
    """Inspects one image of the claimed format ("vhd", "raw", "iso").

    `length` is the number of bytes that will come, where it is known: what lies outside then shows earlier, and another
    number of bytes is refused. `max_virtual_size` refuses a larger disk as soon as its size is known.
    """

    def __init__(
        self, claimed: Claim = "vhd", *, length: int | None = None, max_virtual_size: int | None = None
    ) -> None:
        if claimed not in CLAIMS:
            raise ValueError(f"no inspection for {claimed!r}, only for {', '.join(CLAIMS)}")
        self.claimed: Claim = claimed
        self.length = length
        self.max_virtual_size = max_virtual_size
        #: bytes seen
        self.position = 0
        self._parser = StreamParser(length) if claimed == "vhd" else None
        self._head = bytearray()
        self._head_wanted = _ISO_HEAD if claimed == "iso" else HEAD
        self._head_seen = False
        self._size_seen = False
        self._tables_seen = False
        self._last = b""

    @property
    def virtual_size(self) -> int | None:
        """Bytes of the disk; None until known (for raw and ISO without `length`: until the end)."""
        return self._parser.virtual_size if self._parser else self.length

    @property
    def head_passed(self) -> bool:
        """Whether all that stands before the data has come and was accepted: time to let the first byte go on."""
        return self._head_seen and (self._parser is None or self._parser.ready)

    def feed(self, data: Buffer) -> None:
        """Look at the next bytes; raises VhdRejected."""
        length = len(data)
        self.position += length
        if self.length is not None and self.position > self.length:
            raise VhdRejected(Reason.TRAILING_DATA, f"more than the {self.length} bytes that were announced")
        if not self._head_seen:
            self._head += memoryview(data).cast("B")[: self._head_wanted - len(self._head)]
            if len(self._head) >= self._head_wanted:
                self._check_head()
        if self._parser:
            self._parser.feed(data)
            self._check_vhd(self._parser)
        elif length >= FOOTER_SIZE:
            self._last = bytes(memoryview(data).cast("B")[-FOOTER_SIZE:])
        else:
            self._last = (self._last + bytes(data))[-FOOTER_SIZE:]
        self._check_size(self.virtual_size)

    def finish(self) -> Inspection:
        """No more bytes will come: the verdict. Raises VhdRejected."""
        if not self._head_seen:
            self._check_head()
        if self.length is not None and self.position != self.length:
            raise VhdRejected(Reason.TRUNCATED, f"{self.position} of the {self.length} bytes that were announced")
        if self._parser:
            self._parser.finish()
            self._check_vhd(self._parser)
            size = self._parser.virtual_size
            assert size is not None and self._parser.footer is not None
            self._check_size(size)
            return Inspection(self.claimed, size, self.position, self._parser.footer.type, len(self._parser.order))
        if self.position == 0:
            raise VhdRejected(Reason.TRUNCATED, "the image is empty")
        self._check_end()
        self._check_size(self.position)
        return Inspection(self.claimed, self.position, self.position)

    # -- checks ----------------------------------------------------------------------------------------------------

    def _check_head(self) -> None:
        self._head_seen = True
        found = foreign_format(self._head)
        if found and found != self.claimed:
            raise VhdRejected(Reason.OTHER_FORMAT, f"claims to be {self.claimed}, starts like {found}")
        if self.claimed == "iso" and self._head[_DESCRIPTORS + 1 : _DESCRIPTORS + 6] not in _ISO_MARKS:
            raise VhdRejected(Reason.NOT_ISO, "no volume descriptor at sector 16")
        self._head.clear()

    def _check_size(self, size: int | None) -> None:
        if size is None or self._size_seen:
            return
        self._size_seen = True
        if self._parser:
            try:
                check_virtual_size(size)
            except SizeRefused as error:
                raise VhdRejected(Reason.SIZE_LIMIT, str(error)) from None
        if self.max_virtual_size is not None and size > self.max_virtual_size:
            raise VhdRejected(
                Reason.SIZE_LIMIT, f"the disk has {size} bytes, at most {self.max_virtual_size} are allowed here"
            )

    def _check_vhd(self, parser: StreamParser) -> None:
        if parser.trailing:
            raise VhdRejected(Reason.TRAILING_DATA, f"{parser.trailing} bytes or more behind the closing footer")
        if self._tables_seen or parser.footer is None:
            return
        if parser.footer.type is DiskType.DIFFERENCING:
            raise VhdRejected(Reason.DIFFERENCING, "the disk needs a parent, the image claims to stand alone")
        header = parser.header
        if header is None:
            return
        self._tables_seen = True
        named = [locator.code for locator in header.locators]
        if named:
            raise VhdRejected(Reason.PARENT_LOCATOR, f"a stand-alone disk names a parent's path ({named[0]!r})")
        if header.parent_unique_id != NO_UUID or header.parent_name:
            raise VhdRejected(Reason.PARENT_LOCATOR, "a stand-alone disk names a parent")

    def _check_end(self) -> None:
        """A fixed VHD is a raw disk with a footer behind it: refuse to take the footer for data."""
        if not self._last.startswith(FOOTER_COOKIE):
            return
        try:
            footer = Footer.unpack(self._last)
        except VhdRejected:
            # a disk may end like this by accident: what no reader takes for a footer is data
            return
        if footer.current_size == self.position - FOOTER_SIZE or footer.type is not DiskType.FIXED:
            raise VhdRejected(Reason.OTHER_FORMAT, f"claims to be {self.claimed}, ends like vhd")
