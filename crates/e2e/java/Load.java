import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends 0, 1, 2, ... until its standard input ends, printing each number once it is acknowledged. Usage: java Load BOOTSTRAP TOPIC */
public final class Load {
    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        AtomicBoolean stop = new AtomicBoolean();
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) continue;
            } catch (java.io.IOException e) {
                // The end of the input too.
            }
            stop.set(true);
        });
        input.setDaemon(true);
        input.start();
        try (KafkaProducer<String, String> p = new KafkaProducer<>(
            Check.props("linger.ms", "2", "batch.size", "2000", "reconnect.backoff.max.ms", "100", "retry.backoff.max.ms", "100", "buffer.memory", "1000000"),
            new StringSerializer(), new StringSerializer())) {
            for (long n = 0; !stop.get(); n++) {
                String number = String.valueOf(n);
                p.send(new ProducerRecord<>(args[1], number, number), (metadata, e) -> {
                    if (e == null) System.out.println(number);
                    else System.err.println(number + " " + e);
                });
                if (n % 20 == 0) Thread.sleep(1);
            }
        }
    }
}
