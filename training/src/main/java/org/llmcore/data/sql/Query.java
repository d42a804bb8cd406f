package org.llmcore.data.sql;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// What a question asks, independent of the language it is answered in.
///
/// @param table the table the rows come from
/// @param parent the table it is joined with, for a condition on the parent
/// @param show columns of the answer
/// @param measure what is computed instead of, or beside (with groups), showing columns
/// @param by the column an aggregate is taken of, or rows are grouped by
record Query(
    String table, Optional<Join> parent, List<String> show, Measure measure, Optional<String> by, boolean distinct,
    Optional<Condition> where, Optional<Order> order) {
  /// Aggregates; `GROUP_COUNT` counts rows per value of `by`.
  enum Measure {
    NONE("", ""),
    COUNT("count ( * )", "count"),
    AVERAGE("avg", "average"),
    SUM("sum", "total"),
    MIN("min", "least"),
    MAX("max", "most"),
    GROUP_COUNT("count ( * )", "tally");

    final String sql;
    final String word;

    Measure(String sql, String word) {
      this.sql = sql;
      this.word = word;
    }
  }

  /// child.key = parent.id
  record Join(String parent, String key) {}

  /// A comparison; text values are quoted in SQL.
  record Condition(String column, String operator, String value, boolean text) {
    /// The value as SQL and questions write it.
    String shown() {
      return text ? "'" + value + "'" : value;
    }
  }

  /// Sorting, and the first `limit` rows (0 for all).
  record Order(String column, boolean descending, int limit) {}

  /// The answer languages. All but SQL are only for pre-training.
  enum Language {
    SQL,
    PLAN,
    CALL,
    NOTE,
    FIELDS
  }

  String in(Language language) {
    return switch (language) {
      case SQL -> sql();
      case PLAN -> plan();
      case CALL -> call();
      case NOTE -> note();
      case FIELDS -> fields();
    };
  }

  /// `select name from singers where age > 30 order by age desc limit 3`; names of a schema are unique, so none is qualified
  String sql() {
    var s = new StringBuilder("select ").append(distinct ? "distinct " : "");
    switch (measure) {
      case NONE -> s.append(String.join(" , ", show));
      case COUNT -> s.append(measure.sql);
      case GROUP_COUNT -> s.append(by.orElseThrow()).append(" , ").append(measure.sql);
      default -> s.append(measure.sql).append(" ( ").append(by.orElseThrow()).append(" )");
    }
    s.append(" from ").append(table);
    parent.ifPresent(j -> s.append(" join ").append(j.parent).append(" on ").append(j.key).append(" = id"));
    where.ifPresent(c -> s.append(" where ").append(c.column).append(' ').append(c.operator).append(' ').append(c.shown()));
    if (measure == Measure.GROUP_COUNT) s.append(" group by ").append(by.orElseThrow());
    order.ifPresent(o -> s.append(" order by ").append(o.column).append(o.descending ? " desc" : "").append(o.limit > 0 ? " limit " + o.limit : ""));
    return s.toString();
  }

  private String condition(Condition c) {
    return side() + c.column + (c.operator.equals(">") ? " above " : c.operator.equals("<") ? " below " : " is ") + c.shown();
  }

  private String comparison(Condition c) {
    return side() + c.column + " " + c.operator + " " + c.shown();
  }

  /// The table a condition speaks of, if it is not the one the rows come from.
  private String side() {
    return parent.map(j -> j.parent + " ").orElse("");
  }

  private String goal(String separator) {
    return switch (measure) {
      case NONE -> (distinct ? "unique " : "") + String.join(separator, show);
      case COUNT -> "count";
      default -> measure.word + " " + by.orElseThrow();
    };
  }

  private List<String> steps(boolean symbols) {
    var out = new ArrayList<String>();
    parent.ifPresent(j -> out.add("with " + j.parent + " by " + j.key));
    where.ifPresent(c -> out.add("keep " + (symbols ? comparison(c) : condition(c))));
    order.ifPresent(o -> out.add("sort " + o.column + (o.descending ? " down" : " up")));
    order.filter(o -> o.limit > 0).ifPresent(o -> out.add("first " + o.limit));
    return out;
  }

  /// `singers -> keep age above 30 -> show name`
  private String plan() {
    var steps = steps(false);
    return table + (steps.isEmpty() ? "" : " -> " + String.join(" -> ", steps)) + " -> show " + goal(" and ");
  }

  /// `show ( name , singers , keep age > 30 )`
  private String call() {
    var steps = steps(true);
    return "show ( " + goal(" , ") + " , " + table + (steps.isEmpty() ? "" : " , " + String.join(" , ", steps)) + " )";
  }

  /// `name of singers if age above 30`
  private String note() {
    return goal(" and ") + " of " + table + parent.map(j -> " with " + j.parent + " by " + j.key).orElse("") + where.map(c -> " if " + condition(c)).orElse("")
        + order.map(o -> " by " + o.column + (o.descending ? " down" : " up") + (o.limit > 0 ? " to " + o.limit : "")).orElse("");
  }

  /// `show : name ; keep : age > 30 ; table : singers`
  private String fields() {
    return "show : " + goal(" , ") + where.map(c -> " ; keep : " + comparison(c)).orElse("")
        + order.map(o -> " ; sort : " + o.column + (o.descending ? " down" : " up") + (o.limit > 0 ? " " + o.limit : "")).orElse("") + " ; table : " + table
        + parent.map(j -> " with " + j.parent + " by " + j.key).orElse("");
  }
}
