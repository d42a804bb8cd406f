package org.llmcore.checkpoint;

import java.util.ArrayList;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

import org.llmcore.InvalidInput;

/// A regular expression of Python's `re`, which adapters hold, over the names of modules.
record Expression(String python, Pattern pattern) {
  /// @throws InvalidInput if it is no expression
  static Expression of(String python) {
    try {
      return new Expression(python, Pattern.compile(java(python)));
    } catch (PatternSyntaxException e) {
      throw new InvalidInput("'" + JsonFile.brief(python) + "' is not a regular expression: " + e.getDescription(),
          "give a list of suffixes or a valid expression", e);
    }
  }

  /// Whether it matches the whole name.
  boolean matches(String module) {
    return matcher(module).matches();
  }

  Matcher matcher(String module) {
    return pattern.matcher(new Watched(module, python));
  }

  /// The same in Java's spelling: groups by name, the end of the text, what a bracket holds.
  private static String java(String python) {
    var out = new StringBuilder();
    var groups = new ArrayList<String>();
    int bracket = -1; // where the first character in it stands
    for (int i = 0; i < python.length(); i++) {
      char c = python.charAt(i);
      boolean named = python.startsWith("(?P<", i);
      int end = named || python.startsWith("(?P=", i) ? python.indexOf(named ? '>' : ')', i + 4) : -1;
      if (c == '\\' && i + 1 < python.length()) {
        char escaped = python.charAt(++i);
        out.append('\\').append(escaped == 'Z' && bracket < 0 ? 'z' : escaped);
      } else if (bracket >= 0) {
        if (c == ']' && i > bracket) bracket = -1;
        else if (c == '[' || c == ']' || c == '&') out.append('\\');
        out.append(c);
      } else if (end > 0) {
        var group = python.substring(i + 4, end);
        if (!groups.contains(group)) groups.add(group);
        out.append(named ? "(?<" : "\\k<").append("python").append(groups.indexOf(group)).append('>');
        i = end;
      } else {
        out.append(c);
        if (c != '[') continue;
        if (python.startsWith("^", i + 1)) out.append(python.charAt(++i));
        bracket = i + 1;
      }
    }
    return out.toString();
  }

  /// A module's name that a match may look at only so often: an expression that would try for hours is refused in a moment.
  private static final class Watched implements CharSequence {
    private final String name;
    private final String expression;
    private int patience = 1_000_000;

    Watched(String name, String expression) {
      this.name = name;
      this.expression = expression;
    }

    @Override
    public char charAt(int index) {
      if (--patience >= 0) return name.charAt(index);
      throw new InvalidInput("the expression '" + JsonFile.brief(expression) + "' takes too long on " + name,
          "give a list of suffixes or a simpler expression");
    }

    @Override
    public int length() {
      return name.length();
    }

    @Override
    public CharSequence subSequence(int start, int end) {
      return name.subSequence(start, end);
    }

    @Override
    public String toString() {
      return name;
    }
  }
}
