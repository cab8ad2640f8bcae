package org.apache.kafka.streams.tests;

import java.util.Properties;
import org.apache.kafka.common.utils.Utils;

/** The application of Apache's test of exactly-once, which by itself wants three brokers for its internal topics. Usage: java org.apache.kafka.streams.tests.EosApplication PROPERTIES process|process-complex */
public final class EosApplication {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties() {
            @Override
            public synchronized Object put(Object key, Object value) {
                return super.put(key, key.equals("replication.factor") ? Integer.valueOf(1) : value);
            }
        };
        properties.putAll(Utils.loadProps(args[0]));
        new EosTestClient(properties, args[1].equals("process-complex")).start();
    }
}
