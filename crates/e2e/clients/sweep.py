"""Asks a broker everything confluent-kafka (librdkafka) can ask of it, one `name: answer` line each. Run it on two brokers and compare.

Usage: python sweep.py BOOTSTRAP. Answers carry nothing that differs between two runs.
"""

import sys
import time

from confluent_kafka import (OFFSET_BEGINNING, OFFSET_END, Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, IsolationLevel,
                             KafkaError, KafkaException, Producer, TopicCollection, TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec)

BOOTSTRAP = sys.argv[1]
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def error(e):
    if e.args and isinstance(e.args[0], KafkaError):
        return f"! {e.args[0].name()}: {e.args[0].str()}"
    return f"! {type(e).__name__}: {e}"


def check(name, question):
    try:
        answer = question()
    except Exception as e:  # every error is an answer
        answer = error(e)
    print(f"{name}: {answer}".replace("\n", "\\n"), flush=True)


def futures(fs):
    out = {}
    for key, f in fs.items():
        try:
            out[str(key)] = f.result(20)
        except Exception as e:
            out[str(key)] = error(e)
    return dict(sorted(out.items()))


def until(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never came true: {what}")
        time.sleep(0.02)


def create(name, partitions=1, **configs):
    result = futures(admin.create_topics([NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in configs.items()})]))[name]
    until("topic visible", lambda: name in admin.list_topics().topics)
    return result


def producer(**config):
    return Producer({"bootstrap.servers": BOOTSTRAP, **{k.replace("_", "."): v for k, v in config.items()}})


def send(config, *records):
    """Sends records one after the other; the answers of the broker, in order."""
    p = producer(**config)
    answers = []

    def done(err, msg):
        answers.append(f"! {err.name()}: {err.str()}" if err else f"{msg.partition()}/{msg.offset()}")

    for record in records:
        p.produce(**record, on_delivery=done)
    p.flush(20)
    return answers


def consumer(group="py-none", **config):
    return Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                     "session.timeout.ms": 8000, "heartbeat.interval.ms": 200, **{k.replace("_", "."): v for k, v in config.items()}})


def take(c, count, seconds=20):
    out, deadline = [], time.monotonic() + seconds
    while len(out) < count and time.monotonic() < deadline:
        m = c.poll(0.1)
        if m is None:
            continue
        if m.error():
            raise KafkaException(m.error())
        out.append(m)
    return out


def show(messages):
    return [(m.partition(), m.offset(), m.key(), m.value(), m.headers(), m.leader_epoch()) for m in messages]


def metadata():
    def topic():
        t = admin.list_topics("py-meta").topics["py-meta"]
        return {p.id: (p.leader, p.replicas, p.isrs) for p in t.partitions.values()}

    check("create topic", lambda: create("py-meta", 3))
    check("metadata", topic)
    check("metadata brokers", lambda: [(b.id, b.host) for b in admin.list_topics().brokers.values()])
    check("metadata of an unknown topic", lambda: admin.list_topics("py-asked-for").topics["py-asked-for"].error)
    check("describe cluster", lambda: (lambda c: (c.controller.id, len(c.nodes), bool(c.cluster_id)))(admin.describe_cluster().result(20)))

    def describe(names):
        out = {}
        for name, f in admin.describe_topics(TopicCollection(names)).items():
            try:
                t = f.result(20)
                out[name] = (t.is_internal, [(p.id, p.leader.id, [n.id for n in p.replicas], [n.id for n in p.isr]) for p in t.partitions])
            except Exception as e:
                out[name] = error(e)
        return out

    check("describe topics", lambda: describe(["py-meta", "py-unknown"]))


def topics():
    check("create again", lambda: create("py-meta"))
    check("create with configs", lambda: create("py-configs", 1, retention_ms="100000", cleanup_policy="compact"))
    check("create with a wrong config", lambda: futures(admin.create_topics([NewTopic("py-wrong", 1, 1, config={"retention.ms": "soon"})])))
    check("create with an unknown config", lambda: futures(admin.create_topics([NewTopic("py-wrong", 1, 1, config={"no.such": "1"})])))
    check("create with three replicas", lambda: futures(admin.create_topics([NewTopic("py-wrong", 1, 3)])))
    check("create with a bad name", lambda: futures(admin.create_topics([NewTopic("py/wrong", 1, 1)])))
    check("create, only validated", lambda: futures(admin.create_topics([NewTopic("py-dry", 1, 1)], validate_only=True)))
    check("more partitions", lambda: futures(admin.create_partitions([NewPartitions("py-meta", 5)])))
    check("fewer partitions", lambda: futures(admin.create_partitions([NewPartitions("py-meta", 2)])))
    check("partitions of an unknown topic", lambda: futures(admin.create_partitions([NewPartitions("py-missing", 2)])))
    check("delete an unknown topic", lambda: futures(admin.delete_topics(["py-missing"])))

    def create_and_delete():
        create("py-short")
        out = futures(admin.delete_topics(["py-short"]))
        until("gone", lambda: "py-short" not in admin.list_topics().topics)
        return out

    check("delete a topic", create_and_delete)


def configs():
    topic = ConfigResource(ConfigResource.Type.TOPIC, "py-configs")

    def entries(resource):
        found = admin.describe_configs([resource])[resource].result(20)
        return {k: (v.value, v.source, v.is_default, v.is_read_only, v.is_sensitive, sorted(v.synonyms)) for k, v in sorted(found.items())}

    check("describe topic configs", lambda: "".join(f"\n{k}={v}" for k, v in entries(topic).items()))
    check("describe configs of an unknown topic", lambda: entries(ConfigResource(ConfigResource.Type.TOPIC, "py-unknown")))
    check("describe broker configs", lambda: len(entries(ConfigResource(ConfigResource.Type.BROKER, "1"))))

    def alter(key, value, operation):
        r = ConfigResource(ConfigResource.Type.TOPIC, "py-configs", incremental_configs=[ConfigEntry(key, value, incremental_operation=operation)])
        outcome = list(futures(admin.incremental_alter_configs([r])).values())[0]
        time.sleep(0.3)
        return outcome, entries(topic).get(key)

    check("set", lambda: alter("retention.ms", "200000", AlterConfigOpType.SET))
    check("append", lambda: alter("cleanup.policy", "delete", AlterConfigOpType.APPEND))
    check("subtract", lambda: alter("cleanup.policy", "compact", AlterConfigOpType.SUBTRACT))
    check("delete", lambda: alter("retention.ms", None, AlterConfigOpType.DELETE))
    check("set to nonsense", lambda: alter("retention.ms", "soon", AlterConfigOpType.SET))
    check("set an unknown key", lambda: alter("no.such", "1", AlterConfigOpType.SET))


def producing():
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        def round_trip(codec=codec):
            name = f"py-codec-{codec}"
            create(name)
            records = [{"topic": name, "key": b"k%d" % i, "value": b"v" * (i % 50) + b"%d" % i, "partition": 0} for i in range(500)]
            sent = send({"compression_codec": codec, "linger_ms": 20}, *records)
            c = consumer()
            c.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
            back = take(c, 500)
            c.close()
            return len(sent), sent[-1], len(back), [m.value() for m in back] == [r["value"] for r in records]

        check(f"codec {codec}", round_trip)
    for acks in ["0", "1", "all"]:
        check(f"acks {acks}", lambda acks=acks: (create(f"py-acks-{acks}"), send({"acks": acks}, {"topic": f"py-acks-{acks}", "value": b"x"}))[1][0].split("/")[0])
    check("idempotent", lambda: (create("py-idempotent"), send({"enable_idempotence": True, "linger_ms": 0, "batch_num_messages": 3}, *[{"topic": "py-idempotent", "value": b"%d" % i} for i in range(300)]))[1][-1])

    def shapes():
        create("py-shapes")
        send({}, {"topic": "py-shapes", "value": None, "key": b"k"}, {"topic": "py-shapes", "value": b"", "key": b""},
             {"topic": "py-shapes", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("n", None), ("e", b"")]})
        c = consumer()
        c.assign([TopicPartition("py-shapes", 0, OFFSET_BEGINNING)])
        out = show(take(c, 3))
        c.close()
        return out

    check("shapes", shapes)
    check("too large for the broker", lambda: send({"message_max_bytes": 5000000, "message_timeout_ms": 8000}, {"topic": "py-shapes", "value": b"z" * 2000000}))
    check("two hours ahead", lambda: send({"message_timeout_ms": 5000}, {"topic": "py-shapes", "value": b"z", "timestamp": int(time.time() * 1000) + 7200000}))
    check("no key, compacted topic", lambda: (create("py-compact", 1, cleanup_policy="compact"), send({"message_timeout_ms": 5000}, {"topic": "py-compact", "value": b"z"}))[1])
    check("unknown partition", lambda: send({"message_timeout_ms": 3000}, {"topic": "py-shapes", "value": b"z", "partition": 9}))
    check("topic made by producing", lambda: send({}, {"topic": "py-made", "value": b"z"}))
    check("bad topic name", lambda: send({"message_timeout_ms": 3000}, {"topic": "py/bad", "value": b"z"}))
    create("py-keys", 7)
    check("partitioner consistent", lambda: send({"linger_ms": 0}, *[{"topic": "py-keys", "key": b"k%d" % i, "value": b"v"} for i in range(1)])[0].split("/")[0])
    check("partitioner murmur2", lambda: sorted(a.split("/")[0] for a in send({"partitioner": "murmur2_random"}, *[{"topic": "py-keys", "key": b"key%d" % i, "value": b"v"} for i in range(50)])))


def consuming():
    now = int(time.time() * 1000) - 100000
    create("py-read", 2)
    send({"linger_ms": 30, "compression_codec": "lz4"}, *[{"topic": "py-read", "partition": 0, "key": b"k%d" % i, "value": b"v%d" % i, "timestamp": now + i} for i in range(1000)])
    c = consumer("py-read-group")
    p0, p1 = TopicPartition("py-read", 0), TopicPartition("py-read", 1)
    check("watermarks", lambda: (c.get_watermark_offsets(p0), c.get_watermark_offsets(p1)))
    for at in [OFFSET_BEGINNING, 0, 1, 437, 999]:
        def from_offset(at=at):
            c.assign([TopicPartition("py-read", 0, at)])
            got = take(c, 1000 - max(at, 0))
            return len(got), got[0].offset(), got[-1].offset()

        check(f"assign at {at}", from_offset)

    def at_end():
        c.assign([TopicPartition("py-read", 0, OFFSET_END)])
        return c.poll(0.5), [p.offset for p in c.position([p0])]

    check("assign at the end", at_end)

    def seek():
        c.assign([TopicPartition("py-read", 0, 0)])
        take(c, 1)
        c.seek(TopicPartition("py-read", 0, 500))
        return take(c, 1)[0].offset()

    check("seek", seek)

    def out_of_range(policy):
        d = consumer("py-range", auto_offset_reset=policy)
        d.assign([TopicPartition("py-read", 0, 100000)])
        try:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                m = d.poll(0.1)
                if m is not None:
                    return m.offset() if not m.error() else f"! {m.error().name()}"
                if policy == "latest" and d.position([p0])[0].offset == 1000:
                    return "at the end"
            return d.position([p0])[0].offset
        finally:
            d.close()

    for policy in ["earliest", "error"]:
        check(f"out of range, {policy}", lambda policy=policy: out_of_range(policy))
    check("offsets for times", lambda: [c.offsets_for_times([TopicPartition("py-read", 0, now + i)], timeout=10)[0].offset for i in [-5, 0, 1, 500, 999, 1000]])

    def pause():
        c.assign([TopicPartition("py-read", 0, 0)])
        take(c, 1)
        c.pause([p0])
        while c.poll(0.3) is not None:
            pass
        c.resume([p0])
        return take(c, 1)[0].offset() > 0

    check("pause and resume", pause)
    check("small fetches", lambda: small_fetches())
    check("nothing committed", lambda: [(p.offset, p.metadata) for p in c.committed([p0, p1], timeout=10)])
    check("commit", lambda: [(p.topic, p.partition, p.offset, p.metadata, str(p.error)) for p in c.commit(offsets=[TopicPartition("py-read", 0, 12, "mine")], asynchronous=False)])
    check("committed", lambda: [(p.offset, p.metadata) for p in c.committed([p0, p1], timeout=10)])
    check("commit to an unknown topic", lambda: [(p.offset, str(p.error)) for p in c.commit(offsets=[TopicPartition("py-unknown", 0, 12)], asynchronous=False)])
    check("commit too much metadata", lambda: [(p.offset, str(p.error)) for p in c.commit(offsets=[TopicPartition("py-read", 1, 1, "m" * 5000)], asynchronous=False)])
    c.close()


def small_fetches():
    d = consumer("py-small", fetch_message_max_bytes=1000, fetch_max_bytes=1048576, message_max_bytes=1000, receive_message_max_bytes=2000000)
    d.assign([TopicPartition("py-read", 0, 0)])
    got = take(d, 1000)
    d.close()
    return len(got), [m.offset() for m in got] == list(range(1000))


def groups():
    create("py-group", 4)
    send({}, *[{"topic": "py-group", "partition": i % 4, "value": b"%d" % i} for i in range(100)])
    for strategy in ["range", "roundrobin", "cooperative-sticky"]:
        def two_members(strategy=strategy):
            a = consumer(f"py-{strategy}", partition_assignment_strategy=strategy)
            b = consumer(f"py-{strategy}", partition_assignment_strategy=strategy)
            a.subscribe(["py-group"])
            got = []

            def poll(*cs):
                for one in cs:
                    m = one.poll(0.05)
                    if m is not None and not m.error():
                        got.append(m.value())

            def settled(*sizes):
                poll(*[one for one, _ in zip((a, b), sizes)])
                return [len(one.assignment()) for one, _ in zip((a, b), sizes)] == list(sizes)

            until("first has all", lambda: settled(4))
            b.subscribe(["py-group"])
            until("shared", lambda: settled(2, 2))
            b.close()
            until("all back", lambda: settled(4))
            until("all read", lambda: settled(4) and len(set(got)) == 100)
            a.commit(asynchronous=False)
            committed = sum(p.offset for p in a.committed([TopicPartition("py-group", i) for i in range(4)], timeout=10))
            a.close()
            return committed

        check(f"two members, {strategy}", two_members)

    def static():
        a = consumer("py-static", group_instance_id="one")
        a.subscribe(["py-group"])
        until("assigned", lambda: a.poll(0.05) is not None and len(a.assignment()) == 4)
        a.close()
        a = consumer("py-static", group_instance_id="one")
        a.subscribe(["py-group"])
        until("assigned again", lambda: a.poll(0.05) is not None and len(a.assignment()) == 4)
        d = admin.describe_consumer_groups(["py-static"])["py-static"].result(20)
        a.close()
        return d.state.name, d.partition_assignor, d.is_simple_consumer_group, [(m.client_id, m.group_instance_id, len(m.assignment.topic_partitions)) for m in d.members]

    check("static member", static)
    check("describe an empty group", lambda: (lambda d: (d.state.name, d.is_simple_consumer_group, d.members))(admin.describe_consumer_groups(["py-range"])["py-range"].result(20)))
    check("describe an unknown group", lambda: (lambda d: (d.state.name, d.members))(admin.describe_consumer_groups(["py-unknown"])["py-unknown"].result(20)))
    listed = lambda **kw: sorted((g.group_id, g.is_simple_consumer_group, g.state.name) for g in admin.list_consumer_groups(**kw).result(20).valid if g.group_id.startswith("py-"))
    check("list groups", listed)
    check("list empty groups", lambda: listed(states={ConsumerGroupState.EMPTY}))

    def offsets(group, partitions=None):
        g = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])[group].result(20)
        return sorted((p.topic, p.partition, p.offset, p.metadata or "") for p in g.topic_partitions)

    check("offsets of a group", lambda: offsets("py-range"))
    check("offsets of an unknown group", lambda: offsets("py-unknown"))
    check("alter offsets", lambda: (lambda g: [(p.partition, p.offset, str(p.error)) for p in g.topic_partitions])(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("py-range", [TopicPartition("py-group", 1, 3)])])["py-range"].result(20)))
    check("altered", lambda: offsets("py-range", [TopicPartition("py-group", 1)]))
    check("delete groups", lambda: futures(admin.delete_consumer_groups(["py-range", "py-unknown"])))
    check("offsets of a deleted group", lambda: offsets("py-range"))


def records():
    spec = lambda s: {str(k.partition): (r.result(20).offset, r.result(20).leader_epoch) for k, r in admin.list_offsets({TopicPartition("py-read", 0): s, TopicPartition("py-read", 1): s}, isolation_level=IsolationLevel.READ_UNCOMMITTED).items()}
    check("earliest", lambda: spec(OffsetSpec.earliest()))
    check("latest", lambda: spec(OffsetSpec.latest()))
    check("greatest timestamp", lambda: spec(OffsetSpec.max_timestamp()))
    check("delete records", lambda: {k: v.low_watermark for k, v in futures(admin.delete_records([TopicPartition("py-read", 0, 10)])).items()})
    check("delete too many records", lambda: futures(admin.delete_records([TopicPartition("py-read", 0, 100000)])))
    check("earliest after delete", lambda: spec(OffsetSpec.earliest()))


metadata()
topics()
configs()
producing()
consuming()
groups()
records()
print("end of sweep")
