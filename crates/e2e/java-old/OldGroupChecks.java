import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/** Groups as older clients form and see them. */
final class OldGroupChecks {
    private static final String STRATEGY = "partition.assignment.strategy", ASSIGNOR = "org.apache.kafka.clients.consumer.";
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            fill("og-data");
            for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"))
                Check.check("two members, " + assignor, () -> shared("og-" + assignor, "og-data", STRATEGY, ASSIGNOR + assignor));
            staticMembers();
            pattern("og-pattern", "ogp");
            described();
            offsets();
        }
    }

    static void runConsumerProtocol() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            fill("oc-data");
            Check.check("consumer protocol, two members", () -> shared("oc-two", "oc-data", "group.protocol", "consumer"));
            Check.check("consumer protocol, range", () -> shared("oc-range", "oc-data", "group.protocol", "consumer", "group.remote.assignor", "range"));
            Check.check("consumer protocol, unknown assignor", () -> {
                try (Member m = new Member("oc-unknown", List.of("oc-data"), "group.protocol", "consumer", "group.remote.assignor", "smart")) {
                    Check.until("refused", () -> m.failure != null);
                    return m.failure;
                }
            });
            Check.check("consumer protocol, static member", () -> {
                try (Member m = new Member("oc-static", List.of("oc-data"), "group.protocol", "consumer", "group.instance.id", "one", "client.id", "c")) {
                    Check.until("assigned", () -> m.assigned.size() == 4);
                    return describe("oc-static");
                }
            });
            Check.check("consumer protocol, from classic and back", () -> shared("oc-moves", "oc-data") + "; " + shared("oc-moves", "oc-data", "group.protocol", "consumer") + "; " + shared("oc-moves", "oc-data"));
        }
    }

    private static void fill(String topic) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, 4, (short) 1))).all().get();
        try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props(), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 400; i++) p.send(new ProducerRecord<>(topic, i % 4, "k" + i, "v" + i)).get();
        }
    }

    /** A member alone, two, and one again; what the group has committed when all have left. */
    private static String shared(String group, String topic, String... pairs) throws Exception {
        List<String> sizes = new ArrayList<>();
        try (Member a = new Member(group, List.of(topic), with(pairs, "client.id", "a"))) {
            Check.until("first has all", () -> a.assigned.size() == 4);
            try (Member b = new Member(group, List.of(topic), with(pairs, "client.id", "b"))) {
                Check.until("shared", () -> a.assigned.size() == 2 && b.assigned.size() == 2);
                sizes.add("shared");
            }
            Check.until("all back", () -> a.assigned.size() == 4);
            sizes.add(a.failure == null ? "no failure" : a.failure);
        }
        return sizes + " " + committed(group);
    }

    private static String[] with(String[] pairs, String... more) {
        List<String> all = new ArrayList<>(List.of(pairs));
        all.addAll(List.of(more));
        return all.toArray(String[]::new);
    }

    private static void staticMembers() {
        Check.check("static member returns", () -> {
            try (Member a = new Member("og-static", List.of("og-data"), "group.instance.id", "one")) {
                Member b = new Member("og-static", List.of("og-data"), "group.instance.id", "two");
                Check.until("shared", () -> a.assigned.size() == 2 && b.assigned.size() == 2);
                List<String> had = b.parts();
                int generation = a.generation;
                b.close();
                try (Member again = new Member("og-static", List.of("og-data"), "group.instance.id", "two")) {
                    Check.until("back", () -> again.assigned.size() == 2);
                    return had.equals(again.parts()) + ", generations " + (a.generation - generation);
                }
            }
        });
        Check.check("static members removed", () -> {
            admin.removeMembersFromConsumerGroup("og-static", new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one"), new MemberToRemove("two")))).all().get();
            return describe("og-static");
        });
    }

    private static void pattern(String group, String prefix) {
        Check.check("subscription by pattern", () -> {
            try (KafkaConsumer<String, String> c = ConsumeChecks.consumer("group.id", group, "metadata.max.age.ms", "300")) {
                c.subscribe(Pattern.compile(prefix + "-.*"));
                for (int n = 1; n <= 2; n++) {
                    int expected = n;
                    admin.createTopics(List.of(new NewTopic(prefix + "-" + n, 1, (short) 1))).all().get();
                    Check.until("so many topics", () -> {
                        c.poll(Duration.ofMillis(50));
                        return c.assignment().size() == expected;
                    });
                }
                return Check.sorted(c.assignment().stream().map(TopicPartition::toString).toList());
            }
        });
    }

    private static String describe(String group) throws Exception {
        ConsumerGroupDescription d = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        List<String> members = new ArrayList<>();
        for (MemberDescription m : d.members())
            members.add(m.clientId() + " " + m.groupInstanceId().orElse("-") + " " + m.host() + " " + m.assignment().topicPartitions().size());
        return d.groupId() + " " + d.state() + " simple " + d.isSimpleConsumerGroup() + " " + d.partitionAssignor() + " " + d.coordinator().id() + " " + Check.sorted(members);
    }

    private static void described() {
        Check.check("describe a live group", () -> {
            try (Member m = new Member("og-live", List.of("og-data"), "client.id", "alpha")) {
                Check.until("all", () -> m.assigned.size() == 4);
                return describe("og-live") + " | " + Check.outcome(() -> admin.deleteConsumerGroups(List.of("og-live")).all().get());
            }
        });
        Check.check("describe an empty group", () -> describe("og-live"));
        Check.check("describe an unknown group", () -> describe("og-unknown"));
        Check.check("list", () -> listed(new ListConsumerGroupsOptions()));
        Check.check("list empty groups", () -> listed(new ListConsumerGroupsOptions().inStates(Set.of(ConsumerGroupState.EMPTY))));
        Check.check("list stable groups", () -> listed(new ListConsumerGroupsOptions().inStates(Set.of(ConsumerGroupState.STABLE))));
    }

    private static Object listed(ListConsumerGroupsOptions options) throws Exception {
        List<String> out = new ArrayList<>();
        for (ConsumerGroupListing g : admin.listConsumerGroups(options).all().get()) if (g.groupId().startsWith("og-")) out.add(g.groupId() + " " + g.isSimpleConsumerGroup() + " " + g.state().map(Object::toString).orElse("-"));
        return Check.sorted(out);
    }

    private static Map<String, Object> committed(String group) throws Exception {
        Map<String, Object> out = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((k, v) -> out.put(k.toString(), v));
        return out;
    }

    private static void offsets() {
        TopicPartition tp = new TopicPartition("og-data", 0), other = new TopicPartition("og-data", 3);
        Check.check("alter offsets", () -> {
            admin.alterConsumerGroupOffsets("og-made", Map.of(tp, new OffsetAndMetadata(42, "by hand"), other, new OffsetAndMetadata(7))).all().get();
            return committed("og-made");
        });
        Check.check("alter offsets of an unknown topic", () -> admin.alterConsumerGroupOffsets("og-made", Map.of(new TopicPartition("og-unknown", 0), new OffsetAndMetadata(1))).all().get());
        Check.check("delete offsets", () -> {
            admin.deleteConsumerGroupOffsets("og-made", Set.of(tp)).all().get();
            return committed("og-made");
        });
        Check.check("offsets of an unknown group", () -> committed("og-unknown"));
        Check.check("delete a group", () -> admin.deleteConsumerGroups(List.of("og-made")).all().get());
        Check.check("offsets of a deleted group", () -> committed("og-made"));
        Check.check("delete an unknown group", () -> admin.deleteConsumerGroups(List.of("og-unknown")).all().get());
    }
}
