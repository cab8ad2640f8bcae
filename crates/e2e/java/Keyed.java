import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends records with keys of their own with the producer's defaults; says how many a second were acknowledged. Usage: java Keyed BOOTSTRAP TOPIC RECORDS BYTES */
public final class Keyed {
    public static void main(String[] args) {
        Check.bootstrap = args[0];
        long records = Long.parseLong(args[2]);
        byte[] value = new byte[Integer.parseInt(args[3])];
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Check.props(), new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.partitionsFor(args[1]);
            long begin = System.nanoTime();
            for (long i = 0; i < records; i++) {
                byte[] key = Long.toString(i).getBytes(StandardCharsets.US_ASCII);
                producer.send(new ProducerRecord<>(args[1], key, value), (metadata, e) -> {
                    if (e != null) {
                        e.printStackTrace();
                        System.exit(1);
                    }
                });
            }
            producer.flush();
            System.out.println(records * 1e9 / (System.nanoTime() - begin));
        }
    }
}
