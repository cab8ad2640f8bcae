import java.time.Duration;
import java.util.Arrays;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** The applications of the Streams sweep. Keys and values are strings. */
final class Topologies {
    static Topology wordCount() {
        StreamsBuilder b = new StreamsBuilder();
        b.<String, String>stream("lines")
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.as("by-word"))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream().mapValues(String::valueOf).to("words");
        return b.build();
    }

    static Topology windows() {
        StreamsBuilder b = new StreamsBuilder();
        var clicks = b.<String, String>stream("clicks").groupByKey();
        var tumbling = clicks.windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)))
            .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("tumbling").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
        named(tumbling.toStream().mapValues(String::valueOf)).to("tumbling-all");
        named(tumbling.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()).withName("closed")).toStream().mapValues(String::valueOf)).to("tumbling-closed");
        named(clicks.windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(20), Duration.ofSeconds(1)).advanceBy(Duration.ofSeconds(5)))
            .reduce((one, other) -> String.valueOf(Integer.parseInt(one) + Integer.parseInt(other)), Materialized.as("hopping")).toStream()).to("hopping-sums");
        named(clicks.windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(3), Duration.ofSeconds(1)))
            .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("sessions").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long())).toStream().mapValues(String::valueOf)).to("sessions-counts");
        return b.build();
    }

    private static KStream<String, String> named(KStream<Windowed<String>, String> windowed) {
        return windowed.map((key, value) -> KeyValue.pair(key.key() + "[" + (key.window().start() - Topics.BEGIN) + "," + (key.window().end() - Topics.BEGIN) + ")", value));
    }

    static Topology joins() {
        StreamsBuilder b = new StreamsBuilder();
        KStream<String, String> orders = b.stream("orders");
        KStream<String, String> payments = b.stream("payments");
        var prices = b.<String, String>table("prices", Materialized.as("prices-store"));
        var countries = b.<String, String>globalTable("countries", Materialized.as("countries-store"));
        var within = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(4), Duration.ofSeconds(2));
        orders.join(payments, (order, payment) -> order + "+" + payment, within, StreamJoined.as("paid")).to("paid-orders");
        orders.leftJoin(payments, (order, payment) -> order + "+" + payment, within, StreamJoined.as("maybe-paid")).to("all-orders");
        orders.join(prices, (order, price) -> order + "*" + price).to("priced-orders");
        orders.join(countries, (key, order) -> "c" + order.length() % 3, (order, country) -> order + "@" + country).to("located-orders");
        // A join of tables over a key inside the value: a subscription and its answer go through topics of their own.
        prices.join(b.<String, String>table("taxes", Materialized.as("taxes-store")), price -> "t" + price.length() % 2, (price, tax) -> price + "%" + tax, Materialized.as("taxed-store"))
            .toStream().to("taxed-prices");
        return b.build();
    }
}
