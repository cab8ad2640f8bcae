"""Asks a broker what kafka-python, a client that shares no code with librdkafka, can ask of it, one `name: answer` line each. Run it on two
brokers and compare.

Usage: python sweep_kafka_python.py BOOTSTRAP. Answers carry nothing that differs between two runs.
"""

import logging
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, MemberToRemove
from kafka.structs import OffsetAndMetadata

BOOTSTRAP = sys.argv[1]
LONG_AGO = 1_600_000_000_000  # the same answers on every day; the topics keep such records
logging.disable(logging.CRITICAL)
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP, client_id="sweep")


def check(name, question):
    try:
        answer = question()
    except Exception as e:  # every error is an answer; its text quotes requests with their ids
        answer = f"! {type(e).__name__}"
    print(f"{name}: {answer}".replace("\n", "\\n"), flush=True)


def until(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never came true: {what}")


def named(errors):
    """Answers by partition or member, as text and in order."""
    show = lambda e: "ok" if e is None else getattr(e, "__name__", str(e))
    return sorted((str(k), show(e)) for k, e in errors.items())


def create(name, partitions=1, **configs):
    configs = {"retention.ms": "-1", **{k.replace("_", "."): v for k, v in configs.items()}}
    admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}, wait_for_metadata=True)


def send(records, **config):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **{"retries": 5, "request_timeout_ms": 10000, **config})
    out = []
    try:
        for f in [producer.send(**r) for r in records]:
            try:
                m = f.get(20)
                out.append(f"{m.partition}/{m.offset}")
            except Exception as e:
                out.append(f"! {type(e).__name__}")
    finally:
        producer.close()
    return out


def consumer(group=None, **config):
    return KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group,
                         **{"enable_auto_commit": False, "auto_offset_reset": "earliest", "session_timeout_ms": 8000, "heartbeat_interval_ms": 200,
                            "fetch_max_wait_ms": 100, **config})


def take(c, count, seconds=20):
    out, deadline = [], time.monotonic() + seconds
    while len(out) < count and time.monotonic() < deadline:
        for records in c.poll(200).values():
            out.extend(records)
    return out


def read(topic, count, partition=0, at=None, **config):
    c = consumer(**config)
    try:
        tp = TopicPartition(topic, partition)
        c.assign([tp])
        c.seek_to_beginning(tp) if at is None else c.seek(tp, at)
        return take(c, count)
    finally:
        c.close()


def show(records):
    return [(r.partition, r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers, r.leader_epoch) for r in records]


def span(records):
    return (len(records), records[0].offset, records[-1].offset) if records else 0


def cluster():
    check("cluster", lambda: (lambda c: (c["cluster_id"], c["controller_id"], len(c["brokers"])))(admin.describe_cluster()))
    check("quorum", lambda: (lambda q: (q["leader_id"], len(q["voters"]), len(q["observers"])))(quorum()))
    check("features", lambda: sorted(str(f) for f in admin.describe_features()))

    def dirs():
        create("kp-dirs", 2)
        out = []

        def found():
            out[:] = [(d["error_code"], t["name"], sorted((p["partition_index"], p["partition_size"], p["offset_lag"], p["is_future_key"]) for p in t["partitions"]))
                      for broker in admin.describe_log_dirs() for d in broker["log_dirs"] for t in d["topics"] if t["name"] == "kp-dirs"]
            return out and len(out[0][2]) == 2

        until("both have a directory", found)
        return out

    check("log directories", dirs)
    check("elect leaders", lambda: admin.elect_leaders(0, {"kp-dirs": [0]}, raise_errors=False))
    check("reassign", lambda: named(admin.alter_partition_reassignments({TopicPartition("kp-dirs", 0): [1], TopicPartition("kp-dirs", 1): [9]})))
    check("cancel", lambda: named(admin.alter_partition_reassignments({TopicPartition("kp-dirs", 0): None})))
    check("reassignments", lambda: len(admin.list_partition_reassignments()))


def quorum():
    q = admin.describe_metadata_quorum()
    partition = q["topics"][0]["partitions"][0] if "topics" in q else q
    return {"leader_id": partition["leader_id"], "voters": partition.get("current_voters", partition.get("voters")), "observers": partition["observers"]}


def topics():
    def make(name, **options):
        answers = admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1, **options}}, raise_errors=False)["topics"]
        return [(t["name"][:20], t["error_code"], t["error_message"], t["num_partitions"], t["replication_factor"], len(t.get("configs") or {})) for t in answers]

    check("create", lambda: make("kp-topic", num_partitions=3))
    check("create again", lambda: make("kp-topic"))
    check("create with the defaults", lambda: make("kp-defaults", num_partitions=-1, replication_factor=-1))
    check("create by assignment", lambda: make("kp-assigned", num_partitions=-1, replication_factor=-1, assignments={0: [1], 1: [1]}))
    for what, name, options in [("bad name", "kp/wrong", {}), ("long name", "n" * 250, {}), ("no partitions", "kp-wrong", {"num_partitions": 0}),
                                ("two replicas", "kp-wrong", {"replication_factor": 2}), ("wrong config", "kp-wrong", {"configs": {"retention.ms": "soon"}}),
                                ("unknown config", "kp-wrong", {"configs": {"no.such": "1"}}),
                                ("unknown broker", "kp-wrong", {"num_partitions": -1, "replication_factor": -1, "assignments": {0: [9]}})]:
        check(f"create with {what}", lambda name=name, options=options: make(name, **options))
    check("create, only validated", lambda: [(t["error_code"], t["num_partitions"]) for t in admin.create_topics(["kp-dry"], validate_only=True)["topics"]])
    admin.wait_for_topics(["kp-topic", "kp-defaults"])

    def describe(name):
        return [(t["error_code"], t["name"], t["is_internal"], sorted((p["partition_index"], p["leader_id"], p["leader_epoch"], p["replica_nodes"], p["isr_nodes"], p["error_code"]) for p in t["partitions"]))
                for t in admin.describe_topics([name])]

    check("describe", lambda: describe("kp-topic"))
    check("describe an unknown one", lambda: describe("kp-unknown"))
    check("describe by pages", lambda: (lambda d: (d["next_cursor"], [(t["name"], t["error_code"], len(t["partitions"])) for t in d["topics"]]))(
        admin.describe_topic_partitions(["kp-topic", "kp-defaults", "kp-unknown"], response_partition_limit=3)))
    grow = lambda **counts: [(r["name"], r["error_code"], r["error_message"]) for r in
                             admin.create_partitions({k.replace("_", "-"): v for k, v in counts.items()}, raise_errors=False).to_dict()["results"]]
    check("more partitions", lambda: grow(kp_topic=5))
    check("fewer partitions", lambda: grow(kp_topic=2))
    check("partitions of an unknown topic", lambda: grow(kp_unknown=2))
    check("delete", lambda: sorted((t["name"], t["error_code"], t["error_message"]) for t in admin.delete_topics(["kp-defaults", "kp-unknown"], raise_errors=False)["topics"]))


def configs():
    topic = lambda configs: ConfigResource(ConfigResourceType.TOPIC, "kp-topic", configs)

    def describe(resource, **options):
        found = admin.describe_configs([resource], **{"config_filter": "all", **options})
        return [(k, v.get("value"), str(v.get("config_source")), v.get("read_only"), v.get("is_sensitive"), v.get("synonyms")) for k, v in
                sorted(list(list(found.values())[0].values())[0].items())]

    check("configs of a topic", lambda: describe(topic(None)))
    check("configs with synonyms", lambda: describe(topic(None), include_synonyms=True))
    check("some configs", lambda: describe(topic({"retention.ms": None})))
    check("configs of an unknown topic", lambda: describe(ConfigResource(ConfigResourceType.TOPIC, "kp-unknown", None)))
    check("configs of the broker", lambda: len(describe(ConfigResource(ConfigResourceType.BROKER, "1", None))))

    def alter(configs, incremental):
        before = describe(topic(None))
        answer = admin.alter_configs([topic(configs)], raise_on_unknown=False, incremental=incremental)
        after = before
        deadline = time.monotonic() + 10
        refused = "Error" in str(answer)
        while after == before and not refused and time.monotonic() < deadline:
            after = describe(topic(None))
        return answer, [c for c in after if c not in before]

    check("set", lambda: alter({"retention.ms": "200000"}, True))
    check("append", lambda: alter({"cleanup.policy": ("APPEND", "compact")}, True))
    check("subtract", lambda: alter({"cleanup.policy": ("SUBTRACT", "delete")}, True))
    check("delete", lambda: alter({"retention.ms": ("DELETE", None)}, True))
    check("replace all", lambda: alter({"segment.bytes": "2000000"}, False))
    check("set to nonsense", lambda: alter({"retention.ms": "soon"}, True))
    check("set an unknown key", lambda: alter({"no.such": "1"}, True))


def producing():
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        def round_trip(codec=codec):
            name = f"kp-codec-{codec}"
            create(name)
            records = [{"topic": name, "partition": 0, "key": b"k%d" % i, "value": b"v" * (i % 50) + b"%d" % i, "timestamp_ms": LONG_AGO + i} for i in range(300)]
            sent = send(records, compression_type=codec, linger_ms=20)
            back = read(name, 300)
            return sent[-1], len(back), all(a["value"] == b.value and a["timestamp_ms"] == b.timestamp for a, b in zip(records, back))

        check(f"codec {codec}", round_trip)
    for acks in [0, 1, "all"]:
        def one(acks=acks):
            create(f"kp-acks-{acks}")
            sent = send([{"topic": f"kp-acks-{acks}", "value": b"x", "timestamp_ms": LONG_AGO}], acks=acks, enable_idempotence=False)
            return sent, show(read(f"kp-acks-{acks}", 1))

        check(f"acks {acks}", one)

    def idempotent():
        create("kp-idempotent")
        sent = send([{"topic": "kp-idempotent", "value": b"%d" % i} for i in range(1000)], enable_idempotence=True, batch_size=200)
        return sent[-1], [r.value for r in read("kp-idempotent", 1000)] == [b"%d" % i for i in range(1000)]

    check("idempotent", idempotent)

    def shapes():
        create("kp-shapes")
        send([{"topic": "kp-shapes", "key": b"k", "timestamp_ms": LONG_AGO}, {"topic": "kp-shapes", "key": b"", "value": b"", "timestamp_ms": LONG_AGO},
              {"topic": "kp-shapes", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("e", b"")], "timestamp_ms": LONG_AGO}])
        return show(read("kp-shapes", 3))

    check("shapes", shapes)
    check("log append time", lambda: (create("kp-append", message_timestamp_type="LogAppendTime"), send([{"topic": "kp-append", "value": b"v", "timestamp_ms": LONG_AGO}]),
                                      [(r.timestamp_type, abs(time.time() * 1000 - r.timestamp) < 3600000) for r in read("kp-append", 1)])[1:])
    check("too large", lambda: send([{"topic": "kp-shapes", "value": b"z" * 2000000}], max_request_size=4000000))
    check("two hours ahead", lambda: send([{"topic": "kp-shapes", "value": b"z", "timestamp_ms": int(time.time() * 1000) + 7200000}]))
    check("no key, compacted topic", lambda: (create("kp-compact", cleanup_policy="compact"), send([{"topic": "kp-compact", "value": b"z"}]))[1])
    check("topic made by producing", lambda: send([{"topic": "kp-made", "value": b"z"}]))
    check("partitions of keys", lambda: (create("kp-keys", 7), [a.split("/")[0] for a in send([{"topic": "kp-keys", "key": b"key%d" % i, "value": b"v"} for i in range(30)])])[1])


def consuming():
    create("kp-read", 2)
    send([{"topic": "kp-read", "partition": 0, "value": b"%d" % i, "timestamp_ms": LONG_AGO + i * 1000} for i in range(1000)], compression_type="gzip", linger_ms=10)
    p0, p1 = TopicPartition("kp-read", 0), TopicPartition("kp-read", 1)
    check("from the start", lambda: span(read("kp-read", 1000)))
    for at in [0, 1, 437, 999]:
        check(f"from {at}", lambda at=at: span(read("kp-read", 1000 - at, at=at)))
    check("out of range", lambda: span(read("kp-read", 1000, at=5000)))
    check("small fetches", lambda: span(read("kp-read", 1000, max_partition_fetch_bytes=1000, fetch_max_bytes=3000)))
    check("committed only", lambda: span(read("kp-read", 1000, isolation_level="read_committed")))
    check("few at a time", lambda: span(read("kp-read", 1000, max_poll_records=7)))
    c = consumer("kp-read-group")
    c.assign([p0, p1])
    check("beginning", lambda: sorted(c.beginning_offsets([p0, p1]).values()))
    check("end", lambda: sorted(c.end_offsets([p0, p1]).values()))
    for after in [-1, 0, 1, 500_000, 999_000, 999_001]:
        check(f"offsets after {after}", lambda after=after: [o and (o.offset, o.timestamp, o.leader_epoch) for o in (c.offsets_for_times({p0: LONG_AGO + after})[p0],)])
    check("nothing committed", lambda: c.committed(p0))
    check("commit", lambda: (c.commit({p0: OffsetAndMetadata(12, "mine", 0)}), c.committed(p0, metadata=True)))
    check("commit too much metadata", lambda: c.commit({p0: OffsetAndMetadata(1, "m" * 5000, 0)}))
    check("seek to the end", lambda: (c.seek_to_end(p0), c.position(p0))[1])
    check("partitions", lambda: sorted(c.partitions_for_topic("kp-read")))
    check("topics", lambda: sorted(t for t in c.topics() if t.startswith("kp-codec")))
    c.close()
    check("delete records", lambda: [(str(k), v["low_watermark"], v["error_code"]) for k, v in admin.delete_records({p0: 10}).items()])
    check("delete too many records", lambda: admin.delete_records({p0: 100000}))
    check("listed offsets", lambda: sorted((str(k), str(v)) for k, v in admin.list_partition_offsets({p0: -2, p1: -1}).items()))


def groups():
    create("kp-group", 4)
    send([{"topic": "kp-group", "partition": i % 4, "value": b"%d" % i} for i in range(100)])

    def shared(group):
        a = consumer(group)
        a.subscribe(["kp-group"])
        b = None
        got = set()

        def poll(*members):
            for m in members:
                # Long enough to join: kafka-python loses its way when the time of a poll is up in the middle of that.
                for records in m.poll(500).values():
                    got.update(r.value for r in records)

        def owned(*sizes):
            members = [m for m in (a, b) if m][:len(sizes)]
            poll(*members)
            return [len(m.assignment()) for m in members] == list(sizes)

        try:
            until("one has all", lambda: owned(4))
            b = consumer(group)
            b.subscribe(["kp-group"])
            until("two share", lambda: owned(2, 2))
            b.close()
            until("one has all again", lambda: owned(4))
            until("all is read", lambda: owned(4) and len(got) == 100)
            a.commit({TopicPartition("kp-group", p): OffsetAndMetadata(25, "", 0) for p in range(4)})
        finally:
            a.close()
        return committed(group)

    def committed(*groups):
        found = admin.list_group_offsets({g: None for g in groups})
        return sorted((g, str(tp), o.offset, o.metadata, o.leader_epoch) for g, offsets in found.items() for tp, o in offsets.items())

    check("two members", lambda: shared("kp-two"))
    check("describe", lambda: [(d["error"], d["group_state"], d["protocol_type"], d["protocol_data"], d["members"], sorted(d["authorized_operations"] or [])) for d in admin.describe_groups(["kp-two"]).values()])
    check("describe an unknown one", lambda: [(d["error"], d["group_state"]) for d in admin.describe_groups(["kp-unknown"]).values()])
    listed = lambda **filters: sorted((g["group_id"], g["protocol_type"], g["group_state"], g["group_type"]) for g in admin.list_groups(**filters) if g["group_id"].startswith("kp-"))
    check("alter offsets", lambda: named(admin.alter_group_offsets("kp-made", {TopicPartition("kp-group", 1): OffsetAndMetadata(7, "mine", 0), TopicPartition("kp-unknown", 0): OffsetAndMetadata(1, "", 0)})))
    check("list", listed)
    check("list empty groups", lambda: listed(states_filter=["Empty"]))
    check("list stable groups", lambda: listed(states_filter=["Stable"]))
    check("list groups of the new protocol", lambda: listed(types_filter=["consumer"]))
    check("offsets of two groups", lambda: committed("kp-made", "kp-two", "kp-unknown"))
    check("delete offsets", lambda: named(admin.delete_group_offsets("kp-made", [TopicPartition("kp-group", 1), TopicPartition("kp-unknown", 0)])))
    check("delete offsets of an unknown group", lambda: named(admin.delete_group_offsets("kp-unknown", [TopicPartition("kp-group", 1)])))
    check("remove members", lambda: [e.__name__ for e in admin.remove_group_members("kp-two", [MemberToRemove(group_instance_id="nobody")]).values()])
    check("delete", lambda: named(admin.delete_groups(["kp-made", "kp-unknown"])))


cluster()
topics()
configs()
producing()
consuming()
groups()
admin.close()
print("end of sweep")
