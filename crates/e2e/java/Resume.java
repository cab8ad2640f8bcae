import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Goes on with a transaction that another process began, as Flink does when a job comes back: the producer is given the producer id and the epoch of
 * the other through its private fields, without InitProducerId. Usage: java Resume BOOTSTRAP TOPIC open ID... | java Resume BOOTSTRAP TOPIC ID=PRODUCER,EPOCH...
 */
public final class Resume {
    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        String topic = args[1];
        if (args[2].equals("open")) {
            for (int i = 3; i < args.length; i++) {
                var p = producer(args[i]);
                p.initTransactions();
                p.beginTransaction();
                for (int n = 0; n < 3; n++) p.send(new ProducerRecord<>(topic, 0, args[i], args[i] + n));
                p.flush();
                Object id = get(get(p, "transactionManager"), "producerIdAndEpoch");
                System.out.println(args[i] + "=" + get(id, "producerId") + "," + get(id, "epoch"));
            }
            Runtime.getRuntime().halt(0);
        }
        for (int i = 2; i < args.length; i++) {
            String id = args[i].split("=")[0];
            long producer = Long.parseLong(args[i].split("[=,]")[1]);
            short epoch = Short.parseShort(args[i].split(",")[1]);
            // What to do is in the name of the transaction.
            switch (id.split("-")[0]) {
                case "commit" -> end(id, topic, producer, epoch, true);
                case "abort" -> end(id, topic, producer, epoch, false);
                // A job that comes back commits again what it may have committed before.
                case "again" -> {
                    end(id, topic, producer, epoch, true);
                    end(id, topic, producer, epoch, true);
                    end(id, topic, producer, epoch, false);
                }
                case "change" -> {
                    end(id, topic, producer, epoch, false);
                    end(id, topic, producer, epoch, true);
                }
                case "fenced" -> {
                    try (var other = producer(id)) {
                        other.initTransactions();
                    }
                    end(id, topic, producer, epoch, true);
                }
                case "more" -> Check.check(id + ": sends more and commits", () -> {
                    try (var p = resumed(id, topic, producer, epoch)) {
                        p.commitTransaction();
                        p.beginTransaction();
                        p.send(new ProducerRecord<>(topic, 0, id, id + "-more")).get();
                        p.commitTransaction();
                        return "done";
                    }
                });
                case "empty" -> {
                    for (boolean commit : new boolean[] {true, false}) for (boolean v2 : new boolean[] {true, false}) empty(id, commit, v2);
                }
                default -> throw new IllegalArgumentException(id);
            }
        }
        System.exit(0);
    }

    private static KafkaProducer<String, String> producer(String id) {
        return new KafkaProducer<>(Check.props("transactional.id", id, "transaction.timeout.ms", "600000", "max.block.ms", "30000"), new StringSerializer(), new StringSerializer());
    }

    private static void end(String id, String topic, long producer, short epoch, boolean commit) {
        Check.check(id + ": resumed to " + (commit ? "commit" : "abort"), () -> {
            try (var p = resumed(id, topic, producer, epoch)) {
                if (commit) p.commitTransaction();
                else p.abortTransaction();
                return "done";
            }
        });
    }

    private static KafkaProducer<String, String> resumed(String id, String topic, long producer, short epoch) throws Exception {
        var p = producer(id);
        p.partitionsFor(topic); // so that the features of the broker are known
        Object manager = get(p, "transactionManager");
        synchronized (manager) {
            state(manager, "INITIALIZING");
            Object map = get(manager, "txnPartitionMap");
            Method reset = map.getClass().getDeclaredMethod("reset");
            reset.setAccessible(true);
            reset.invoke(map);
            Object old = get(manager, "producerIdAndEpoch");
            var make = old.getClass().getDeclaredConstructor(long.class, short.class);
            make.setAccessible(true);
            set(manager, "producerIdAndEpoch", make.newInstance(producer, epoch));
            state(manager, "READY");
            state(manager, "IN_TRANSACTION");
            set(manager, "transactionStarted", true);
        }
        return p;
    }

    /** EndTxn for a transaction in which nothing was sent. */
    private static void empty(String id, boolean commit, boolean v2) {
        Check.check(id + ": empty " + (commit ? "commit" : "abort") + (v2 ? ", v2" : ""), () -> {
            List<Object> out = new ArrayList<>();
            try (var p = producer(id)) {
                p.initTransactions();
                Object manager = get(p, "transactionManager");
                for (int n = 0; n < 2; n++) {
                    p.beginTransaction();
                    set(manager, "isTransactionV2Enabled", v2);
                    set(manager, "transactionStarted", true);
                    out.add(Check.outcome(() -> {
                        if (commit) p.commitTransaction();
                        else p.abortTransaction();
                        return "done, epoch " + epochsOn(manager);
                    }));
                }
            }
            return out;
        });
    }

    private static Object epochsOn(Object manager) throws Exception {
        return get(get(manager, "producerIdAndEpoch"), "epoch");
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void state(Object manager, String name) throws Exception {
        set(manager, "currentState", Enum.valueOf((Class) field(manager, "currentState").getType(), name));
    }

    private static Object get(Object o, String name) throws Exception {
        return field(o, name).get(o);
    }

    private static void set(Object o, String name, Object value) throws Exception {
        field(o, name).set(o, value);
    }

    private static Field field(Object o, String name) throws Exception {
        Field field = o.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }
}
