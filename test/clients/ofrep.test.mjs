// The official OFREP providers, unmodified, against the real binary.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { OFREPProvider } from '@openfeature/ofrep-provider'
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider'
import { OpenFeature } from '@openfeature/server-sdk'
import { OpenFeature as Web, ProviderEvents } from '@openfeature/web-sdk'
import { EventSource } from 'eventsource'
import { flags, serve, until } from './lib.mjs'

globalThis.EventSource = EventSource

let server, token
before(async () => {
  server = await serve('--evaluate-rate', '500')
  await server.api('POST', '/v1/flags/import', flags)
  token = (await server.api('POST', '/v1/tokens', { name: 'web', role: 'client' })).secret
})
after(async () => {
  await OpenFeature.close()
  await Web.close()
  await server.stop()
})

test('ofrep-provider: every type, reason and error', async () => {
  await OpenFeature.setProviderAndWait('server', new OFREPProvider({ baseUrl: server.url, headers: [['Authorization', `Bearer ${token}`]] }))
  const client = OpenFeature.getClient('server')
  const fr = { targetingKey: 'user-1', country: 'FR', version: '2.1.0', deep: { list: [1, { x: null }] } }
  const welcome = await client.getBooleanDetails('welcome', false, fr)
  assert.deepEqual([welcome.value, welcome.reason, welcome.variant, typeof welcome.flagMetadata.revision], [true, 'STATIC', 'on', 'number'])
  const colour = await client.getStringDetails('headerColour', 'x', fr)
  assert.deepEqual([colour.value, colour.reason, colour.variant], ['#0000ff', 'TARGETING_MATCH', 'blue'])
  assert.equal((await client.getStringDetails('headerColour', 'x', { country: 'DE' })).reason, 'DEFAULT')
  assert.equal(await client.getNumberValue('limit', 0, fr), 200)
  assert.equal(await client.getNumberValue('limit', 0, { version: 'x' }), 10)
  assert.equal(await client.getNumberValue('ratio', 0, {}), 0.25)
  assert.deepEqual(await client.getObjectValue('theme', {}, {}), { font: 'serif', sizes: [1, 2] })
  const missing = await client.getBooleanDetails('nosuch', true, fr)
  assert.deepEqual([missing.value, missing.errorCode], [true, 'FLAG_NOT_FOUND'])
  const mismatch = await client.getStringDetails('welcome', 'mine', fr)
  assert.deepEqual([mismatch.value, mismatch.errorCode], ['mine', 'TYPE_MISMATCH'])
  assert.equal(await client.getStringValue('undecided', 'mine', fr), 'mine')
  assert.equal(await client.getBooleanValue('asleep', false, fr), false)
})

test('ofrep-provider: a kill switch is what the next evaluation sees', async () => {
  const client = OpenFeature.getClient('server')
  await server.api('POST', '/v1/flags/welcome/kill', { reason: 'test' })
  assert.equal((await client.getBooleanDetails('welcome', false, {})).reason, 'DISABLED')
  await server.api('POST', '/v1/flags/welcome/revive', {})
  assert.equal((await client.getBooleanDetails('welcome', false, {})).reason, 'STATIC')
})

test('ofrep-provider: without a token it is refused', async () => {
  await OpenFeature.setProviderAndWait('stranger', new OFREPProvider({ baseUrl: server.url }))
  const d = await OpenFeature.getClient('stranger').getBooleanDetails('welcome', false, {})
  assert.deepEqual([d.value, d.reason], [false, 'ERROR'])
})

test('ofrep-provider: it pauses when it is told to', async () => {
  const slow = await serve('--anonymous', 'client', '--evaluate-rate', '1')
  try {
    await slow.api('POST', '/v1/flags/import', flags)
    await OpenFeature.setProviderAndWait('hasty', new OFREPProvider({ baseUrl: slow.url }))
    const client = OpenFeature.getClient('hasty')
    const paused = await until('a pause', async () => {
      const d = await client.getBooleanDetails('welcome', false, {})
      return /TooManyRequests/.test(d.errorMessage ?? '') && d
    })
    assert.equal(paused.value, false)
  } finally {
    await slow.stop()
  }
})

test('ofrep-web-provider: bulk, 304, a change by its event stream', async () => {
  const seen = []
  const fetchImplementation = async (request) => {
    const r = await fetch(request)
    seen.push(r.status)
    return r
  }
  await Web.setContext({ targetingKey: 'user-1', country: 'FR' })
  const provider = new OFREPWebProvider({ baseUrl: server.url, headers: [['X-API-Key', token]], fetchImplementation, cacheMode: 'disabled' })
  const changes = []
  Web.addHandler(ProviderEvents.ConfigurationChanged, (e) => changes.push(...(e.flagsChanged ?? [])))
  await Web.setProviderAndWait(provider)
  const client = Web.getClient()
  assert.equal(client.getBooleanValue('welcome', false), true)
  assert.equal(client.getStringDetails('headerColour', 'x').reason, 'TARGETING_MATCH')
  assert.deepEqual(client.getObjectValue('theme', {}), { font: 'serif', sizes: [1, 2] })
  assert.equal(client.getBooleanDetails('nosuch', true).errorCode, 'FLAG_NOT_FOUND')
  // The stream says at once that there is a state; the client has it already.
  await until('a 304 after the first hint', () => seen.includes(304))
  await server.api('POST', '/v1/flags/welcome/kill', { reason: 'test' })
  await until('the change', () => changes.includes('welcome'))
  assert.equal(client.getBooleanDetails('welcome', true).reason, 'DISABLED')
  assert.deepEqual(changes, ['welcome'])
  await server.api('POST', '/v1/flags/welcome/revive', {})
  await until('the change back', () => client.getBooleanDetails('welcome', false).reason === 'STATIC')
  const { clients } = await server.api('GET', '/v1/components')
  assert.deepEqual(clients.map((c) => [c.class, c.caller, c.delivery]), [['ofrep-bulk', 'token:web', 'proven'], ['ofrep-single', 'token:web', 'proven']])
  assert.match(server.sluice('component', 'list'), /ofrep-bulk +token:web .* proven/)
})
