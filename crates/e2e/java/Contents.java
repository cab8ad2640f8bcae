import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Prints all that a broker stores: topics with ids and configs, every record of every partition (as counts and hashes), groups and offsets. Usage: java Contents BOOTSTRAP */
public final class Contents {
    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        try (Admin admin = Admin.create(Check.props())) {
            TreeSet<String> topics = new TreeSet<>(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get());
            Check.check("topics", () -> topics);
            for (String t : topics) {
                Check.check("topic " + t, () -> {
                    var d = admin.describeTopics(List.of(t)).allTopicNames().get().get(t);
                    return d.topicId() + ", " + d.partitions().size() + " partitions, internal " + d.isInternal();
                });
                Check.check("configs of " + t, () -> {
                    ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, t);
                    List<String> set = new ArrayList<>();
                    for (ConfigEntry e : admin.describeConfigs(List.of(r)).all().get().get(r).entries()) if (e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) set.add(e.name() + "=" + e.value());
                    return Check.sorted(set);
                });
                // What a starting broker may itself write there is not compared record by record.
                if (t.startsWith("__")) continue;
                int partitions = admin.describeTopics(List.of(t)).allTopicNames().get().get(t).partitions().size();
                for (int p = 0; p < partitions; p++) {
                    TopicPartition tp = new TopicPartition(t, p);
                    Check.check("records of " + tp, () -> records(tp, "read_uncommitted"));
                    Check.check("committed records of " + tp, () -> records(tp, "read_committed"));
                    Check.check("producers of " + tp, () -> producers(admin, tp));
                    Check.check("offsets of " + tp, () -> {
                        List<String> out = new ArrayList<>();
                        // Leader epochs grow with every start, so they are left out.
                        for (OffsetSpec s : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp())) {
                            var i = admin.listOffsets(Map.of(tp, s)).all().get().get(tp);
                            out.add(i.offset() + "@" + i.timestamp());
                        }
                        return out;
                    });
                }
            }
            TreeMap<String, String> transactions = new TreeMap<>();
            admin.listTransactions().all().get().forEach(t -> transactions.put(t.transactionalId(), t.state() + ", producer " + t.producerId()));
            transactions.forEach((id, listed) -> Check.check("transaction " + id, () -> {
                var d = admin.describeTransactions(List.of(id)).all().get().get(id);
                TreeSet<String> partitions = new TreeSet<>();
                d.topicPartitions().forEach(tp -> partitions.add(tp.toString()));
                return listed + ", epoch " + d.producerEpoch() + ", timeout " + d.transactionTimeoutMs() + ", since " + d.transactionStartTimeMs().orElse(-1) + ", in " + partitions;
            }));
            TreeSet<String> groups = new TreeSet<>();
            admin.listGroups().all().get().forEach(g -> groups.add(g.groupId()));
            for (String g : groups) {
                Check.check("group " + g, () -> {
                    for (var l : admin.listGroups().all().get()) if (l.groupId().equals(g)) return l.type() + " " + l.protocol() + " " + l.groupState();
                    return "gone";
                });
                Check.check("committed by " + g, () -> {
                    Map<String, Object> out = new TreeMap<>();
                    admin.listConsumerGroupOffsets(g).partitionsToOffsetAndMetadata().get().forEach((k, v) -> out.put(k.toString(), v));
                    return out;
                });
            }
        }
        System.exit(0);
    }

    private static Object producers(Admin admin, TopicPartition tp) throws Exception {
        List<String> out = new ArrayList<>();
        for (var p : admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers())
            out.add(p.producerId() + " epoch " + p.producerEpoch() + " sequence " + p.lastSequence() + " at " + p.lastTimestamp() + " coordinator " + p.coordinatorEpoch().orElse(-1) + " open " + p.currentTransactionStartOffset().orElse(-1));
        return Check.sorted(out);
    }

    private static String records(TopicPartition tp, String isolation) {
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(Check.props("isolation.level", isolation, "auto.offset.reset", "earliest"), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            c.assign(List.of(tp));
            c.seekToBeginning(List.of(tp));
            long end = c.endOffsets(List.of(tp)).get(tp), count = 0, hash = 0, first = -1, last = -1;
            long deadline = System.nanoTime() + 30_000_000_000L;
            while (c.position(tp) < end && System.nanoTime() < deadline)
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(100))) {
                    if (first < 0) first = r.offset();
                    last = r.offset();
                    count++;
                    hash = hash * 31 + Arrays.hashCode(new Object[] {r.offset(), r.timestamp(), r.timestampType().name(), Arrays.hashCode(r.key()), Arrays.hashCode(r.value()), r.leaderEpoch().orElse(-1)});
                    for (Header h : r.headers()) hash = hash * 31 + h.key().hashCode() + Arrays.hashCode(h.value());
                }
            return count + " records from " + first + " to " + last + ", position " + c.position(tp) + ", hash " + hash;
        }
    }
}
