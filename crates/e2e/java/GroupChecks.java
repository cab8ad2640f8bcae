import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/** Classic groups: joining, assignors, cooperative and static members, what the group's administrators see and may do. */
final class GroupChecks {
    private static final String ASSIGNOR = "org.apache.kafka.clients.consumer.";
    private static Admin admin;

    static void run() throws Exception {
        try (Admin a = Admin.create(Check.props())) {
            admin = a;
            admin.createTopics(List.of(new NewTopic("g-data", 6, (short) 1), new NewTopic("g-more", 2, (short) 1))).all().get();
            try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props(), new StringSerializer(), new StringSerializer())) {
                for (int i = 0; i < 600; i++) p.send(new ProducerRecord<>("g-data", i % 6, "k" + i, "v" + i));
            }
            assignors();
            cooperative();
            staticMembers();
            misfits();
            subscriptions();
            described();
            offsets();
        }
    }

    private static void assignors() {
        for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"))
            Check.check("two members, " + assignor, () -> {
                String group = "g-" + assignor;
                List<String> topics = List.of("g-data", "g-more");
                try (Member a = new Member(group, topics, "partition.assignment.strategy", ASSIGNOR + assignor, "client.id", "a")) {
                    Check.until("first has all", () -> a.assigned.size() == 8);
                    int alone = a.assigned.size();
                    int before;
                    try (Member b = new Member(group, topics, "partition.assignment.strategy", ASSIGNOR + assignor, "client.id", "b")) {
                        Check.until("shared", () -> a.assigned.size() == 4 && b.assigned.size() == 4);
                        before = a.assigned.size() + b.assigned.size();
                    }
                    Check.until("all back", () -> a.assigned.size() == 8);
                    Check.until("all seen", () -> a.seen.size() >= 300);
                    return alone + ", " + before + ", " + a.assigned.size() + " assigned; lost: " + a.events.stream().anyMatch(e -> e.startsWith("lost"));
                }
            });
    }

    private static void cooperative() {
        Check.check("cooperative members keep what they keep", () -> {
            String c = ASSIGNOR + "CooperativeStickyAssignor";
            try (Member a = new Member("g-coop", List.of("g-data"), "partition.assignment.strategy", c)) {
                Check.until("first has all", () -> a.assigned.size() == 6);
                try (Member b = new Member("g-coop", List.of("g-data"), "partition.assignment.strategy", c)) {
                    Check.until("shared", () -> a.assigned.size() == 3 && b.assigned.size() == 3);
                }
                Check.until("all back", () -> a.assigned.size() == 6);
                List<String> moved = a.events.stream().filter(e -> !e.endsWith("0")).toList();
                return moved;
            }
        });
    }

    private static void staticMembers() {
        Check.check("static member returns without a rebalance", () -> {
            try (Member a = new Member("g-static", List.of("g-data"), "group.instance.id", "one")) {
                Member b = new Member("g-static", List.of("g-data"), "group.instance.id", "two");
                Check.until("shared", () -> a.assigned.size() == 3 && b.assigned.size() == 3);
                List<String> had = b.parts();
                int events = a.events.size(), generation = a.generation;
                b.close();
                try (Member again = new Member("g-static", List.of("g-data"), "group.instance.id", "two")) {
                    Check.until("back", () -> again.assigned.size() == 3);
                    return "same partitions " + had.equals(again.parts()) + ", rebalances of the other " + (a.events.size() - events) + ", generations " + (a.generation - generation);
                }
            }
        });
        Check.check("static member removed by an administrator", () -> {
            admin.removeMembersFromConsumerGroup("g-static", new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one"), new MemberToRemove("two")))).all().get();
            return admin.describeConsumerGroups(List.of("g-static")).all().get().get("g-static").members().size();
        });
        Check.check("unknown static member removed", () -> admin.removeMembersFromConsumerGroup("g-static", new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))).all().get());
        Check.check("second with the same instance id fences the first", () -> {
            try (Member a = new Member("g-fence", List.of("g-data"), "group.instance.id", "same")) {
                Check.until("first has all", () -> a.assigned.size() == 6);
                try (Member b = new Member("g-fence", List.of("g-data"), "group.instance.id", "same")) {
                    Check.until("second has all", () -> b.assigned.size() == 6);
                    Check.until("first fails", () -> a.failure != null);
                    return a.failure;
                }
            }
        });
    }

    private static void misfits() {
        Check.check("members without a common assignor", () -> {
            try (Member a = new Member("g-misfit", List.of("g-data"), "partition.assignment.strategy", ASSIGNOR + "RangeAssignor")) {
                Check.until("first has all", () -> a.assigned.size() == 6);
                try (Member b = new Member("g-misfit", List.of("g-data"), "partition.assignment.strategy", ASSIGNOR + "RoundRobinAssignor")) {
                    Check.until("second refused", () -> b.failure != null);
                    return b.failure;
                }
            }
        });
        for (String timeout : List.of("1000", "3600000"))
            Check.check("session timeout " + timeout, () -> {
                try (Member a = new Member("g-session-" + timeout, List.of("g-data"), "session.timeout.ms", timeout, "heartbeat.interval.ms", "100", "max.poll.interval.ms", "3700000")) {
                    Check.until("answer", () -> a.failure != null || !a.assigned.isEmpty());
                    return a.failure;
                }
            });
        Check.check("commit by a stranger in a live group", () -> {
            try (Member a = new Member("g-stranger", List.of("g-data"))) {
                Check.until("first has all", () -> a.assigned.size() == 6);
                try (KafkaConsumer<String, String> c = ConsumeChecks.consumer("group.id", "g-stranger")) {
                    TopicPartition tp = new TopicPartition("g-data", 0);
                    c.assign(List.of(tp));
                    c.commitSync(Map.of(tp, new OffsetAndMetadata(1)));
                    return "committed";
                }
            }
        });
    }

    private static void subscriptions() {
        Check.check("subscription by pattern sees new topics", () -> {
            try (KafkaConsumer<String, String> c = ConsumeChecks.consumer("group.id", "g-pattern", "metadata.max.age.ms", "300")) {
                c.subscribe(Pattern.compile("gp-.*"));
                admin.createTopics(List.of(new NewTopic("gp-1", 1, (short) 1))).all().get();
                Check.until("one topic", () -> {
                    c.poll(Duration.ofMillis(50));
                    return c.assignment().size() == 1;
                });
                admin.createTopics(List.of(new NewTopic("gp-2", 2, (short) 1))).all().get();
                Check.until("two topics", () -> {
                    c.poll(Duration.ofMillis(50));
                    return c.assignment().size() == 3;
                });
                return Check.sorted(c.assignment().stream().map(TopicPartition::toString).toList());
            }
        });
        Check.check("more partitions while subscribed", () -> {
            try (Member a = new Member("g-grow", List.of("gp-2"), "metadata.max.age.ms", "300")) {
                Check.until("two", () -> a.assigned.size() == 2);
                admin.createPartitions(Map.of("gp-2", org.apache.kafka.clients.admin.NewPartitions.increaseTo(5))).all().get();
                Check.until("five", () -> a.assigned.size() == 5);
                return a.parts();
            }
        });
    }

    private static String show(ConsumerGroupDescription d) {
        StringBuilder s = new StringBuilder(d.groupId() + " " + d.groupState() + " " + d.type() + " simple=" + d.isSimpleConsumerGroup() + " assignor=" + d.partitionAssignor() + " coordinator=" + d.coordinator().id());
        List<String> members = new ArrayList<>();
        for (MemberDescription m : d.members())
            members.add(m.clientId() + " instance=" + m.groupInstanceId().orElse("-") + " host=" + m.host() + " " + m.assignment().topicPartitions().stream().map(TopicPartition::toString).sorted().toList() + " id starts with client id: " + m.consumerId().startsWith(m.groupInstanceId().orElse(m.clientId()) + "-"));
        return s + " " + Check.sorted(members);
    }

    private static void described() {
        Check.check("describe unknown group", () -> show(admin.describeConsumerGroups(List.of("g-unknown")).all().get().get("g-unknown")));
        Check.check("describe unknown classic group", () -> admin.describeClassicGroups(List.of("g-unknown")).all().get().get("g-unknown").state());
        Check.check("describe a live group", () -> {
            try (Member a = new Member("g-live", List.of("g-data"), "client.id", "alpha"); Member b = new Member("g-live", List.of("g-data"), "client.id", "beta", "group.instance.id", "b1")) {
                Check.until("shared", () -> a.assigned.size() == 3 && b.assigned.size() == 3);
                Check.until("stable", () -> Check.outcome(() -> admin.describeConsumerGroups(List.of("g-live")).all().get().get("g-live").groupState()).equals("Stable"));
                String live = show(admin.describeConsumerGroups(List.of("g-live")).all().get().get("g-live")).replaceAll("\\[g-data[^]]*\\]", "three partitions");
                return live + " | delete: " + Check.outcome(() -> admin.deleteConsumerGroups(List.of("g-live")).all().get()) + " | alter offsets: "
                    + Check.outcome(() -> admin.alterConsumerGroupOffsets("g-live", Map.of(new TopicPartition("g-data", 0), new OffsetAndMetadata(0))).all().get());
            }
        });
        Check.check("describe an empty group", () -> {
            Check.until("b1 removed", () -> Check.outcome(() -> {
                admin.removeMembersFromConsumerGroup("g-live", new RemoveMembersFromConsumerGroupOptions()).all().get();
                return "";
            }).isEmpty());
            return show(admin.describeConsumerGroups(List.of("g-live")).all().get().get("g-live"));
        });
        Check.check("list groups", () -> listings(new ListGroupsOptions()));
        Check.check("list empty groups", () -> listings(new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))));
        Check.check("list stable groups", () -> listings(new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE))));
        Check.check("list classic groups", () -> listings(new ListGroupsOptions().withTypes(Set.of(GroupType.CLASSIC))));
        Check.check("list new-style groups", () -> listings(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))));
    }

    private static Object listings(ListGroupsOptions o) throws Exception {
        List<String> out = new ArrayList<>();
        for (GroupListing g : admin.listGroups(o).all().get()) if (g.groupId().startsWith("g-")) out.add(g.groupId() + " " + g.type().map(Object::toString).orElse("-") + " " + g.protocol() + " " + g.groupState().map(Object::toString).orElse("-"));
        return Check.sorted(out);
    }

    private static Map<String, Object> committed(String group) throws Exception {
        Map<String, Object> out = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((k, v) -> out.put(k.toString(), v));
        return out;
    }

    private static void offsets() {
        TopicPartition tp = new TopicPartition("g-data", 0), other = new TopicPartition("g-data", 5);
        Check.check("alter offsets of a new group", () -> {
            admin.alterConsumerGroupOffsets("g-made", Map.of(tp, new OffsetAndMetadata(42, "by hand"), other, new OffsetAndMetadata(7))).all().get();
            return committed("g-made");
        });
        Check.check("alter offsets of an unknown topic", () -> admin.alterConsumerGroupOffsets("g-made", Map.of(new TopicPartition("g-unknown", 0), new OffsetAndMetadata(1))).all().get());
        Check.check("offsets of an unknown group", () -> committed("g-unknown"));
        Check.check("offsets of two groups, chosen partitions", () -> {
            Map<String, ListConsumerGroupOffsetsSpec> ask = new TreeMap<>();
            ask.put("g-made", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(tp, new TopicPartition("g-data", 3))));
            ask.put("g-unknown", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(tp)));
            Map<String, Object> out = new TreeMap<>();
            admin.listConsumerGroupOffsets(ask).all().get().forEach((g, m) -> m.forEach((k, v) -> out.put(g + " " + k, v)));
            return out;
        });
        Check.check("describe a group of offsets only", () -> show(admin.describeConsumerGroups(List.of("g-made")).all().get().get("g-made")));
        Check.check("delete a group", () -> admin.deleteConsumerGroups(List.of("g-made")).all().get());
        Check.check("deleted group's offsets", () -> committed("g-made"));
        Check.check("delete unknown group", () -> admin.deleteConsumerGroups(List.of("g-unknown")).all().get());
        Check.check("offsets vanish with their topic", () -> {
            admin.createTopics(List.of(new NewTopic("g-short", 1, (short) 1))).all().get();
            admin.alterConsumerGroupOffsets("g-orphan", Map.of(new TopicPartition("g-short", 0), new OffsetAndMetadata(0))).all().get();
            admin.deleteTopics(List.of("g-short")).all().get();
            Check.until("offsets gone", () -> Check.outcome(() -> committed("g-orphan")).equals("{}") || Check.outcome(() -> committed("g-orphan")).startsWith("!"));
            return Check.outcome(() -> committed("g-orphan"));
        });
    }
}
