import java.util.Map;
import java.util.TreeMap;

/**
 * What older Java clients can ask: compiled against each of them, with the checks of producing and reading that every version has in common.
 * Usage: java OldSweep BOOTSTRAP [AREA ...], areas: admin, produce, consume, groups, consumer-protocol (for clients from 3.7 on).
 */
public final class OldSweep {
    interface Area {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        Map<String, Area> areas = new TreeMap<>();
        areas.put("admin", OldAdminChecks::run);
        areas.put("produce", ProduceChecks::run);
        areas.put("consume", ConsumeChecks::run);
        areas.put("groups", OldGroupChecks::run);
        areas.put("consumer-protocol", OldGroupChecks::runConsumerProtocol);
        for (int i = 1; i < args.length; i++) areas.get(args[i]).run();
        System.out.println("end of sweep");
        System.exit(0);
    }
}
