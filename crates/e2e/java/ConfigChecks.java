import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.ConfigResource.Type;

/** Every config of a topic, a broker and a group, where its value comes from, and what happens when it is changed. */
final class ConfigChecks {
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            ConfigResource topic = new ConfigResource(Type.TOPIC, "c-topic");
            admin.createTopics(List.of(new NewTopic("c-topic", 1, (short) 1).configs(Map.of("retention.ms", "600000")))).all().get();
            every("topic", topic);
            every("broker", new ConfigResource(Type.BROKER, "1"));
            every("cluster", new ConfigResource(Type.BROKER, ""));
            every("group", new ConfigResource(Type.GROUP, "c-group"));
            Check.check("describe unknown topic", () -> admin.describeConfigs(List.of(new ConfigResource(Type.TOPIC, "c-unknown"))).all().get());
            Check.check("describe unknown broker", () -> {
                // The client routes this to broker 7, which does not exist.
                return admin.describeConfigs(List.of(new ConfigResource(Type.BROKER, "7")), new DescribeConfigsOptions().timeoutMs(1500)).all().get();
            });
            changes(topic);
        }
    }

    private static String show(ConfigEntry e) {
        List<String> synonyms = new ArrayList<>();
        e.synonyms().forEach(s -> synonyms.add(s.name() + "=" + s.value() + "/" + s.source()));
        return e.value() + " " + e.source() + " " + e.type() + (e.isSensitive() ? " sensitive" : "") + (e.isReadOnly() ? " read-only" : "") + " " + synonyms;
    }

    private static Collection<ConfigEntry> entries(ConfigResource r) throws Exception {
        return admin.describeConfigs(List.of(r), new DescribeConfigsOptions().includeSynonyms(true)).all().get().get(r).entries();
    }

    private static void every(String name, ConfigResource r) {
        try {
            Collection<ConfigEntry> all = entries(r);
            Check.check(name + " configs", all::size);
            all.stream().sorted((a, b) -> a.name().compareTo(b.name())).forEach(e -> Check.check(name + " config " + e.name(), () -> show(e)));
        } catch (Exception e) {
            Check.check(name + " configs", () -> { throw e; });
        }
    }

    private static String value(ConfigResource r, String key) throws Exception {
        for (ConfigEntry e : entries(r)) if (e.name().equals(key)) return show(e);
        return "absent";
    }

    private static String alter(ConfigResource r, String key, String value, OpType op) {
        return Check.outcome(() -> admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all().get());
    }

    /** Changes one key and says what came of it. A change is visible a moment after it is acknowledged, so wait until the answer settles. */
    private static void change(String name, ConfigResource r, String key, String value, OpType op) {
        Check.check(name, () -> {
            String before = value(r, key);
            String outcome = alter(r, key, value, op);
            if (outcome.startsWith("!")) return outcome + " -> " + value(r, key);
            long settle = System.nanoTime() + 1_500_000_000L;
            String after = value(r, key);
            while (after.equals(before) && System.nanoTime() < settle) {
                Thread.sleep(20);
                after = value(r, key);
            }
            // The value and where it comes from do not always change in the same moment.
            for (String last = ""; !last.equals(after); after = value(r, key)) {
                last = after;
                Thread.sleep(100);
            }
            return after;
        });
    }

    private static void changes(ConfigResource topic) {
        change("set", topic, "retention.ms", "700000", OpType.SET);
        change("set with spaces", topic, "retention.bytes", " 123456 ", OpType.SET);
        change("set to the default", topic, "segment.ms", "604800000", OpType.SET);
        change("delete", topic, "retention.ms", "", OpType.DELETE);
        change("delete what is not set", topic, "flush.ms", "", OpType.DELETE);
        change("append", topic, "cleanup.policy", "compact", OpType.APPEND);
        change("append what is there", topic, "cleanup.policy", "compact", OpType.APPEND);
        change("subtract", topic, "cleanup.policy", "delete", OpType.SUBTRACT);
        change("subtract what is not there", topic, "cleanup.policy", "delete", OpType.SUBTRACT);
        change("append to a number", topic, "retention.ms", "5", OpType.APPEND);
        change("unknown key", topic, "no.such.key", "5", OpType.SET);
        change("not a number", topic, "max.message.bytes", "many", OpType.SET);
        change("too small", topic, "max.message.bytes", "-1", OpType.SET);
        change("below the segment minimum", topic, "segment.bytes", "13", OpType.SET);
        change("not a policy", topic, "cleanup.policy", "shred", OpType.SET);
        change("not a boolean", topic, "preallocate", "perhaps", OpType.SET);
        change("empty value", topic, "retention.ms", "", OpType.SET);
        change("throttled replicas", topic, "leader.replication.throttled.replicas", "0:1", OpType.SET);
        change("throttled replicas wrong", topic, "leader.replication.throttled.replicas", "zero", OpType.SET);
        change("min in-sync", topic, "min.insync.replicas", "0", OpType.SET);
        change("remote storage", topic, "remote.storage.enable", "true", OpType.SET);
        change("local retention above retention", topic, "local.retention.ms", "999999999999", OpType.SET);
        change("topic unknown", new ConfigResource(Type.TOPIC, "c-unknown"), "retention.ms", "5", OpType.SET);
        ConfigResource broker = new ConfigResource(Type.BROKER, "1"), all = new ConfigResource(Type.BROKER, "");
        change("broker dynamic", broker, "log.cleaner.threads", "2", OpType.SET);
        change("broker dynamic back", broker, "log.cleaner.threads", "", OpType.DELETE);
        change("broker read only", broker, "log.dirs", "/elsewhere", OpType.SET);
        change("broker read only port", broker, "process.roles", "broker", OpType.SET);
        change("broker unknown key", broker, "no.such.key", "5", OpType.SET);
        change("broker not a number", broker, "log.retention.ms", "x", OpType.SET);
        change("cluster default", all, "log.retention.ms", "86400000", OpType.SET);
        Check.check("cluster default seen by broker", () -> value(broker, "log.retention.ms"));
        Check.check("cluster default seen by topic", () -> value(topic, "retention.ms"));
        change("cluster default back", all, "log.retention.ms", "", OpType.DELETE);
        change("cluster message size", all, "message.max.bytes", "2097152", OpType.SET);
        Check.check("cluster message size seen by topic", () -> value(topic, "max.message.bytes"));
        change("cluster message size back", all, "message.max.bytes", "", OpType.DELETE);
        change("cluster listeners", all, "listeners", "PLAINTEXT://:1", OpType.SET);
        ConfigResource group = new ConfigResource(Type.GROUP, "c-group");
        change("group set", group, "consumer.session.timeout.ms", "50000", OpType.SET);
        change("group out of bounds", group, "consumer.session.timeout.ms", "1", OpType.SET);
        change("group unknown key", group, "no.such.key", "1", OpType.SET);
        change("group delete", group, "consumer.session.timeout.ms", "", OpType.DELETE);
        Check.check("validate only", () -> {
            admin.incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "11"), OpType.SET))), new AlterConfigsOptions().validateOnly(true)).all().get();
            return value(topic, "retention.ms");
        });
        Check.check("several keys, one wrong", () -> {
            String r = Check.outcome(() -> admin.incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "12"), OpType.SET), new AlterConfigOp(new ConfigEntry("flush.ms", "x"), OpType.SET)))).all().get());
            return r + " -> " + value(topic, "retention.ms");
        });
    }
}
