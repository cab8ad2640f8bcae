package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func cluster() {
	check("brokers", func() (any, error) {
		m, err := admin.BrokerMetadata(within(10))
		var out []string
		for _, b := range m.Brokers {
			out = append(out, fmt.Sprintf("%d at %s:%d rack %s", b.NodeID, b.Host, b.Port, text(b.Rack)))
		}
		return fmt.Sprint(out, " of ", m.Cluster, ", controller ", m.Controller), err
	})
	check("authorized operations", func() (any, error) {
		r := kmsg.NewPtrMetadataRequest()
		r.Topics = []kmsg.MetadataRequestTopic{}
		r.IncludeClusterAuthorizedOperations = true
		response, err := connect().Request(within(10), r)
		if err != nil {
			return nil, err
		}
		return response.(*kmsg.MetadataResponse).AuthorizedOperations, nil
	})
	check("quorum", func() (any, error) {
		r := kmsg.NewPtrDescribeQuorumRequest()
		r.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}}}
		response, err := connect().Request(within(10), r)
		if err != nil {
			return nil, err
		}
		q := response.(*kmsg.DescribeQuorumResponse)
		p := q.Topics[0].Partitions[0]
		return fmt.Sprint(q.ErrorCode, p.ErrorCode, p.LeaderID, len(p.CurrentVoters), p.CurrentVoters[0].ReplicaID, len(p.Observers), p.HighWatermark > 0), nil
	})
	check("log directories", func() (any, error) {
		if err := create("go-dirs", 2); err != nil {
			return nil, err
		}
		var dirs kadm.DescribedAllLogDirs
		err := until("both partitions have a directory", 10, func() bool {
			dirs, _ = admin.DescribeAllLogDirs(within(10), kadm.TopicsSet{"go-dirs": {0: {}, 1: {}}})
			return len(dirs[1]) == 1 && len(dirs[1].Sorted()[0].Topics["go-dirs"]) == 2
		})
		var out []string
		dirs.Each(func(d kadm.DescribedLogDir) {
			out = append(out, fmt.Sprint(d.Broker, d.Err, d.TotalBytes > 0, d.UsableBytes > 0, d.IsCordoned))
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				out = append(out, fmt.Sprint(p.Topic, "-", p.Partition, " ", p.Size, " ", p.OffsetLag, " ", p.IsFuture))
			})
		})
		sort.Strings(out[1:])
		return strings.Join(out, ", "), err
	})
	check("coordinator of a group", func() (any, error) {
		var c kadm.FindCoordinatorResponse
		// The topic of the offsets may have to be made first.
		err := until("the coordinator", 20, func() bool {
			c = admin.FindGroupCoordinators(within(20), "go-anything")["go-anything"]
			return c.Err == nil
		})
		return fmt.Sprint(c.NodeID, " ", c.Host, ":", c.Port), err
	})
	check("elect leaders", func() (any, error) {
		elected, err := admin.ElectLeaders(within(10), kadm.ElectPreferredReplica, kadm.TopicsSet{"go-dirs": {0: {}}, "go-missing": {0: {}}})
		var out []string
		for _, partitions := range elected {
			for _, e := range partitions {
				out = append(out, fmt.Sprint(e.Topic, "-", e.Partition, " ", outcome(e.Err, e.ErrMessage)))
			}
		}
		sort.Strings(out)
		return strings.Join(out, ", "), err
	})
	check("reassign to the same broker", func() (any, error) {
		var request kadm.AlterPartitionAssignmentsReq
		request.Assign("go-dirs", 0, []int32{1})
		request.Assign("go-dirs", 9, []int32{1})
		request.CancelAssign("go-dirs", 1)
		answer, err := admin.AlterPartitionAssignments(within(10), request)
		var out []string
		answer.Each(func(r kadm.AlterPartitionAssignmentsResponse) {
			out = append(out, fmt.Sprint(r.Topic, "-", r.Partition, " ", outcome(r.Err, r.ErrMessage)))
		})
		sort.Strings(out)
		return strings.Join(out, ", "), err
	})
	check("reassignments under way", func() (any, error) {
		r, err := admin.ListPartitionReassignments(within(10), nil)
		return len(r), err
	})
}

func topics() {
	show := func(names ...string) (any, error) {
		found, err := admin.ListTopics(within(10), names...)
		var out []string
		for _, t := range found.Sorted() {
			out = append(out, fmt.Sprint(t.Topic, " ", failure(t.Err), " internal ", t.IsInternal, " id ", t.ID != kadm.TopicID{}))
			for _, p := range t.Partitions.Sorted() {
				out = append(out, fmt.Sprint(p.Partition, ": ", p.Leader, "@", p.LeaderEpoch, " ", p.Replicas, p.ISR, p.OfflineReplicas))
			}
		}
		return strings.Join(out, "; "), err
	}
	make := func(partitions int32, replicas int16, configs map[string]*string, name string) func() (any, error) {
		return func() (any, error) {
			r, err := admin.CreateTopic(within(20), partitions, replicas, configs, name)
			return fmt.Sprint(outcome(err, r.ErrMessage), " ", r.NumPartitions, "x", r.ReplicationFactor, " with ", len(r.Configs), " configs"), nil
		}
	}
	check("create a topic", make(3, 1, nil, "go-topic"))
	check("create it again", make(3, 1, nil, "go-topic"))
	check("create with the broker's defaults", make(-1, -1, nil, "go-defaults"))
	check("create with configs", make(1, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "retention.ms": kadm.StringPtr("100000")}, "go-configs"))
	check("create with a wrong config", make(1, 1, map[string]*string{"retention.ms": kadm.StringPtr("soon")}, "go-wrong"))
	check("create with an unknown config", make(1, 1, map[string]*string{"no.such": kadm.StringPtr("1")}, "go-wrong"))
	check("create with no partitions", make(0, 1, nil, "go-wrong"))
	check("create with three replicas", make(1, 3, nil, "go-wrong"))
	for _, name := range []string{"", ".", "..", "go/wrong", "go wrong", strings.Repeat("n", 250)} {
		check(fmt.Sprintf("create by the name of %d, %.8q", len(name), name), make(1, 1, nil, name))
	}
	check("create what collides", make(1, 1, nil, "go.topic_x"))
	check("the collision", make(1, 1, nil, "go_topic.x"))
	check("only validate", func() (any, error) {
		r, err := admin.ValidateCreateTopics(within(10), 2, 1, nil, "go-dry", "go-topic")
		return fmt.Sprint(outcome(r["go-dry"].Err, r["go-dry"].ErrMessage), " ", outcome(r["go-topic"].Err, r["go-topic"].ErrMessage)), err
	})
	check("metadata", func() (any, error) {
		// A broker may learn of a topic a moment after its controller.
		_ = until("go-topic is there", 10, func() bool {
			t, err := admin.ListTopics(within(5), "go-topic")
			return err == nil && t["go-topic"].Err == nil
		})
		return show("go-topic", "go-missing")
	})
	check("more partitions", func() (any, error) {
		r, err := admin.UpdatePartitions(within(10), 5, "go-topic")
		return outcome(r["go-topic"].Err, r["go-topic"].ErrMessage), err
	})
	check("fewer partitions", func() (any, error) {
		r, err := admin.UpdatePartitions(within(10), 2, "go-topic", "go-missing")
		return fmt.Sprint(outcome(r["go-topic"].Err, r["go-topic"].ErrMessage), "; ", outcome(r["go-missing"].Err, r["go-missing"].ErrMessage)), err
	})
	check("metadata with more", func() (any, error) {
		return nil, until("five partitions", 10, func() bool {
			t, err := admin.ListTopics(within(5), "go-topic")
			return err == nil && len(t["go-topic"].Partitions) == 5
		})
	})
	check("delete topics", func() (any, error) {
		r, err := admin.DeleteTopics(within(20), "go-defaults", "go-missing")
		return fmt.Sprint(outcome(r["go-defaults"].Err, r["go-defaults"].ErrMessage), "; ", outcome(r["go-missing"].Err, r["go-missing"].ErrMessage)), err
	})
}

func configs() {
	show := func(found kadm.ResourceConfigs, err error, all bool) (any, error) {
		var out []string
		for _, r := range found {
			out = append(out, fmt.Sprint(r.Name, " ", outcome(r.Err, r.ErrMessage), " ", len(r.Configs)))
			for _, c := range r.Configs {
				if all || c.Source == kmsg.ConfigSourceDynamicTopicConfig {
					var synonyms []string
					for _, s := range c.Synonyms {
						synonyms = append(synonyms, fmt.Sprint(s.Key, "=", text(s.Value), " ", s.Source))
					}
					out = append(out, fmt.Sprint(c.Key, "=", text(c.Value), " ", c.Source, " ", c.Sensitive, synonyms))
				}
			}
		}
		sort.Strings(out)
		return strings.Join(out, "; "), err
	}
	now := func() (any, error) {
		found, err := admin.DescribeTopicConfigs(within(10), "go-configs")
		return show(found, err, false)
	}
	alter := func(op kadm.IncrementalOp, key string, value *string) func() (any, error) {
		return func() (any, error) {
			before, err := now()
			if err != nil {
				return nil, err
			}
			r, err := admin.AlterTopicConfigs(within(10), []kadm.AlterConfig{{Op: op, Name: key, Value: value}}, "go-configs")
			if err != nil {
				return nil, err
			}
			after := before
			// What the controller has accepted is seen at the broker a moment later.
			for deadline := time.Now().Add(20 * time.Second); r[0].Err == nil && after == before && time.Now().Before(deadline); {
				after, _ = now()
			}
			return fmt.Sprint(outcome(r[0].Err, r[0].ErrMessage), ": ", after), err
		}
	}
	check("describe configs of a topic", func() (any, error) {
		found, err := admin.DescribeTopicConfigs(within(10), "go-configs")
		return show(found, err, true)
	})
	check("describe configs of a missing topic", func() (any, error) {
		found, err := admin.DescribeTopicConfigs(within(10), "go-missing")
		return show(found, err, true)
	})
	check("describe configs of a broker", func() (any, error) {
		found, err := admin.DescribeBrokerConfigs(within(10), 1)
		return show(found, err, false)
	})
	check("validate configs", func() (any, error) {
		r, err := admin.ValidateAlterTopicConfigs(within(10), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("5")}}, "go-configs")
		return outcome(r[0].Err, r[0].ErrMessage), err
	})
	check("set", alter(kadm.SetConfig, "retention.ms", kadm.StringPtr("200000")))
	check("append", alter(kadm.AppendConfig, "cleanup.policy", kadm.StringPtr("delete")))
	check("subtract", alter(kadm.SubtractConfig, "cleanup.policy", kadm.StringPtr("compact")))
	check("delete", alter(kadm.DeleteConfig, "retention.ms", nil))
	check("set to nonsense", alter(kadm.SetConfig, "retention.ms", kadm.StringPtr("soon")))
	check("set an unknown key", alter(kadm.SetConfig, "no.such", kadm.StringPtr("1")))
	check("append to what is no list", alter(kadm.AppendConfig, "retention.ms", kadm.StringPtr("1")))
	check("configs of another topic", func() (any, error) {
		r, err := admin.AlterTopicConfigs(within(10), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("5")}}, "go-missing")
		return outcome(r[0].Err, r[0].ErrMessage), err
	})
	check("a broker's config", func() (any, error) {
		r, err := admin.AlterBrokerConfigs(within(10), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "message.max.bytes", Value: kadm.StringPtr("2000000")}}, 1)
		if err != nil {
			return nil, err
		}
		undo, err := admin.AlterBrokerConfigs(within(10), []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "message.max.bytes"}}, 1)
		return fmt.Sprint(outcome(r[0].Err, r[0].ErrMessage), " ", outcome(undo[0].Err, undo[0].ErrMessage)), err
	})
	check("a broker's config that is fixed", func() (any, error) {
		r, err := admin.AlterBrokerConfigs(within(10), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "process.roles", Value: kadm.StringPtr("broker")}}, 1)
		return outcome(r[0].Err, r[0].ErrMessage), err
	})
}
