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
// Xen Orchestra writes archives of its own when it imports VMs of other hypervisors; run by node, not by pytest.

import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { Xapi } from '@xen-orchestra/xapi'
import { importVdi } from '@xen-orchestra/xva/importVdi.mjs'
import { importVm } from '@xen-orchestra/xva/importVm.mjs'

const [, , url, password] = process.argv
const xapi = new Xapi({ url, auth: { user: 'root', password }, allowUnauthorized: true })
await xapi.connect()
await xapi.objectsFetched

const MIB = 1 << 20
// contents with holes inside, at the end, and of a size that is no multiple of a chunk
function disk(parts, size) {
  const content = Buffer.alloc(size)
  for (const [at, seed] of parts) {
    for (let offset = at * MIB; offset < Math.min((at + 1) * MIB, size); offset += 32) {
      createHash('sha256').update(`${seed} ${offset}`).digest().copy(content, offset)
    }
  }
  return {
    content,
    vhd: { footer: { currentSize: size }, rawContent: async () => Readable.from([content], { objectMode: false }) },
    vdi: { name_label: `disk ${parts}`, name_description: '', virtual_size: size },
  }
}

async function contents(vdi) {
  const parts = []
  for await (const part of (await xapi.getResource('/export_raw_vdi/', { query: { vdi, format: 'raw' } })).body) parts.push(part)
  return Buffer.concat(parts)
}

// plain copies: what is written into the archive is added to them
const of = (object, ...names) => Object.fromEntries(['$ref', 'uuid', 'name_label', ...names].map(name => [name, object[name]]))
const found = (type, test) => Object.values(xapi.objects.all).find(o => o.$type === type && test(o))
const sr = of(found('SR', o => o.type === 'ext'), 'type', 'content_type')
const network = of(found('network', o => o.bridge === 'xenbr0'), 'bridge')
const first = disk([[0, 'a'], [3, 'b']], 8 * MIB)
const second = disk([[1, 'c'], [4, 'd']], 4 * MIB + 512 * 100)
const vm = await importVm({
  name_label: 'from elsewhere', memory: 256 * MIB, nCpus: 2, firmware: 'uefi',
  networks: [{ macAddress: '00:50:56:01:02:03', isGenerated: false }],
  vdis: [first.vdi, second.vdi], vhds: [first.vhd, second.vhd],
}, xapi, sr, network)
const record = await xapi.getRecord('VM', vm)
assert.equal(record.name_label, 'from elsewhere')
assert.equal(record.HVM_boot_params.firmware, 'uefi')
assert.equal(record.VCPUs_max, 2)
assert.equal(record.VIFs.length, 1)
for (const vbd of record.VBDs) {
  const { userdevice, VDI } = await xapi.getRecord('VBD', vbd)
  const { content } = userdevice === '1' ? first : second
  const read = await contents(VDI)
  assert.ok(read.subarray(0, content.length).equals(content), `disk ${userdevice}`)
  assert.ok(read.subarray(content.length).every(byte => byte === 0))
}
await xapi.callAsync('VM.start', vm, false, false)
await xapi.callAsync('VM.hard_shutdown', vm)

const alone = disk([[0, 'e']], 2 * MIB)
const { $ref } = await importVdi(alone.vdi, alone.vhd, xapi, sr)
assert.ok((await contents($ref)).equals(alone.content))
await xapi.disconnect()
console.log('done')
process.exit(0)
