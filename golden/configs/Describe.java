import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;

/**
 * Prints what a broker answers to DescribeConfigs, one line an entry, sorted by name: type, source, ro or rw, value, synonyms.
 * javac -cp "$CP" Describe.java && java -cp "$CP:." Describe BOOTSTRAP TYPE:NAME... > describe.txt
 */
public class Describe {
    static String quote(String text) {
        return text == null ? "null" : "\"" + text + "\"";
    }

    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            for (String arg : Arrays.asList(args).subList(1, args.length)) {
                int colon = arg.indexOf(':');
                ConfigResource resource = new ConfigResource(ConfigResource.Type.valueOf(arg.substring(0, colon)), arg.substring(colon + 1));
                System.out.println("# " + arg);
                DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true);
                TreeMap<String, ConfigEntry> entries = new TreeMap<>();
                for (ConfigEntry entry : admin.describeConfigs(List.of(resource), options).all().get().get(resource).entries())
                    entries.put(entry.name(), entry);
                for (ConfigEntry entry : entries.values()) {
                    StringBuilder line = new StringBuilder(entry.name() + " " + entry.type() + " " + entry.source());
                    line.append(entry.isReadOnly() ? " ro" : " rw").append(entry.isSensitive() ? " sensitive" : "");
                    line.append(" = ").append(quote(entry.value())).append(" |");
                    for (ConfigEntry.ConfigSynonym synonym : entry.synonyms())
                        line.append(" " + synonym.source() + ":" + synonym.name() + "=" + quote(synonym.value()));
                    System.out.println(line);
                }
            }
        }
    }
}
