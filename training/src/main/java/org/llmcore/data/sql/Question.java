package org.llmcore.data.sql;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.llmcore.data.sql.Query.Condition;
import org.llmcore.data.sql.Query.Join;
import org.llmcore.data.sql.Query.Measure;
import org.llmcore.data.sql.Query.Order;
import org.llmcore.data.sql.Schema.Column;
import org.llmcore.data.sql.Schema.Table;

/// A question in English and the query it means. Every family of queries has its phrasings; the last ones of each are held
/// out: fine-tuning never sees them with SQL, the test set uses both kinds.
record Question(Family family, String text, Query query, boolean heldOut) {
  /// Families of queries, easiest first.
  enum Family {
    COLUMN,
    COLUMNS,
    WHERE,
    COUNT,
    COUNT_WHERE,
    AGGREGATE,
    AGGREGATE_WHERE,
    SORT,
    TOP,
    DISTINCT,
    GROUP,
    JOIN
  }

  /// Which phrasings to draw from.
  enum Phrasing {
    KNOWN,
    HELD_OUT,
    ANY
  }

  /// The phrasings of one thing: known ones, and those held out.
  private record Phrases(List<String> known, List<String> heldOut) {
    static Phrases of(String known, String heldOut) {
      return new Phrases(List.of(known.split(" \\| ")), List.of(heldOut.split(" \\| ")));
    }

    String pick(Draw draw, Phrasing phrasing) {
      return switch (phrasing) {
        case KNOWN -> draw.pick(known);
        case HELD_OUT -> draw.pick(heldOut);
        case ANY -> {
          var all = new ArrayList<>(known);
          all.addAll(heldOut);
          yield draw.pick(all);
        }
      };
    }
  }

  private static final Phrases SHOW = Phrases.of("show | list | give me | find", "return");
  private static final Phrases COLUMN =
      Phrases.of("{show} the {c} of all {t} | what is the {c} of each {t} | {show} every {c} of the {t} | which {c} do the {t} have | of all {t} , {show} the {c}", "for all {t} , {show} the {c} | {show} {t} by their {c}");
  private static final Phrases COLUMNS =
      Phrases.of("{show} the {c} and {d} of all {t} | what are the {c} and the {d} of the {t} | {show} {c} and {d} for every {t} | of every {t} , {show} the {c} and {d} | {show} both {c} and {d} of the {t}", "for each {t} , {show} its {c} and its {d}");
  private static final Phrases WHERE =
      Phrases.of("{show} the {c} of {t} {w} | what is the {c} of the {t} {w} | which {c} do {t} {w} have | of the {t} {w} , {show} the {c} | take the {t} {w} and {show} their {c}", "for {t} {w} , {show} the {c} | {show} the {c} for those {t} {w}");
  private static final Phrases COUNT = Phrases.of("how many {t} are there | count the {t} | what is the number of {t} | {show} how many {t} there are", "tell me how many {t} we have | {show} the count of {t}");
  private static final Phrases COUNT_WHERE =
      Phrases.of("how many {t} are there {w} | count the {t} {w} | what is the number of {t} {w} | {show} how many {t} there are {w} | take the {t} {w} and count them", "tell me how many {t} we have {w} | {show} the count of {t} {w}");
  private static final Phrases AGGREGATE = Phrases.of("what is the {m} {c} of all {t} | {show} the {m} {c} of the {t} | of all {t} , {show} the {m} {c} | calculate the {m} {c} of the {t}", "for all {t} , what is the {m} {c} | compute the {m} {c} over the {t}");
  private static final Phrases AGGREGATE_WHERE = Phrases.of("what is the {m} {c} of {t} {w} | {show} the {m} {c} of the {t} {w} | of the {t} {w} , {show} the {m} {c} | take the {t} {w} and calculate their {m} {c}", "for {t} {w} , what is the {m} {c}");
  private static final Phrases SORT =
      Phrases.of("{show} the {c} of all {t} sorted by {d} {o} | {show} the {c} of {t} ordered by {d} {o} | sorted by {d} {o} , {show} the {c} of the {t}", "order the {t} by {d} {o} and {show} the {c}");
  private static final Phrases UP = Phrases.of("| ascending | from low to high", "in ascending order");
  private static final Phrases DOWN = Phrases.of("descending | from high to low", "in descending order");
  private static final Phrases TOP =
      Phrases.of("{show} the {c} of the {k} {t} with the {x} {d} | what is the {c} of the {k} {t} with the {x} {d} | of the {k} {t} with the {x} {d} , {show} the {c} | take the {k} {t} with the {x} {d} and {show} their {c}", "which {k} {t} have the {x} {d} ? {show} the {c}");
  private static final Phrases MOST = Phrases.of("highest | largest | biggest | top", "greatest");
  private static final Phrases LEAST = Phrases.of("lowest | smallest | minimal | bottom", "least");
  private static final Phrases DISTINCT = Phrases.of("{show} the different {c} of the {t} | what are the unique {c} of all {t} | of all {t} , {show} the unique {c} | {show} the {c} of the {t} without repeats", "{show} each distinct {c} among the {t}");
  private static final Phrases GROUP = Phrases.of("how many {t} are there for each {c} | {show} the number of {t} per {c} | count the {t} by {c} | per {c} , {show} the number of {t} | for each {c} , count the {t} | group the {t} by {c} and count them", "for every {c} , how many {t} are there");
  private static final Phrases JOIN =
      Phrases.of("{show} the {c} of {t} of {p} {w} | what is the {c} of the {t} that belong to {p} {w} | take the {p} {w} and {show} the {c} of the {t} they have | of the {p} {w} , {show} the {c} of all {t}", "for {p} {w} , {show} the {c} of their {t}");
  private static final Phrases IS = Phrases.of("whose {c} is {v} | with {c} {v} | where the {c} is {v} | where {c} equals {v}", "having {c} {v}");
  private static final Phrases ABOVE = Phrases.of("with {c} above {v} | whose {c} is more than {v} | where the {c} is greater than {v} | with {c} higher than {v}", "with a {c} over {v}");
  private static final Phrases BELOW = Phrases.of("with {c} below {v} | whose {c} is less than {v} | where the {c} is smaller than {v} | with {c} lower than {v}", "with a {c} under {v}");
  private static final Phrases AVERAGE = Phrases.of("average | mean | usual | expected", "typical");
  private static final Phrases SUM = Phrases.of("total | summed | combined | whole", "overall");
  private static final Phrases MAX = Phrases.of("maximum | highest | largest | biggest | top", "greatest");
  private static final Phrases MIN = Phrases.of("minimum | lowest | smallest | minimal | bottom", "least");

  /// Whether a family needs a second table.
  static boolean joins(Family family) {
    return family == Family.JOIN;
  }

  /// A question of the family about the schema.
  static Question of(Draw draw, Family family, Schema schema, Phrasing phrasing) {
    return new Maker(draw, schema, phrasing).make(family);
  }

  private static String singleSpaced(String text) {
    return (text.contains("  ") ? text.replaceAll(" +", " ") : text).strip();
  }

  private record Maker(Draw draw, Schema schema, Phrasing phrasing) {
    Question make(Family family) {
      var t = schema.tables().get(family == Family.JOIN ? 1 : draw.below(schema.tables().size()));
      return switch (family) {
        case COLUMN -> column(family, t, COLUMN, false);
        case DISTINCT -> column(family, t, DISTINCT, true);
        case COLUMNS -> columns(t);
        case WHERE -> where(family, t, Measure.NONE);
        case COUNT -> ask(family, COUNT.pick(draw, phrasing), t, List.of(), Measure.COUNT, Optional.empty(), false, Optional.empty(), Optional.empty());
        case COUNT_WHERE -> where(family, t, Measure.COUNT);
        case AGGREGATE, AGGREGATE_WHERE -> aggregate(family, t);
        case SORT -> sort(t);
        case TOP -> top(t);
        case GROUP -> {
          var c = draw.pick(t.texts());
          var text = GROUP.pick(draw, phrasing).replace("{c}", c.name());
          yield ask(family, text, t, List.of(), Measure.GROUP_COUNT, Optional.of(c.name()), false, Optional.empty(), Optional.empty());
        }
        case JOIN -> join(t);
      };
    }

    private Question ask(
        Family family, String text, Table t, List<String> show, Measure measure, Optional<String> by, boolean distinct,
        Optional<Condition> where, Optional<Order> order) {
      var finished = singleSpaced(text.replace("{t}", t.name()).replace("{show}", SHOW.pick(draw, phrasing)));
      var query = new Query(t.name(), Optional.empty(), show, measure, by, distinct, where, order);
      return new Question(family, finished, query, phrasing == Phrasing.HELD_OUT);
    }

    private Question column(Family family, Table t, Phrases phrases, boolean distinct) {
      var c = distinct ? draw.pick(t.texts()) : draw.pick(t.plain());
      var text = phrases.pick(draw, phrasing).replace("{c}", c.name());
      return ask(family, text, t, List.of(c.name()), Measure.NONE, Optional.empty(), distinct, Optional.empty(), Optional.empty());
    }

    private Question columns(Table t) {
      var c = draw.pick(t.plain());
      var d = draw.pick(others(t, c));
      var text = COLUMNS.pick(draw, phrasing).replace("{c}", c.name()).replace("{d}", d.name());
      return ask(Family.COLUMNS, text, t, List.of(c.name(), d.name()), Measure.NONE, Optional.empty(), false, Optional.empty(), Optional.empty());
    }

    private static List<Column> others(Table t, Column c) {
      return t.plain().stream().filter(x -> !x.equals(c)).toList();
    }

    private Question where(Family family, Table t, Measure measure) {
      var c = draw.pick(t.plain());
      var on = draw.pick(others(t, c));
      var w = condition(t, on);
      var text = (measure == Measure.COUNT ? COUNT_WHERE : WHERE).pick(draw, phrasing).replace("{c}", c.name()).replace("{w}", spoken(on, w));
      return ask(family, text, t, measure == Measure.COUNT ? List.of() : List.of(c.name()), measure, Optional.empty(), false, Optional.of(w), Optional.empty());
    }

    /// A comparison that some rows pass and some do not.
    private Condition condition(Table t, Column on) {
      var cells = t.cells(on);
      if (on.text()) return new Condition(on.name(), "=", (String) draw.pick(cells), true);
      var sorted = cells.stream().map(v -> (Integer) v).sorted().toList();
      int at = 2 + draw.below(sorted.size() - 4);
      int kind = draw.below(5);
      if (kind == 0) return new Condition(on.name(), "=", sorted.get(at).toString(), false);
      return new Condition(on.name(), kind < 3 ? ">" : "<", sorted.get(at).toString(), false);
    }

    private String spoken(Column on, Condition w) {
      var phrases = w.operator().equals(">") ? ABOVE : w.operator().equals("<") ? BELOW : IS;
      return phrases.pick(draw, phrasing).replace("{c}", on.name()).replace("{v}", w.shown());
    }

    private Question aggregate(Family family, Table t) {
      var measure = draw.pick(List.of(Measure.AVERAGE, Measure.SUM, Measure.MIN, Measure.MAX));
      var word = (measure == Measure.AVERAGE ? AVERAGE : measure == Measure.SUM ? SUM : measure == Measure.MIN ? MIN : MAX).pick(draw, phrasing);
      var c = draw.pick(t.numbers());
      var on = draw.pick(others(t, c));
      boolean filtered = family == Family.AGGREGATE_WHERE;
      var w = filtered ? Optional.of(condition(t, on)) : Optional.<Condition>empty();
      var text = (filtered ? AGGREGATE_WHERE : AGGREGATE).pick(draw, phrasing).replace("{m}", word).replace("{c}", c.name());
      if (filtered) text = text.replace("{w}", spoken(on, w.get()));
      return ask(family, text, t, List.of(), measure, Optional.of(c.name()), false, w, Optional.empty());
    }

    private Question sort(Table t) {
      var d = draw.pick(t.numbers());
      var c = draw.pick(others(t, d));
      boolean down = draw.chance(50);
      var text = SORT.pick(draw, phrasing).replace("{c}", c.name()).replace("{d}", d.name()).replace("{o}", (down ? DOWN : UP).pick(draw, phrasing).replace("|", ""));
      return ask(
          Family.SORT, text, t, List.of(c.name()), Measure.NONE, Optional.empty(), false, Optional.empty(), Optional.of(new Order(d.name(), down, 0)));
    }

    private Question top(Table t) {
      var d = draw.pick(t.numbers());
      var c = draw.pick(others(t, d));
      boolean most = draw.chance(50);
      int k = 2 + draw.below(6);
      var text =
          TOP.pick(draw, phrasing).replace("{c}", c.name()).replace("{d}", d.name()).replace("{k}", Integer.toString(k)).replace("{x}", (most ? MOST : LEAST).pick(draw, phrasing));
      return ask(
          Family.TOP, text, t, List.of(c.name()), Measure.NONE, Optional.empty(), false, Optional.empty(), Optional.of(new Order(d.name(), most, k)));
    }

    private Question join(Table child) {
      var parent = schema.tables().getFirst();
      var c = draw.pick(child.plain());
      var on = draw.pick(parent.texts());
      // The value of a parent that has children, so that the answer is not empty.
      int key = (Integer) draw.pick(child.cells(child.columns().stream().filter(x -> x.name().equals(parent.singular() + "_id")).findFirst().orElseThrow()));
      var w = new Condition(on.name(), "=", (String) parent.cells(on).get(key - 1), true);
      var text =
          JOIN.pick(draw, phrasing).replace("{c}", c.name()).replace("{t}", child.name()).replace("{p}", parent.name()).replace("{w}", spoken(on, w))
              .replace("{show}", SHOW.pick(draw, phrasing));
      var query =
          new Query(
              child.name(), Optional.of(new Join(parent.name(), parent.singular() + "_id")), List.of(c.name()), Measure.NONE, Optional.empty(), false,
              Optional.of(w), Optional.empty());
      return new Question(Family.JOIN, singleSpaced(text), query, phrasing == Phrasing.HELD_OUT);
    }
  }
}
