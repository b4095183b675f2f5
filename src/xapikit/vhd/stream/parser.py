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
"""Reading a VHD as it arrives: bytes in, any number at a time, extents out, without looking back.

`StreamParser` does no I/O and holds no data: what it gives out are views of what it was fed. Everything is checked that
can be checked without the parents: `read` and the inspector are thin layers over it.

A fixed VHD has no header; that it was one shows only in its last 512 bytes, which the parser holds back.
"""

from collections.abc import Generator
from pathlib import PurePosixPath
from typing import NoReturn
from uuid import UUID

from xapikit.vhd.bitmap import Bitmap
from xapikit.vhd.blocktable import BlockTable
from xapikit.vhd.errors import Reason, VhdRejected
from xapikit.vhd.format import (
    FOOTER_COOKIE,
    FOOTER_SIZE,
    HEADER_SIZE,
    MACX,
    NO_OFFSET,
    SECTOR,
    W2KU,
    W2RU,
    DiskType,
    Footer,
    Header,
    bitmap_size,
    decode_locator,
    table_size,
)
from xapikit.vhd.rawio import Buffer

#: what may stand between the last block (or the table) and the footer, batmap included
MAX_TAIL = 16 << 20
_MAX_LOCATOR = 4096

Extent = tuple[int, memoryview]
_Steps = Generator[None, None, None]


class StreamParser:
    """One VHD stream. `length` is the number of bytes that will come, where it is known beforehand.

    Facts appear as they are known: `footer` and `header` early on (`footer` of a fixed disk only at the end), `ready`
    when the block table has been read, `complete` when the closing footer has.
    """

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.footer: Footer | None = None
        self.header: Header | None = None
        self.table: BlockTable | None = None
        #: fixed, once the first bytes are not a footer
        self.fixed = False
        self.ready = False
        self.complete = False
        #: blocks in stream order
        self.order: list[int] | memoryview = []
        #: parents' paths by platform, as far as they stand before the blocks
        self.locators: dict[bytes, str] = {}
        #: bytes taken in
        self.position = 0
        #: bytes that came behind the closing footer
        self.trailing = 0
        self._chunk = memoryview(b"")
        self._at = 0
        self._ended = False
        self._last = b""
        self._fed = 0
        self._out: list[Extent] = []
        self._steps: _Steps = self._run()

    # -- what users call -------------------------------------------------------------------------------------------

    def feed(self, data: Buffer) -> list[Extent]:
        """Take the next bytes; answers the extents (disk offset, bytes) they hold, as views of `data`.

        Raises VhdRejected; the parser is of no use after that.
        """
        self._chunk = memoryview(data).cast("B")
        self._at = 0
        self._out = []
        length = len(self._chunk)
        self._fed += length
        self._last = bytes(self._chunk[-FOOTER_SIZE:]) if length >= FOOTER_SIZE else self._tail(self._chunk)
        next(self._steps, None)
        self.trailing += length - self._at
        out, self._out = self._out, []
        self._chunk = memoryview(b"")
        self._at = 0
        return out

    def finish(self) -> list[Extent]:
        """No more bytes will come; raises VhdRejected unless the VHD is complete."""
        self._ended = True
        self._out = []
        next(self._steps, None)
        return self._out

    @property
    def virtual_size(self) -> int | None:
        """Bytes of the disk; None until known."""
        if self.footer is not None:
            return self.footer.current_size
        if self.fixed and self.length is not None:
            return self.length - FOOTER_SIZE
        return None

    @property
    def parent_name(self) -> str | None:
        """The parent's file name, without directories; None unless differencing."""
        if self.header is None or self.footer is None or self.footer.type is not DiskType.DIFFERENCING:
            return None
        for code in (MACX, W2RU, W2KU):
            if code in self.locators:
                return PurePosixPath(self.locators[code]).name
        return PurePosixPath(self.header.parent_name.replace("\\", "/")).name

    @property
    def parent_unique_id(self) -> UUID | None:
        if self.header is None or self.footer is None or self.footer.type is not DiskType.DIFFERENCING:
            return None
        return self.header.parent_unique_id

    # -- taking bytes ----------------------------------------------------------------------------------------------

    def _tail(self, chunk: memoryview) -> bytes:
        return (self._last + bytes(chunk))[-FOOTER_SIZE:]

    def _take(self, count: int, what: str) -> Generator[None, None, bytes]:
        """Collect `count` bytes."""
        parts = bytearray()
        while len(parts) < count:
            part = self._chunk[self._at : self._at + count - len(parts)]
            if not part:
                if self._ended:
                    self._refuse_early_end(what)
                yield
                continue
            self._at += len(part)
            parts += part
        self.position += count
        return bytes(parts)

    def _pass(self, count: int, offset: int | None) -> _Steps:
        """Give `count` bytes out as data of the disk at `offset`, or drop them (None)."""
        while count:
            part = self._chunk[self._at : self._at + count]
            size = len(part)
            if not size:
                if self._ended:
                    self._refuse_early_end("data before the footer")
                yield
                continue
            if offset is not None:
                self._out.append((offset, part))
                offset += size
            self._at += size
            self.position += size
            count -= size

    def _refuse_early_end(self, missing: str) -> NoReturn:
        """The stream ended where something had to follow: cut off, or closed by its footer and wrong in itself?"""
        try:
            # the first footer is the copy at the front
            closed = self._fed >= 2 * FOOTER_SIZE and Footer.unpack(self._last) == self.footer
        except VhdRejected:
            closed = False
        if not closed:
            raise VhdRejected(Reason.TRUNCATED, f"the stream ends at {self._fed}, before the end of the {missing}")
        if self.table is None:
            raise VhdRejected(Reason.TABLE_POSITION, f"the block table lies behind the closing footer, at {self._fed}")
        raise VhdRejected(Reason.BLOCK_OUTSIDE, f"a block lies behind the closing footer that ends at {self._fed}")

    def _skip_to(self, target: int, captures: list[tuple[int, int, bytes]]) -> _Steps:
        """Go on to `target`, keeping parent locators that lie in between."""
        while captures and captures[0][0] + captures[0][1] <= target:
            start, length, code = captures.pop(0)
            if start < self.position:
                continue
            yield from self._pass(start - self.position, None)
            text = decode_locator(code, (yield from self._take(length, "parent locator")))
            if text:
                self.locators.setdefault(code, text)
        yield from self._pass(target - self.position, None)

    # -- the format ------------------------------------------------------------------------------------------------

    def _run(self) -> _Steps:
        first = yield from self._take(len(FOOTER_COOKIE), "first bytes")
        if first != FOOTER_COOKIE:
            yield from self._fixed(first)
            return
        footer = Footer.unpack(first + (yield from self._take(FOOTER_SIZE - len(first), "footer copy")))
        self.footer = footer
        if footer.type is DiskType.FIXED:
            raise VhdRejected(Reason.FIXED_FOOTER, "the footer of a fixed disk stands at the front of the file")
        if footer.data_offset < FOOTER_SIZE or footer.data_offset % SECTOR:
            raise VhdRejected(Reason.TABLE_POSITION, f"dynamic header at {footer.data_offset}")
        yield from self._pass(footer.data_offset - self.position, None)
        header = Header.unpack((yield from self._take(HEADER_SIZE, "dynamic header")), footer.current_size)
        self.header = header
        if header.table_offset < self.position:
            raise VhdRejected(
                Reason.TABLE_POSITION, f"block table at {header.table_offset}, the header ends at {self.position}"
            )
        captures = sorted(
            (one.offset, one.length, one.code)
            for one in header.locators
            if one.offset >= self.position and 0 < one.length <= _MAX_LOCATOR
        )
        yield from self._skip_to(header.table_offset, captures)
        self.table = BlockTable.unpack(
            (yield from self._take(header.max_entries * 4, "block table")), header.max_entries
        )
        self._check_table(footer, header, self.table)
        self.order = memoryview(self.table.in_file_order())
        # locators between table and blocks belong to the head: whoever asks for the parent's name then has it
        first_block = self.table.entries[self.order[0]] * SECTOR if len(self.order) else None
        ends = [start + length for start, length, _ in captures if first_block is None or start + length <= first_block]
        if ends:
            yield from self._skip_to(max(self.position, *ends), captures)
        self.ready = True
        yield from self._blocks(footer, header, self.table, captures)
        yield from self._closing_footer(footer, header, captures)
        self.complete = True

    def _check_table(self, footer: Footer, header: Header, table: BlockTable) -> None:
        table_end = header.table_offset + table_size(header.max_entries)
        reserved = [
            (0, FOOTER_SIZE),
            (footer.data_offset, footer.data_offset + HEADER_SIZE),
            (header.table_offset, table_end),
        ]
        reserved += [(one.offset, one.offset + one.length) for one in header.locators if one.length]
        end = None if self.length is None else self.length - FOOTER_SIZE
        sectors = table.check(header.block_size, footer.current_size, reserved, end)
        if sectors and sectors[0] * SECTOR < self.position:
            raise VhdRejected(
                Reason.TABLE_POSITION, "blocks lie before the block table: this file cannot be read in one pass"
            )

    def _blocks(
        self, footer: Footer, header: Header, table: BlockTable, captures: list[tuple[int, int, bytes]]
    ) -> _Steps:
        block_size = header.block_size
        sectors = block_size // SECTOR
        bitmap_bytes = bitmap_size(block_size)
        full = (b"\xff" * (sectors // 8)).ljust(bitmap_bytes, b"\0")
        size = footer.current_size
        for block in self.order:
            yield from self._skip_to(table.entries[block] * SECTOR, captures)
            packed = yield from self._take(bitmap_bytes, f"bitmap of block {block}")
            base = block * block_size
            inside = min(block_size, size - base)
            if packed == full or packed.startswith(full[: sectors // 8]):
                yield from self._pass(inside, base)
            else:
                for start, stop, present in Bitmap(packed, sectors).runs(0, inside // SECTOR):
                    length = (stop - start) * SECTOR
                    yield from self._pass(length, base + start * SECTOR if present else None)
            yield from self._pass(block_size - inside, None)

    def _closing_footer(self, footer: Footer, header: Header, captures: list[tuple[int, int, bytes]]) -> _Steps:
        if captures:
            yield from self._skip_to(captures[-1][0] + captures[-1][1], captures)
        yield from self._pass(-self.position % SECTOR, None)
        start = self.position
        while self.position - start <= MAX_TAIL:
            sector = yield from self._take(SECTOR, "closing footer")
            if sector.startswith(FOOTER_COOKIE):
                if Footer.unpack(sector) != footer:
                    raise VhdRejected(
                        Reason.FOOTERS_DIFFER, "the closing footer says something else than its copy at the front"
                    )
                return
        raise VhdRejected(Reason.TRUNCATED, f"no footer in {MAX_TAIL} bytes behind the last block")

    def _fixed(self, first: bytes) -> _Steps:
        self.fixed = self.ready = True
        held = bytearray(first)
        offset = 0
        while True:
            part = self._chunk[self._at :]
            if not part:
                if self._ended:
                    break
                yield
                continue
            self._at += len(part)
            self.position += len(part)
            surplus = len(held) + len(part) - FOOTER_SIZE
            if surplus > 0:
                from_held = min(surplus, len(held))
                if from_held:
                    self._out.append((offset, memoryview(bytes(held[:from_held]))))
                    del held[:from_held]
                    offset += from_held
                if surplus > from_held:
                    self._out.append((offset, part[: surplus - from_held]))
                    offset += surplus - from_held
                    part = part[surplus - from_held :]
            held += part
        self._fixed_footer(bytes(held), offset)
        self.complete = True

    def _fixed_footer(self, held: bytes, size: int) -> None:
        if len(held) < FOOTER_SIZE:
            raise VhdRejected(Reason.TRUNCATED, f"{len(held)} bytes: no VHD is that short")
        if not held.startswith(FOOTER_COOKIE):
            raise VhdRejected(Reason.NOT_VHD, "neither its first nor its last bytes are a VHD footer")
        footer = Footer.unpack(held)
        if footer.type is not DiskType.FIXED:
            raise VhdRejected(
                Reason.FIXED_FOOTER, f"the footer at the end is of type {footer.type}, but the file starts without one"
            )
        if footer.current_size != size:
            raise VhdRejected(
                Reason.FIXED_FOOTER, f"the footer says {footer.current_size} bytes, in front of it are {size}"
            )
        if footer.data_offset != NO_OFFSET:
            raise VhdRejected(
                Reason.FIXED_FOOTER, f"a fixed disk has no header, its footer names one at {footer.data_offset}"
            )
        self.footer = footer
