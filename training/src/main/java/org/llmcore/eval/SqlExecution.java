package org.llmcore.eval;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicLong;

import org.sqlite.ProgressHandler;
import org.sqlite.SQLiteConfig;

import org.llmcore.InvalidInput;

/// Execution accuracy (Zhong, Yu & Klein 2020, arXiv:2010.02840): a predicted query is right if it returns the rows the gold
/// query returns. Rows are a multiset, in order only if the gold query has ORDER BY; columns may come in any order; numbers
/// are equal to 1e-6 relative, whatever their SQL type.
///
/// Predictions are hostile until proved otherwise: one statement that reads, on a database that refuses writes and ATTACH, cut
/// off after a number of virtual-machine steps and rows. An in-memory copy or a file opened immutable is all they can see.
public final class SqlExecution implements AutoCloseable {
  /// What became of a prediction.
  public enum Outcome {
    MATCH,
    DIFFERENT_ROWS,
    ERROR,
    TIMEOUT
  }

  private static final int STEPS_PER_TICK = 10_000;
  private static final long TICKS = 2_000; // 20 million virtual-machine steps, about two seconds
  private static final int ROWS = 100_000;

  private final Connection connection;
  private final AtomicLong ticks = new AtomicLong();

  private SqlExecution(String url, SQLiteConfig config, List<String> script) {
    try {
      config.setPragma(SQLiteConfig.Pragma.LIMIT_ATTACHED, "0");
      connection = DriverManager.getConnection(url, config.toProperties());
      try (var s = connection.createStatement()) {
        for (var line : script) s.execute(line);
        s.execute("pragma query_only = 1");
      }
      ProgressHandler.setHandler(
          connection,
          STEPS_PER_TICK,
          new ProgressHandler() {
            @Override
            protected int progress() {
              return ticks.incrementAndGet() > TICKS ? 1 : 0;
            }
          });
    } catch (SQLException e) {
      throw new InvalidInput("the database cannot be opened: " + e.getMessage(), "check the script or the file", e);
    }
  }

  /// A database in memory, made by statements.
  public static SqlExecution of(List<String> script) {
    return new SqlExecution("jdbc:sqlite::memory:", new SQLiteConfig(), script);
  }

  /// A database file, opened read-only and never changed.
  public static SqlExecution of(Path file) {
    var config = new SQLiteConfig();
    config.setReadOnly(true);
    return new SqlExecution("jdbc:sqlite:file:" + file.toAbsolutePath() + "?immutable=1", config, List.of());
  }

  /// Runs both queries and compares their rows.
  /// @throws InvalidInput if the gold query itself fails
  public Outcome compare(String predicted, String gold) {
    List<List<Object>> expected;
    try {
      expected = rows(gold);
    } catch (SQLException e) {
      throw new InvalidInput("the gold query fails: " + e.getMessage() + " in " + gold, "correct the data set", e);
    }
    if (!reads(predicted)) return Outcome.ERROR;
    List<List<Object>> found;
    try {
      found = rows(predicted);
    } catch (SQLException _) {
      return ticks.get() > TICKS ? Outcome.TIMEOUT : Outcome.ERROR;
    }
    boolean ordered = gold.toLowerCase(Locale.ROOT).contains("order by");
    return equal(expected, found, ordered) ? Outcome.MATCH : Outcome.DIFFERENT_ROWS;
  }

  /// One statement that starts with SELECT or WITH.
  private static boolean reads(String sql) {
    var s = sql.strip().toLowerCase(Locale.ROOT);
    while (s.endsWith(";")) s = s.substring(0, s.length() - 1).strip();
    return (s.startsWith("select") || s.startsWith("with")) && s.indexOf(';') < 0;
  }

  private List<List<Object>> rows(String sql) throws SQLException {
    ticks.set(0);
    try (var statement = connection.createStatement()) {
      statement.setMaxRows(ROWS);
      try (var result = statement.executeQuery(sql)) {
        return read(result);
      }
    }
  }

  private static List<List<Object>> read(ResultSet result) throws SQLException {
    int columns = result.getMetaData().getColumnCount();
    var out = new ArrayList<List<Object>>();
    while (result.next()) {
      var row = new ArrayList<>();
      for (int i = 1; i <= columns; i++) {
        var v = result.getObject(i);
        row.add(v == null ? "∅" : v instanceof Number n ? (Object) n.doubleValue() : v.toString());
      }
      out.add(row);
    }
    return out;
  }

  /// Whether the rows are the same under some order of the found columns.
  static boolean equal(List<List<Object>> expected, List<List<Object>> found, boolean ordered) {
    if (expected.size() != found.size()) return false;
    if (expected.isEmpty()) return true;
    int n = expected.getFirst().size();
    if (found.getFirst().size() != n || n > 8) return n > 8 && same(expected, found, ordered);
    return permuted(expected, found, ordered, new int[n], new boolean[n], 0);
  }

  private static boolean permuted(List<List<Object>> expected, List<List<Object>> found, boolean ordered, int[] order, boolean[] used, int at) {
    if (at == order.length) return same(expected, found.stream().map(r -> Arrays.stream(order).<Object>mapToObj(r::get).toList()).toList(), ordered);
    for (int c = 0; c < order.length; c++) {
      if (used[c]) continue;
      used[c] = true;
      order[at] = c;
      if (permuted(expected, found, ordered, order, used, at + 1)) return true;
      used[c] = false;
    }
    return false;
  }

  private static boolean same(List<List<Object>> expected, List<List<Object>> found, boolean ordered) {
    if (expected.getFirst().size() != found.getFirst().size()) return false;
    if (!ordered) {
      expected = expected.stream().sorted(SqlExecution::compareRows).toList();
      found = found.stream().sorted(SqlExecution::compareRows).toList();
    }
    for (int r = 0; r < expected.size(); r++) {
      for (int c = 0; c < expected.get(r).size(); c++) if (!same(expected.get(r).get(c), found.get(r).get(c))) return false;
    }
    return true;
  }

  private static int compareRows(List<Object> a, List<Object> b) {
    for (int i = 0; i < a.size(); i++) {
      int c = a.get(i) instanceof Double x && b.get(i) instanceof Double y ? x.compareTo(y) : a.get(i).toString().compareTo(b.get(i).toString());
      if (c != 0) return c;
    }
    return 0;
  }

  private static boolean same(Object a, Object b) {
    if (a instanceof Double x && b instanceof Double y) return Math.abs(x - y) <= 1e-6 * Math.max(1, Math.max(Math.abs(x), Math.abs(y)));
    return a.equals(b);
  }

  @Override
  public void close() {
    try {
      connection.close();
    } catch (SQLException e) {
      throw new IllegalStateException(e);
    }
  }
}
