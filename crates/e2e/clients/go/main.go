// Asks a broker what franz-go can ask of it, one `name: answer` line each. Run it on two brokers and compare.
// Usage: sweep BOOTSTRAP. Answers carry nothing that differs between two runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap string
	admin     *kadm.Client
)

func main() {
	bootstrap = os.Args[1]
	client := connect()
	admin = kadm.NewClient(client)
	defer client.Close()
	cluster()
	topics()
	configs()
	producing()
	consuming()
	offsets()
	groups()
	newGroups()
	fmt.Println("end of sweep")
}

// connect makes a client; an error of its options is a fault of this program.
func connect(opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.ClientID("sweep"), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		panic(err)
	}
	return client
}

// within is the patience of one question.
func within(seconds int) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// check prints the answer to one question, or its error, which is an answer too.
func check(name string, question func() (any, error)) {
	answer, err := question()
	text := fmt.Sprint(answer)
	if err != nil {
		text = failure(err)
	}
	fmt.Printf("%s: %s\n", name, strings.ReplaceAll(text, "\n", "\\n"))
}

// failure is the name of the broker's error where it is one, with no text that quotes addresses.
func failure(err error) string {
	var coded *kerr.Error
	if errors.As(err, &coded) {
		return "! " + coded.Message
	}
	if err == nil {
		return "ok"
	}
	return "! " + err.Error()
}

// outcome is an error beside the text that the broker sent with it.
func outcome(err error, message string) string {
	if message == "" {
		return failure(err)
	}
	return failure(err) + ": " + message
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *s)
}

func until(what string, seconds int, condition func() bool) error {
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			return fmt.Errorf("never came true: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// create makes a topic and waits until it can be written to.
func create(name string, partitions int32, configs ...string) error {
	values := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = &configs[i+1]
	}
	r, err := admin.CreateTopic(within(20), partitions, 1, values, name)
	if err != nil {
		if r.ErrMessage != "" {
			return fmt.Errorf("%s", outcome(err, r.ErrMessage))
		}
		return err
	}
	return until("topic "+name+" is there", 20, func() bool {
		t, err := admin.ListTopics(within(5), name)
		return err == nil && t[name].Err == nil && len(t[name].Partitions) == int(partitions)
	})
}
