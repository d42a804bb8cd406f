package org.llmcore.data.sql;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

import org.llmcore.data.sql.Query.Language;

/// The embedded data set: from a schema and an English question to SQL.
///
///     singers ( name text , age number ) | how many singers are there with age above 30 | sql : select count ( * ) from singers where age > 30
///
/// Example i of a split is a pure function of (seed, split, i). Test schemas share no table name with training, every fifth
/// column name is new too, and half of the test questions use phrasings that training never pairs with SQL.
public final class SqlTask {
  /// One example.
  /// @param prompt what the model is given; ends with the tag of the answer's language
  /// @param answer what it should write, starting with a space
  /// @param schema the tables asked about
  /// @param family kind of query, lower case
  /// @param heldOut whether the phrasing is one that training never shows
  public record Example(String prompt, String answer, Schema schema, String family, boolean heldOut) {
    /// Statements that make the database in SQLite.
    public List<String> script() {
      return schema.script();
    }
  }

  private static final String SEPARATOR = " | ";
  private static final String MARKS = "(),;:|?";
  private static final String WHITE = " \t\n\u000b\f\r";

  private SqlTask() {}

  /// The prompt for a schema and a question.
  public static String prompt(String schema, String question) {
    return prompt(schema + SEPARATOR + question);
  }

  /// The prompt for what a person types, `schema | question`; one that is complete is left as it is.
  public static String prompt(String typed) {
    var spaced = spaced(typed).strip();
    if (spaced.endsWith(" ?")) spaced = spaced.substring(0, spaced.length() - 2);
    return spaced.endsWith(":") ? spaced : spaced + SEPARATOR + "sql :";
  }

  /// One space on either side of every mark, and one for any run of white space. Twelve thousand prompts are made before the
  /// first step of a run: no regular expressions here.
  private static String spaced(String typed) {
    var out = new StringBuilder(typed.length() + 32);
    for (int i = 0; i < typed.length(); i++) {
      char c = typed.charAt(i);
      boolean mark = MARKS.indexOf(c) >= 0;
      if (mark || WHITE.indexOf(c) >= 0) space(out);
      if (WHITE.indexOf(c) < 0) out.append(c);
      if (mark) space(out);
    }
    return out.toString();
  }

  private static void space(StringBuilder out) {
    if (out.isEmpty() || out.charAt(out.length() - 1) != ' ') out.append(' ');
  }

  /// `n` examples for fine-tuning.
  public static List<Example> train(long seed, int n) {
    return IntStream.range(0, n).mapToObj(i -> training(seed, i)).toList();
  }

  /// Example i for fine-tuning.
  public static Example training(long seed, int i) {
    return example(new Draw(seed, 1, i), Lexicon.Split.TRAIN, Question.Phrasing.KNOWN);
  }

  /// `n` examples for evaluation: unseen schemas, and every second question in an unseen phrasing.
  public static List<Example> test(long seed, int n) {
    var out = new ArrayList<Example>();
    for (int i = 0; i < n; i++) {
      out.add(example(new Draw(seed, 2, i), Lexicon.Split.TEST, i % 2 == 0 ? Question.Phrasing.KNOWN : Question.Phrasing.HELD_OUT));
    }
    return out;
  }

  private static Example example(Draw draw, Lexicon.Split split, Question.Phrasing phrasing) {
    var family = draw.pick(List.of(Question.Family.values()));
    var schema = Schema.of(draw, split, Question.joins(family) || draw.chance(15));
    var q = Question.of(draw, family, schema, phrasing);
    return new Example(
        prompt(schema.text(), q.text()), " " + q.query().sql(), schema, family.name().toLowerCase(java.util.Locale.ROOT).replace('_', ' '), q.heldOut());
  }

  /// A document of the base model's corpus.
  /// @param given the schema, which nothing predicts
  /// @param learned the question, the tag of a language and the answer, starting with a space
  public record Document(String given, String learned) {
    /// The whole text.
    public String text() {
      return given + learned;
    }
  }

  /// Document i of the corpus the base model is trained on: the same English in all phrasings, answered
  /// in four languages of ours, and never in SQL. Its schemas use all words. Every eighth document is a drill in copying.
  public static Document corpus(long seed, long i) {
    var draw = new Draw(seed, 3, i);
    if (draw.below(8) == 0) return drill(draw);
    var family = draw.pick(List.of(Question.Family.values()));
    var schema = Schema.of(draw, Lexicon.Split.ALL, Question.joins(family) || draw.chance(15));
    var q = Question.of(draw, family, schema, Question.Phrasing.ANY);
    var language = draw.pick(List.of(Language.PLAN, Language.CALL, Language.NOTE, Language.FIELDS));
    var tag = language.name().toLowerCase(java.util.Locale.ROOT);
    return new Document(schema.text(), SEPARATOR + q.text() + SEPARATOR + tag + " : " + q.query().in(language));
  }

  private static Document drill(Draw draw) {
    var words = new ArrayList<String>();
    for (int n = 3 + draw.below(8); n > 0; n--) words.add(draw.chance(60) ? Lexicon.word(draw) : draw.chance(50) ? Lexicon.value(draw) : Integer.toString(draw.below(3000)));
    var list = String.join(" , ", words);
    return new Document(list, SEPARATOR + "copy : " + list);
  }
}
