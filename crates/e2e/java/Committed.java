import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints what a consumer with read_committed sees of a topic, `PARTITION OFFSET VALUE` a line, and demands that no transaction is open. Usage: java Committed BOOTSTRAP TOPIC */
public final class Committed {
    public static void main(String[] args) {
        Check.bootstrap = args[0];
        try (var c = consumer("read_committed"); var all = consumer("read_uncommitted")) {
            List<TopicPartition> partitions = new ArrayList<>();
            c.partitionsFor(args[1]).forEach(p -> partitions.add(new TopicPartition(p.topic(), p.partition())));
            // The markers of the last transactions may still be on their way.
            Check.until("no transaction is open", () -> c.endOffsets(partitions).equals(all.endOffsets(partitions)));
            Map<TopicPartition, Long> ends = c.endOffsets(partitions);
            c.assign(partitions);
            c.seekToBeginning(partitions);
            StringBuilder out = new StringBuilder();
            Check.until("the end is reached", () -> {
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(100))) out.append(r.partition()).append(' ').append(r.offset()).append(' ').append(r.value()).append('\n');
                return partitions.stream().allMatch(p -> c.position(p) >= ends.get(p));
            });
            System.out.print(out);
        }
    }

    private static KafkaConsumer<String, String> consumer(String isolation) {
        return new KafkaConsumer<>(Check.props("isolation.level", isolation, "auto.offset.reset", "none"), new StringDeserializer(), new StringDeserializer());
    }
}
