import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends updates of random keys, as fast as they are taken. Usage: java Updates BOOTSTRAP TOPIC UPDATES KEYS VALUE-BYTES */
public final class Updates {
    public static void main(String[] args) {
        Check.bootstrap = args[0];
        long updates = Long.parseLong(args[2]);
        int keys = Integer.parseInt(args[3]);
        Random random = new Random(1);
        byte[] value = new byte[Integer.parseInt(args[4])];
        random.nextBytes(value);
        Properties p = Check.props("linger.ms", "5", "batch.size", "65536", "acks", "all");
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (long i = 0; i < updates; i++) {
                byte[] key = String.format("key-%09d", random.nextInt(keys)).getBytes();
                producer.send(new ProducerRecord<>(args[1], key, value), (metadata, e) -> {
                    if (e != null) {
                        e.printStackTrace();
                        System.exit(1);
                    }
                });
            }
        }
        System.exit(0);
    }
}
