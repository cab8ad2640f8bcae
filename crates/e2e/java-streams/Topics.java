import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Topics of the Streams programs. Times are counted from the beginning of an hour before the last, so that windows lie the same in every run. */
final class Topics implements AutoCloseable {
    static final long BEGIN = System.currentTimeMillis() / 3_600_000 * 3_600_000 - 7_200_000;

    final Admin admin = Admin.create(Check.props());
    private final KafkaProducer<String, String> producer = new KafkaProducer<>(Check.props("linger.ms", "5"), new StringSerializer(), new StringSerializer());

    void create(int partitions, String... names) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (String name : names) topics.add(new NewTopic(name, partitions, (short) 1));
        admin.createTopics(topics).all().get();
    }

    void send(String topic, int partition, long ms, String key, String value) {
        producer.send(new ProducerRecord<>(topic, partition, BEGIN + ms, key, value));
    }

    void flush() {
        producer.flush();
    }

    private List<TopicPartition> partitions(String topic) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().forEach(p -> all.add(new TopicPartition(topic, p.partition())));
        return all;
    }

    /** What is committed in the topic, in order, partition by partition: `key=value@time`. */
    List<String> read(String topic) throws Exception {
        List<String> out = new ArrayList<>();
        for (ConsumerRecord<String, String> r : records(topic)) out.add(r.key() + "=" + r.value() + "@" + (r.timestamp() - BEGIN));
        return out;
    }

    /** The last value of every key and how many there were before. */
    TreeMap<String, String> table(String topic) throws Exception {
        TreeMap<String, String> last = new TreeMap<>();
        TreeMap<String, Integer> counts = new TreeMap<>();
        for (ConsumerRecord<String, String> r : records(topic)) {
            counts.merge(r.key(), 1, Integer::sum);
            last.put(r.key(), r.value());
        }
        last.replaceAll((key, value) -> value + " (" + counts.get(key) + ")");
        return last;
    }

    private List<ConsumerRecord<String, String>> records(String topic) throws Exception {
        List<ConsumerRecord<String, String>> out = new ArrayList<>();
        try (var c = new KafkaConsumer<>(Check.props("isolation.level", "read_committed", "auto.offset.reset", "earliest"), new StringDeserializer(), new StringDeserializer())) {
            for (TopicPartition p : partitions(topic)) {
                c.assign(List.of(p));
                c.seekToBeginning(List.of(p));
                long end = c.endOffsets(List.of(p)).get(p);
                while (c.position(p) < end) c.poll(Duration.ofMillis(100)).forEach(out::add);
            }
        }
        return out;
    }

    int count(String topic) {
        try {
            return records(topic).size();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    /** First and next offsets, summed over the partitions. */
    long[] offsets(String topic) {
        try {
            long[] out = new long[2];
            for (TopicPartition p : partitions(topic)) {
                out[0] += admin.listOffsets(Map.of(p, OffsetSpec.earliest())).partitionResult(p).get().offset();
                out[1] += admin.listOffsets(Map.of(p, OffsetSpec.latest())).partitionResult(p).get().offset();
            }
            return out;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    /** Who made it and how: partitions and settings of its own. */
    String described(String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        TreeMap<String, String> set = new TreeMap<>();
        Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        for (ConfigEntry e : config.entries()) if (e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) set.put(e.name(), e.value());
        return partitions(topic).size() + " partitions " + set;
    }

    /** How far the group is in the topic: what it has committed of each partition. */
    Map<Integer, Long> committed(String group, String topic) {
        Map<Integer, Long> out = new TreeMap<>();
        try {
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((p, o) -> {
                if (p.topic().equals(topic)) out.put(p.partition(), o.offset());
            });
        } catch (InterruptedException | ExecutionException e) {
            throw new IllegalStateException(e);
        }
        return out;
    }

    @Override
    public void close() {
        producer.close();
        admin.close();
    }
}
