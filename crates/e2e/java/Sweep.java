import java.util.Map;
import java.util.TreeMap;

/**
 * Asks a broker everything these clients can ask, one line an answer. Run it on two brokers and compare the lines.
 * Usage: java Sweep BOOTSTRAP [AREA ...], areas: admin, configs, produce, consume, groups.
 */
public final class Sweep {
    interface Area {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        Map<String, Area> areas = new TreeMap<>();
        areas.put("admin", AdminChecks::run);
        areas.put("configs", ConfigChecks::run);
        areas.put("produce", ProduceChecks::run);
        areas.put("consume", ConsumeChecks::run);
        areas.put("groups", GroupChecks::run);
        for (int i = 1; i < args.length; i++) areas.get(args[i]).run();
        System.out.println("end of sweep");
        System.exit(0);
    }
}
