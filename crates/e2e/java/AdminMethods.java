import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Calls every method of Admin, good and bad, one line an answer; the last line names the methods that were not called, found by reflection.
 * Usage: java AdminMethods BOOTSTRAP.
 */
public final class AdminMethods {
    private static final Set<String> called = new TreeSet<>();
    private static Admin admin;
    private static final TopicPartition A0 = new TopicPartition("m-a", 0);
    private static final TopicPartition NONE = new TopicPartition("m-none", 0);

    public static void main(String[] args) throws Exception {
        Check.bootstrap = args[0];
        Properties props = Check.props("default.api.timeout.ms", "8000", "request.timeout.ms", "7000", "enable.metrics.push", "false");
        Admin real = Admin.create(props);
        // Notes which methods are called, and passes them on.
        admin = (Admin) Proxy.newProxyInstance(Admin.class.getClassLoader(), new Class<?>[] {Admin.class}, (proxy, method, arguments) -> {
            called.add(signature(method));
            try {
                return method.invoke(real, arguments);
            } catch (java.lang.reflect.InvocationTargetException e) {
                throw e.getCause();
            }
        });
        topics();
        cluster();
        configs();
        logDirs();
        partitions();
        groups();
        otherGroups();
        security();
        producersAndTransactions();
        client();
        admin.close();
        admin.close(Duration.ofSeconds(5));
        Set<String> all = new TreeSet<>();
        for (Method m : Admin.class.getMethods()) if (!Modifier.isStatic(m.getModifiers())) all.add(signature(m));
        all.removeAll(called);
        System.out.println("methods not called: " + all);
        System.out.println("methods called: " + called.size());
        System.exit(0);
    }

    private static String signature(Method m) {
        return m.getName() + Arrays.stream(m.getParameterTypes()).map(Class::getSimpleName).toList();
    }

    private static void check(String name, Callable<Object> question) {
        Check.check(name, () -> {
            try {
                return question.call();
            } catch (java.util.concurrent.ExecutionException e) {
                // Where a client stood when its time was up is its own affair.
                if (e.getCause() instanceof org.apache.kafka.common.errors.TimeoutException) return "! TimeoutException";
                return Check.error(e.getCause());
            }
        });
    }

    /** Each key with the value of its future, or its error. */
    private static <K> Object each(Map<K, ? extends org.apache.kafka.common.KafkaFuture<?>> futures) {
        Map<String, String> out = new TreeMap<>();
        futures.forEach((k, f) -> out.put(String.valueOf(k), Check.outcome(f::get)));
        return out;
    }

    private static <K, V> Map<String, V> byText(Map<K, V> map) {
        Map<String, V> out = new TreeMap<>();
        map.forEach((k, v) -> out.put(String.valueOf(k), v));
        return out;
    }

    private static void topics() {
        // Retention would delete records of long ago at any moment.
        List<NewTopic> two = List.of(new NewTopic("m-a", 3, (short) 1).configs(Map.of("retention.ms", "-1")), new NewTopic("m-b", 1, (short) 1));
        check("createTopics", () -> each(admin.createTopics(two).values()));
        check("createTopics, options", () -> each(admin.createTopics(List.of(new NewTopic("m-c", 2, (short) 1), new NewTopic("m-d", 1, (short) 1)), new CreateTopicsOptions().timeoutMs(9000).retryOnQuotaViolation(false)).values()));
        Check.until("topics visible", () -> visible().containsAll(List.of("m-a", "m-b", "m-c", "m-d")));
        check("listTopics", () -> own(admin.listTopics().names().get()));
        check("listTopics, options", () -> own(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get()));
        check("describeTopics", () -> admin.describeTopics(List.of("m-a")).allTopicNames().get().get("m-a").partitions().size());
        check("describeTopics, options", () -> admin.describeTopics(List.of("m-a"), new DescribeTopicsOptions().partitionSizeLimitPerResponse(2)).allTopicNames().get().get("m-a").partitions().size());
        check("describeTopics, collection", () -> each(admin.describeTopics(TopicCollection.ofTopicNames(List.of("m-none"))).topicNameValues()));
        check("describeTopics, ids", () -> each(admin.describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(1, 1))), new DescribeTopicsOptions().includeAuthorizedOperations(true)).topicIdValues()));
        check("createPartitions", () -> each(admin.createPartitions(Map.of("m-b", NewPartitions.increaseTo(2))).values()));
        check("createPartitions, validate", () -> each(admin.createPartitions(Map.of("m-b", NewPartitions.increaseTo(4)), new CreatePartitionsOptions().validateOnly(true)).values()));
        // One batch a partition, whatever the pace: sizes are compared.
        try (KafkaProducer<String, String> p = new KafkaProducer<>(Check.props("linger.ms", "60000"), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 30; i++) p.send(new ProducerRecord<>("m-a", i % 3, 1_700_000_000_000L + i, "k" + i, "v" + i));
            p.flush();
        }
        check("listOffsets", () -> listed(admin.listOffsets(Map.of(A0, OffsetSpec.latest())), A0));
        check("listOffsets, options", () -> listed(admin.listOffsets(Map.of(A0, OffsetSpec.forTimestamp(1_700_000_000_004L)), new ListOffsetsOptions(org.apache.kafka.common.IsolationLevel.READ_COMMITTED)), A0));
        for (Map.Entry<String, OffsetSpec> spec : new TreeMap<>(Map.of("earliest", OffsetSpec.earliest(), "local", OffsetSpec.earliestLocal(), "max", OffsetSpec.maxTimestamp(), "tiered", OffsetSpec.latestTiered())).entrySet())
            check("listOffsets " + spec.getKey(), () -> listed(admin.listOffsets(Map.of(A0, spec.getValue())), A0));
        check("listOffsets, unknown", () -> listed(admin.listOffsets(Map.of(NONE, OffsetSpec.latest()), new ListOffsetsOptions().timeoutMs(3000)), NONE));
        check("deleteRecords", () -> admin.deleteRecords(Map.of(A0, RecordsToDelete.beforeOffset(2))).lowWatermarks().get(A0).get().lowWatermark());
        check("deleteRecords, options", () -> each(admin.deleteRecords(Map.of(A0, RecordsToDelete.beforeOffset(99)), new DeleteRecordsOptions().timeoutMs(9000)).lowWatermarks()));
        check("deleteTopics", () -> each(admin.deleteTopics(List.of("m-d", "m-none")).topicNameValues()));
        check("deleteTopics, options", () -> each(admin.deleteTopics(List.of("m-none"), new DeleteTopicsOptions().retryOnQuotaViolation(false)).topicNameValues()));
        check("deleteTopics, collection", () -> each(admin.deleteTopics(TopicCollection.ofTopicNames(List.of("m-c"))).topicNameValues()));
        check("deleteTopics, ids", () -> each(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(new Uuid(1, 2))), new DeleteTopicsOptions().timeoutMs(9000)).topicIdValues()));
    }

    private static Set<String> visible() {
        try {
            return admin.listTopics().names().get();
        } catch (Exception e) {
            return Set.of();
        }
    }

    private static Object own(Collection<String> names) {
        return names.stream().filter(n -> n.startsWith("m-")).sorted().toList();
    }

    private static String listed(ListOffsetsResult r, TopicPartition p) throws Exception {
        var info = r.partitionResult(p).get();
        return info.offset() + " at " + info.timestamp() + " epoch " + info.leaderEpoch();
    }

    private static void cluster() {
        check("describeCluster", () -> admin.describeCluster().nodes().get().size());
        check("describeCluster, options", () -> admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).nodes().get().size());
        check("describeFeatures", () -> new TreeMap<>(admin.describeFeatures().featureMetadata().get().finalizedFeatures()));
        check("describeFeatures, options", () -> new TreeMap<>(admin.describeFeatures(new DescribeFeaturesOptions().timeoutMs(9000)).featureMetadata().get().supportedFeatures()));
        check("updateFeatures, unknown", () -> each(admin.updateFeatures(Map.of("no.such", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions().validateOnly(true)).values()));
        check("updateFeatures, too high", () -> each(admin.updateFeatures(Map.of("metadata.version", new FeatureUpdate((short) 999, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions()).values()));
        check("updateFeatures, downgrade", () -> each(admin.updateFeatures(Map.of("group.version", new FeatureUpdate((short) 0, FeatureUpdate.UpgradeType.SAFE_DOWNGRADE)), new UpdateFeaturesOptions().validateOnly(true)).values()));
        check("updateFeatures, downgrade called upgrade", () -> each(admin.updateFeatures(Map.of("group.version", new FeatureUpdate((short) 0, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions().validateOnly(true)).values()));
        check("updateFeatures", () -> each(admin.updateFeatures(Map.of("transaction.version", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UNSAFE_DOWNGRADE))).values()));
        check("updateFeatures, back", () -> each(admin.updateFeatures(Map.of("transaction.version", new FeatureUpdate((short) 2, FeatureUpdate.UpgradeType.UPGRADE))).values()));
        check("describeMetadataQuorum", () -> quorum(admin.describeMetadataQuorum()));
        check("describeMetadataQuorum, options", () -> quorum(admin.describeMetadataQuorum(new DescribeMetadataQuorumOptions().timeoutMs(9000))));
        check("unregisterBroker", () -> admin.unregisterBroker(99).all().get());
        check("unregisterBroker, options", () -> admin.unregisterBroker(-5, new UnregisterBrokerOptions().timeoutMs(9000)).all().get());
        Set<RaftVoterEndpoint> endpoints = Set.of(new RaftVoterEndpoint("CONTROLLER", "localhost", 9999));
        check("addRaftVoter", () -> admin.addRaftVoter(2, new Uuid(3, 4), endpoints).all().get());
        check("addRaftVoter, options", () -> admin.addRaftVoter(2, new Uuid(3, 4), endpoints, new AddRaftVoterOptions().setClusterId(Optional.of("other"))).all().get());
        check("removeRaftVoter", () -> admin.removeRaftVoter(2, new Uuid(3, 4)).all().get());
        check("removeRaftVoter, options", () -> admin.removeRaftVoter(2, new Uuid(3, 4), new RemoveRaftVoterOptions().setClusterId(Optional.of("other"))).all().get());
    }

    private static Object quorum(DescribeMetadataQuorumResult r) throws Exception {
        QuorumInfo q = r.quorumInfo().get();
        StringBuilder s = new StringBuilder("leader " + q.leaderId() + " epoch>0 " + (q.leaderEpoch() > 0) + " hw>0 " + (q.highWatermark() > 0));
        for (QuorumInfo.ReplicaState v : q.voters()) s.append(" voter ").append(v.replicaId()).append(" dir ").append(v.replicaDirectoryId().equals(Uuid.ZERO_UUID) ? "zero" : "set").append(" end>0 ").append(v.logEndOffset() > 0).append(" fetch ").append(v.lastFetchTimestamp().isPresent()).append(" caught up ").append(v.lastCaughtUpTimestamp().isPresent());
        s.append(" observers ").append(q.observers().size()).append(" nodes ");
        q.nodes().forEach((id, n) -> s.append(id).append(n.endpoints().stream().map(e -> e.listener() + "@" + e.host()).toList()));
        return s;
    }

    private static void configs() {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "m-a");
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, "m-group");
        ConfigResource metrics = new ConfigResource(ConfigResource.Type.CLIENT_METRICS, "m-metrics");
        check("incrementalAlterConfigs", () -> each(admin.incrementalAlterConfigs(Map.of(topic, List.of(set("retention.bytes", "777777777777")))).values()));
        check("incrementalAlterConfigs, options", () -> each(admin.incrementalAlterConfigs(Map.of(topic, List.of(set("nonsense", "1"))), new AlterConfigsOptions().validateOnly(true)).values()));
        check("incrementalAlterConfigs, group", () -> each(admin.incrementalAlterConfigs(Map.of(group, List.of(set("consumer.session.timeout.ms", "50000")))).values()));
        check("incrementalAlterConfigs, group out of range", () -> each(admin.incrementalAlterConfigs(Map.of(group, List.of(set("consumer.session.timeout.ms", "1")))).values()));
        check("incrementalAlterConfigs, client metrics", () -> each(admin.incrementalAlterConfigs(Map.of(metrics, List.of(set("interval.ms", "60000"), set("metrics", "org.apache.kafka.producer.")))).values()));
        check("describeConfigs", () -> text(admin.describeConfigs(List.of(topic)), topic, false));
        check("describeConfigs, synonyms", () -> text(admin.describeConfigs(List.of(topic), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)), topic, true));
        for (ConfigResource r : List.of(group, metrics, new ConfigResource(ConfigResource.Type.BROKER, ""), new ConfigResource(ConfigResource.Type.GROUP, "m-other"), new ConfigResource(ConfigResource.Type.CLIENT_METRICS, "m-other"), new ConfigResource(ConfigResource.Type.BROKER, "7"), new ConfigResource(ConfigResource.Type.TOPIC, "m-none")))
            check("describeConfigs " + r.type() + " '" + r.name() + "'", () -> text(admin.describeConfigs(List.of(r), new DescribeConfigsOptions().includeSynonyms(true)), r, true));
        check("listConfigResources", () -> resources(admin.listConfigResources().all().get()));
        check("listConfigResources, options", () -> resources(admin.listConfigResources(Set.of(ConfigResource.Type.GROUP), new ListConfigResourcesOptions()).all().get()));
        check("listClientMetricsResources", () -> admin.listClientMetricsResources().all().get());
        check("listClientMetricsResources, options", () -> admin.listClientMetricsResources(new ListClientMetricsResourcesOptions().timeoutMs(9000)).all().get());
    }

    private static Object resources(Collection<ConfigResource> all) {
        return all.stream().filter(r -> !r.name().startsWith("__")).map(r -> r.type() + ":" + r.name()).sorted().toList();
    }

    private static AlterConfigOp set(String name, String value) {
        return new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
    }

    private static Object text(DescribeConfigsResult r, ConfigResource of, boolean full) throws Exception {
        TreeSet<String> out = new TreeSet<>();
        for (ConfigEntry e : r.all().get().get(of).entries())
            out.add(e.name() + "=" + e.value() + " " + e.source() + (full ? " " + e.type() + " " + e.isReadOnly() + " " + e.isSensitive() + " " + e.synonyms() : ""));
        return out;
    }

    private static void logDirs() {
        TopicPartitionReplica replica = new TopicPartitionReplica("m-a", 0, 1);
        check("describeLogDirs", () -> dirs(admin.describeLogDirs(List.of(1))));
        check("describeLogDirs, options", () -> dirs(admin.describeLogDirs(List.of(1), new DescribeLogDirsOptions().timeoutMs(9000))));
        check("describeReplicaLogDirs", () -> admin.describeReplicaLogDirs(List.of(replica)).all().get().values().stream().map(i -> (i.getCurrentReplicaLogDir() != null) + " lag " + i.getCurrentReplicaOffsetLag() + " future " + i.getFutureReplicaLogDir() + " " + i.getFutureReplicaOffsetLag()).toList());
        check("describeReplicaLogDirs, options", () -> admin.describeReplicaLogDirs(List.of(new TopicPartitionReplica("m-none", 0, 1)), new DescribeReplicaLogDirsOptions()).all().get().values().stream().map(i -> i.getCurrentReplicaLogDir() + " " + i.getCurrentReplicaOffsetLag()).toList());
        String here = Check.outcome(() -> admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).keySet().iterator().next());
        check("alterReplicaLogDirs", () -> each(admin.alterReplicaLogDirs(Map.of(replica, here)).values()));
        check("alterReplicaLogDirs, options", () -> each(admin.alterReplicaLogDirs(Map.of(replica, "/no/such/dir", new TopicPartitionReplica("m-none", 0, 1), here), new AlterReplicaLogDirsOptions().timeoutMs(9000)).values()));
        check("alterReplicaLogDirs, relative", () -> each(admin.alterReplicaLogDirs(Map.of(replica, "relative/dir")).values()));
    }

    private static Object dirs(DescribeLogDirsResult r) throws Exception {
        TreeSet<String> out = new TreeSet<>();
        r.allDescriptions().get().get(1).values().forEach(d -> {
            out.add("error " + d.error() + " total>0 " + (d.totalBytes().orElse(-1) > 0) + " usable>0 " + (d.usableBytes().orElse(-1) > 0));
            d.replicaInfos().forEach((p, i) -> {
                if (p.topic().startsWith("m-")) out.add(p + " size " + i.size() + " lag " + i.offsetLag() + " future " + i.isFuture());
            });
        });
        return out;
    }

    private static void partitions() {
        check("electLeaders", () -> sortedElection(admin.electLeaders(ElectionType.PREFERRED, Set.of(A0, NONE))));
        check("electLeaders, options", () -> sortedElection(admin.electLeaders(ElectionType.UNCLEAN, Set.of(A0), new ElectLeadersOptions().timeoutMs(9000))));
        check("electLeaders, all", () -> sortedElection(admin.electLeaders(ElectionType.PREFERRED, null)));
        check("alterPartitionReassignments", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.of(new NewPartitionReassignment(List.of(1))))).values()));
        check("alterPartitionReassignments, cancel", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.empty())).values()));
        check("alterPartitionReassignments, options", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.of(new NewPartitionReassignment(List.of(1, 2))), NONE, Optional.of(new NewPartitionReassignment(List.of(1)))), new AlterPartitionReassignmentsOptions().allowReplicationFactorChange(false)).values()));
        check("alterPartitionReassignments, unknown broker", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.of(new NewPartitionReassignment(List.of(8))))).values()));
        check("alterPartitionReassignments, twice", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.of(new NewPartitionReassignment(List.of(1, 1))))).values()));
        check("alterPartitionReassignments, empty", () -> each(admin.alterPartitionReassignments(Map.of(A0, Optional.of(new NewPartitionReassignment(List.of())))).values()));
        check("listPartitionReassignments", () -> byText(admin.listPartitionReassignments().reassignments().get()));
        check("listPartitionReassignments, options", () -> byText(admin.listPartitionReassignments(new ListPartitionReassignmentsOptions()).reassignments().get()));
        check("listPartitionReassignments, some", () -> byText(admin.listPartitionReassignments(Set.of(A0)).reassignments().get()));
        check("listPartitionReassignments, unknown", () -> byText(admin.listPartitionReassignments(Set.of(NONE), new ListPartitionReassignmentsOptions()).reassignments().get()));
        check("listPartitionReassignments, optional", () -> byText(admin.listPartitionReassignments(Optional.of(Set.of(A0)), new ListPartitionReassignmentsOptions().timeoutMs(9000)).reassignments().get()));
    }

    private static Object sortedElection(ElectLeadersResult r) throws Exception {
        Map<String, String> out = new TreeMap<>();
        r.partitions().get().forEach((p, e) -> {
            if (p.topic().startsWith("m-")) out.put(p.toString(), e.map(Check::error).orElse("elected"));
        });
        return out;
    }

    private static KafkaConsumer<String, String> member(String group, String protocol, String... more) {
        Properties p = Check.props(more);
        p.putAll(Map.of("group.id", group, "group.protocol", protocol, "auto.offset.reset", "earliest", "client.id", "m-client", "enable.auto.commit", "false"));
        KafkaConsumer<String, String> c = new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
        c.subscribe(List.of("m-a"));
        int[] read = {0};
        Check.until("all records for " + group, () -> (read[0] += c.poll(Duration.ofMillis(200)).count()) == 28);
        c.commitSync();
        return c;
    }

    private static void groups() {
        try (KafkaConsumer<String, String> classic = member("m-classic", "classic"); KafkaConsumer<String, String> modern = member("m-consumer", "consumer")) {
            check("listGroups", () -> groupNames(admin.listGroups()));
            check("listGroups, options", () -> groupNames(admin.listGroups(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER)).inGroupStates(Set.of(GroupState.STABLE)))));
            check("listGroups, classic", () -> groupNames(admin.listGroups(ListGroupsOptions.forConsumerGroups().withTypes(Set.of(GroupType.CLASSIC)))));
            check("listConsumerGroups", () -> admin.listConsumerGroups().all().get().stream().filter(g -> g.groupId().startsWith("m-")).map(g -> g.groupId() + " " + g.state() + " " + g.type() + " simple " + g.isSimpleConsumerGroup()).sorted().toList());
            check("listConsumerGroups, options", () -> admin.listConsumerGroups(new ListConsumerGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).all().get().stream().filter(g -> g.groupId().startsWith("m-")).map(g -> g.groupId()).sorted().toList());
            for (String id : List.of("m-classic", "m-consumer")) {
                check("describeConsumerGroups " + id, () -> group(admin.describeConsumerGroups(List.of(id)).describedGroups().get(id).get()));
                check("describeConsumerGroups, options " + id, () -> new TreeSet<>(admin.describeConsumerGroups(List.of(id), new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true)).describedGroups().get(id).get().authorizedOperations()));
                check("describeClassicGroups " + id, () -> classicGroup(admin.describeClassicGroups(List.of(id)).describedGroups().get(id).get()));
                check("listConsumerGroupOffsets " + id, () -> byText(admin.listConsumerGroupOffsets(id).partitionsToOffsetAndMetadata().get()));
                check("alterConsumerGroupOffsets while there are members " + id, () -> admin.alterConsumerGroupOffsets(id, Map.of(A0, new OffsetAndMetadata(3))).all().get());
                check("deleteConsumerGroups while there are members " + id, () -> each(admin.deleteConsumerGroups(List.of(id)).deletedGroups()));
                check("deleteConsumerGroupOffsets while subscribed " + id, () -> admin.deleteConsumerGroupOffsets(id, Set.of(A0)).partitionResult(A0).get());
            }
            check("describeClassicGroups, options", () -> new TreeSet<>(admin.describeClassicGroups(List.of("m-classic"), new DescribeClassicGroupsOptions().includeAuthorizedOperations(true)).describedGroups().get("m-classic").get().authorizedOperations()));
            check("describeConsumerGroups, unknown", () -> each(admin.describeConsumerGroups(List.of("m-nobody")).describedGroups()));
            check("describeClassicGroups, unknown", () -> each(admin.describeClassicGroups(List.of("m-nobody")).describedGroups()));
            check("removeMembersFromConsumerGroup, unknown", () -> admin.removeMembersFromConsumerGroup("m-classic", new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("nobody")))).all().get());
            check("removeMembersFromConsumerGroup, all", () -> admin.removeMembersFromConsumerGroup("m-classic", new RemoveMembersFromConsumerGroupOptions()).all().get());
            check("removeMembersFromConsumerGroup, consumer protocol", () -> admin.removeMembersFromConsumerGroup("m-consumer", new RemoveMembersFromConsumerGroupOptions()).all().get());
        }
        check("alterConsumerGroupOffsets", () -> admin.alterConsumerGroupOffsets("m-empty", Map.of(A0, new OffsetAndMetadata(4, Optional.of(0), "note"))).all().get());
        check("alterConsumerGroupOffsets, options", () -> admin.alterConsumerGroupOffsets("m-consumer", Map.of(A0, new OffsetAndMetadata(5)), new AlterConsumerGroupOffsetsOptions().timeoutMs(9000)).all().get());
        check("alterConsumerGroupOffsets, unknown topic", () -> admin.alterConsumerGroupOffsets("m-empty", Map.of(NONE, new OffsetAndMetadata(4))).partitionResult(NONE).get());
        check("listConsumerGroupOffsets, options", () -> byText(admin.listConsumerGroupOffsets("m-empty", new ListConsumerGroupOffsetsOptions().requireStable(true)).partitionsToOffsetAndMetadata().get()));
        Map<String, ListConsumerGroupOffsetsSpec> specs = Map.of("m-empty", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(A0, NONE)), "m-nobody", new ListConsumerGroupOffsetsSpec());
        check("listConsumerGroupOffsets, many", () -> byText(admin.listConsumerGroupOffsets(specs).all().get()));
        check("listConsumerGroupOffsets, many with options", () -> byText(admin.listConsumerGroupOffsets(specs, new ListConsumerGroupOffsetsOptions()).all().get()));
        check("deleteConsumerGroupOffsets", () -> admin.deleteConsumerGroupOffsets("m-empty", Set.of(A0)).partitionResult(A0).get());
        check("deleteConsumerGroupOffsets, options", () -> admin.deleteConsumerGroupOffsets("m-nobody", Set.of(A0), new DeleteConsumerGroupOffsetsOptions()).partitionResult(A0).get());
        check("deleteConsumerGroupOffsets, unknown topic", () -> admin.deleteConsumerGroupOffsets("m-consumer", Set.of(NONE)).partitionResult(NONE).get());
        check("deleteConsumerGroups", () -> each(admin.deleteConsumerGroups(List.of("m-classic", "m-consumer", "m-nobody")).deletedGroups()));
        check("deleteConsumerGroups, options", () -> each(admin.deleteConsumerGroups(List.of("m-empty"), new DeleteConsumerGroupsOptions()).deletedGroups()));
    }

    private static Object groupNames(ListGroupsResult r) throws Exception {
        return r.all().get().stream().filter(g -> g.groupId().startsWith("m-")).map(g -> g.groupId() + " " + g.type() + " " + g.protocol() + " " + g.groupState() + " simple " + g.isSimpleConsumerGroup()).sorted().toList();
    }

    private static Object group(ConsumerGroupDescription d) {
        StringBuilder s = new StringBuilder(d.groupId() + " simple " + d.isSimpleConsumerGroup() + " assignor " + d.partitionAssignor() + " type " + d.type() + " state " + d.groupState() + " coordinator " + d.coordinator().id() + " ops " + d.authorizedOperations() + " epoch " + d.groupEpoch() + " target " + d.targetAssignmentEpoch());
        for (MemberDescription m : d.members()) s.append(" | ").append(m.clientId()).append(" ").append(m.host()).append(" instance ").append(m.groupInstanceId()).append(" has ").append(Check.sorted(m.assignment().topicPartitions().stream().map(String::valueOf).toList())).append(" target ").append(m.targetAssignment().map(t -> Check.sorted(t.topicPartitions().stream().map(String::valueOf).toList()))).append(" epoch ").append(m.memberEpoch()).append(" upgraded ").append(m.upgraded());
        return s;
    }

    private static Object classicGroup(ClassicGroupDescription d) {
        return d.groupId() + " " + d.protocol() + " " + d.protocolData() + " simple " + d.isSimpleConsumerGroup() + " " + d.state() + " " + d.members().size() + " members";
    }

    private static void otherGroups() {
        Map<String, ListShareGroupOffsetsSpec> share = Map.of("m-share", new ListShareGroupOffsetsSpec());
        Map<String, ListStreamsGroupOffsetsSpec> streams = Map.of("m-streams", new ListStreamsGroupOffsetsSpec());
        check("describeShareGroups", () -> each(admin.describeShareGroups(List.of("m-share")).describedGroups()));
        check("describeShareGroups, options", () -> each(admin.describeShareGroups(List.of("m-share"), new DescribeShareGroupsOptions()).describedGroups()));
        check("listShareGroupOffsets", () -> byText(admin.listShareGroupOffsets(share).all().get()));
        check("listShareGroupOffsets, options", () -> byText(admin.listShareGroupOffsets(share, new ListShareGroupOffsetsOptions()).all().get()));
        check("alterShareGroupOffsets", () -> admin.alterShareGroupOffsets("m-share", Map.of(A0, 1L)).all().get());
        check("alterShareGroupOffsets, options", () -> admin.alterShareGroupOffsets("m-share", Map.of(A0, 1L), new AlterShareGroupOffsetsOptions()).all().get());
        check("deleteShareGroupOffsets", () -> admin.deleteShareGroupOffsets("m-share-none", Set.of("m-a")).all().get());
        check("deleteShareGroupOffsets, options", () -> admin.deleteShareGroupOffsets("m-share-none", Set.of("m-a"), new DeleteShareGroupOffsetsOptions()).all().get());
        check("deleteShareGroups", () -> each(admin.deleteShareGroups(List.of("m-share-none")).deletedGroups()));
        check("deleteShareGroups, options", () -> each(admin.deleteShareGroups(List.of("m-share-none"), new DeleteShareGroupsOptions()).deletedGroups()));
        check("describeStreamsGroups", () -> each(admin.describeStreamsGroups(List.of("m-streams")).describedGroups()));
        check("describeStreamsGroups, options", () -> each(admin.describeStreamsGroups(List.of("m-streams"), new DescribeStreamsGroupsOptions()).describedGroups()));
        check("alterStreamsGroupOffsets", () -> admin.alterStreamsGroupOffsets("m-streams", Map.of(A0, new OffsetAndMetadata(1))).all().get());
        check("alterStreamsGroupOffsets, options", () -> admin.alterStreamsGroupOffsets("m-streams", Map.of(A0, new OffsetAndMetadata(2)), new AlterStreamsGroupOffsetsOptions()).all().get());
        check("listStreamsGroupOffsets", () -> byText(admin.listStreamsGroupOffsets(streams).partitionsToOffsetAndMetadata("m-streams").get()));
        check("listStreamsGroupOffsets, options", () -> byText(admin.listStreamsGroupOffsets(streams, new ListStreamsGroupOffsetsOptions()).partitionsToOffsetAndMetadata("m-streams").get()));
        check("deleteStreamsGroupOffsets", () -> admin.deleteStreamsGroupOffsets("m-streams", Set.of(A0)).all().get());
        check("deleteStreamsGroupOffsets, options", () -> admin.deleteStreamsGroupOffsets("m-streams", Set.of(A0), new DeleteStreamsGroupOffsetsOptions()).all().get());
        check("deleteStreamsGroups", () -> each(admin.deleteStreamsGroups(List.of("m-streams")).deletedGroups()));
        check("deleteStreamsGroups, options", () -> each(admin.deleteStreamsGroups(List.of("m-streams"), new DeleteStreamsGroupsOptions()).deletedGroups()));
    }

    private static void security() {
        AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "m-a", PatternType.LITERAL), new AccessControlEntry("User:x", "*", AclOperation.READ, AclPermissionType.ALLOW));
        check("describeAcls", () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
        check("describeAcls, options", () -> admin.describeAcls(acl.toFilter(), new DescribeAclsOptions().timeoutMs(9000)).values().get());
        check("createAcls", () -> each(admin.createAcls(List.of(acl)).values()));
        check("createAcls, options", () -> each(admin.createAcls(List.of(acl), new CreateAclsOptions().timeoutMs(9000)).values()));
        check("deleteAcls", () -> each(admin.deleteAcls(List.of(acl.toFilter())).values()));
        check("deleteAcls, options", () -> each(admin.deleteAcls(List.of(acl.toFilter()), new DeleteAclsOptions().timeoutMs(9000)).values()));
        check("createDelegationToken", () -> admin.createDelegationToken().delegationToken().get());
        check("createDelegationToken, options", () -> admin.createDelegationToken(new CreateDelegationTokenOptions().maxLifetimeMs(1000)).delegationToken().get());
        check("renewDelegationToken", () -> admin.renewDelegationToken(new byte[] {1}).expiryTimestamp().get());
        check("renewDelegationToken, options", () -> admin.renewDelegationToken(new byte[] {1}, new RenewDelegationTokenOptions()).expiryTimestamp().get());
        check("expireDelegationToken", () -> admin.expireDelegationToken(new byte[] {1}).expiryTimestamp().get());
        check("expireDelegationToken, options", () -> admin.expireDelegationToken(new byte[] {1}, new ExpireDelegationTokenOptions()).expiryTimestamp().get());
        check("describeDelegationToken", () -> admin.describeDelegationToken().delegationTokens().get());
        check("describeDelegationToken, options", () -> admin.describeDelegationToken(new DescribeDelegationTokenOptions()).delegationTokens().get());
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, "m-user"));
        ClientQuotaAlteration alteration = new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6)));
        check("alterClientQuotas", () -> each(admin.alterClientQuotas(List.of(alteration)).values()));
        check("alterClientQuotas, options", () -> each(admin.alterClientQuotas(List.of(alteration), new AlterClientQuotasOptions().validateOnly(true)).values()));
        check("describeClientQuotas", () -> admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get());
        check("describeClientQuotas, options", () -> admin.describeClientQuotas(ClientQuotaFilter.all(), new DescribeClientQuotasOptions().timeoutMs(9000)).entities().get());
        check("alterUserScramCredentials", () -> each(admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion("m-user", ScramMechanism.SCRAM_SHA_256))).values()));
        check("alterUserScramCredentials, options", () -> each(admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("m-user", new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "pw")), new AlterUserScramCredentialsOptions()).values()));
        check("describeUserScramCredentials", () -> byText(admin.describeUserScramCredentials().all().get()));
        check("describeUserScramCredentials, users", () -> byText(admin.describeUserScramCredentials(List.of("m-user")).all().get()));
        check("describeUserScramCredentials, options", () -> byText(admin.describeUserScramCredentials(List.of("m-nobody"), new DescribeUserScramCredentialsOptions()).all().get()));
    }

    private static void producersAndTransactions() {
        check("describeProducers", () -> admin.describeProducers(List.of(A0)).partitionResult(A0).get().activeProducers().size());
        check("describeProducers, options", () -> admin.describeProducers(List.of(A0), new DescribeProducersOptions().brokerId(1)).partitionResult(A0).get().activeProducers().size());
        check("describeTransactions", () -> byText(admin.describeTransactions(List.of("m-txn")).all().get()));
        check("describeTransactions, options", () -> byText(admin.describeTransactions(List.of("m-txn"), new DescribeTransactionsOptions()).all().get()));
        check("abortTransaction", () -> admin.abortTransaction(new AbortTransactionSpec(A0, 4711, (short) 0, 0)).all().get());
        check("abortTransaction, options", () -> admin.abortTransaction(new AbortTransactionSpec(NONE, 4711, (short) 0, 0), new AbortTransactionOptions().timeoutMs(3000)).all().get());
        check("listTransactions", () -> admin.listTransactions().all().get());
        check("listTransactions, options", () -> admin.listTransactions(new ListTransactionsOptions().filterProducerIds(Set.of(1L))).all().get());
        check("fenceProducers", () -> admin.fenceProducers(List.of("m-txn")).all().get());
        check("fenceProducers, options", () -> admin.fenceProducers(List.of("m-txn"), new FenceProducersOptions()).all().get());
        check("forceTerminateTransaction", () -> admin.forceTerminateTransaction("m-txn").result().get());
        check("forceTerminateTransaction, options", () -> admin.forceTerminateTransaction("m-txn", new TerminateTransactionOptions()).result().get());
    }

    private static void client() {
        check("clientInstanceId", () -> admin.clientInstanceId(Duration.ofSeconds(3)));
        check("metrics", () -> {
            Map<MetricName, ? extends Metric> all = admin.metrics();
            TreeSet<String> names = new TreeSet<>();
            all.keySet().forEach(n -> names.add(n.group() + ":" + n.name()));
            return names;
        });
        check("registerMetricForSubscription", () -> {
            admin.registerMetricForSubscription(null);
            return "registered";
        });
        check("unregisterMetricFromSubscription", () -> {
            admin.unregisterMetricFromSubscription(null);
            return "unregistered";
        });
    }
}
