package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is a consumer of a group; it counts what it owns as its client tells it.
type member struct {
	client *kgo.Client

	lock sync.Mutex
	owns int
}

func join(group, topic string, opts ...kgo.Opt) *member {
	m := &member{}
	count := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			for _, ps := range partitions {
				m.owns += sign * len(ps)
			}
		}
	}
	all := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.SessionTimeout(8 * time.Second), kgo.HeartbeatInterval(200 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.OnPartitionsAssigned(count(1)), kgo.OnPartitionsRevoked(count(-1)),
		kgo.OnPartitionsLost(count(-1)), kgo.FetchMaxWait(100 * time.Millisecond)}
	m.client = connect(append(all, opts...)...)
	return m
}

// poll takes what has come; it waits a moment at most.
func (m *member) poll() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	m.client.PollFetches(ctx)
}

func (m *member) owned() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.owns
}

// at says whether so many partitions of the member have been read, or were committed, up to an offset.
func (m *member) at(offset int64, partitions int) bool {
	done := map[int32]bool{}
	for _, known := range []map[string]map[int32]kgo.EpochOffset{m.client.CommittedOffsets(), m.client.UncommittedOffsets()} {
		for partition, o := range known["go-group"] {
			done[partition] = o.Offset == offset
		}
	}
	count := 0
	for _, d := range done {
		if d {
			count++
		}
	}
	return count == partitions
}

// settled polls all members until each owns its number of partitions.
func settled(what string, sizes []int, members ...*member) error {
	return until(what, 40, func() bool {
		good := true
		for i, m := range members {
			m.poll()
			good = good && m.owned() == sizes[i]
		}
		return good
	})
}

func committed(group string) (any, error) {
	found, err := admin.FetchOffsets(within(10), group)
	var out []string
	found.Each(func(o kadm.OffsetResponse) {
		// franz-go sends its member id as metadata.
		out = append(out, fmt.Sprint(o.Topic, "-", o.Partition, " ", o.At, "@", o.LeaderEpoch, " ", o.Metadata == "mine", " ", failure(o.Err)))
	})
	sort.Strings(out)
	return strings.Join(out, "; "), err
}

// shared has two members come and go; the group's offsets at the end. Every step waits for what it wants to see.
func shared(group string, opts ...kgo.Opt) (any, error) {
	a := join(group, "go-group", opts...)
	defer a.client.Close()
	if err := settled("one has all", []int{4}, a); err != nil {
		return nil, err
	}
	b := join(group, "go-group", opts...)
	err := settled("two share", []int{2, 2}, a, b)
	b.client.Close()
	if err != nil {
		return nil, err
	}
	if err := settled("one has all again", []int{4}, a); err != nil {
		return nil, err
	}
	// What the other had read without committing comes again to the one who is left.
	err = until("all is read", 20, func() bool {
		a.poll()
		return a.at(25, 4)
	})
	if err != nil {
		return nil, err
	}
	if err := a.client.CommitUncommittedOffsets(within(10)); err != nil {
		return nil, err
	}
	return committed(group)
}

func groups() {
	check("records for groups", func() (any, error) {
		if err := create("go-group", 4); err != nil {
			return nil, err
		}
		var records []*kgo.Record
		for i := range 100 {
			records = append(records, &kgo.Record{Topic: "go-group", Partition: int32(i % 4), Value: fmt.Append(nil, i)})
		}
		return len(send(connect(manual), records...)), nil
	})
	balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "round robin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative": kgo.CooperativeStickyBalancer()}
	for _, name := range []string{"range", "round robin", "sticky", "cooperative"} {
		check("two members, "+name, func() (any, error) {
			return shared("go-"+strings.ReplaceAll(name, " ", "-"), kgo.Balancers(balancers[name]))
		})
	}
	check("two members, by regex", func() (any, error) { return shared("go-regex", kgo.ConsumeRegex(), kgo.ConsumeTopics("go-gro.p")) })
	check("static member", func() (any, error) {
		a := join("go-static", "go-group", kgo.InstanceID("one"), kgo.Balancers(kgo.RangeBalancer()))
		defer a.client.Close()
		if err := settled("assigned", []int{4}, a); err != nil {
			return nil, err
		}
		d, err := admin.DescribeGroups(within(10), "go-static")
		g := d["go-static"]
		if err != nil || g.Err != nil || len(g.Members) != 1 {
			return g, err
		}
		assigned, _ := g.Members[0].Assigned.AsConsumer()
		return fmt.Sprint(g.State, g.ProtocolType, " ", g.Protocol, " ", text(g.Members[0].InstanceID), g.Members[0].ClientID, " ", g.Members[0].ClientHost, " ", len(assigned.Topics[0].Partitions)), nil
	})
	check("remove a static member", func() (any, error) {
		left, err := admin.LeaveGroup(within(10), kadm.LeaveGroup("go-static").InstanceIDs("one", "two"))
		return fmt.Sprint(failure(left["one"].Err), " ", failure(left["two"].Err)), err
	})
	check("describe groups", func() (any, error) {
		d, err := admin.DescribeGroups(within(10), "go-range", "go-unknown")
		var out []string
		for _, g := range d.Sorted() {
			out = append(out, fmt.Sprint(g.Group, " ", g.State, " ", g.ProtocolType, " ", g.Protocol, " ", len(g.Members), " ", outcome(g.Err, g.ErrMessage)))
		}
		return strings.Join(out, "; "), err
	})
	list := func(types []string, states ...string) func() (any, error) {
		return func() (any, error) {
			found, err := admin.ListGroupsByType(within(10), types, states...)
			var out []string
			for _, g := range found.Sorted() {
				out = append(out, fmt.Sprint(g.Group, " ", g.ProtocolType, " ", g.State))
			}
			return strings.Join(out, "; "), err
		}
	}
	check("list groups", list(nil))
	check("list empty groups", list(nil, "Empty"))
	check("list stable groups", list(nil, "stable"))
	check("list classic groups", list([]string{"classic"}))
	check("list groups of no such state", list(nil, "Sleeping"))
	commit := func(group string, o kadm.Offset) func() (any, error) {
		return func() (any, error) {
			done, err := admin.CommitOffsets(within(10), group, kadm.Offsets{o.Topic: {o.Partition: o}})
			return failure(done[o.Topic][o.Partition].Err), err
		}
	}
	check("commit", commit("go-alone", kadm.Offset{Topic: "go-group", Partition: 1, At: 7, LeaderEpoch: 0, Metadata: "mine"}))
	check("commit to an unknown partition", commit("go-alone", kadm.Offset{Topic: "go-group", Partition: 99, At: 7}))
	check("commit to an unknown topic", commit("go-alone", kadm.Offset{Topic: "go-missing", Partition: 0, At: 7}))
	check("commit too much metadata", commit("go-alone", kadm.Offset{Topic: "go-group", Partition: 2, At: 7, Metadata: strings.Repeat("m", 5000)}))
	check("committed", func() (any, error) { return committed("go-alone") })
	check("committed by nobody", func() (any, error) { return committed("go-unknown") })
	check("lag", func() (any, error) {
		lags, err := admin.Lag(within(20), "go-alone", "go-range")
		var out []string
		for _, l := range lags.Sorted() {
			for _, p := range l.Lag.Sorted() {
				out = append(out, fmt.Sprint(l.Group, " ", l.State, " ", p.Topic, "-", p.Partition, " ", p.Commit.At, " of ", p.End.Offset, " ", p.Lag))
			}
		}
		return strings.Join(out, "; "), err
	})
	check("delete offsets", func() (any, error) {
		gone, err := admin.DeleteOffsets(within(10), "go-alone", kadm.TopicsSet{"go-group": {1: {}, 3: {}}, "go-missing": {0: {}}})
		return fmt.Sprint(failure(gone["go-group"][1]), " ", failure(gone["go-group"][3]), " ", failure(gone["go-missing"][0])), err
	})
	check("delete offsets of a group that is not", func() (any, error) {
		_, err := admin.DeleteOffsets(within(10), "go-unknown", kadm.TopicsSet{"go-group": {1: {}}})
		return nil, err
	})
	check("delete groups", func() (any, error) {
		gone, err := admin.DeleteGroups(within(10), "go-range", "go-unknown")
		return fmt.Sprint(outcome(gone["go-range"].Err, gone["go-range"].ErrMessage), " ", outcome(gone["go-unknown"].Err, gone["go-unknown"].ErrMessage)), err
	})
	check("committed by who is gone", func() (any, error) { return committed("go-range") })
	check("join with a short session", func() (any, error) {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = "go-short", 1, 1, "consumer"
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		a, err := r.RequestWith(within(10), connect())
		if err != nil {
			return nil, err
		}
		return a.ErrorCode, nil
	})
	check("a heartbeat of a stranger", func() (any, error) {
		r := kmsg.NewPtrHeartbeatRequest()
		r.Group, r.MemberID = "go-cooperative", "stranger"
		a, err := r.RequestWith(within(10), connect())
		if err != nil {
			return nil, err
		}
		return a.ErrorCode, nil
	})
}

// newGroups asks by the protocol of KIP-848, which franz-go has behind a key of its context.
func newGroups() {
	next := kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true))
	check("848, two members, uniform", func() (any, error) { return shared("go-848-uniform", next, kgo.Balancers(kgo.StickyBalancer())) })
	check("848, two members, range", func() (any, error) { return shared("go-848-range", next, kgo.Balancers(kgo.RangeBalancer())) })
	check("848, a group that was classic", func() (any, error) { return shared("go-sticky", next, kgo.Balancers(kgo.StickyBalancer())) })
	check("848, static member", func() (any, error) {
		a := join("go-848-static", "go-group", next, kgo.InstanceID("one"), kgo.Balancers(kgo.StickyBalancer()))
		defer a.client.Close()
		if err := settled("assigned", []int{4}, a); err != nil {
			return nil, err
		}
		d, err := admin.DescribeConsumerGroups(within(10), "go-848-static")
		g := d["go-848-static"]
		if err != nil || g.Err != nil || len(g.Members) != 1 {
			return g, err
		}
		m := g.Members[0]
		return fmt.Sprint(g.State, " ", g.AssignorName, " ", g.Epoch, "=", g.AssignmentEpoch, " ", text(m.InstanceID), text(m.RackID), m.ClientID, m.ClientHost, m.MemberType,
			m.MemberEpoch, m.SubscribedTopics, text(m.SubscribedTopicRegex), len(m.Assignment["go-group"]), len(m.TargetAssignment["go-group"])), nil
	})
	check("848, described as a classic group", func() (any, error) {
		d, err := admin.DescribeGroups(within(10), "go-848-uniform")
		g := d["go-848-uniform"]
		return fmt.Sprint(g.State, " ", g.ProtocolType, " ", outcome(g.Err, g.ErrMessage)), err
	})
	check("848, a classic group described as new", func() (any, error) {
		d, err := admin.DescribeConsumerGroups(within(10), "go-cooperative", "go-unknown")
		return fmt.Sprint(failure(d["go-cooperative"].Err), " ", failure(d["go-unknown"].Err)), err
	})
	check("848, a stranger's heartbeat", func() (any, error) {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Group, r.MemberID, r.MemberEpoch = "go-848-uniform", "stranger", 3
		a, err := r.RequestWith(within(10), connect())
		if err != nil {
			return nil, err
		}
		return fmt.Sprint(a.ErrorCode, " ", text(a.ErrorMessage)), nil
	})
	check("848, an assignor that is not", func() (any, error) {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = "go-848-new", "AAAAAAAAAAAAAAAAAAAAAA", 1000, []string{"go-group"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		r.ServerAssignor = kadm.StringPtr("smart")
		a, err := r.RequestWith(within(10), connect())
		if err != nil {
			return nil, err
		}
		return fmt.Sprint(a.ErrorCode, " ", text(a.ErrorMessage)), nil
	})
	check("848, groups by type", func() (any, error) {
		found, err := admin.ListGroupsByType(within(10), []string{"consumer"})
		var out []string
		for _, g := range found.Sorted() {
			out = append(out, fmt.Sprint(g.Group, " ", g.State))
		}
		return strings.Join(out, "; "), err
	})
}
