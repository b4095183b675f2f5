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
"""The two ways statistics are written: ``xport`` for changes, the classic ``rrd`` for everything; XML and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from xapikit.host.statistics.archive import STEP_SECONDS, Archive, Consolidation
from xapikit.host.statistics.sources import Source

_PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'
_HEARTBEAT = 300


@dataclass(frozen=True)
class Updates:
    """Rows of several archives of one width, newest first."""

    start: int
    end: int
    step: int
    legend: Sequence[str]
    rows: Sequence[tuple[int, Sequence[float]]]

    def xml(self) -> str:
        meta = (
            f"<start>{self.start}</start><step>{self.step}</step><end>{self.end}</end><rows>{len(self.rows)}</rows>"
            f"<columns>{len(self.legend)}</columns>"
        )
        legend = "".join(f"<entry>{escape(entry)}</entry>" for entry in self.legend)
        rows = "".join(
            f"<row><t>{moment}</t>{''.join(f'<v>{number(value)}</v>' for value in values)}</row>"
            for moment, values in self.rows
        )
        return f"{_PROLOG}<xport><meta>{meta}<legend>{legend}</legend></meta><data>{rows}</data></xport>"

    def json(self) -> str:
        """All numbers are texts, as newer hosts write them."""
        meta = {
            "start": str(self.start),
            "step": str(self.step),
            "end": str(self.end),
            "rows": str(len(self.rows)),
            "columns": str(len(self.legend)),
            "legend": list(self.legend),
        }
        data = [{"t": str(moment), "values": [number(value) for value in values]} for moment, values in self.rows]
        return json.dumps({"meta": meta, "data": data}, separators=(",", ":"))


def number(value: float) -> str:
    """A value as a host writes it: ``NaN``, ``Infinity``, else up to fifteen digits."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.15g}"


def full_xml(archive: Archive, sources: Mapping[str, Source]) -> str:
    """The whole archive, as the classic ``rrd`` document."""
    updated = number(archive.last_update)
    parts = [f"{_PROLOG}<rrd><version>0003</version><step>{STEP_SECONDS}</step><lastupdate>{updated}</lastupdate>"]
    for members in _definitions(archive, sources):
        parts.append("<ds>" + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in members.items()) + "</ds>")
    for one in archive.consolidations:
        parts.append(f"<rra><cf>AVERAGE</cf><pdp_per_row>{one.steps}</pdp_per_row><params><xff>0.5</xff></params>")
        ds = "<ds><primary_value>0.0</primary_value><secondary_value>0.0</secondary_value><value>0.0</value>"
        parts.append(f"<cdp_prep>{(ds + '<unknown_datapoints>0</unknown_datapoints></ds>') * len(archive.names)}")
        parts.append("</cdp_prep><database>")
        for values in _database(one, archive.names):
            parts.append("<row>" + "".join(f"<v>{value}</v>" for value in values) + "</row>")
        parts.append("</database></rra>")
    parts.append("</rrd>")
    return "".join(parts)


def full_json(archive: Archive, sources: Mapping[str, Source]) -> str:
    updated = number(archive.last_update)
    empty = {"primary_value": "0.0", "secondary_value": "0.0", "value": "0.0", "unknown_datapoints": "0"}
    return json.dumps(
        {
            "version": "0003",
            "step": str(STEP_SECONDS),
            "lastupdate": updated,
            "ds": [{**members, "last_updated": updated} for members in _definitions(archive, sources)],
            "rra": [
                {
                    "cf": "AVERAGE",
                    "pdp_per_row": str(one.steps),
                    "params": {"xff": "0.5"},
                    "cdp_prep": {"ds": [empty] * len(archive.names)},
                    "database": _database(one, archive.names),
                }
                for one in archive.consolidations
            ],
        },
        separators=(",", ":"),
    )


def _definitions(archive: Archive, sources: Mapping[str, Source]) -> list[dict[str, str]]:
    found = []
    for name, value in archive.last_values.items():
        source = sources.get(name)
        members = {
            "name": name,
            "type": "GAUGE",
            "minimal_heartbeat": str(_HEARTBEAT),
            "min": "0.0",
            "max": number(source.maximum) if source is not None else "Infinity",
            "last_ds": number(value),
            "value": number(value),
            "unknown_sec": "0.0",
        }
        found.append(members)
    return found


def _database(one: Consolidation, names: Sequence[str]) -> list[list[str]]:
    nothing = float("nan")
    there = one.rows  # one reading: samples are taken meanwhile
    missing = one.kept - len(there)
    rows = [["NaN"] * len(names)] * missing
    return rows + [[number(values.get(name, nothing)) for name in names] for _, values in there]
