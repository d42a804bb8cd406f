package org.llmcore.generate;

import java.util.List;

import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

class StopTextTest {
  private static String shown(StopText stop, Iterable<String> pieces) {
    var out = new StringBuilder();
    for (var piece : pieces) out.append(stop.next(piece));
    return out.append(stop.finish()).toString();
  }

  /// The definition: the text before the first stop string to be complete, the longest of those that end together.
  private static String cut(List<String> stops, String text) {
    for (int end = 1; end <= text.length(); end++) {
      var soFar = text.substring(0, end);
      var longest = stops.stream().filter(soFar::endsWith).mapToInt(String::length).max();
      if (longest.isPresent()) return text.substring(0, end - longest.getAsInt());
    }
    return text;
  }

  @Provide
  Arbitrary<String> word() {
    return Arbitraries.strings().withChars('a', 'b', 'c').ofMaxLength(3);
  }

  @Provide
  Arbitrary<List<String>> pieces() {
    return word().list().ofMaxSize(12);
  }

  @Provide
  Arbitrary<List<String>> stops() {
    return Arbitraries.strings().withChars('a', 'b', 'c').ofMinLength(1).ofMaxLength(5).list().ofMaxSize(4);
  }

  @Property(tries = 3000, seed = "42")
  void theCutDependsOnTheTextAndNotOnItsPieces(@ForAll("stops") List<String> stops, @ForAll("pieces") List<String> pieces) {
    var text = String.join("", pieces);
    var stop = new StopText(stops);
    assertThat(shown(stop, pieces)).isEqualTo(cut(stops, text));
    assertThat(stop.stopped()).isEqualTo(stops.stream().anyMatch(text::contains));
  }

  @Property(tries = 1000, seed = "42")
  void whatIsHeldBackCouldStillBecomeAStopString(@ForAll("stops") List<String> stops, @ForAll("pieces") List<String> pieces) {
    var stop = new StopText(stops);
    var seen = new StringBuilder();
    var out = new StringBuilder();
    for (var piece : pieces) {
      seen.append(piece);
      out.append(stop.next(piece));
      if (stop.stopped()) return;
      var held = seen.substring(out.length());
      assertThat(held.isEmpty() || stops.stream().anyMatch(s -> s.startsWith(held))).isTrue();
    }
  }

  @Test
  void nothingIsShownAfterAStopString() {
    var stop = new StopText(List.of("END"));
    assertThat(stop.next("the EN")).isEqualTo("the ");
    assertThat(stop.next("D and more")).isEmpty();
    assertThat(stop.stopped()).isTrue();
    assertThat(stop.next(" END")).isEmpty();
    assertThat(stop.finish()).isEmpty();
  }

  @Test
  void aStopStringThatNeverComesIsShownInTheEnd() {
    var stop = new StopText(List.of("END"));
    assertThat(stop.next("the E")).isEqualTo("the ");
    assertThat(stop.next("N")).isEmpty();
    assertThat(stop.finish()).isEqualTo("EN");
    assertThat(stop.stopped()).isFalse();
  }

  @Test
  void charactersOfTwoUnitsAreNotTornApart() {
    var stop = new StopText(List.of("😀!"));
    assertThat(stop.next("a😁")).isEqualTo("a😁");
    assertThat(stop.next("b😀")).isEqualTo("b");
    assertThat(stop.next("?")).isEqualTo("😀?");
  }
}
