import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A member of a group: a consumer polled by a thread of its own. */
final class Member implements AutoCloseable, ConsumerRebalanceListener {
    final List<String> events = Collections.synchronizedList(new ArrayList<>());
    final Set<String> seen = Collections.synchronizedSet(new TreeSet<>());
    volatile Set<TopicPartition> assigned = Set.of();
    volatile String failure;
    volatile int generation = -1;
    private volatile boolean stop;
    private final KafkaConsumer<String, String> consumer;
    private final Thread thread;

    Member(String group, Collection<String> topics, String... pairs) {
        Properties p = Check.props("group.id", group, "auto.offset.reset", "earliest", "session.timeout.ms", "10000", "heartbeat.interval.ms", "200");
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        consumer = new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
        thread = new Thread(() -> {
            try {
                consumer.subscribe(topics, this);
                while (!stop) {
                    consumer.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
                    assigned = Set.copyOf(consumer.assignment());
                    generation = consumer.groupMetadata().generationId();
                }
            } catch (Exception e) {
                failure = Check.error(e);
            } finally {
                consumer.close();
            }
        });
        thread.start();
    }

    List<String> parts() {
        return Check.sorted(assigned.stream().map(TopicPartition::toString).toList());
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> p) {
        events.add("+" + p.size());
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> p) {
        events.add("-" + p.size());
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> p) {
        events.add("lost " + p.size());
    }

    @Override
    public void close() {
        stop = true;
        Check.until("member stopped", () -> !thread.isAlive());
    }
}
