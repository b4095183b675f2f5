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
// A session with Xen Orchestra's client library; run by node, not by pytest.

import assert from 'node:assert'
import { Readable } from 'node:stream'
import { createClient } from 'xen-api'

const [, , url, password] = process.argv
const xapi = createClient({ url, auth: { user: 'root', password }, allowUnauthorized: true })
await xapi.connect()
await xapi.objectsFetched

// the object cache follows what happens
const network = await xapi.call('network.create', {
  name_label: 'xo <&>', name_description: '', MTU: 1500, other_config: {},
})
await xapi.barrier(network)
assert.equal(xapi.getObject(network).name_label, 'xo <&>')
await xapi.getObject(network).set_name_label('renamed')
await xapi.barrier(network)
assert.equal(xapi.getObject(network).name_label, 'renamed')
const records = await xapi.call('network.get_all_records')
for (const [ref, record] of Object.entries(records)) {
  assert.equal(xapi.getObject(ref).uuid, record.uuid)
}
await xapi.callAsync('network.destroy', network)
await assert.rejects(xapi.call('network.get_record', network), { code: 'HANDLE_INVALID' })
await assert.rejects(xapi.callAsync('VM.start', 'OpaqueRef:nope', false, false), { code: 'HANDLE_INVALID' })

// disk contents in and out
const sr = Object.values(xapi.objects.all).find(o => o.$type === 'SR' && o.type === 'ext')
const size = 4 << 20
const vdi = await xapi.call('VDI.create', {
  SR: sr.$ref, name_label: 'xo', name_description: '', virtual_size: size, type: 'user', sharable: false,
  read_only: false, other_config: {},
})
const content = Buffer.alloc(size, 'xen orchestra ')
const task = await xapi.call('task.create', 'put', '')
const source = Readable.from([content.subarray(0, 1000001), content.subarray(1000001)])
source.length = size
const ended = xapi.watchTask(task)
await xapi.putResource(source, '/import_raw_vdi/', { query: { format: 'raw', vdi }, task })
await ended

async function download(format) {
  const response = await xapi.getResource('/export_raw_vdi/', { query: { format, vdi } })
  const chunks = []
  for await (const chunk of response.body ?? response) chunks.push(chunk)
  return Buffer.concat(chunks)
}
assert.ok((await download('raw')).equals(content))
const vhd = await download('vhd')
assert.equal(vhd.subarray(-512, -504).toString(), 'conectix')
await xapi.callAsync('VDI.destroy', vdi)

// a VM from a template, watched through its life
const template = Object.values(xapi.objects.all).find(
  o => o.$type === 'VM' && o.is_a_template && o.name_label === 'Other install media'
)
const vm = await xapi.callAsync('VM.clone', template.$ref, 'xo vm')
await xapi.callAsync('VM.provision', vm)
await xapi.call('VM.set_memory_limits', vm, ...Array(4).fill(256 << 20))
for (const [method, args, state] of [
  ['VM.start', [false, false], 'Running'],
  ['VM.pause', [], 'Paused'],
  ['VM.unpause', [], 'Running'],
  ['VM.hard_shutdown', [], 'Halted'],
]) {
  await xapi.callAsync(method, vm, ...args)
  await xapi.barrier(vm)
  assert.equal(xapi.getObject(vm).power_state, state)
  assert.equal(xapi.getObject(vm).resident_on !== 'OpaqueRef:NULL', state !== 'Halted')
}
// the VM as an archive, out and in again
for (const compress of ['', 'gzip', 'zstd']) {
  const archive = await xapi.getResource('/export/', { query: { ref: vm, use_compression: compress } })
  const parts = []
  for await (const part of archive.body ?? archive) parts.push(part)
  const xva = Buffer.concat(parts)
  const importing = await xapi.call('task.create', 'import', '')
  const body = Readable.from([xva])
  body.length = xva.length
  const result = xapi.watchTask(importing)
  await xapi.putResource(body, '/import/', { query: { sr_id: sr.$ref }, task: importing })
  const found = await result
  const copy = Array.isArray(found) ? found[0] : /OpaqueRef:[0-9a-f-]+/.exec(found)[0]
  await xapi.barrier(copy)
  assert.equal(xapi.getObject(copy).name_label, 'xo vm')
  await xapi.callAsync('VM.destroy', copy)
}
const snapshot = await xapi.callAsync('VM.snapshot', vm, 'xo snapshot')
await xapi.barrier(snapshot)
assert.deepEqual(xapi.getObject(vm).snapshots, [snapshot])
for (const ref of [snapshot, vm]) await xapi.callAsync('VM.destroy', ref)

// a storm of operations by many at once: when it is over, the cache is what the host has
let seed = 7
const chance = limit => (seed = (seed * 1103515245 + 12345) % 2147483648) % limit
const mine = []
async function operation(number) {
  const known = mine[chance(mine.length || 1)]
  switch (known === undefined ? 0 : chance(7)) {
    case 0:
      mine.push(await xapi.call('VM.clone', template.$ref, `storm ${number}`))
      return
    case 1:
      mine.splice(mine.indexOf(known), 1)
      return xapi.call('VM.destroy', known)
    case 2:
      return xapi.call('VM.set_name_label', known, `renamed ${number}`)
    case 3:
      return xapi.call('VM.set_tags', known, [`tag ${number}`])
    case 4:
      return xapi.call('VM.set_other_config', known, { number: String(number) })
    case 5:
      return xapi.call('network.set_name_label', Object.keys(records)[0], `network ${number}`)
    default: {
      const disk = await xapi.call('VDI.create', {
        SR: sr.$ref, virtual_size: 1 << 20, type: 'user', sharable: false, read_only: false, other_config: {},
        name_label: `disk ${number}`,
      })
      if (chance(2)) await xapi.call('VDI.destroy', disk)
    }
  }
}
let number = 0
let gone = 0
async function worker() {
  while (number < 400) {
    try {
      await operation(number++)
    } catch (error) {
      if (error.code !== 'HANDLE_INVALID') throw error // another worker destroyed it
      gone++
    }
  }
}
await Promise.all(Array.from({ length: 8 }, worker))
await xapi.barrier()
let compared = 0
// not the pool: the barrier writes into it
for (const type of ['VM', 'VDI', 'VBD', 'VIF', 'SR', 'network', 'PIF', 'PBD', 'host', 'VM_metrics']) {
  const there = await xapi.call(`${type}.get_all_records`)
  const cached = Object.values(xapi.objects.all).filter(o => o.$type === type)
  assert.deepEqual(new Set(cached.map(o => o.$ref)), new Set(Object.keys(there)), type)
  for (const o of cached) {
    for (const [field, value] of Object.entries(there[o.$ref])) {
      // as texts: the cache freezes what it holds
      assert.equal(JSON.stringify(o[field]), JSON.stringify(value), `${type}.${field} of ${o.$ref}`)
      compared++
    }
  }
}
console.log(`${number} operations, ${gone} too late, ${compared} fields compared`)
await xapi.disconnect()
console.log('done')
process.exit(0)
