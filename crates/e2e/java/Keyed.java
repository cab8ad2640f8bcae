import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Sends records with keys of their own with the producer's defaults, to one topic after the other; says of each how many a second were
 * acknowledged. Usage: java Keyed BOOTSTRAP BYTES (TOPIC RECORDS)...
 */
public final class Keyed {
    public static void main(String[] args) {
        Check.bootstrap = args[0];
        byte[] value = new byte[Integer.parseInt(args[1])];
        Properties props = Check.props();
        // On a slow disk a broker may need longer than the default for a request to a thousand new partitions.
        props.put("request.timeout.ms", "300000");
        props.put("delivery.timeout.ms", "600000");
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(props, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int at = 2; at < args.length; at += 2) {
                System.out.println(rate(producer, args[at], Long.parseLong(args[at + 1]), value));
            }
        }
    }

    private static double rate(KafkaProducer<byte[], byte[]> producer, String topic, long records, byte[] value) {
        producer.partitionsFor(topic);
        long begin = System.nanoTime();
        for (long i = 0; i < records; i++) {
            byte[] key = Long.toString(i).getBytes(StandardCharsets.US_ASCII);
            producer.send(new ProducerRecord<>(topic, key, value), (metadata, e) -> {
                if (e != null) {
                    e.printStackTrace();
                    System.exit(1);
                }
            });
        }
        producer.flush();
        return records * 1e9 / (System.nanoTime() - begin);
    }
}
