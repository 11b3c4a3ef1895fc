// oracle.mjs evaluates with flagd's official evaluator: a line {"flags": flagd JSON, "contexts": [...]} on stdin gives a line
// [[variant, reason, errorCode, value], ...] on stdout, for each flag in order of its key and each context.
import { createInterface } from 'node:readline'
import { FlagdCore } from '@openfeature/flagd-core'

const quiet = { error() {}, warn() {}, info() {}, debug() {} }

function evaluate(flag, context) {
  if (flag.state === 'DISABLED') return [null, 'DISABLED', null, null]
  const r = flag.evaluate(context, quiet)
  return [r.variant ?? null, r.reason, r.errorCode ?? null, r.value === undefined ? null : r.value]
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { flags, contexts } = JSON.parse(line)
  const core = new FlagdCore(undefined, quiet)
  core.setConfigurations(JSON.stringify(flags))
  const out = []
  for (const key of Object.keys(flags.flags).sort()) {
    const flag = core.getFlag(key)
    for (const context of contexts) out.push(evaluate(flag, context))
  }
  process.stdout.write(JSON.stringify(out) + '\n')
}
