import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;

/** One printed line per question: `name: answer`, or `name: ! Error: text`. Answers carry nothing that differs between two runs. */
final class Check {
    static String bootstrap;

    static void check(String name, Callable<Object> question) {
        String answer;
        try {
            answer = String.valueOf(question.call());
        } catch (ExecutionException e) {
            answer = error(e.getCause());
        } catch (Throwable e) {
            answer = error(e);
        }
        System.out.println(name + ": " + withoutClock(answer).replace("\n", "\\n"));
        System.out.flush();
    }

    private static final Pattern MILLIS = Pattern.compile("\\b\\d{13}\\b");

    /** Times of day, in milliseconds, become NOW; fixed times of long ago stay. */
    private static String withoutClock(String answer) {
        long now = System.currentTimeMillis();
        return MILLIS.matcher(answer).replaceAll(m -> Math.abs(Long.parseLong(m.group()) - now) < 86_400_000L ? "NOW" : m.group());
    }

    static String error(Throwable e) {
        // How long a client has waited is not its broker's answer.
        String message = String.valueOf(e.getMessage()).replaceAll("\\d+ ms has passed", "N ms has passed");
        return "! " + e.getClass().getSimpleName() + ": " + message;
    }

    /** The answer of a future, or its error, as text. */
    static String outcome(Callable<Object> question) {
        try {
            return String.valueOf(question.call());
        } catch (ExecutionException e) {
            return error(e.getCause());
        } catch (Throwable e) {
            return error(e);
        }
    }

    /** How long to wait for a condition, in seconds. */
    static long patience = 40;

    static void until(String what, BooleanSupplier condition) {
        long deadline = System.nanoTime() + patience * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) throw new IllegalStateException("never came true: " + what);
            try {
                Thread.sleep(10);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    static Properties props(String... pairs) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) p.put(pairs[i], pairs[i + 1]);
        return p;
    }

    static <T extends Comparable<T>> List<T> sorted(Iterable<T> values) {
        List<T> list = new ArrayList<>();
        values.forEach(list::add);
        list.sort(null);
        return list;
    }
}
