package org.llmcore.eval;

import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

import org.sqlite.ProgressHandler;
import org.sqlite.SQLiteConfig;

import org.llmcore.InvalidInput;

/// Execution accuracy (Zhong, Yu & Klein 2020, arXiv:2010.02840): a predicted query is right if it returns the rows the gold
/// query returns. Rows are a multiset, in order only if the gold query orders its result (an ORDER BY outside parentheses);
/// columns may come in any order; numbers are equal to 1e-6 relative, whatever their SQL type.
///
/// Predictions are hostile until proved otherwise: one statement that reads, on a database that refuses writes and ATTACH. An
/// in-memory copy or a file opened immutable is all they can see. They are cut off by whatever comes first:
///
/// | limit                        | value                                      |
/// |------------------------------|--------------------------------------------|
/// | virtual-machine steps        | 20 million, about two seconds              |
/// | time                         | 10 s                                       |
/// | rows                         | 100,000                                    |
/// | result                       | 64 MB, one value 16 MB                     |
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
  private static final long NANOS = 10_000_000_000L;
  private static final int ROWS = 100_000;
  private static final long RESULT = 64 << 20;
  private static final int CELL = 32; // what an object weighs beside its characters
  private static final int ORDERS = 5040; // 7!: columns that cannot be told apart by their values are tried in this many orders
  private static final Pattern ORDER_BY = Pattern.compile("\\border\\s+by\\b");

  private final Connection connection;
  private final AtomicLong ticks = new AtomicLong();
  private volatile long deadline = System.nanoTime() + NANOS;

  private SqlExecution(String url, SQLiteConfig config, List<String> script) {
    try {
      config.setPragma(SQLiteConfig.Pragma.LIMIT_ATTACHED, "0");
      config.setPragma(SQLiteConfig.Pragma.LIMIT_LENGTH, Integer.toString(16 << 20));
      config.setPragma(SQLiteConfig.Pragma.LIMIT_LIKE_PATTERN_LENGTH, "256");
      connection = DriverManager.getConnection(url, config.toProperties());
      try (var s = connection.createStatement()) {
        for (var line : script) s.execute(line);
        s.execute("pragma query_only = 1");
        s.executeQuery("select count(*) from sqlite_master").close(); // a file that is no database is found out here
      }
      ProgressHandler.setHandler(
          connection,
          STEPS_PER_TICK,
          new ProgressHandler() {
            @Override
            protected int progress() {
              return ticks.incrementAndGet() > TICKS || System.nanoTime() - deadline > 0 ? 1 : 0;
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
    if (!Files.isRegularFile(file)) throw new InvalidInput("there is no database file " + file, "check the path");
    var config = new SQLiteConfig();
    config.setReadOnly(true);
    try {
      return new SqlExecution("jdbc:sqlite:file:" + file.toAbsolutePath().toUri().getRawPath() + "?immutable=1", config,
          List.of());
    } catch (InvalidInput e) {
      throw new InvalidInput(file + " cannot be opened as an SQLite database: " + e.getCause().getMessage(), "check the file", e);
    }
  }

  /// Tables and columns as the prompts of the embedded task show them: `singers ( id number , name text ) ; …`.
  public String schema() {
    var out = new StringBuilder();
    try {
      for (var table : rows("select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by rowid")) {
        out.append(out.isEmpty() ? "" : " ; ").append(table.getFirst()).append(" (");
        var columns = rows("select name, type from pragma_table_info('" + table.getFirst().toString().replace("'", "''") + "')");
        for (int i = 0; i < columns.size(); i++) {
          out.append(i == 0 ? " " : " , ").append(columns.get(i).get(0))
              .append(number(columns.get(i).get(1).toString()) ? " number" : " text");
        }
        out.append(" )");
      }
      return out.toString();
    } catch (SQLException e) {
      throw new InvalidInput("the schema cannot be read: " + e.getMessage(), "check the database", e);
    }
  }

  private static boolean number(String type) {
    var t = type.toLowerCase(Locale.ROOT);
    return Stream.of("int", "real", "floa", "doub", "num", "dec").anyMatch(t::contains);
  }

  /// The CREATE statements, as the database keeps them.
  public String ddl() {
    try {
      var all = rows("select sql from sqlite_master where type = 'table' and name not like 'sqlite_%' order by rowid");
      return all.stream().map(r -> r.getFirst() + ";").collect(Collectors.joining("\n"));
    } catch (SQLException e) {
      throw new InvalidInput("the schema cannot be read: " + e.getMessage(), "check the database", e);
    }
  }

  /// Runs a query that must work.
  /// @throws InvalidInput with the database's words if it does not
  public void require(String gold) {
    try {
      rows(gold);
    } catch (SQLException e) {
      throw failing(gold, e);
    }
  }

  private static InvalidInput failing(String gold, SQLException e) {
    return new InvalidInput("the gold query fails: " + e.getMessage() + " in " + gold, "correct the data set", e);
  }

  /// Runs both queries and compares their rows.
  /// @throws InvalidInput if the gold query itself fails
  public Outcome compare(String predicted, String gold) {
    List<List<Object>> expected;
    try {
      expected = rows(gold);
    } catch (SQLException e) {
      throw failing(gold, e);
    }
    if (!reads(predicted)) return Outcome.ERROR;
    List<List<Object>> found;
    try {
      found = rows(predicted);
    } catch (SQLException _) {
      return ticks.get() > TICKS || System.nanoTime() - deadline > 0 ? Outcome.TIMEOUT : Outcome.ERROR;
    }
    return equal(expected, found, ordered(gold)) ? Outcome.MATCH : Outcome.DIFFERENT_ROWS;
  }

  /// One statement that starts with SELECT or WITH.
  private static boolean reads(String sql) {
    var s = bare(sql).strip();
    while (s.endsWith(";")) s = s.substring(0, s.length() - 1).strip();
    return (s.startsWith("select") || s.startsWith("with")) && s.indexOf(';') < 0;
  }

  /// Whether a query orders its rows, not only those of a subquery or a window.
  static boolean ordered(String sql) {
    var s = bare(sql);
    for (var m = ORDER_BY.matcher(s); m.find(); ) {
      if (s.chars().limit(m.start()).map(c -> c == '(' ? 1 : c == ')' ? -1 : 0).sum() == 0) return true;
    }
    return false;
  }

  /// A query in lower case, without comments, and with blanks for everything between quotes.
  private static String bare(String sql) {
    var out = new StringBuilder();
    for (int i = 0; i < sql.length(); i++) {
      char c = sql.charAt(i);
      int end =
          switch (c) {
            case '\'', '"', '`' -> sql.indexOf(c, i + 1);
            case '[' -> sql.indexOf(']', i);
            case '-' -> sql.startsWith("--", i) ? sql.indexOf('\n', i) : i;
            case '/' -> sql.startsWith("/*", i) && sql.indexOf("*/", i + 2) > 0 ? sql.indexOf("*/", i + 2) + 1 : i;
            default -> i;
          };
      out.append(end == i ? c : ' ');
      i = end < 0 ? sql.length() : end;
    }
    return out.toString().toLowerCase(Locale.ROOT);
  }

  private List<List<Object>> rows(String sql) throws SQLException {
    ticks.set(0);
    deadline = System.nanoTime() + NANOS;
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
    long bytes = 0;
    while (result.next()) {
      var row = new ArrayList<>();
      for (int i = 1; i <= columns; i++) {
        var v = result.getObject(i);
        bytes += CELL + (v instanceof String s ? s.length() : v instanceof byte[] b ? b.length : 0);
        if (bytes > RESULT) throw new SQLException("the result is larger than " + RESULT + " bytes");
        row.add(v == null ? "∅" : v instanceof Number n ? (Object) n.doubleValue() : v instanceof byte[] b
            ? HexFormat.of().formatHex(b) : v.toString());
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
    var alike = new boolean[n][n]; // whether expected column r may be found column c: the same values, in any order
    for (int r = 0; r < n; r++) for (int c = 0; c < n; c++) alike[r][c] = same(column(expected, r), column(found, c), false);
    return permuted(expected, found, ordered, alike, new int[n], 0, new int[] {ORDERS});
  }

  private static List<List<Object>> column(List<List<Object>> rows, int column) {
    return rows.stream().map(r -> List.of(r.get(column))).toList();
  }

  private static boolean permuted(List<List<Object>> expected, List<List<Object>> found, boolean ordered, boolean[][] alike,
      int[] order, int at, int[] left) {
    if (at == order.length) {
      return left[0]-- > 0 && same(expected, found.stream().map(r -> Arrays.stream(order).<Object>mapToObj(r::get).toList())
          .toList(), ordered);
    }
    for (int c = 0; c < order.length && left[0] > 0; c++) {
      int column = c;
      if (!alike[at][c] || Arrays.stream(order, 0, at).anyMatch(taken -> taken == column)) continue;
      order[at] = c;
      if (permuted(expected, found, ordered, alike, order, at + 1, left)) return true;
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
      boolean number = a.get(i) instanceof Double;
      // SQLite's columns may mix types: numbers come before everything else.
      int c =
          number != b.get(i) instanceof Double
              ? number ? -1 : 1
              : a.get(i) instanceof Double x && b.get(i) instanceof Double y ? x.compareTo(y)
                  : a.get(i).toString().compareTo(b.get(i).toString());
      if (c != 0) return c;
    }
    return 0;
  }

  private static boolean same(Object a, Object b) {
    if (a instanceof Double x && b instanceof Double y) {
      return Math.abs(x - y) <= 1e-6 * Math.max(1, Math.max(Math.abs(x), Math.abs(y)));
    }
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
