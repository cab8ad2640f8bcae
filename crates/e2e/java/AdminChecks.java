import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.serialization.StringSerializer;

/** Cluster, topics, partitions, records, offsets. */
final class AdminChecks {
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            cluster();
            createTopics();
            describeTopics();
            partitions();
            recordsAndOffsets();
            deleteTopics();
        }
    }

    private static void cluster() {
        Check.check("cluster nodes", () -> {
            List<String> nodes = new ArrayList<>();
            for (Node n : admin.describeCluster().nodes().get()) nodes.add(n.id() + " " + n.host() + " rack=" + n.rack() + " fenced=" + n.isFenced());
            return nodes;
        });
        Check.check("cluster controller", () -> admin.describeCluster().controller().get().id());
        Check.check("cluster id is set", () -> !admin.describeCluster().clusterId().get().isEmpty());
        Check.check("cluster operations", () -> admin.describeCluster().authorizedOperations().get());
        Check.check("cluster operations asked",
            () -> new TreeSet<>(admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).authorizedOperations().get()));
        Check.check("cluster with fenced brokers",
            () -> admin.describeCluster(new DescribeClusterOptions().includeFencedBrokers(true)).nodes().get().size());
        Check.check("features", () -> {
            FeatureMetadata f = admin.describeFeatures().featureMetadata().get();
            return "supported " + new TreeMap<>(f.supportedFeatures()) + " finalized " + new TreeMap<>(f.finalizedFeatures());
        });
    }

    private static Object create(NewTopic topic) throws Exception {
        return created(admin.createTopics(List.of(topic)), topic.name());
    }

    private static Object created(CreateTopicsResult r, String name) throws Exception {
        r.values().get(name).get();
        return r.numPartitions(name).get() + " partitions, factor " + r.replicationFactor(name).get() + ", id " + (r.topicId(name).get().equals(Uuid.ZERO_UUID) ? "zero" : "set")
            + ", " + r.config(name).get().entries().size() + " configs";
    }

    private static void createTopics() {
        Check.check("create with defaults", () -> create(new NewTopic("a-defaults", Optional.empty(), Optional.empty())));
        Check.check("create with 3 partitions", () -> create(new NewTopic("a-three", 3, (short) 1)));
        Check.check("create with 50 partitions", () -> create(new NewTopic("a-fifty", 50, (short) 1)));
        Check.check("create again", () -> create(new NewTopic("a-three", 3, (short) 1)));
        Check.check("create with configs", () -> create(new NewTopic("a-configs", 1, (short) 1).configs(Map.of("retention.ms", "1234567", "cleanup.policy", "compact,delete"))));
        Check.check("configs in the answer", () -> {
            CreateTopicsResult r = admin.createTopics(List.of(new NewTopic("a-answer", 1, (short) 1).configs(Map.of("segment.bytes", "2000000"))));
            List<String> entries = new ArrayList<>();
            r.config("a-answer").get().entries().forEach(e -> entries.add(e.name() + "=" + e.value() + " " + e.source()));
            return Check.sorted(entries);
        });
        Check.check("create by assignment", () -> create(new NewTopic("a-assigned", Map.of(0, List.of(1), 1, List.of(1)))));
        Check.check("create validate only", () -> created(admin.createTopics(List.of(new NewTopic("a-dry", 4, (short) 1)), new CreateTopicsOptions().validateOnly(true)), "a-dry"));
        Check.check("validate only made nothing", () -> admin.listTopics().names().get().contains("a-dry"));
        Map<String, NewTopic> bad = new TreeMap<>();
        bad.put("slash in name", new NewTopic("a/b", 1, (short) 1));
        bad.put("name is dot", new NewTopic(".", 1, (short) 1));
        bad.put("name is two dots", new NewTopic("..", 1, (short) 1));
        bad.put("empty name", new NewTopic("", 1, (short) 1));
        bad.put("name too long", new NewTopic("n".repeat(250), 1, (short) 1));
        bad.put("longest name", new NewTopic("n".repeat(249), 1, (short) 1));
        bad.put("internal name", new NewTopic("__cluster_metadata", 1, (short) 1));
        bad.put("no partitions", new NewTopic("a-zero", 0, (short) 1));
        bad.put("minus two partitions", new NewTopic("a-minus", -2, (short) 1));
        bad.put("factor 2", new NewTopic("a-two", 1, (short) 2));
        bad.put("factor 0", new NewTopic("a-two", 1, (short) 0));
        bad.put("factor -2", new NewTopic("a-two", 1, (short) -2));
        bad.put("unknown config", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("no.such.config", "1")));
        bad.put("not a number", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("retention.ms", "abc")));
        bad.put("below the minimum", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("segment.bytes", "1")));
        bad.put("not in the list", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("cleanup.policy", "shred")));
        bad.put("not a boolean", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("preallocate", "maybe")));
        bad.put("codec unknown", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("compression.type", "rar")));
        bad.put("ratio above one", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("min.cleanable.dirty.ratio", "1.5")));
        bad.put("lag minimum above maximum", new NewTopic("a-bad", 1, (short) 1).configs(Map.of("min.compaction.lag.ms", "10", "max.compaction.lag.ms", "5")));
        bad.put("broker unknown", new NewTopic("a-bad", Map.of(0, List.of(9))));
        bad.put("broker twice", new NewTopic("a-bad", Map.of(0, List.of(1, 1))));
        bad.put("gap in assignment", new NewTopic("a-bad", Map.of(0, List.of(1), 2, List.of(1))));
        bad.put("empty assignment", new NewTopic("a-bad", Map.of(0, List.of())));
        bad.forEach((name, topic) -> Check.check("create refused, " + name, () -> create(topic)));
        Check.check("create dot", () -> create(new NewTopic("a.collides", 1, (short) 1)));
        Check.check("create underscore beside dot", () -> create(new NewTopic("a_collides", 1, (short) 1)));
        Check.check("several in one request", () -> {
            CreateTopicsResult r = admin.createTopics(List.of(new NewTopic("a-several-1", 1, (short) 1), new NewTopic("a-three", 1, (short) 1), new NewTopic("a-several-2", 0, (short) 1)));
            Map<String, String> out = new TreeMap<>();
            r.values().forEach((k, v) -> out.put(k, Check.outcome(v::get)));
            return out;
        });
    }

    private static String describe(TopicDescription d) {
        StringBuilder s = new StringBuilder(d.name() + " internal=" + d.isInternal() + " id=" + (d.topicId().equals(Uuid.ZERO_UUID) ? "zero" : "set") + " ops=" + (d.authorizedOperations() == null ? null : new TreeSet<>(d.authorizedOperations())));
        for (TopicPartitionInfo p : d.partitions()) s.append(" | ").append(p.partition()).append(" leader ").append(p.leader().id()).append(" replicas ").append(ids(p.replicas())).append(" isr ").append(ids(p.isr())).append(" elr ").append(ids(p.elr())).append(" last elr ").append(ids(p.lastKnownElr()));
        return s.toString();
    }

    private static List<Integer> ids(Collection<Node> nodes) {
        return nodes == null ? null : nodes.stream().map(Node::id).toList();
    }

    private static void describeTopics() {
        Check.until("topics visible", () -> count("a_collides") < 0 && count("a-several-1") == 1);
        Check.check("list topics", () -> Check.sorted(admin.listTopics().names().get()).stream().filter(n -> n.startsWith("a")).toList());
        Check.check("list topics, internal only more", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)).listings().get().stream().filter(t -> t.isInternal()).map(t -> t.name()).sorted().toList());
        Check.check("describe", () -> describe(admin.describeTopics(List.of("a-three")).allTopicNames().get().get("a-three")));
        Check.check("describe with operations", () -> describe(admin.describeTopics(List.of("a-three"), new DescribeTopicsOptions().includeAuthorizedOperations(true)).allTopicNames().get().get("a-three")));
        Check.check("describe in pages of 7", () -> describe(admin.describeTopics(List.of("a-fifty", "a-three"), new DescribeTopicsOptions().partitionSizeLimitPerResponse(7)).allTopicNames().get().get("a-fifty")));
        Check.check("describe by id", () -> {
            Uuid id = admin.describeTopics(List.of("a-three")).allTopicNames().get().get("a-three").topicId();
            return describe(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id));
        });
        Check.check("describe unknown", () -> admin.describeTopics(List.of("a-unknown")).allTopicNames().get());
        Check.check("describe bad name", () -> admin.describeTopics(List.of("a/b")).allTopicNames().get());
        Check.check("describe unknown id", () -> admin.describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(7, 7)))).allTopicIds().get());
    }

    private static void partitions() {
        Map<String, NewPartitions> cases = new TreeMap<>();
        cases.put("1 same", NewPartitions.increaseTo(3));
        cases.put("2 fewer", NewPartitions.increaseTo(2));
        cases.put("3 zero", NewPartitions.increaseTo(0));
        cases.put("4 five", NewPartitions.increaseTo(5));
        cases.put("5 six by assignment", NewPartitions.increaseTo(6, List.of(List.of(1))));
        cases.put("6 too few assignments", NewPartitions.increaseTo(9, List.of(List.of(1))));
        cases.put("7 unknown broker", NewPartitions.increaseTo(7, List.of(List.of(5))));
        cases.put("8 other factor", NewPartitions.increaseTo(7, List.of(List.of(1, 2))));
        cases.forEach((name, p) -> Check.check("partitions " + name, () -> {
            admin.createPartitions(Map.of("a-three", p)).all().get();
            int want = p.totalCount();
            Check.until("partitions visible", () -> count("a-three") == want);
            return want;
        }));
        Check.check("partitions validate only", () -> {
            admin.createPartitions(Map.of("a-three", NewPartitions.increaseTo(20)), new CreatePartitionsOptions().validateOnly(true)).all().get();
            return count("a-three");
        });
        Check.check("partitions of unknown topic", () -> admin.createPartitions(Map.of("a-unknown", NewPartitions.increaseTo(2))).all().get());
    }

    private static int count(String topic) {
        try {
            return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        } catch (Exception e) {
            return -1;
        }
    }

    private static String offset(TopicPartition tp, OffsetSpec spec) throws Exception {
        ListOffsetsResultInfo i = admin.listOffsets(Map.of(tp, spec)).partitionResult(tp).get();
        return i.offset() + " at " + i.timestamp() + " epoch " + i.leaderEpoch();
    }

    private static void recordsAndOffsets() throws Exception {
        create(new NewTopic("a-offsets", 2, (short) 1));
        TopicPartition tp = new TopicPartition("a-offsets", 0), empty = new TopicPartition("a-offsets", 1);
        long now = System.currentTimeMillis() / 1000 * 1000 - 100_000;
        try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props("linger.ms", "0"), new StringSerializer(), new StringSerializer())) {
            // Timestamps out of order on purpose, two records a batch at most.
            for (int i : new int[] {0, 5, 2, 9, 3, 7, 4, 8}) p.send(new ProducerRecord<>("a-offsets", 0, now + i * 1000, "k" + i, "v" + i)).get();
        }
        Map<String, OffsetSpec> specs = new TreeMap<>();
        specs.put("earliest", OffsetSpec.earliest());
        specs.put("latest", OffsetSpec.latest());
        specs.put("greatest timestamp", OffsetSpec.maxTimestamp());
        specs.put("earliest local", OffsetSpec.earliestLocal());
        specs.put("tiered", OffsetSpec.latestTiered());
        specs.put("pending upload", OffsetSpec.earliestPendingUpload());
        for (int i : new int[] {-5, 0, 1, 5, 6, 9, 10}) specs.put("timestamp +" + i, OffsetSpec.forTimestamp(now + i * 1000));
        specs.forEach((name, spec) -> {
            Check.check("offset " + name, () -> offset(tp, spec));
            Check.check("offset of empty, " + name, () -> offset(empty, spec));
        });
        Check.check("offset ordering by timestamp", () -> {
            List<Long> at = new ArrayList<>();
            for (int i = 0; i < 11; i++) {
                long t = admin.listOffsets(Map.of(tp, OffsetSpec.forTimestamp(now + i * 1000))).partitionResult(tp).get().timestamp();
                at.add(t < 0 ? t : t - now);
            }
            return at;
        });
        Check.check("offset of unknown topic", () -> admin.listOffsets(Map.of(new TopicPartition("a-unknown", 0), OffsetSpec.latest()), new org.apache.kafka.clients.admin.ListOffsetsOptions().timeoutMs(1500)).all().get().size());
        Check.check("delete records to 3", () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(3))).lowWatermarks().get(tp).get().lowWatermark());
        Check.check("delete records back to 1", () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(1))).lowWatermarks().get(tp).get().lowWatermark());
        Check.check("delete records past the end", () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(99))).lowWatermarks().get(tp).get().lowWatermark());
        Check.check("delete records negative", () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(-7))).lowWatermarks().get(tp).get().lowWatermark());
        Check.check("earliest after delete", () -> offset(tp, OffsetSpec.earliest()));
        Check.check("delete all records", () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(tp).get().lowWatermark());
        Check.check("earliest after delete of all", () -> offset(tp, OffsetSpec.earliest()));
        Check.check("greatest timestamp after delete of all", () -> offset(tp, OffsetSpec.maxTimestamp()));
        Check.check("delete records of compacted", () -> {
            create(new NewTopic("a-compacted", 1, (short) 1).configs(Map.of("cleanup.policy", "compact")));
            TopicPartition c = new TopicPartition("a-compacted", 0);
            return admin.deleteRecords(Map.of(c, RecordsToDelete.beforeOffset(0))).lowWatermarks().get(c).get().lowWatermark();
        });
    }

    private static void deleteTopics() {
        Check.check("delete unknown", () -> admin.deleteTopics(List.of("a-unknown")).all().get());
        Check.check("delete unknown id", () -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(new Uuid(7, 7)))).all().get());
        Check.check("delete by id", () -> {
            Uuid id = admin.describeTopics(List.of("a-fifty")).allTopicNames().get().get("a-fifty").topicId();
            admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
            Check.until("topic gone", () -> count("a-fifty") < 0);
            return "gone";
        });
        Check.check("delete and create again", () -> {
            Uuid before = admin.describeTopics(List.of("a-three")).allTopicNames().get().get("a-three").topicId();
            admin.deleteTopics(List.of("a-three")).all().get();
            Check.until("topic gone", () -> count("a-three") < 0);
            create(new NewTopic("a-three", 2, (short) 1));
            Check.until("topic back", () -> count("a-three") == 2);
            Uuid after = admin.describeTopics(List.of("a-three")).allTopicNames().get().get("a-three").topicId();
            return "same id: " + before.equals(after) + ", latest " + offset(new TopicPartition("a-three", 0), OffsetSpec.latest());
        });
        Check.check("produce across delete and create", () -> {
            try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props("delivery.timeout.ms", "30000", "request.timeout.ms", "5000"), new StringSerializer(), new StringSerializer())) {
                create(new NewTopic("a-again", 1, (short) 1));
                for (int i = 0; i < 3; i++) p.send(new ProducerRecord<>("a-again", "x")).get();
                admin.deleteTopics(List.of("a-again")).all().get();
                Check.until("topic gone", () -> count("a-again") < 0);
                create(new NewTopic("a-again", 1, (short) 1));
                Check.until("topic back", () -> count("a-again") == 1);
                return p.send(new ProducerRecord<>("a-again", "y")).get().offset();
            }
        });
    }
}
