// Writes one record batch per codec and kind with Apache's own classes: `java -cp 'JARS/*' Batches.java DIR`.

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.TimestampType;

class Batches {
    static final long T0 = 1_700_000_000_000L;
    static Path dir;

    static void write(String name, MemoryRecords records) throws Exception {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        Files.write(dir.resolve(name), bytes);
    }

    static Compression compression(CompressionType type) {
        return Compression.of(type).build();
    }

    // 50 records: every third key null, every fifth value null, two headers with the same key on every second.
    static void fill(MemoryRecordsBuilder builder, boolean headers) {
        for (int i = 0; i < 50; i++) {
            byte[] key = i % 3 == 0 ? null : ("key-" + i).getBytes();
            byte[] value = i % 5 == 4 ? null : ("value " + i + " ").repeat(i).getBytes();
            Header[] both = {new RecordHeader("h", ("x" + i).getBytes()), new RecordHeader("h", (byte[]) null)};
            builder.append(T0 + i * 7, key, value, headers && i % 2 == 0 ? both : new Header[0]);
        }
    }

    public static void main(String[] args) throws Exception {
        dir = Path.of(args[0]);
        for (CompressionType type : CompressionType.values()) {
            if (type.id < 0) continue;
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(1 << 16), (byte) 2, compression(type),
                TimestampType.CREATE_TIME, 100L, -1L, 4000L, (short) 3, 17, type.id % 2 == 0, false, 5, 1 << 20);
            fill(builder, true);
            write("v2-" + type.name + ".bin", builder.build());
        }
        for (byte magic = 0; magic < 2; magic++) {
            for (CompressionType type : new CompressionType[] {CompressionType.NONE, CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4}) {
                MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), magic, compression(type),
                    TimestampType.CREATE_TIME, 100L);
                fill(builder, false);
                write("v" + magic + "-" + type.name + ".bin", builder.build());
            }
        }
        write("commit.bin", MemoryRecords.withEndTransactionMarker(77L, T0, 5, 4000L, (short) 3, new EndTransactionMarker(ControlRecordType.COMMIT, 9)));
        write("abort.bin", MemoryRecords.withEndTransactionMarker(78L, T0, 5, 4000L, (short) 3, new EndTransactionMarker(ControlRecordType.ABORT, 9)));
    }
}
