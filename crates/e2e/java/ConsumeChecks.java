import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Reading with partitions assigned by hand: positions, seeks, limits, times, commits. */
final class ConsumeChecks {
    private static final long T0 = 1_700_000_000_000L;
    private static final TopicPartition P0 = new TopicPartition("r-data", 0), P1 = new TopicPartition("r-data", 1), P2 = new TopicPartition("r-data", 2);

    static void run() throws Exception {
        try (Admin admin = Admin.create(Check.props())) {
            ProduceChecks.topic(admin, "r-data", 3);
            ProduceChecks.topic(admin, "r-many", 60);
            ProduceChecks.topic(admin, "r-cut", 1);
            try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props("linger.ms", "30", "compression.type", "zstd"), new StringSerializer(), new StringSerializer())) {
                // Batches sent before a new topic's leader serves it can fail one by one, out of order (Java's producer gives some up then):
                // the first of each partition goes alone.
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < 1000; i++) sent.add(first(i < 2, p.send(new ProducerRecord<>("r-data", i % 2, T0 + i, "k" + i, "value " + i))));
                for (int i = 0; i < 600; i++) sent.add(first(i < 60, p.send(new ProducerRecord<>("r-many", i % 60, T0 + i, null, "m" + i))));
                for (int i = 0; i < 20; i++) sent.add(first(i < 1, p.send(new ProducerRecord<>("r-cut", "c" + i))));
                for (Future<RecordMetadata> f : sent) f.get();
            }
            admin.deleteRecords(Map.of(new TopicPartition("r-cut", 0), RecordsToDelete.beforeOffset(5))).all().get();
        }
        positions();
        limits();
        resets();
        commits();
    }

    private static Future<RecordMetadata> first(boolean alone, Future<RecordMetadata> sent) throws Exception {
        if (alone) sent.get();
        return sent;
    }

    static KafkaConsumer<String, String> consumer(String... pairs) {
        Properties p = Check.props("auto.offset.reset", "earliest", "enable.auto.commit", "false", "default.api.timeout.ms", "15000");
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> c, int count) {
        List<ConsumerRecord<String, String>> out = new ArrayList<>();
        long deadline = System.nanoTime() + 20_000_000_000L;
        while (out.size() < count && System.nanoTime() < deadline) c.poll(Duration.ofMillis(50)).forEach(out::add);
        return out;
    }

    private static String show(List<ConsumerRecord<String, String>> records) {
        if (records.isEmpty()) return "none";
        ConsumerRecord<String, String> a = records.get(0), z = records.get(records.size() - 1);
        long hash = 0;
        for (ConsumerRecord<String, String> r : records) hash += (r.partition() + "/" + r.offset() + "/" + r.key() + "/" + r.value() + "/" + r.timestamp()).hashCode();
        return records.size() + " records, first " + a.offset() + " " + a.value() + ", last " + z.offset() + " " + z.value() + ", hash " + hash;
    }

    private static void positions() {
        try (KafkaConsumer<String, String> c = consumer()) {
            Check.check("partitions", () -> c.partitionsFor("r-data").stream().map(p -> p.partition() + "@" + p.leader().id()).sorted().toList());
            Check.check("topics seen", () -> c.listTopics().keySet().stream().filter(t -> t.startsWith("r-")).sorted().toList());
            Check.check("beginning", () -> new TreeMap<>(named(c.beginningOffsets(List.of(P0, P1, P2)))));
            Check.check("end", () -> new TreeMap<>(named(c.endOffsets(List.of(P0, P1, P2)))));
            Check.check("beginning after deleted records", () -> c.beginningOffsets(List.of(new TopicPartition("r-cut", 0))).values());
            c.assign(List.of(P0));
            Check.check("from the beginning", () -> show(take(c, 500)));
            Check.check("position", () -> c.position(P0));
            // By its name, because clients before 3.0 do not have it.
            Check.check("lag", () -> KafkaConsumer.class.getMethod("currentLag", TopicPartition.class).invoke(c, P0));
            for (long at : new long[] {0, 1, 123, 499}) Check.check("seek to " + at, () -> {
                c.seek(P0, at);
                return show(take(c, (int) (500 - at)));
            });
            Check.check("seek to the end", () -> {
                c.seekToEnd(List.of(P0));
                return c.position(P0) + " " + show(new ArrayList<>(c.poll(Duration.ofMillis(300)).records(P0)));
            });
            Check.check("seek to beginning", () -> {
                c.seekToBeginning(List.of(P0));
                return c.position(P0);
            });
            Check.check("offsets for times", () -> {
                List<String> out = new ArrayList<>();
                for (long t : new long[] {0, T0, T0 + 1, T0 + 2, T0 + 501, T0 + 998, T0 + 999, T0 + 5000}) {
                    OffsetAndTimestamp o = c.offsetsForTimes(Map.of(P0, t)).get(P0);
                    out.add(o == null ? "null" : o.offset() + "@" + (o.timestamp() - T0) + " " + o.leaderEpoch());
                }
                return out;
            });
            Check.check("pause and resume", () -> {
                c.assign(List.of(P0, P1));
                c.seekToBeginning(List.of(P0, P1));
                c.pause(List.of(P1));
                List<ConsumerRecord<String, String>> first = take(c, 500);
                boolean only = first.stream().allMatch(r -> r.partition() == 0);
                c.resume(List.of(P1));
                return only + " then " + show(take(c, 500));
            });
            Check.check("unknown partition's end", () -> Check.outcome(() -> c.endOffsets(List.of(new TopicPartition("r-data", 9)), Duration.ofMillis(1500))).replaceAll("\\d+ms", "N ms"));
        }
    }

    private static Map<String, Object> named(Map<TopicPartition, ?> m) {
        Map<String, Object> out = new TreeMap<>();
        m.forEach((k, v) -> out.put(k.toString(), v));
        return out;
    }

    private static void limits() {
        String[][] settings = {{"max.poll.records", "7"}, {"max.partition.fetch.bytes", "1"}, {"fetch.max.bytes", "1"}, {"fetch.min.bytes", "100000", "fetch.max.wait.ms", "100"}, {"check.crcs", "false"}, {"isolation.level", "read_committed"}, {"client.rack", "r1"}, {"receive.buffer.bytes", "4096"}};
        for (String[] s : settings)
            Check.check("read with " + String.join(" ", s), () -> {
                try (KafkaConsumer<String, String> c = consumer(s)) {
                    c.assign(List.of(P0, P1, P2));
                    List<ConsumerRecord<String, String>> all = take(c, 1000);
                    all.sort((a, b) -> a.partition() != b.partition() ? a.partition() - b.partition() : Long.compare(a.offset(), b.offset()));
                    return show(all);
                }
            });
        Check.check("sixty partitions, one consumer", () -> {
            try (KafkaConsumer<String, String> c = consumer()) {
                List<TopicPartition> all = new ArrayList<>();
                for (int i = 0; i < 60; i++) all.add(new TopicPartition("r-many", i));
                c.assign(all);
                int first = take(c, 600).size();
                c.assign(all.subList(10, 20));
                c.seekToBeginning(all.subList(10, 20));
                int second = take(c, 100).size();
                c.assign(all);
                c.seekToBeginning(all);
                return first + " " + second + " " + take(c, 600).size();
            }
        });
        Check.check("a record that comes while the fetch waits", () -> {
            try (KafkaConsumer<String, String> c = consumer("fetch.max.wait.ms", "5000"); KafkaProducer<String, String> p = new KafkaProducer<>(Check.props(), new StringSerializer(), new StringSerializer())) {
                c.assign(List.of(P2));
                c.poll(Duration.ofMillis(300));
                long t = System.nanoTime();
                p.send(new ProducerRecord<>("r-data", 2, "late", "late")).get();
                List<ConsumerRecord<String, String>> got = take(c, 1);
                return got.get(0).value() + " soon: " + (System.nanoTime() - t < 2_000_000_000L);
            }
        });
    }

    private static void resets() {
        for (String reset : List.of("earliest", "latest", "none", "by_duration:PT1H", "by_duration:P9999D"))
            Check.check("reset " + reset, () -> {
                try (KafkaConsumer<String, String> c = consumer("auto.offset.reset", reset, "group.id", "r-reset", "default.api.timeout.ms", "20000")) {
                    c.assign(List.of(P1));
                    return c.position(P1);
                }
            });
        for (String reset : List.of("earliest", "latest", "none"))
            for (long at : new long[] {2, 5000})
                Check.check("out of range at " + at + ", reset " + reset, () -> {
                    try (KafkaConsumer<String, String> c = consumer("auto.offset.reset", reset)) {
                        TopicPartition tp = new TopicPartition("r-cut", 0);
                        c.assign(List.of(tp));
                        c.seek(tp, at);
                        long deadline = System.nanoTime() + 3_000_000_000L;
                        ConsumerRecords<String, String> r = c.poll(Duration.ofMillis(100));
                        while (c.position(tp) == at && System.nanoTime() < deadline) r = c.poll(Duration.ofMillis(100));
                        return r.count() + " records, position " + c.position(tp);
                    }
                });
    }

    private static void commits() {
        try (KafkaConsumer<String, String> c = consumer("group.id", "r-commits")) {
            c.assign(List.of(P0, P1));
            Check.check("nothing committed", () -> named(c.committed(java.util.Set.of(P0, P1))));
            Check.check("commit with metadata", () -> {
                c.commitSync(Map.of(P0, new OffsetAndMetadata(17, java.util.Optional.of(0), "état 17"), P1, new OffsetAndMetadata(0, "")));
                return named(c.committed(java.util.Set.of(P0, P1)));
            });
            Check.check("commit backwards", () -> {
                c.commitSync(Map.of(P0, new OffsetAndMetadata(3)));
                return c.committed(java.util.Set.of(P0)).get(P0);
            });
            Check.check("commit past the end", () -> {
                c.commitSync(Map.of(P0, new OffsetAndMetadata(99999)));
                return c.committed(java.util.Set.of(P0)).get(P0);
            });
            Check.check("commit negative", () -> {
                c.commitSync(Map.of(P0, new OffsetAndMetadata(-1)));
                return c.committed(java.util.Set.of(P0)).get(P0);
            });
            Check.check("commit too much metadata", () -> {
                c.commitSync(Map.of(P0, new OffsetAndMetadata(1, "m".repeat(5000))));
                return c.committed(java.util.Set.of(P0)).get(P0);
            });
            Check.check("commit to an unknown partition", () -> {
                c.commitSync(Map.of(new TopicPartition("r-unknown", 0), new OffsetAndMetadata(1)), Duration.ofMillis(1500));
                return "committed";
            });
            Check.check("commit async", () -> {
                String[] outcome = new String[1];
                c.commitAsync(Map.of(P1, new OffsetAndMetadata(5, "async")), (o, e) -> outcome[0] = e == null ? named(o).toString() : Check.error(e));
                Check.until("async commit", () -> {
                    c.poll(Duration.ofMillis(20));
                    return outcome[0] != null;
                });
                return outcome[0];
            });
        }
        Check.check("resume from the commit", () -> {
            try (KafkaConsumer<String, String> c = consumer("group.id", "r-commits")) {
                c.assign(List.of(P1));
                return c.position(P1);
            }
        });
        Check.check("auto commit at close", () -> {
            try (KafkaConsumer<String, String> c = consumer("group.id", "r-auto", "enable.auto.commit", "true", "max.poll.records", "40")) {
                c.assign(List.of(P0));
                take(c, 40);
            }
            try (KafkaConsumer<String, String> c = consumer("group.id", "r-auto")) {
                c.assign(List.of(P0));
                return c.position(P0);
            }
        });
        Check.check("commit without a group", () -> {
            try (KafkaConsumer<String, String> c = consumer()) {
                c.assign(List.of(P0));
                c.commitSync(Map.of(P0, new OffsetAndMetadata(1)));
                return "committed";
            }
        });
        Check.check("empty group id", () -> {
            try (KafkaConsumer<String, String> c = consumer("group.id", "")) {
                c.assign(List.of(P0));
                c.commitSync(Map.of(P0, new OffsetAndMetadata(1)));
                return "committed";
            }
        });
    }
}
