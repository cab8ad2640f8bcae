import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** What a producer can send and how it is refused; each accepted record is read back whole. */
final class ProduceChecks {
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            codecs();
            acks();
            shapes();
            refusals();
            partitioning();
            autoCreate();
        }
    }

    private static void topic(String name, int partitions, String... configs) throws Exception {
        topic(admin, name, partitions, configs);
    }

    static void topic(Admin admin, String name, int partitions, String... configs) throws Exception {
        // The records are years old: keep them.
        Map<String, String> c = new TreeMap<>(Map.of("retention.ms", "-1"));
        for (int i = 0; i < configs.length; i += 2) c.put(configs[i], configs[i + 1]);
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(c))).all().get();
    }

    private static KafkaProducer<byte[], byte[]> producer(String... pairs) {
        Properties p = Check.props("max.block.ms", "10000", "request.timeout.ms", "4000", "delivery.timeout.ms", "8000");
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, int count, String... pairs) {
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(Check.props(pairs), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition tp = new TopicPartition(topic, partition);
            c.assign(List.of(tp));
            c.seekToBeginning(List.of(tp));
            List<ConsumerRecord<byte[], byte[]>> out = new ArrayList<>();
            long deadline = System.nanoTime() + 20_000_000_000L;
            while (out.size() < count && System.nanoTime() < deadline) c.poll(Duration.ofMillis(100)).forEach(out::add);
            return out;
        }
    }

    private static String show(ConsumerRecord<byte[], byte[]> r) {
        StringBuilder s = new StringBuilder(r.offset() + " " + text(r.key()) + "=" + text(r.value()) + " " + r.timestampType() + " epoch " + r.leaderEpoch());
        for (Header h : r.headers()) s.append(" ").append(h.key()).append(":").append(text(h.value()));
        return s.toString();
    }

    private static String text(byte[] b) {
        return b == null ? "null" : b.length > 40 ? b.length + " bytes, hash " + java.util.Arrays.hashCode(b) : "'" + new String(b) + "'";
    }

    private static byte[] bytes(int seed, int size, boolean random) {
        byte[] b = new byte[size];
        if (random) new Random(seed).nextBytes(b);
        else for (int i = 0; i < size; i++) b[i] = (byte) ('a' + (i / 64 + seed) % 26);
        return b;
    }

    private static void codecs() {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
            for (String stored : List.of("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"))
                Check.check("codec " + codec + " stored as " + stored, () -> {
                    String name = "p-" + codec + "-" + stored;
                    topic(name, 1, "compression.type", stored);
                    try (KafkaProducer<byte[], byte[]> p = producer("compression.type", codec, "linger.ms", "20")) {
                        for (int i = 0; i < 200; i++) p.send(new ProducerRecord<>(name, 0, 1_700_000_000_000L + i, ("k" + i).getBytes(), bytes(i, 10 + i * 17, i % 3 == 0)));
                    }
                    int hash = 0;
                    List<ConsumerRecord<byte[], byte[]>> back = read(name, 0, 200);
                    for (ConsumerRecord<byte[], byte[]> r : back) hash = hash * 31 + java.util.Arrays.hashCode(r.value()) + (int) r.offset() + (int) r.timestamp();
                    return back.size() + " records, hash " + hash;
                });
    }

    private static void acks() {
        for (String acks : List.of("0", "1", "all"))
            for (String idempotent : List.of("false", "true")) {
                if (idempotent.equals("true") && !acks.equals("all")) continue;
                Check.check("acks " + acks + " idempotence " + idempotent, () -> {
                    String name = "p-acks-" + acks + "-" + idempotent;
                    topic(name, 1);
                    List<Long> offsets = new ArrayList<>();
                    try (KafkaProducer<byte[], byte[]> p = producer("acks", acks, "enable.idempotence", idempotent)) {
                        for (int i = 0; i < 5; i++) offsets.add(p.send(new ProducerRecord<>(name, ("v" + i).getBytes())).get().offset());
                    }
                    List<String> back = new ArrayList<>();
                    read(name, 0, 5).forEach(r -> back.add(show(r)));
                    return offsets + " " + back;
                });
            }
        Check.check("idempotent, many batches in flight", () -> {
            topic("p-flight", 1);
            try (KafkaProducer<byte[], byte[]> p = producer("batch.size", "100", "linger.ms", "0")) {
                for (int i = 0; i < 2000; i++) p.send(new ProducerRecord<>("p-flight", 0, null, String.valueOf(i).getBytes()));
            }
            int inOrder = 0;
            for (ConsumerRecord<byte[], byte[]> r : read("p-flight", 0, 2000)) if (new String(r.value()).equals(String.valueOf(inOrder))) inOrder++;
            return inOrder + " in order";
        });
    }

    private static void shapes() {
        Check.check("nulls, empties, headers", () -> {
            topic("p-shapes", 1);
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                p.send(new ProducerRecord<>("p-shapes", 0, null, null)).get();
                p.send(new ProducerRecord<>("p-shapes", 0, new byte[0], new byte[0])).get();
                p.send(new ProducerRecord<>("p-shapes", 0, "k".getBytes(), null)).get();
                p.send(new ProducerRecord<>("p-shapes", 0, null, "ключ".getBytes("UTF-8"), "значение".getBytes("UTF-8"), List.of(new RecordHeader("h", "1".getBytes()), new RecordHeader("h", "2".getBytes()), new RecordHeader("null", null), new RecordHeader("", new byte[0])))).get();
            }
            List<String> back = new ArrayList<>();
            read("p-shapes", 0, 4).forEach(r -> back.add(show(r)));
            return back;
        });
        Check.check("timestamps kept", () -> {
            topic("p-times", 1);
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                for (long t : new long[] {0, 1, 1_000_000_000_000L}) p.send(new ProducerRecord<>("p-times", 0, t, null, "x".getBytes())).get();
            }
            List<Long> back = new ArrayList<>();
            read("p-times", 0, 3).forEach(r -> back.add(r.timestamp()));
            return back;
        });
        Check.check("log append time", () -> {
            topic("p-append-time", 1, "message.timestamp.type", "LogAppendTime");
            long before = System.currentTimeMillis();
            RecordMetadata m;
            try (KafkaProducer<byte[], byte[]> p = producer("compression.type", "lz4")) {
                m = p.send(new ProducerRecord<>("p-append-time", 0, 5L, null, "x".getBytes())).get();
            }
            ConsumerRecord<byte[], byte[]> r = read("p-append-time", 0, 1).get(0);
            return show(r) + " now: " + (r.timestamp() >= before && r.timestamp() == m.timestamp());
        });
        Check.check("a record of 900 KB", () -> {
            topic("p-big", 1);
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                p.send(new ProducerRecord<>("p-big", bytes(3, 900_000, true))).get();
            }
            return show(read("p-big", 0, 1).get(0));
        });
        Check.check("a batch that must be split", () -> {
            topic("p-split", 1, "max.message.bytes", "3000");
            try (KafkaProducer<byte[], byte[]> p = producer("linger.ms", "50", "batch.size", "100000", "compression.type", "gzip")) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < 50; i++) sent.add(p.send(new ProducerRecord<>("p-split", 0, null, bytes(i, 500, true))));
                p.flush();
                for (Future<RecordMetadata> f : sent) f.get();
            }
            return read("p-split", 0, 50).size();
        });
    }

    private static void refuse(String name, String topic, ProducerRecord<byte[], byte[]> record, String... pairs) {
        Check.check("refused, " + name, () -> {
            try (KafkaProducer<byte[], byte[]> p = producer(pairs)) {
                return "offset " + p.send(record).get().offset();
            }
        });
        Check.check("refused, " + name + ", nothing stored", () -> admin.listOffsets(Map.of(new TopicPartition(topic, 0), org.apache.kafka.clients.admin.OffsetSpec.latest())).all().get().get(new TopicPartition(topic, 0)).offset());
    }

    private static void refusals() throws Exception {
        topic("p-strict", 1);
        long now = System.currentTimeMillis();
        refuse("larger than max.message.bytes", "p-strict", new ProducerRecord<>("p-strict", bytes(1, 1_100_000, true)), "max.request.size", "9000000", "buffer.memory", "33554432");
        topic("p-past", 1, "message.timestamp.before.max.ms", "1000");
        refuse("two hours ahead", "p-past", new ProducerRecord<>("p-past", 0, now + 7_200_000, null, "x".getBytes()), "retries", "0", "enable.idempotence", "false");
        refuse("too old", "p-past", new ProducerRecord<>("p-past", 0, 1000L, null, "x".getBytes()), "retries", "0", "enable.idempotence", "false");
        topic("p-compact", 1, "cleanup.policy", "compact");
        refuse("no key on a compacted topic", "p-compact", new ProducerRecord<>("p-compact", 0, null, "x".getBytes()));
        Check.check("key on a compacted topic", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                return p.send(new ProducerRecord<>("p-compact", 0, "k".getBytes(), "x".getBytes())).get().offset();
            }
        });
        topic("p-isr", 1, "min.insync.replicas", "2");
        Check.check("too few in-sync replicas", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer("retries", "0", "enable.idempotence", "false")) {
                return p.send(new ProducerRecord<>("p-isr", "x".getBytes())).get().offset();
            }
        });
        Check.check("too few in-sync replicas, acks 1", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer("acks", "1", "enable.idempotence", "false")) {
                return p.send(new ProducerRecord<>("p-isr", "x".getBytes())).get().offset();
            }
        });
        Check.check("invalid topic name", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer("max.block.ms", "3000")) {
                return p.send(new ProducerRecord<>("not/valid", "x".getBytes())).get().offset();
            }
        });
        Check.check("partition that does not exist", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer("max.block.ms", "1500")) {
                return p.send(new ProducerRecord<>("p-strict", 7, null, "x".getBytes())).get().offset();
            }
        });
    }

    private static void partitioning() {
        Check.check("keys to partitions", () -> {
            topic("p-keys", 7);
            List<Integer> where = new ArrayList<>();
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                for (int i = 0; i < 50; i++) where.add(p.send(new ProducerRecord<>("p-keys", ("key" + i).getBytes(), "x".getBytes())).get().partition());
                return where + " partitionsFor " + p.partitionsFor("p-keys").size();
            }
        });
        Check.check("round robin reaches all", () -> {
            topic("p-round", 4);
            int[] n = new int[4];
            try (KafkaProducer<byte[], byte[]> p = producer("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner")) {
                for (int i = 0; i < 40; i++) n[p.send(new ProducerRecord<>("p-round", "x".getBytes())).get().partition()]++;
            }
            boolean all = true;
            for (int c : n) all &= c > 0;
            return all;
        });
    }

    private static void autoCreate() {
        Check.check("producing makes the topic", () -> {
            try (KafkaProducer<byte[], byte[]> p = producer()) {
                return p.send(new ProducerRecord<>("p-made-by-producer", "x".getBytes())).get().offset() + " of " + p.partitionsFor("p-made-by-producer").size();
            }
        });
        Check.check("consuming makes the topic", () -> {
            int n = read("p-made-by-consumer", 0, 0).size();
            try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(Check.props(), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                Check.until("topic made", () -> c.partitionsFor("p-made-by-consumer").size() == 1);
                return n;
            }
        });
        Check.check("asking without permission makes nothing", () -> {
            try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(Check.props("allow.auto.create.topics", "false", "default.api.timeout.ms", "1500"), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                Object r = c.partitionsFor("p-never");
                return r + " " + admin.listTopics().names().get().contains("p-never");
            }
        });
    }
}
