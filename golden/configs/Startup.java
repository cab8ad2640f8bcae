import java.nio.file.*;
import java.util.*;

/**
 * Builds a KafkaConfig from the properties that our tests start from, with those of each line of the input over them (`key=` removes one), and prints
 * what Kafka says to it.
 * javac -cp "$CP" Startup.java && java -cp "$CP:." Startup settings.txt > startup.txt
 */
public class Startup {
    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            Properties props = new Properties();
            props.put("node.id", "1");
            props.put("process.roles", "broker,controller");
            props.put("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093");
            props.put("controller.listener.names", "CONTROLLER");
            props.put("controller.quorum.voters", "1@localhost:9093");
            for (String pair : line.split(";")) {
                int equals = pair.indexOf('=');
                if (equals == pair.length() - 1) props.remove(pair.substring(0, equals));
                else props.put(pair.substring(0, equals), pair.substring(equals + 1));
            }
            String answer = "ok";
            try {
                kafka.server.KafkaConfig.fromProps(props, false);
            } catch (Exception e) {
                answer = e.getMessage();
            }
            System.out.println(line + " -> " + answer);
        }
    }
}
