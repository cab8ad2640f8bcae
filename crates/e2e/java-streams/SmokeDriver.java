import java.time.Duration;
import org.apache.kafka.streams.tests.SmokeTestDriver;

/** Apache's driver of its smoke test, with less to do than its own main: sends, then verifies what the application made of it. Usage: java SmokeDriver BOOTSTRAP KEYS RECORDS_PER_KEY SECONDS GUARANTEE */
public final class SmokeDriver {
    public static void main(String[] args) {
        int keys = Integer.parseInt(args[1]), each = Integer.parseInt(args[2]);
        var sent = SmokeTestDriver.generate(args[0], keys, each, Duration.ofSeconds(Long.parseLong(args[3])));
        System.out.println("ALL-RECORDS-SENT");
        SmokeTestDriver.verify(args[0], sent, each, args[4].equals("exactly_once_v2"));
    }
}
