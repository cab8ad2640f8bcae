import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Fills compacted topics, one a codec and one stamped by the broker, by producers that are plain, idempotent and transactional, with tombstones and
 * aborted transactions. Usage: java CompactFill BOOTSTRAP RECORDS
 */
public final class CompactFill {
    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        int records = Integer.parseInt(args[1]);
        List<String> topics = List.of("k-none", "k-gzip", "k-snappy", "k-lz4", "k-zstd", "k-append-time");
        List<NewTopic> wanted = new ArrayList<>();
        for (String t : topics) {
            wanted.add(new NewTopic(t, 1, (short) 1).configs(Map.of(
                "cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01", "index.interval.bytes", "1024",
                "message.timestamp.type", t.endsWith("time") ? "LogAppendTime" : "CreateTime")));
        }
        try (Admin admin = Admin.create(Check.props())) {
            admin.createTopics(wanted).all().get();
        }
        Random random = new Random(7);
        for (String t : topics) {
            String codec = t.endsWith("time") ? "none" : t.substring(2);
            try (KafkaProducer<String, String> plain = producer(codec, "enable.idempotence", "false");
                 KafkaProducer<String, String> idempotent = producer(codec);
                 KafkaProducer<String, String> transactional = producer(codec, "transactional.id", "fill-" + t)) {
                transactional.initTransactions();
                for (int i = 0; i < records; ) {
                    for (int n = 0; n < 40; n++, i++) plain.send(record(t, random));
                    for (int n = 0; n < 40; n++, i++) idempotent.send(record(t, random));
                    transactional.beginTransaction();
                    for (int n = 0; n < 20; n++, i++) transactional.send(record(t, random));
                    if (random.nextInt(3) == 0) transactional.abortTransaction();
                    else transactional.commitTransaction();
                }
            }
        }
        System.exit(0);
    }

    private static ProducerRecord<String, String> record(String topic, Random random) {
        String key = "key " + random.nextInt(2000);
        if (random.nextInt(20) == 0) return new ProducerRecord<>(topic, key, null);
        StringBuilder value = new StringBuilder();
        while (value.length() < 200) value.append(Long.toString(random.nextLong(), 36));
        return new ProducerRecord<>(topic, key, value.toString());
    }

    private static KafkaProducer<String, String> producer(String codec, String... more) {
        Properties p = Check.props(more);
        p.put("compression.type", codec);
        p.put("linger.ms", "2");
        return new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
    }
}
