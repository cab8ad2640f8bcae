import java.util.*;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.DynamicBrokerConfig;

/**
 * Prints what Apache Kafka's own tables say about every key: kind, name, type, default, validator, importance, update mode, internal.
 * javac -cp "$CP" Definitions.java && java -cp "$CP:." Definitions > definitions.txt
 */
public class Definitions {
    static void dump(String kind, ConfigDef def, Map<String, String> modes) {
        Map<String, ConfigDef.ConfigKey> keys = modes == null ? def.configKeys() : new TreeMap<>(def.configKeys());
        for (ConfigDef.ConfigKey key : keys.values()) {
            String text = !key.hasDefault() ? "required" : key.defaultValue == null ? "null" : "=" + ConfigDef.convertToString(key.defaultValue, key.type);
            String mode = modes == null ? "-" : modes.getOrDefault(key.name, "read-only");
            System.out.println(String.join("\t", kind, key.name, key.type.toString(), text, key.validator == null ? "-" : key.validator.toString(),
                key.importance.toString(), mode, key.internalConfig ? "internal" : "-"));
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        dump("broker", kafka.server.KafkaConfig.configDef(), modes);
        dump("throttle", org.apache.kafka.server.config.QuotaConfig.brokerQuotaConfigs(), modes);
        dump("topic", org.apache.kafka.storage.internals.log.LogConfig.configDefCopy(), null);
        dump("group", org.apache.kafka.coordinator.group.GroupConfig.CONFIG_DEF, null);
        dump("client-metrics", org.apache.kafka.server.metrics.ClientMetricsConfigs.configDef(), null);
    }
}
