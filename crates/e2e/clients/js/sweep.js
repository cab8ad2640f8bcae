// Asks a broker what kafkajs can ask of it, one `name: answer` line each. Run it on two brokers and compare.
// Usage: node sweep.js BOOTSTRAP. Answers carry nothing that differs between two runs.
'use strict'

const { Kafka, logLevel, CompressionTypes, CompressionCodecs, ConfigResourceTypes, AssignerProtocol, PartitionAssigners } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const kafka = new Kafka({
  clientId: 'sweep', brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 8 }
})
const admin = kafka.admin({ retry: { initialRetryTime: 50, retries: 4 } })
// A time of long ago, so that answers are the same on every day; the topics keep such records.
const LONG_AGO = 1600000000000

function failure (e) {
  const names = [e.name, e.type].filter(Boolean).join(' ')
  const inner = (e.errors || []).map(failure).join(', ') // what a list of topics was answered
  return `! ${names}: ${e.message}${inner && ` [${inner}]`}`
}

// Prints the answer to one question, or its error, which is an answer too.
async function check (name, question) {
  let answer
  try {
    answer = await question()
  } catch (e) {
    answer = failure(e)
  }
  const text = typeof answer === 'string' ? answer : JSON.stringify(answer)
  console.log(`${name}: ${text}`.replaceAll('\n', '\\n'))
}

async function until (what, condition, seconds = 30) {
  const deadline = Date.now() + seconds * 1000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function create (topic, numPartitions = 1, configs = {}) {
  const configEntries = Object.entries({ 'retention.ms': '-1', ...configs }).map(([name, value]) => ({ name, value }))
  const created = await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] })
  await until(`${topic} is there`, async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => ({ topics: [{ partitions: [] }] }))
    return topics[0].partitions.length === numPartitions && topics[0].partitions.every(p => p.leader === 1)
  })
  return created
}

async function send (request, options = {}) {
  const producer = kafka.producer({ retry: { initialRetryTime: 50, retries: options.idempotent ? 8 : 2 }, ...options })
  await producer.connect()
  try {
    return await producer.send({ timeout: 10000, ...request })
  } finally {
    await producer.disconnect()
  }
}

const text = bytes => bytes === null ? 'null' : bytes === undefined ? 'none' : JSON.stringify(bytes.toString())
const values = object => Object.entries(object).map(([k, v]) => `${k}=${Array.isArray(v) ? v.map(text) : text(v)}`).sort()
const show = messages => messages.map(m => [m.partition, m.offset, text(m.key), text(m.value), values(m.headers), m.timestamp, m.attributes])

const joined = group => ({
  groupId: group, sessionTimeout: 8000, heartbeatInterval: 200, maxWaitTimeInMs: 100, retry: { initialRetryTime: 50, retries: 8 }
})

// Reads records of a topic in a group of its own until `enough` says so; `seek` are offsets to begin at.
async function read (group, topic, enough, { seek = [], options = {}, run = {} } = {}) {
  const consumer = kafka.consumer({ ...joined(group), ...options })
  const out = []
  if (typeof enough === 'number') {
    const count = enough
    enough = () => out.length >= count
  }
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => { out.push({ partition, ...message }) },
      ...run
    })
    for (const [partition, offset] of seek) consumer.seek({ topic, partition, offset })
    await until(`enough records of ${topic}`, () => enough(out))
    await consumer.stop()
    return out.sort((a, b) => a.partition - b.partition || Number(a.offset) - Number(b.offset))
  } finally {
    await consumer.disconnect()
  }
}

async function cluster () {
  await check('cluster', async () => {
    const c = await admin.describeCluster()
    return [c.brokers, c.controller, c.clusterId]
  })
  await check('create a topic', () => create('js-topic', 3))
  await check('create it again', () => admin.createTopics({ topics: [{ topic: 'js-topic' }] }))
  const refused = [
    ['bad name', { topic: 'js/wrong' }], ['long name', { topic: 'n'.repeat(250) }], ['empty name', { topic: '' }],
    ['wrong config', { topic: 'js-wrong', configEntries: [{ name: 'retention.ms', value: 'soon' }] }],
    ['unknown config', { topic: 'js-wrong', configEntries: [{ name: 'no.such', value: '1' }] }],
    ['no partitions', { topic: 'js-wrong', numPartitions: 0 }], ['three replicas', { topic: 'js-wrong', replicationFactor: 3 }],
    ['an unknown broker', { topic: 'js-wrong', replicaAssignment: [{ partition: 0, replicas: [77] }], numPartitions: -1, replicationFactor: -1 }]
  ]
  for (const [what, topic] of refused) await check(`create with ${what}`, () => admin.createTopics({ topics: [topic] }))
  await check('create, only validated', () => admin.createTopics({ topics: [{ topic: 'js-dry' }], validateOnly: true, waitForLeaders: false }))
  await check('metadata', async () => (await admin.fetchTopicMetadata({ topics: ['js-topic'] })).topics.map(t =>
    [t.name, t.partitions.sort((a, b) => a.partitionId - b.partitionId)]))
  await check('more partitions', () => admin.createPartitions({ topicPartitions: [{ topic: 'js-topic', count: 5 }] }))
  await check('fewer partitions', () => admin.createPartitions({ topicPartitions: [{ topic: 'js-topic', count: 2 }] }))
  await check('partitions of an unknown topic', () => admin.createPartitions({ topicPartitions: [{ topic: 'js-missing', count: 2 }] }))
  await check('delete a topic', async () => {
    await create('js-short')
    await admin.deleteTopics({ topics: ['js-short'] })
    await until('it is gone', () => admin.listTopics().then(topics => !topics.includes('js-short'), () => false))
    return 'gone'
  })
  await check('delete an unknown topic', () => admin.deleteTopics({ topics: ['js-missing'] }))
  await check('topics', async () => (await admin.listTopics()).filter(t => t.startsWith('js-')).sort())
  await check('reassign to the same broker', () => admin.alterPartitionReassignments({ topics: [{ topic: 'js-topic', partitionAssignment: [{ partition: 0, replicas: [1] }] }] }))
  await check('reassignments under way', () => admin.listPartitionReassignments({ topics: null }))
}

async function configs () {
  const show = entries => entries.map(c => [c.configName, c.configValue, c.configSource, c.isDefault, c.readOnly, c.isSensitive, c.configSynonyms])
    .sort((a, b) => a[0] < b[0] ? -1 : 1)
  const describe = async (type, name, options) => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name, ...options }] })
    return resources.map(r => [r.errorCode, r.errorMessage, r.resourceName, show(r.configEntries)])
  }
  await check('configs of a topic', () => describe(ConfigResourceTypes.TOPIC, 'js-topic'))
  await check('some configs of a topic', () => describe(ConfigResourceTypes.TOPIC, 'js-topic', { configNames: ['retention.ms', 'no.such'] }))
  await check('configs of an unknown topic', () => describe(ConfigResourceTypes.TOPIC, 'js-missing'))
  await check('configs of a broker', async () => (await describe(ConfigResourceTypes.BROKER, '1'))[0][3].length)
  const alter = (name, value, validateOnly) => async () => {
    const { resources } = await admin.alterConfigs({ validateOnly, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'js-topic', configEntries: [{ name, value }] }] })
    return [resources.map(r => [r.errorCode, r.errorMessage]), await describe(ConfigResourceTypes.TOPIC, 'js-topic', { configNames: [name] })]
  }
  await check('alter', alter('retention.ms', '200000', false))
  await check('alter, only validated', alter('retention.ms', '300000', true))
  await check('alter to nonsense', alter('retention.ms', 'soon', false))
  await check('alter an unknown key', alter('no.such', '1', false))
}

async function producing () {
  for (const [codec, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy]]) {
    await check(`codec ${codec}`, async () => {
      const topic = `js-codec-${codec}`
      await create(topic)
      const messages = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: 'v'.repeat(i % 50), timestamp: `${LONG_AGO + i}` }))
      const sent = await send({ topic, messages, compression })
      const back = await read(topic, topic, 300)
      return [sent, back.length, back.every((m, i) => m.value.toString() === messages[i].value && m.timestamp === messages[i].timestamp)]
    })
  }
  for (const acks of [0, 1, -1]) {
    await check(`acks ${acks}`, async () => {
      await create(`js-acks${acks}`)
      const sent = await send({ topic: `js-acks${acks}`, acks, messages: [{ value: 'x', timestamp: `${LONG_AGO}` }] })
      return [sent, show(await read(`js-acks${acks}`, `js-acks${acks}`, 1))]
    })
  }
  await check('shapes', async () => {
    await create('js-shapes')
    const timestamp = `${LONG_AGO}`
    await send({ topic: 'js-shapes', messages: [{ key: 'k', value: null, timestamp }, { key: '', value: '', timestamp },
      { value: 'v', timestamp, headers: { a: ['1', '2'], e: '', b: Buffer.from([255, 0]) } }] })
    return show(await read('js-shapes', 'js-shapes', 3))
  })
  await check('idempotent', async () => {
    await create('js-idempotent')
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    let last
    for (let i = 0; i < 50; i++) last = await producer.send({ topic: 'js-idempotent', messages: [{ value: `${i}` }, { value: `${i}b` }] })
    await producer.disconnect()
    return [last, (await read('js-idempotent', 'js-idempotent', 100)).length]
  })
  await check('many topics at once', async () => {
    const producer = kafka.producer()
    await producer.connect()
    try {
      const answers = await producer.sendBatch({ topicMessages: [{ topic: 'js-acks1', messages: [{ value: 'y' }] }, { topic: 'js-shapes', messages: [{ value: 'y' }] }] })
      return answers.sort((a, b) => a.topicName < b.topicName ? -1 : 1)
    } finally {
      await producer.disconnect()
    }
  })
  await check('partitions of keys', async () => {
    await create('js-keys', 7)
    await send({ topic: 'js-keys', messages: Array.from({ length: 30 }, (_, i) => ({ key: `key${i}`, value: 'v' })) })
    const found = await read('js-keys', 'js-keys', out => new Set(out.map(m => `${m.key}`)).size === 30)
    return [...new Set(found.map(m => `${m.key}/${m.partition}`))].sort() // a record that was sent again may be there twice
  })
  await check('too large', () => send({ topic: 'js-shapes', messages: [{ value: 'z'.repeat(2000000) }] }))
  await check('two hours ahead', () => send({ topic: 'js-shapes', messages: [{ value: 'z', timestamp: `${Date.now() + 7200000}` }] }))
  await check('no key, compacted topic', async () => {
    await create('js-compact', 1, { 'cleanup.policy': 'compact' })
    return send({ topic: 'js-compact', messages: [{ value: 'z' }] })
  })
  await check('bad topic', () => send({ topic: 'js/bad', messages: [{ value: 'z' }] }))
  await check('topic made by producing', () => send({ topic: 'js-made', messages: [{ value: 'z' }] }, { retry: { initialRetryTime: 50, retries: 10 } }))
}

async function consuming () {
  await create('js-read', 2)
  const messages = Array.from({ length: 1000 }, (_, i) => ({ value: `${i}`, partition: 0, timestamp: `${LONG_AGO + i * 1000}` }))
  for (let i = 0; i < 1000; i += 100) await send({ topic: 'js-read', messages: messages.slice(i, i + 100), compression: CompressionTypes.GZIP })
  const span = got => [got.length, got[0].offset, got[got.length - 1].offset]
  await check('from the start', async () => span(await read('js-read-1', 'js-read', 1000)))
  await check('small fetches', async () => span(await read('js-read-2', 'js-read', 1000, { options: { maxBytesPerPartition: 1000, maxBytes: 3000 } })))
  await check('from a commit on', async () => {
    await admin.setOffsets({ groupId: 'js-read-3', topic: 'js-read', partitions: [{ partition: 0, offset: '437' }] })
    return span(await read('js-read-3', 'js-read', 563))
  })
  await check('seek', async () => {
    const late = m => Number(m.offset) >= 990
    const got = await read('js-read-4', 'js-read', out => out.some(late), { seek: [[0, '990']] })
    return got.find(late).offset
  })
  await check('out of range', async () => {
    await admin.setOffsets({ groupId: 'js-read-5', topic: 'js-read', partitions: [{ partition: 0, offset: '5000' }] })
    return span(await read('js-read-5', 'js-read', 1000))
  })
  await check('batches', async () => {
    const batches = []
    const eachBatch = async ({ batch }) => { batches.push([batch.partition, batch.firstOffset(), batch.highWatermark, batch.messages.length > 0]) }
    await read('js-read-6', 'js-read', () => batches.length > 0, { run: { eachBatch, eachMessage: undefined } })
    return batches[0]
  })
  await check('offsets', async () => (await admin.fetchTopicOffsets('js-read')).sort((a, b) => a.partition - b.partition))
  for (const at of [-1, 0, 1, 500000, 999000, 999001]) {
    await check(`offsets after ${at}`, async () => (await admin.fetchTopicOffsetsByTimestamp('js-read', LONG_AGO + at)).sort((a, b) => a.partition - b.partition))
  }
  await check('offsets of an unknown topic', () => admin.fetchTopicOffsets('js-missing'))
  await check('delete records', async () => {
    await admin.deleteTopicRecords({ topic: 'js-read', partitions: [{ partition: 0, offset: '10' }] })
    return (await admin.fetchTopicOffsets('js-read')).sort((a, b) => a.partition - b.partition)
  })
  await check('delete too many records', () => admin.deleteTopicRecords({ topic: 'js-read', partitions: [{ partition: 0, offset: '100000' }] }))
}

async function groups () {
  await create('js-group', 4)
  await send({ topic: 'js-group', messages: Array.from({ length: 100 }, (_, i) => ({ partition: i % 4, value: `${i}` })) })
  const committed = async groupId => (await admin.fetchOffsets({ groupId, topics: ['js-group'] })).map(t => t.partitions.sort((a, b) => a.partition - b.partition))

  // A member that tells what it was given and commits what it reads.
  const member = async (groupId, seen) => {
    const consumer = kafka.consumer({ ...joined(groupId), partitionAssigners: [PartitionAssigners.roundRobin] })
    const m = { consumer, owns: 0 }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { m.owns = (payload.memberAssignment['js-group'] || []).length })
    await consumer.connect()
    await consumer.subscribe({ topics: ['js-group'], fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => { seen.add(message.value.toString()) } })
    return m
  }
  await check('two members', async () => {
    const seen = new Set()
    const a = await member('js-two', seen)
    await until('one has all', () => a.owns === 4)
    const b = await member('js-two', seen)
    await until('two share', () => a.owns === 2 && b.owns === 2)
    const { groups: [group] } = await admin.describeGroups(['js-two'])
    const described = [group.errorCode, group.state, group.protocolType, group.protocol, group.members.map(m =>
      [m.clientId, m.clientHost, AssignerProtocol.MemberMetadata.decode(m.memberMetadata).topics, Object.values(AssignerProtocol.MemberAssignment.decode(m.memberAssignment).assignment)[0].length])]
    await b.consumer.disconnect()
    await until('one has all again', () => a.owns === 4)
    await until('all is read', () => seen.size === 100)
    await a.consumer.disconnect()
    return [described, await committed('js-two')]
  })
  await check('commit', async () => {
    await admin.setOffsets({ groupId: 'js-alone', topic: 'js-group', partitions: [{ partition: 1, offset: '7', metadata: 'mine' }] })
    return committed('js-alone')
  })
  await check('committed by nobody', () => committed('js-unknown'))
  await check('reset', async () => {
    await admin.resetOffsets({ groupId: 'js-alone', topic: 'js-group', earliest: true })
    return committed('js-alone')
  })
  await check('resolved offsets', async () => (await admin.fetchOffsets({ groupId: 'js-alone', topics: ['js-group'], resolveOffsets: true })).map(t => t.partitions.sort((a, b) => a.partition - b.partition)))
  await check('list', async () => (await admin.listGroups()).groups.filter(g => g.groupId.startsWith('js-')).sort((a, b) => a.groupId < b.groupId ? -1 : 1))
  await check('describe', async () => (await admin.describeGroups(['js-alone', 'js-two', 'js-unknown'])).groups
    .sort((a, b) => a.groupId < b.groupId ? -1 : 1))
  await check('delete', () => admin.deleteGroups(['js-alone']))
  await check('delete an unknown one', async () => {
    try {
      return await admin.deleteGroups(['js-unknown'])
    } catch (e) {
      return e.groups.map(g => [g.groupId, g.errorCode])
    }
  })
}

async function main () {
  await admin.connect()
  await cluster()
  await configs()
  await producing()
  await consuming()
  await groups()
  await admin.disconnect()
  console.log('end of sweep')
}

main().then(() => process.exit(0), e => { console.error(e); process.exit(1) })
