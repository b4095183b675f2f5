// Licensed under the Apache License, Version 2.0 (the "License"); you may
// not use this file except in compliance with the License. You may obtain
// a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
// WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
// License for the specific language governing permissions and limitations
// under the License.
// Durations as numbers of milliseconds or as texts like '5 s'.
'use strict'

const MILLISECONDS = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }

exports.parseDuration = function parseDuration(given) {
  if (typeof given === 'number') return given
  const found = /^\s*([0-9.]+)\s*(ms|[smhd])?/.exec(given)
  if (found === null) throw new TypeError(`not a duration: ${given}`)
  return Number(found[1]) * MILLISECONDS[found[2] ?? 'ms']
}
