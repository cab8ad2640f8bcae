package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func consuming() {
	check("records to read", func() (any, error) {
		if err := create("go-read", 2, "retention.ms", "-1"); err != nil {
			return nil, err
		}
		var records []*kgo.Record
		for i := range 1000 {
			records = append(records, &kgo.Record{Topic: "go-read", Value: fmt.Append(nil, i), Timestamp: long.Add(time.Duration(i) * time.Second)})
		}
		return send(connect(manual, kgo.ProducerBatchMaxBytes(2000)), records...)[999], nil
	})
	span := func(from kgo.Offset, count int, opts ...kgo.Opt) func() (any, error) {
		return func() (any, error) {
			got, err := read("go-read", 0, from, count, opts...)
			if err != nil {
				return nil, err
			}
			return fmt.Sprint(len(got), " from ", got[0].Offset, " ", string(got[0].Value), " to ", got[len(got)-1].Offset), nil
		}
	}
	check("from the start", span(kgo.NewOffset().AtStart(), 1000))
	check("from the middle", span(kgo.NewOffset().At(437), 563))
	check("relative to the start", span(kgo.NewOffset().AtStart().Relative(10), 990))
	check("relative to the end", span(kgo.NewOffset().AtEnd().Relative(-10), 10))
	check("after a time", span(kgo.NewOffset().AfterMilli(long.UnixMilli()+500_000), 500))
	check("after a time in between", span(kgo.NewOffset().AfterMilli(long.UnixMilli()+499_001), 500))
	check("beyond the end", span(kgo.NewOffset().At(5000), 1000, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	check("beyond the end, no reset", func() (any, error) {
		client := connect(kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"go-read": {0: kgo.NewOffset().At(5000)}}))
		defer client.Close()
		fetched := client.PollFetches(within(20))
		return nil, fetched.Err()
	})
	check("small fetches", span(kgo.NewOffset().AtStart(), 1000, kgo.FetchMaxBytes(3000), kgo.FetchMaxPartitionBytes(1000)))
	check("without sessions", span(kgo.NewOffset().AtStart(), 1000, kgo.DisableFetchSessions()))
	check("committed only", span(kgo.NewOffset().AtStart(), 1000, kgo.FetchIsolationLevel(kgo.ReadCommitted())))
	check("seek back and forth", func() (any, error) {
		client := connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"go-read": {0: kgo.NewOffset().AtStart()}}))
		defer client.Close()
		var out []int64
		for _, at := range []int64{900, 0, 450, 999} {
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{"go-read": {0: {Epoch: -1, Offset: at}}})
			fetched := client.PollRecords(within(20), 1)
			if err := fetched.Err(); err != nil {
				return out, err
			}
			out = append(out, fetched.Records()[0].Offset)
		}
		return out, nil
	})
}

func listed(found kadm.ListedOffsets, err error) (any, error) {
	var out []string
	found.Each(func(o kadm.ListedOffset) {
		out = append(out, fmt.Sprint(o.Topic, "-", o.Partition, " ", o.Offset, "@", o.LeaderEpoch, " ", o.Timestamp, " ", failure(o.Err)))
	})
	sort.Strings(out)
	return strings.Join(out, "; "), err
}

func offsets() {
	topics := []string{"go-read", "go-missing"}
	check("start offsets", func() (any, error) { return listed(admin.ListStartOffsets(within(10), topics...)) })
	check("end offsets", func() (any, error) { return listed(admin.ListEndOffsets(within(10), topics...)) })
	check("stable offsets", func() (any, error) { return listed(admin.ListCommittedOffsets(within(10), topics...)) })
	check("greatest timestamps", func() (any, error) { return listed(admin.ListMaxTimestampOffsets(within(10), topics...)) })
	check("local offsets", func() (any, error) { return listed(admin.ListLocalLogStartOffsets(within(10), topics...)) })
	check("remote offsets", func() (any, error) { return listed(admin.ListLatestRemoteOffsets(within(10), topics...)) })
	for _, after := range []int64{-1, 0, 1, 999, 500_000, 999_000, 999_001} {
		check(fmt.Sprint("offsets after ", after), func() (any, error) {
			return listed(admin.ListOffsetsAfterMilli(within(10), long.UnixMilli()+after, topics...))
		})
	}
	for _, epoch := range []int32{-1, 0, 5} {
		check(fmt.Sprint("offsets of epoch ", epoch), func() (any, error) {
			var request kadm.OffsetForLeaderEpochRequest
			request.Add("go-read", 0, epoch)
			found, err := admin.OffsetForLeaderEpoch(within(10), request)
			o := found["go-read"][0]
			return fmt.Sprint(o.LeaderEpoch, " ends at ", o.EndOffset, " ", failure(o.Err)), err
		})
	}
	remove := func(partition int32, to int64) func() (any, error) {
		return func() (any, error) {
			answers, err := admin.DeleteRecords(within(10), kadm.Offsets{"go-read": {partition: {At: to}}})
			var out []string
			answers.Each(func(r kadm.DeleteRecordsResponse) { out = append(out, fmt.Sprint(r.LowWatermark, " ", failure(r.Err))) })
			return out, err
		}
	}
	check("delete records", remove(0, 10))
	check("delete too many records", remove(0, 100000))
	check("delete all records", remove(0, -1))
	check("delete records of an unknown partition", remove(9, 1))
	check("start offsets after that", func() (any, error) { return listed(admin.ListStartOffsets(within(10), "go-read")) })
	check("producers", func() (any, error) {
		found, err := admin.DescribeProducers(within(10), kadm.TopicsSet{"go-idempotent": {0: {}}})
		var out []string
		found.EachPartition(func(p kadm.DescribedProducersPartition) {
			out = append(out, fmt.Sprint(p.Topic, " ", outcome(p.Err, p.ErrMessage), " ", len(p.ActiveProducers)))
			p.ActiveProducers.Each(func(d kadm.DescribedProducer) {
				out = append(out, fmt.Sprint("epoch ", d.ProducerEpoch, " sequence ", d.LastSequence, " ", d.CoordinatorEpoch, " ", d.CurrentTxnStartOffset))
			})
		})
		sort.Strings(out)
		return strings.Join(out, "; "), err
	})
}
