package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// manual lets a record say its partition.
var manual = kgo.RecordPartitioner(kgo.ManualPartitioner())

// send produces records one batch after the other; the answers in order.
func send(client *kgo.Client, records ...*kgo.Record) []string {
	defer client.Close()
	var out []string
	for _, r := range client.ProduceSync(within(20), records...) {
		if r.Err != nil {
			out = append(out, failure(r.Err))
		} else {
			out = append(out, fmt.Sprintf("%d/%d", r.Record.Partition, r.Record.Offset))
		}
	}
	return out
}

// read takes count records of a partition from an offset on.
func read(topic string, partition int32, from kgo.Offset, count int, opts ...kgo.Opt) ([]*kgo.Record, error) {
	client := connect(append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: from}}))...)
	defer client.Close()
	var out []*kgo.Record
	for ctx := within(20); len(out) < count; {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			return out, fmt.Errorf("after %d records: %w", len(out), err)
		}
		out = append(out, fetched.Records()...)
	}
	return out, nil
}

func show(records []*kgo.Record) string {
	var out []string
	for _, r := range records {
		var headers []string
		for _, h := range r.Headers {
			headers = append(headers, fmt.Sprintf("%s=%q %t", h.Key, h.Value, h.Value == nil))
		}
		out = append(out, fmt.Sprintf("%d/%d@%d key %q %t value %q %t headers %v at %d %d", r.Partition, r.Offset, r.LeaderEpoch, r.Key, r.Key == nil,
			r.Value, r.Value == nil, headers, r.Timestamp.UnixMilli(), r.Attrs.TimestampType()))
	}
	return strings.Join(out, "; ")
}

// long is a time of long ago, so that answers are the same on every day; the topics keep such records.
var long = time.UnixMilli(1_600_000_000_000)

func producing() {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("codec "+codec, func() (any, error) {
			topic := "go-codec-" + codec
			if err := create(topic, 1, "retention.ms", "-1"); err != nil {
				return nil, err
			}
			var records []*kgo.Record
			for i := range 500 {
				records = append(records, &kgo.Record{Topic: topic, Key: fmt.Append(nil, "k", i), Value: []byte(strings.Repeat("v", i%50)), Timestamp: long})
			}
			sent := send(connect(kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerLinger(20*time.Millisecond)), records...)
			back, err := read(topic, 0, kgo.NewOffset().AtStart(), 500)
			same := slices.EqualFunc(records, back, func(a, b *kgo.Record) bool {
				return string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value)
			})
			return fmt.Sprint(sent[499], " ", len(back), " ", same, " codec ", back[0].Attrs.CompressionType()), err
		})
	}
	acks := map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	for _, name := range []string{"none", "leader", "all"} {
		check("acks "+name, func() (any, error) {
			if err := create("go-acks-"+name, 1, "retention.ms", "-1"); err != nil {
				return nil, err
			}
			client := connect(kgo.RequiredAcks(acks[name]), kgo.DisableIdempotentWrite())
			client.ProduceSync(within(20), &kgo.Record{Topic: "go-acks-" + name, Value: []byte("x"), Timestamp: long})
			back, err := read("go-acks-"+name, 0, kgo.NewOffset().AtStart(), 1)
			client.Close()
			return show(back), err
		})
	}
	check("shapes", func() (any, error) {
		if err := create("go-shapes", 1, "retention.ms", "-1"); err != nil {
			return nil, err
		}
		send(connect(), &kgo.Record{Topic: "go-shapes", Key: []byte("k"), Timestamp: long}, &kgo.Record{Topic: "go-shapes", Key: []byte{}, Value: []byte{}, Timestamp: long},
			&kgo.Record{Topic: "go-shapes", Value: []byte("v"), Timestamp: long.Add(time.Hour),
				Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "n"}, {Key: "e", Value: []byte{}}}})
		back, err := read("go-shapes", 0, kgo.NewOffset().AtStart(), 3)
		return show(back), err
	})
	check("log append time", func() (any, error) {
		if err := create("go-append-time", 1, "message.timestamp.type", "LogAppendTime"); err != nil {
			return nil, err
		}
		sent := send(connect(), &kgo.Record{Topic: "go-append-time", Value: []byte("v"), Timestamp: long})
		back, err := read("go-append-time", 0, kgo.NewOffset().AtStart(), 1)
		if err != nil {
			return nil, err
		}
		return fmt.Sprint(sent, " ", back[0].Attrs.TimestampType(), " ", time.Since(back[0].Timestamp) < time.Hour), nil
	})
	check("idempotent", func() (any, error) {
		if err := create("go-idempotent", 1); err != nil {
			return nil, err
		}
		client := connect(kgo.ProducerBatchMaxBytes(1000))
		var failed error
		for i := range 2000 {
			client.Produce(context.Background(), &kgo.Record{Topic: "go-idempotent", Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed = err
				}
			})
		}
		if err := client.Flush(within(20)); err != nil {
			return nil, err
		}
		client.Close()
		back, err := read("go-idempotent", 0, kgo.NewOffset().AtStart(), 2000)
		ordered := true
		for i, r := range back {
			ordered = ordered && string(r.Value) == fmt.Sprint(i)
		}
		return fmt.Sprint(failed, " ", len(back), " in order ", ordered), err
	})
	one := func(topic string, r kgo.Record, opts ...kgo.Opt) func() (any, error) {
		return func() (any, error) {
			r.Topic = topic
			return send(connect(append([]kgo.Opt{kgo.RecordDeliveryTimeout(4 * time.Second), kgo.UnknownTopicRetries(2)}, opts...)...), &r), nil
		}
	}
	check("too large", one("go-shapes", kgo.Record{Value: make([]byte, 2_000_000)}, kgo.ProducerBatchMaxBytes(4_000_000), kgo.ProducerBatchCompression(kgo.NoCompression())))
	check("two hours ahead", one("go-shapes", kgo.Record{Value: []byte("x"), Timestamp: time.Now().Add(2 * time.Hour)}))
	check("no key, compacted topic", func() (any, error) {
		if err := create("go-compacted", 1, "cleanup.policy", "compact"); err != nil {
			return nil, err
		}
		return one("go-compacted", kgo.Record{Value: []byte("x")})()
	})
	check("unknown partition", one("go-shapes", kgo.Record{Value: []byte("x"), Partition: 9}, manual))
	check("unknown topic", one("go-missing", kgo.Record{Value: []byte("x")}))
	check("bad topic", one("go/bad", kgo.Record{Value: []byte("x")}))
	check("topic made by producing", one("go-made", kgo.Record{Value: []byte("x")}, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), kgo.RecordDeliveryTimeout(20*time.Second)))
	check("partitions of keys", func() (any, error) {
		if err := create("go-keys", 7); err != nil {
			return nil, err
		}
		var records []*kgo.Record
		for i := range 20 {
			records = append(records, &kgo.Record{Topic: "go-keys", Key: fmt.Append(nil, "key", i)})
		}
		send(connect(), records...)
		var out []int32
		for _, r := range records {
			out = append(out, r.Partition)
		}
		return out, nil
	})
	check("producer ids", func() (any, error) {
		client := connect()
		defer client.Close()
		r := kmsg.NewPtrInitProducerIDRequest()
		first, err := r.RequestWith(within(20), client)
		if err != nil {
			return nil, err
		}
		second, err := r.RequestWith(within(20), client)
		return fmt.Sprint(first.ErrorCode, first.ProducerEpoch, " different ", first.ProducerID != second.ProducerID), err
	})
}
