import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends until the broker refuses, then says how many were acknowledged and how it refused. Usage: java Fill BOOTSTRAP TOPIC */
public final class Fill {
    public static void main(String[] args) {
        Check.bootstrap = args[0];
        AtomicLong acknowledged = new AtomicLong();
        AtomicReference<Exception> refused = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> p = new KafkaProducer<>(
            Check.props("delivery.timeout.ms", "6000", "request.timeout.ms", "3000", "linger.ms", "1", "retries", "1", "max.block.ms", "6000", "enable.idempotence", "false", "max.in.flight.requests.per.connection", "1"),
            new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int n = 0; n < 200_000 && refused.get() == null; n++)
                p.send(new ProducerRecord<>(args[1], new byte[1000]), (metadata, e) -> {
                    if (e == null) acknowledged.incrementAndGet();
                    else refused.compareAndSet(null, e);
                });
        }
        System.out.println("acknowledged " + acknowledged);
        if (refused.get() != null) System.out.println("refused with " + Check.error(refused.get()));
        System.exit(0);
    }
}
