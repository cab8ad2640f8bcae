import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Kafka Streams applications on a broker: what they make of a given input, the topics they create, what they restore. Usage: java StreamsSweep BOOTSTRAP STATE_DIRECTORY */
public final class StreamsSweep {
    private static final String[] WORDS = "to be or not that is the question whether tis nobler in the mind suffer".split(" ");
    private static String directory;

    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        Check.patience = 150;
        directory = args[1];
        try (Topics topics = new Topics()) {
            topics.create(3, "lines", "words");
            topics.create(1, "clicks", "tumbling-all", "tumbling-closed", "hopping-sums", "sessions-counts");
            topics.create(2, "orders", "payments", "prices", "taxes", "countries", "paid-orders", "all-orders", "priced-orders", "located-orders", "taxed-prices");
            wordCount(topics, "exactly_once_v2");
            topics.admin.deleteTopics(List.of("lines", "words")).all().get();
            Check.until("the topics are gone", () -> !names(topics).contains("lines"));
            topics.create(3, "lines", "words");
            wordCount(topics, "at_least_once");
            windows(topics);
            joins(topics);
        }
        System.exit(0);
    }

    private static void wordCount(Topics topics, String guarantee) throws Exception {
        String id = "words-" + guarantee.replace('_', '-');
        TreeMap<String, Long> counts = new TreeMap<>();
        int first = lines(topics, counts, 0), sent = first + WORDS.length;
        try (App app = new App(id, guarantee, Topologies.wordCount())) {
            wordsAre(topics, first);
            // Every word once more and much later, so that no changelog goes on in the segment with the first counts.
            for (String word : WORDS) counts.merge(word, 1L, Long::sum);
            topics.send("lines", 0, 500_000, "all", String.join(" ", WORDS));
            topics.flush();
            wordsAre(topics, sent);
            String repartition = id + "-by-word-repartition";
            Check.check(id + ": what was repartitioned is deleted", () -> {
                Check.until("records are deleted", () -> topics.offsets(repartition)[0] > 0);
                return true;
            });
        }
        Check.check(id + ": counts", () -> topics.table("words"));
        Check.check(id + ": every count was written once", () -> topics.count("words") == sent);
        Check.check(id + ": its counts are right", () -> counts.equals(values(topics)));
        for (String topic : new TreeSet<>(names(topics))) if (topic.startsWith(id)) Check.check("topic " + topic, () -> topics.described(topic));
        Check.check(id + ": committed", () -> topics.committed(id, "lines"));

        // The application comes back without what it had on its disk: everything is in its changelog, which is compacted meanwhile.
        String changelog = id + "-counts-changelog";
        Check.check(id + ": the changelog is compacted", () -> {
            Check.until("superseded counts are gone", () -> topics.count(changelog) < sent / 2);
            return true;
        });
        int more = sent + lines(topics, counts, 1);
        try (App app = new App(id, guarantee, Topologies.wordCount())) {
            wordsAre(topics, more);
            Check.check(id + ": restored stores", () -> app.restored.keySet());
            Check.check(id + ": records restored", () -> {
                long all = app.restored.values().stream().mapToLong(n -> n).sum();
                return all > 0 && all < sent ? "some, but not the superseded" : String.valueOf(all);
            });
        }
        Check.check(id + ": counts after coming back", () -> topics.table("words"));
        Check.check(id + ": every count was written once after coming back", () -> topics.count("words") == more);
        Check.check(id + ": its counts are right after coming back", () -> counts.equals(values(topics)));
        Check.check(id + ": committed after coming back", () -> topics.committed(id, "lines"));
    }

    /** Sends lines, adds their words to the counts and says how many words there were. */
    private static int lines(Topics topics, TreeMap<String, Long> counts, int seed) {
        int words = 0;
        long random = 17 + seed;
        for (int n = 0; n < 400; n++) {
            List<String> line = new ArrayList<>();
            for (int i = 0; i < 1 + n % 5; i++) {
                random = (random * 6364136223846793005L + 1442695040888963407L) & Long.MAX_VALUE;
                line.add(WORDS[(int) (random >> 33) % WORDS.length]);
            }
            line.forEach(word -> counts.merge(word, 1L, Long::sum));
            words += line.size();
            topics.send("lines", n % 3, n * 100L, "line" + n, String.join(" ", line));
        }
        topics.flush();
        return words;
    }

    private static TreeMap<String, Long> values(Topics topics) throws Exception {
        TreeMap<String, Long> out = new TreeMap<>();
        topics.table("words").forEach((word, last) -> out.put(word, Long.parseLong(last.split(" ")[0])));
        return out;
    }

    private static void wordsAre(Topics topics, int expected) {
        Check.until("all words are counted", () -> topics.count("words") >= expected);
    }

    private static void windows(Topics topics) throws Exception {
        for (int n = 0; n < 300; n++) {
            // A few come late, some of them too late; a session ends every now and then.
            long ms = n * 400L + (n / 25) * 4_000L - (n % 17 == 0 ? 9_000 : 0) - (n % 61 == 60 ? 40_000 : 0);
            topics.send("clicks", 0, Math.max(ms, 0), "user" + n % 7, String.valueOf(n));
        }
        topics.send("clicks", 0, 600_000, "end", "0");
        topics.flush();
        String id = "windows";
        try (App app = new App(id, "exactly_once_v2", Topologies.windows())) {
            consumed(topics, id, "clicks", 1);
        }
        for (String topic : List.of("tumbling-all", "tumbling-closed", "hopping-sums", "sessions-counts")) Check.check(topic, () -> topics.read(topic));
        for (String topic : names(topics)) if (topic.startsWith(id)) Check.check("topic " + topic, () -> topics.described(topic));
        Check.check(id + ": committed", () -> topics.committed(id, "clicks"));
    }

    private static void joins(Topics topics) throws Exception {
        for (int n = 0; n < 10; n++) {
            topics.send("prices", n % 2, n, "k" + n, "p".repeat(1 + n % 4));
            if (n < 2) topics.send("taxes", n, n, "t" + n, "tax" + n);
            if (n < 3) topics.send("countries", n % 2, n, "c" + n, "country" + n);
        }
        for (int n = 0; n < 200; n++) {
            String key = "k" + n % 12;
            topics.send("orders", n % 2, 1_000 + n * 500L, key, "o" + n);
            if (n % 3 != 0) topics.send("payments", n % 2, 1_000 + n * 500L + n % 7 * 1_000L, key, "p" + n);
        }
        // Time goes on in every partition, so that no window stays open.
        for (int p = 0; p < 2; p++) for (String topic : List.of("orders", "payments")) topics.send(topic, p, 1_000_000, "end" + p, topic);
        topics.flush();
        String id = "joins";
        try (App app = new App(id, "exactly_once_v2", Topologies.joins())) {
            for (String topic : List.of("orders", "payments", "prices", "taxes")) consumed(topics, id, topic, 2);
            Check.until("the join over a key inside the value is done", () -> topics.count("taxed-prices") >= 10);
        }
        // Two streams meet in an order of their own; what comes of it is the same.
        for (String topic : List.of("paid-orders", "all-orders", "priced-orders", "located-orders", "taxed-prices")) Check.check(topic, () -> {
            List<String> all = topics.read(topic);
            Collections.sort(all);
            return all;
        });
        for (String topic : names(topics)) if (topic.startsWith(id)) Check.check("topic " + topic, () -> topics.described(topic));
        for (String topic : List.of("orders", "payments", "prices", "taxes")) Check.check(id + ": committed of " + topic, () -> topics.committed(id, topic));
    }

    private static void consumed(Topics topics, String group, String topic, int partitions) {
        Check.until(topic + " is consumed", () -> {
            Map<Integer, Long> committed = topics.committed(group, topic);
            return committed.size() == partitions && committed.values().stream().mapToLong(n -> n).sum() == topics.offsets(topic)[1];
        });
    }

    private static TreeSet<String> names(Topics topics) {
        try {
            return new TreeSet<>(topics.admin.listTopics().names().get());
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    /** A running application. It forgets what it had on disk when it ends. */
    private static final class App implements AutoCloseable {
        final Map<String, Long> restored = Collections.synchronizedMap(new TreeMap<>());
        private final KafkaStreams streams;

        App(String id, String guarantee, Topology topology) {
            Properties p = Check.props(
                "application.id", id, "state.dir", directory, "processing.guarantee", guarantee, "commit.interval.ms", "100", "statestore.cache.max.bytes", "0",
                "replication.factor", "1", "repartition.purge.interval.ms", "100", "session.timeout.ms", "8000", "auto.offset.reset", "earliest",
                "topic.segment.ms", "500", "topic.min.cleanable.dirty.ratio", "0.01");
            // What was joined with nothing is written as soon as its window is closed, instead of once a second.
            p.put("__emit.interval.ms.kstreams.outer.join.spurious.results.fix__", 0L);
            p.put("default.key.serde", Serdes.String().getClass());
            p.put("default.value.serde", Serdes.String().getClass());
            streams = new KafkaStreams(topology, p);
            streams.setGlobalStateRestoreListener(new StateRestoreListener() {
                @Override
                public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

                @Override
                public void onBatchRestored(TopicPartition partition, String store, long to, long records) {}

                @Override
                public void onRestoreEnd(TopicPartition partition, String store, long records) {
                    restored.merge(store, records, Long::sum);
                }
            });
            streams.setUncaughtExceptionHandler(e -> {
                e.printStackTrace();
                return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
        }

        @Override
        public void close() {
            streams.close(new KafkaStreams.CloseOptions().leaveGroup(true).timeout(Duration.ofSeconds(30)));
            streams.cleanUp();
        }
    }
}
