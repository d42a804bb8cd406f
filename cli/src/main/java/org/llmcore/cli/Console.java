package org.llmcore.cli;

import java.io.PrintStream;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.datatype.jdk8.Jdk8Module;

/// Where the program speaks. Words for people go to standard output, or to standard error under `--json`; objects for programs
/// go to standard output, one a line, under `--json` only. Colour appears on terminals only, or as `--color` says.
///
/// | call     | for                                   | without options | --quiet   | --json      |
/// |----------|---------------------------------------|-----------------|-----------|-------------|
/// | `say`    | what happens, what lies where         | out             | –         | err         |
/// | `print`  | the result itself, in words           | out             | out       | err         |
/// | `object` | the result itself, for a program      | –               | –         | out         |
/// | `warn`   | what went wrong                       | err             | err       | err         |
///
/// A reader who hangs up (`… | head`) ends a result with `Closed`, quietly; what is merely said is dropped instead, so that a
/// training run outlives the terminal that started it.
public final class Console {
  /// When to colour.
  public enum Color {
    AUTO,
    ALWAYS,
    NEVER
  }

  /// The reader of our results hung up.
  public static final class Closed extends RuntimeException {
    private static final long serialVersionUID = 1;

    Closed() {
      super("standard output was closed");
    }
  }

  private static final ObjectMapper JSON = JsonMapper.builder().addModule(new Jdk8Module()).build(); // a summary has optional numbers

  private final Surroundings surroundings;
  private final boolean quiet;
  private final boolean json;
  private final boolean colored;

  /// @param quiet results and errors only
  /// @param json objects on standard output, words on standard error
  public Console(Surroundings surroundings, boolean quiet, boolean json, Color color) {
    this.surroundings = surroundings;
    this.quiet = quiet;
    this.json = json;
    boolean terminal = json ? surroundings.errTerminal() : surroundings.outTerminal();
    this.colored = color == Color.ALWAYS || (color == Color.AUTO && terminal && !surroundings.plain());
  }

  /// Whether objects are wanted; spares building those that nobody reads.
  public boolean json() {
    return json;
  }

  /// Whether only results and errors are wanted.
  public boolean quiet() {
    return quiet;
  }

  /// Whether a person watches a terminal on which a progress bar can move.
  public boolean animated() {
    return surroundings.errTerminal() && !quiet;
  }

  /// Width of that terminal.
  public int columns() {
    return surroundings.columns();
  }

  /// The stream for what moves.
  PrintStream screen() {
    return surroundings.err();
  }

  /// One line for the person at the screen.
  public void say(String line) {
    if (quiet) return;
    words().println(line);
    words().flush();
  }

  /// A piece of the result in words, as it comes; a line break is the caller's.
  /// @throws Closed if the reader hung up
  public void print(String text) {
    words().print(text);
    flush(words());
  }

  /// The result as an object of one line: a record, a map, a list, a Jackson node.
  /// @throws Closed if the reader hung up
  public void object(Object value) {
    if (!json) return;
    try {
      surroundings.out().println(JSON.writeValueAsString(value));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("no JSON for " + value.getClass().getName(), e);
    }
    flush(surroundings.out());
  }

  /// A line that must be seen.
  public void warn(String line) {
    surroundings.err().println(line);
    surroundings.err().flush();
  }

  /// The text in bold.
  public String bold(String text) {
    return styled("1", text);
  }

  /// The text in a weaker tone.
  public String dim(String text) {
    return styled("2", text);
  }

  /// The text as good news.
  public String green(String text) {
    return styled("32", text);
  }

  /// The text as bad news.
  public String red(String text) {
    return styled("31", text);
  }

  private String styled(String code, String text) {
    return colored ? "\u001b[" + code + "m" + text + "\u001b[0m" : text;
  }

  private PrintStream words() {
    return json ? surroundings.err() : surroundings.out();
  }

  private static void flush(PrintStream stream) {
    if (stream.checkError()) throw new Closed();
  }
}
