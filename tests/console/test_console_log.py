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
"""Console logs are bounded, survive the service, and repeat nothing when a console is connected again."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from nova_xapi.console.history import ANCHOR, MAX_HISTORY, Joiner
from nova_xapi.console.logfile import LogFile


def boot(lines: int) -> bytes:
    return b"".join(b"[%12.6f] line %d of the boot\r\n" % (n / 7, n) for n in range(lines))


def test_a_log_keeps_its_end_within_its_bound(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", 10_000)
    text = boot(2000)
    for at in range(0, len(text), 777):
        log.append(text[at : at + 777])
    kept = log.tail(1 << 20)
    assert text.endswith(kept) and 5_000 <= len(kept) <= 10_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert log.tail(100) == text[-100:]
    log.append(bytes(50_000))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000


def test_only_the_service_may_read_a_log(tmp_path: Path) -> None:
    LogFile(tmp_path / "a.log", 100).append(b"secret")
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_removed_is_gone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", 8)
    log.append(b"12345678")
    log.append(b"12345678")
    assert log.exists
    log.remove()
    log.remove()
    assert not log.exists and log.tail(10) == b"" and not list(tmp_path.iterdir())


def joined(recorded: bytes, arriving: list[bytes]) -> bytes:
    joiner = Joiner(recorded)
    return b"".join(joiner.feed(piece) for piece in arriving) + joiner.settle()


def test_history_that_is_recorded_already_is_not_repeated() -> None:
    text = boot(3000)
    for cut in (300, 20_000, 60_000):
        recorded, history = text[:cut], text[max(cut - 30_000, 0) :]
        assert joined(recorded, [history[:5000], history[5000:]]) == text[cut:]


def test_what_was_missed_while_the_connection_was_broken_is_recorded() -> None:
    text = boot(300)
    assert joined(text[:5000], [text]) == text[5000:]


def test_a_new_console_is_recorded_from_its_start() -> None:
    assert joined(boot(100), [b"SeaBIOS\r\n", b"GRUB"]) == b"SeaBIOS\r\nGRUB"
    assert joined(b"", [b"SeaBIOS\r\n", b"GRUB"]) == b"SeaBIOS\r\nGRUB"


def test_a_host_without_history_loses_nothing() -> None:
    assert joined(boot(100), [b"login: "]) == b"login: "


def test_repetitive_output_is_joined_where_the_longest_past_agrees() -> None:
    login = b"login: \r\n" * 60
    text = boot(50) + login
    recorded = text[: -len(login) // 2]
    assert joined(recorded, [text]) == text[len(recorded) :]


def test_holding_back_is_bounded() -> None:
    joiner = Joiner(b"something else entirely")
    out = b""
    for _ in range(40):
        out += joiner.feed(bytes(20_000))
    assert not joiner.holding and len(out) == 40 * 20_000 > MAX_HISTORY


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=1, max_size=900), st.integers(0, 9000), st.integers(0, 9000), st.integers(1, 300))
def test_a_stream_without_repetition_is_recorded_once(seed: bytes, cut: int, back: int, piece: int) -> None:
    text = b"".join(b"%06d%c" % (n, byte) for n, byte in enumerate(seed))
    cut %= len(text) + 1
    start = max(cut - back, 0)
    arriving = [text[at : at + piece] for at in range(start, len(text), piece)]
    found = joined(text[:cut], arriving)
    if start == 0 or (cut >= ANCHOR and cut - start >= ANCHOR):  # the history reaches back far enough
        assert found == text[cut:]
    elif cut >= ANCHOR:
        assert found == text[start:], "rather twice than not at all"
    else:
        assert found in (text[start:], text[start + cut :])
