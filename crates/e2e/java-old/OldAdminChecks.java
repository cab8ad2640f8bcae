import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringSerializer;

/** Topics, configs, records, offsets and directories by the methods that Admin had in 2.8 and still had in 3.9. */
final class OldAdminChecks {
    private static final ConfigResource TOPIC = new ConfigResource(ConfigResource.Type.TOPIC, "o-topic");
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            topics();
            configs();
            records();
            replicas();
        }
    }

    private static Object each(Map<?, ? extends KafkaFuture<?>> answers) {
        Map<String, String> out = new TreeMap<>();
        answers.forEach((k, v) -> out.put(k.toString(), Check.outcome(v::get)));
        return out;
    }

    private static Object create(NewTopic topic, boolean validateOnly) throws Exception {
        CreateTopicsResult r = admin.createTopics(List.of(topic), new CreateTopicsOptions().validateOnly(validateOnly));
        r.all().get();
        return r.numPartitions(topic.name()).get() + " partitions, factor " + r.replicationFactor(topic.name()).get() + ", " + r.config(topic.name()).get().entries().size() + " configs";
    }

    private static String describe(Collection<String> names) throws Exception {
        List<String> out = new ArrayList<>();
        admin.describeTopics(names).values().forEach((name, answer) -> out.add(name + " " + Check.outcome(() -> {
            TopicDescription d = answer.get();
            StringBuilder s = new StringBuilder("internal " + d.isInternal());
            for (TopicPartitionInfo p : d.partitions()) s.append(" | ").append(p.partition()).append(" leader ").append(p.leader().id()).append(" replicas ").append(p.replicas().size()).append(" isr ").append(p.isr().size());
            return s;
        })));
        return Check.sorted(out).toString();
    }

    private static void topics() {
        Check.check("cluster", () -> admin.describeCluster().nodes().get().size() + " " + admin.describeCluster().controller().get().id() + " " + admin.describeCluster().clusterId().get());
        Check.check("cluster operations", () -> new TreeSet<>(admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).authorizedOperations().get()));
        Check.check("features", () -> new TreeMap<>(admin.describeFeatures().featureMetadata().get().finalizedFeatures()).keySet());
        Check.check("create", () -> create(new NewTopic("o-topic", 3, (short) 1), false));
        Check.check("create with defaults", () -> create(new NewTopic("o-defaults", Optional.empty(), Optional.empty()), false));
        Check.check("create, only validated", () -> create(new NewTopic("o-dry", 2, (short) 1), true));
        Map<String, NewTopic> bad = new TreeMap<>();
        bad.put("again", new NewTopic("o-topic", 1, (short) 1));
        bad.put("slash in name", new NewTopic("o/b", 1, (short) 1));
        bad.put("no partitions", new NewTopic("o-bad", 0, (short) 1));
        bad.put("factor 2", new NewTopic("o-bad", 1, (short) 2));
        bad.put("unknown config", new NewTopic("o-bad", 1, (short) 1).configs(Map.of("no.such", "1")));
        bad.put("wrong config", new NewTopic("o-bad", 1, (short) 1).configs(Map.of("retention.ms", "soon")));
        bad.put("unknown broker", new NewTopic("o-bad", Map.of(0, List.of(9))));
        bad.forEach((name, topic) -> Check.check("create refused, " + name, () -> create(topic, false)));
        Check.until("topics visible", () -> !Check.outcome(() -> describe(List.of("o-topic", "o-defaults"))).contains("!"));
        Check.check("describe", () -> describe(List.of("o-topic", "o-unknown", "o/b")));
        Check.check("list", () -> Check.sorted(admin.listTopics(new ListTopicsOptions().listInternal(false)).names().get()).stream().filter(n -> n.startsWith("o-")).toList());
        Check.check("partitions", () -> {
            Map<String, NewPartitions> ask = new TreeMap<>();
            ask.put("o-defaults", NewPartitions.increaseTo(9));
            ask.put("o-topic", NewPartitions.increaseTo(2));
            ask.put("o-unknown", NewPartitions.increaseTo(2));
            return each(admin.createPartitions(ask).values());
        });
        Check.check("partitions by assignment", () -> each(admin.createPartitions(Map.of("o-topic", NewPartitions.increaseTo(4, List.of(List.of(1))))).values()));
        Check.check("delete", () -> each(admin.deleteTopics(List.of("o-defaults", "o-unknown")).values()));
    }

    private static String show(Config config, boolean all) {
        List<String> out = new ArrayList<>();
        for (ConfigEntry e : config.entries()) {
            if (!all && e.isDefault()) continue;
            List<String> synonyms = new ArrayList<>();
            for (ConfigEntry.ConfigSynonym s : e.synonyms()) synonyms.add(s.name() + "=" + s.value() + " " + s.source());
            out.add(e.name() + "=" + e.value() + " " + e.source() + " " + e.isSensitive() + " " + e.isReadOnly() + " " + e.type() + " " + synonyms);
        }
        return Check.sorted(out).toString();
    }

    private static Object now() throws Exception {
        return show(admin.describeConfigs(List.of(TOPIC)).values().get(TOPIC).get(), false);
    }

    /** The configs once they have changed: what the controller has accepted is seen at the broker a moment later. */
    private static Object changed(Object before) {
        Check.until("the change is seen", () -> !Check.outcome(OldAdminChecks::now).equals(before));
        return Check.outcome(OldAdminChecks::now);
    }

    private static void alter(String name, AlterConfigOp.OpType op, String key, String value) {
        Check.check("alter, " + name, () -> {
            Object before = now();
            admin.incrementalAlterConfigs(Map.of(TOPIC, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all().get();
            return changed(before);
        });
    }

    @SuppressWarnings("deprecation")
    private static void replace(String name, ConfigEntry... entries) {
        Check.check("replace, " + name, () -> {
            Object before = now();
            admin.alterConfigs(Map.of(TOPIC, new Config(List.of(entries)))).all().get();
            return changed(before);
        });
    }

    private static void configs() {
        Check.check("configs of a topic", () -> show(admin.describeConfigs(List.of(TOPIC), new DescribeConfigsOptions().includeSynonyms(true)).values().get(TOPIC).get(), true));
        Check.check("configs of an unknown topic", () -> each(admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, "o-unknown"))).values()));
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        Check.check("configs of the broker", () -> admin.describeConfigs(List.of(broker)).values().get(broker).get().entries().size());
        alter("set", AlterConfigOp.OpType.SET, "retention.ms", "200000");
        alter("append", AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        alter("subtract", AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete");
        alter("delete", AlterConfigOp.OpType.DELETE, "retention.ms", null);
        alter("nonsense", AlterConfigOp.OpType.SET, "retention.ms", "soon");
        alter("unknown key", AlterConfigOp.OpType.SET, "no.such", "1");
        replace("two keys", new ConfigEntry("retention.ms", "300000"), new ConfigEntry("segment.bytes", "2000000"));
        replace("one key", new ConfigEntry("retention.ms", "400000"));
        replace("nonsense", new ConfigEntry("retention.ms", "soon"));
        replace("nothing");
    }

    private static String listed(OffsetSpec spec) throws Exception {
        List<String> out = new ArrayList<>();
        for (int p : new int[] {0, 1}) {
            TopicPartition tp = new TopicPartition("o-data", p);
            ListOffsetsResultInfo i = admin.listOffsets(Map.of(tp, spec)).partitionResult(tp).get();
            out.add(i.offset() + "@" + i.leaderEpoch().orElse(-1) + " " + i.timestamp());
        }
        return out.toString();
    }

    private static void records() throws Exception {
        long t0 = 1_700_000_000_000L;
        admin.createTopics(List.of(new NewTopic("o-data", 2, (short) 1).configs(Map.of("retention.ms", "-1")))).all().get();
        try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props(), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 100; i++) p.send(new ProducerRecord<>("o-data", 0, t0 + i, "k", "v" + i)).get();
        }
        Check.check("earliest", () -> listed(OffsetSpec.earliest()));
        Check.check("latest", () -> listed(OffsetSpec.latest()));
        Check.check("for a time", () -> listed(OffsetSpec.forTimestamp(t0 + 50)));
        Check.check("for a time after all", () -> listed(OffsetSpec.forTimestamp(t0 + 500)));
        TopicPartition p0 = new TopicPartition("o-data", 0);
        for (long before : new long[] {10, 1000, -1})
            Check.check("delete records before " + before, () -> admin.deleteRecords(Map.of(p0, RecordsToDelete.beforeOffset(before))).lowWatermarks().get(p0).get().lowWatermark());
        Check.check("earliest after that", () -> listed(OffsetSpec.earliest()));
    }

    private static void replicas() {
        Check.check("directories", () -> {
            List<String> out = new ArrayList<>();
            for (LogDirDescription d : admin.describeLogDirs(List.of(1)).descriptions().get(1).get().values()) {
                out.add(String.valueOf(d.error()));
                d.replicaInfos().forEach((tp, info) -> {
                    if (tp.topic().equals("o-data")) out.add(tp + " " + (info.size() > 0) + " " + info.offsetLag() + " " + info.isFuture());
                });
            }
            return Check.sorted(out);
        });
        TopicPartitionReplica replica = new TopicPartitionReplica("o-data", 0, 1);
        Check.check("directory of a replica", () -> admin.describeReplicaLogDirs(List.of(replica)).values().get(replica).get().getFutureReplicaLogDir());
        Check.check("to a directory that is not", () -> each(admin.alterReplicaLogDirs(Map.of(replica, "/no/such/directory")).values()));
        Check.check("elect the preferred leader", () -> {
            Map<String, String> out = new TreeMap<>();
            admin.electLeaders(ElectionType.PREFERRED, Set.of(new TopicPartition("o-data", 0), new TopicPartition("o-unknown", 0))).partitions().get()
                .forEach((k, v) -> out.put(k.toString(), v.map(Check::error).orElse("elected")));
            return out;
        });
        Check.check("reassign", () -> each(admin.alterPartitionReassignments(Map.of(new TopicPartition("o-data", 0), Optional.of(new NewPartitionReassignment(List.of(1))),
            new TopicPartition("o-data", 1), Optional.of(new NewPartitionReassignment(List.of(9))), new TopicPartition("o-unknown", 0), Optional.empty())).values()));
        Check.check("reassignments", () -> admin.listPartitionReassignments().reassignments().get());
    }
}
