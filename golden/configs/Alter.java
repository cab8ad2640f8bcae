import java.nio.file.*;
import java.util.*;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.protocol.Errors;

/**
 * Asks a broker to alter configs (validate only) and prints what it answers. Each line of the input is `TYPE:NAME OP key=value ...`, each line of the
 * output the same with ` -> ERROR message`.
 * javac -cp "$CP" Alter.java && java -cp "$CP:." Alter BOOTSTRAP alterations.txt > refusals.txt
 */
public class Alter {
    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            for (String line : Files.readAllLines(Path.of(args[1]))) {
                String[] words = line.split(" ", 3);
                int colon = words[0].indexOf(':');
                ConfigResource resource = new ConfigResource(ConfigResource.Type.valueOf(words[0].substring(0, colon)), words[0].substring(colon + 1));
                List<AlterConfigOp> ops = new ArrayList<>();
                for (String pair : words[2].split(";")) {
                    int equals = pair.indexOf('=');
                    ops.add(new AlterConfigOp(new ConfigEntry(pair.substring(0, equals), pair.substring(equals + 1)), AlterConfigOp.OpType.valueOf(words[1])));
                }
                String answer = "NONE";
                try {
                    admin.incrementalAlterConfigs(Map.of(resource, ops), new AlterConfigsOptions().validateOnly(true)).all().get();
                } catch (ExecutionException e) {
                    answer = Errors.forException(e.getCause()) + " " + e.getCause().getMessage();
                }
                System.out.println(line + " -> " + answer);
            }
        }
    }
}
