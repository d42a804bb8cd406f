package org.llmcore.data.sql;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/// One or two tables with rows. Text columns hold a few values several times, number columns distinct numbers, so that
/// different queries give different answers.
///
/// @param tables the second, if any, refers to the first: its column `<singular>_id` holds ids of the first table
public record Schema(List<Table> tables) {
  /// A column; `text` or a number.
  record Column(String name, boolean text) {}

  /// A table of rows; a cell is a String or an Integer.
  record Table(String singular, String name, List<Column> columns, List<List<Object>> rows) {
    List<Column> texts() {
      return columns.stream().filter(c -> c.text).toList();
    }

    /// Number columns that are not keys.
    List<Column> numbers() {
      return columns.stream().filter(c -> !c.text && !key(c)).toList();
    }

    /// Columns that are not keys.
    List<Column> plain() {
      return columns.stream().filter(c -> !key(c)).toList();
    }

    private static boolean key(Column c) {
      return c.name.equals("id") || c.name.endsWith("_id");
    }

    List<Object> cells(Column column) {
      int i = columns.indexOf(column);
      return rows.stream().map(r -> r.get(i)).toList();
    }
  }

  private static final int ROWS = 12;

  /// A schema of the split. Training schemas mix in invented names.
  static Schema of(Draw draw, Lexicon.Split split, boolean two) {
    var used = new HashSet<String>();
    var first = table(draw, split, used, two, null);
    return new Schema(two ? List.of(first, table(draw, split, used, false, first)) : List.of(first));
  }

  private static Table table(Draw draw, Lexicon.Split split, Set<String> used, boolean id, Table parent) {
    boolean invented = split != Lexicon.Split.TEST && draw.chance(30);
    Lexicon.Noun noun;
    do {
      var word = Lexicon.word(draw);
      noun = invented ? new Lexicon.Noun(word, word + "s") : draw.pick(Lexicon.tables(split));
    } while (!used.add(noun.plural()));
    var columns = new ArrayList<Column>();
    if (id) columns.add(new Column("id", false));
    if (parent != null) columns.add(new Column(parent.singular + "_id", false));
    int texts = 1 + draw.below(2);
    int numbers = 1 + draw.below(2);
    for (int i = 0; i < texts + numbers; i++) {
      boolean text = i < texts;
      String name;
      do {
        name = column(draw, split, text);
      } while (!used.add(name));
      columns.add(new Column(name, text));
    }
    return new Table(noun.singular(), noun.plural(), List.copyOf(columns), rows(draw, columns, parent));
  }

  private static String column(Draw draw, Lexicon.Split split, boolean text) {
    if (split != Lexicon.Split.TEST && draw.chance(20)) return Lexicon.word(draw);
    var from = split == Lexicon.Split.TEST && draw.chance(50) ? Lexicon.Split.TRAIN : split;
    return draw.pick(text ? Lexicon.texts(from) : Lexicon.numbers(from));
  }

  private static List<List<Object>> rows(Draw draw, List<Column> columns, Table parent) {
    var cells = new ArrayList<List<Object>>();
    for (var c : columns) cells.add(cells(draw, c, parent));
    var rows = new ArrayList<List<Object>>();
    for (int i = 0; i < ROWS; i++) {
      var row = new ArrayList<>();
      for (var column : cells) row.add(column.get(i));
      rows.add(List.copyOf(row));
    }
    return List.copyOf(rows);
  }

  private static List<Object> cells(Draw draw, Column c, Table parent) {
    var out = new ArrayList<>();
    var pool = new ArrayList<String>();
    while (pool.size() < 4) {
      var v = Lexicon.value(draw);
      if (!pool.contains(v)) pool.add(v);
    }
    var numbers = new HashSet<Integer>();
    for (int i = 0; i < ROWS; i++) {
      if (c.name.equals("id")) {
        out.add(i + 1);
      } else if (parent != null && c.name.equals(parent.singular + "_id")) {
        out.add(1 + draw.below(ROWS));
      } else if (c.text) {
        out.add(pool.get(i < 4 ? i : draw.below(4)));
      } else {
        int n;
        do {
          n = 1 + draw.below(draw.chance(50) ? 99 : 2000);
        } while (!numbers.add(n));
        out.add(n);
      }
    }
    return List.copyOf(out);
  }

  /// As prompts show it: `singers ( id number , name text ) ; concerts ( singer_id number , city text )`. Every word stands
  /// between spaces, so that it is the same tokens here, in the question and in the answer.
  String text() {
    var s = new StringBuilder();
    for (var t : tables) {
      s.append(s.isEmpty() ? "" : " ; ").append(t.name).append(" (");
      for (int i = 0; i < t.columns.size(); i++) {
        s.append(i == 0 ? " " : " , ").append(t.columns.get(i).name).append(t.columns.get(i).text ? " text" : " number");
      }
      s.append(" )");
    }
    return s.toString();
  }

  /// Statements that create and fill the tables in SQLite.
  List<String> script() {
    var out = new ArrayList<String>();
    for (var t : tables) {
      var columns = t.columns.stream().map(c -> "\"" + c.name + "\"" + (c.text ? " text" : " integer")).toList();
      out.add("create table \"" + t.name + "\" (" + String.join(", ", columns) + ")");
      for (var row : t.rows) {
        var cells = row.stream().map(v -> v instanceof String s ? "'" + s + "'" : v.toString()).toList();
        out.add("insert into \"" + t.name + "\" values (" + String.join(", ", cells) + ")");
      }
    }
    return out;
  }
}
