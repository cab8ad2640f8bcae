import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Scanner;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Leaves every kind of state on a broker, step after step, for whoever takes over its directory. Usage: java RoundTrip BOOTSTRAP WHAT STEP, where WHAT is
 * fill (topics, transactions, groups, deleted records), transact (a transaction that stays open until a line `commit` or `abort` comes in), share-and-streams
 * (groups of these kinds) or describe-share-and-streams.
 */
public final class RoundTrip {
    private static String step;

    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        step = args[2];
        switch (args[1]) {
            case "fill" -> fill();
            case "transact" -> transact();
            case "share-and-streams" -> shareAndStreams();
            case "describe-share-and-streams" -> describeShareAndStreams();
            default -> throw new IllegalArgumentException(args[1]);
        }
        System.exit(0);
    }

    private static final Map<String, Map<String, String>> TOPICS = Map.of(
        "rt-plain", Map.of("segment.bytes", "1048576"),
        "rt-transactions", Map.of("segment.bytes", "1048576"),
        "rt-compacted", Map.of("cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01"),
        "rt-both", Map.of("cleanup.policy", "compact,delete", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01"),
        "rt-append-time", Map.of("message.timestamp.type", "LogAppendTime", "compression.type", "lz4"));

    private static KafkaProducer<String, String> producer(String... more) {
        Properties p = Check.props(more);
        p.putIfAbsent("linger.ms", "5");
        return new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
    }

    private static void fill() throws Exception {
        try (Admin admin = Admin.create(Check.props())) {
            Set<String> there = admin.listTopics().names().get();
            for (var t : TOPICS.entrySet())
                if (!there.contains(t.getKey())) admin.createTopics(List.of(new NewTopic(t.getKey(), 2, (short) 1).configs(t.getValue()))).all().get();
            admin.createTopics(List.of(new NewTopic("rt-gone-" + step, 1, (short) 1))).all().get();
            admin.deleteTopics(List.of("rt-gone-" + step)).all().get();
            String filler = "x".repeat(1000);
            for (String codec : List.of("none", "zstd", "gzip"))
                try (KafkaProducer<String, String> p = producer("compression.type", codec)) {
                    for (int i = 0; i < 600; i++) p.send(new ProducerRecord<>("rt-plain", i % 2, "k" + i, step + codec + i + filler));
                    for (int i = 0; i < 600; i++) p.send(new ProducerRecord<>("rt-append-time", "k" + i, step + codec + i));
                }
            try (KafkaProducer<String, String> p = producer()) {
                for (int i = 0; i < 5000; i++) {
                    // Every seventh key is deleted in the end.
                    String key = "k" + i % 200, value = i >= 4800 && i % 7 == 0 ? null : step + i + filler;
                    p.send(new ProducerRecord<>("rt-compacted", i % 2, key, value));
                    p.send(new ProducerRecord<>("rt-both", i % 2, key, value));
                }
            }
            transactions(filler);
            groups(admin);
            var start = new TopicPartition("rt-plain", 0);
            admin.deleteRecords(Map.of(start, RecordsToDelete.beforeOffset(7L * Integer.parseInt(step)))).all().get();
        }
        System.out.println("filled");
    }

    /** Two producers whose transactions overlap; some are committed, some aborted; over compacted topics too. */
    private static void transactions(String filler) {
        try (KafkaProducer<String, String> a = producer("transactional.id", "rt-a"); KafkaProducer<String, String> b = producer("transactional.id", "rt-b-" + step)) {
            a.initTransactions();
            b.initTransactions();
            for (int n = 0; n < 8; n++) {
                a.beginTransaction();
                b.beginTransaction();
                for (int i = 0; i < 100; i++) {
                    a.send(new ProducerRecord<>("rt-transactions", i % 2, "a" + i, step + " a " + n + filler));
                    b.send(new ProducerRecord<>("rt-transactions", i % 2, "b" + i, step + " b " + n + filler));
                    a.send(new ProducerRecord<>("rt-compacted", i % 2, "a" + i, step + " a " + n + filler));
                    b.send(new ProducerRecord<>("rt-both", i % 2, "b" + i, step + " b " + n + filler));
                }
                a.sendOffsetsToTransaction(Map.of(new TopicPartition("rt-plain", 0), new OffsetAndMetadata(100L + n, "by a in " + step)), new ConsumerGroupMetadata("rt-in-transactions"));
                a.flush();
                b.flush();
                if (n % 3 == 1) a.abortTransaction();
                else a.commitTransaction();
                if (n % 2 == 0) b.abortTransaction();
                else b.commitTransaction();
            }
        }
    }

    private static void groups(Admin admin) throws Exception {
        for (String protocol : List.of("classic", "consumer"))
            try (KafkaConsumer<String, String> c = new KafkaConsumer<>(
                Check.props("group.id", "rt-" + protocol, "group.protocol", protocol, "auto.offset.reset", "earliest", "enable.auto.commit", "false"), new StringDeserializer(), new StringDeserializer())) {
                c.subscribe(List.of("rt-plain", "rt-append-time"));
                int[] seen = {0};
                Check.until("a group reads", () -> (seen[0] += c.poll(Duration.ofMillis(100)).count()) > 500);
                c.commitSync();
            }
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (int i = 0; i < 2; i++) offsets.put(new TopicPartition("rt-transactions", i), new OffsetAndMetadata(10L * Integer.parseInt(step) + i, "set in " + step));
        admin.alterConsumerGroupOffsets("rt-simple", offsets).all().get();
        admin.alterConsumerGroupOffsets("rt-deleted-" + step, offsets).all().get();
        admin.deleteConsumerGroups(List.of("rt-deleted-" + step)).all().get();
    }

    private static void transact() {
        try (KafkaProducer<String, String> p = producer("transactional.id", "rt-open-" + step, "transaction.timeout.ms", "800000")) {
            p.initTransactions();
            p.beginTransaction();
            part(p, "before");
            System.out.println("open");
            System.out.flush();
            String end = new Scanner(System.in).nextLine();
            part(p, "after");
            if (end.equals("commit")) p.commitTransaction();
            else p.abortTransaction();
            System.out.println("done: " + end);
            System.out.flush();
            // And the producer goes on with the next one.
            p.beginTransaction();
            part(p, "next");
            p.commitTransaction();
            System.out.println("went on");
        }
    }

    private static void part(KafkaProducer<String, String> p, String when) {
        for (int i = 0; i < 20; i++) {
            p.send(new ProducerRecord<>("rt-transactions", i % 2, "open", step + when + i));
            p.send(new ProducerRecord<>("rt-both", i % 2, "open" + i, step + when + i));
        }
        p.sendOffsetsToTransaction(Map.of(new TopicPartition("rt-plain", 1), new OffsetAndMetadata(Integer.parseInt(step), when)), new ConsumerGroupMetadata("rt-open-" + step));
        p.flush();
    }

    private static void shareAndStreams() throws Exception {
        try (Admin admin = Admin.create(Check.props())) {
            var earliest = new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, "rt-share"), (Collection<AlterConfigOp>) List.of(earliest))).all().get();
            admin.createTopics(List.of(new NewTopic("rt-streams-out", 2, (short) 1))).all().get();
        }
        try (KafkaShareConsumer<String, String> c = new KafkaShareConsumer<>(Check.props("group.id", "rt-share"), new StringDeserializer(), new StringDeserializer())) {
            c.subscribe(List.of("rt-plain"));
            int[] seen = {0};
            Check.until("the share group reads", () -> {
                seen[0] += c.poll(Duration.ofMillis(100)).count();
                c.commitSync();
                return seen[0] > 300;
            });
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream("rt-append-time", Consumed.with(Serdes.String(), Serdes.String())).mapValues(v -> v + "!").to("rt-streams-out", Produced.with(Serdes.String(), Serdes.String()));
        java.nio.file.Path state = java.nio.file.Files.createTempDirectory("rt-streams");
        try (KafkaStreams streams = new KafkaStreams(builder.build(), Check.props("application.id", "rt-streams", "group.protocol", "streams", "state.dir", state.toString(), "auto.offset.reset", "earliest"))) {
            streams.start();
            try (KafkaConsumer<String, String> c = new KafkaConsumer<>(Check.props("auto.offset.reset", "earliest"), new StringDeserializer(), new StringDeserializer())) {
                c.assign(List.of(new TopicPartition("rt-streams-out", 0), new TopicPartition("rt-streams-out", 1)));
                int[] seen = {0};
                Check.until("the streams group works", () -> (seen[0] += c.poll(Duration.ofMillis(100)).count()) >= 1800);
            }
        }
        System.out.println("filled");
    }

    /** Only a broker that serves these groups can tell. */
    private static void describeShareAndStreams() throws Exception {
        try (Admin admin = Admin.create(Check.props())) {
            Check.check("share group", () -> admin.describeShareGroups(List.of("rt-share")).all().get().get("rt-share").groupState());
            Check.check("share group epoch", () -> admin.describeShareGroups(List.of("rt-share")).all().get().get("rt-share").groupEpoch());
            // Without the lag, which grows with the topic.
            Check.check("share group offsets", () -> {
                var offsets = new java.util.TreeMap<String, Object>();
                admin.listShareGroupOffsets(Map.of("rt-share", new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo("rt-share").get().forEach((k, v) -> offsets.put(k.toString(), v.startOffset() + " epoch " + v.leaderEpoch().orElse(-1)));
                return offsets;
            });
            Check.check("streams group", () -> {
                var d = admin.describeStreamsGroups(List.of("rt-streams")).all().get().get("rt-streams");
                return d.groupState() + " epoch " + d.groupEpoch() + " topology " + d.topologyEpoch() + " " + d.subtopologies();
            });
            Check.check("streams group offsets", () -> {
                var offsets = new java.util.TreeMap<String, Object>();
                admin.listStreamsGroupOffsets(Map.of("rt-streams", new org.apache.kafka.clients.admin.ListStreamsGroupOffsetsSpec())).partitionsToOffsetAndMetadata("rt-streams").get().forEach((k, v) -> offsets.put(k.toString(), v));
                return offsets;
            });
            Check.check("group config", () -> {
                var r = new ConfigResource(ConfigResource.Type.GROUP, "rt-share");
                return admin.describeConfigs(List.of(r)).all().get().get(r).get("share.auto.offset.reset").value();
            });
        }
    }
}
