package org.llmcore.checkpoint;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class AtomicFileTest {
  @TempDir private Path folder;

  private List<String> names() throws IOException {
    try (var list = Files.list(folder)) {
      return list.map(f -> f.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void nothingIsThereBeforeEverythingIs() throws IOException {
    var file = folder.resolve("deep/er/f.txt");
    AtomicFile.write(
        file,
        temp -> {
          Files.writeString(temp, "half");
          assertThat(file).doesNotExist();
          Files.writeString(temp, "whole");
        });
    assertThat(file).hasContent("whole");
    AtomicFile.write(file, temp -> {
      Files.writeString(temp, "new");
      assertThat(file).hasContent("whole");
    });
    assertThat(file).hasContent("new");
    try (var beside = Files.list(file.getParent())) {
      assertThat(beside).containsExactly(file);
    }
  }

  /// Every way in which a writer can fail.
  private static Stream<AtomicFile.Body> failures() {
    return Stream.of(
        temp -> {
          throw new IOException("No space left on device");
        },
        temp -> {
          throw new UncheckedIOException(new IOException("No space left on device"));
        },
        temp -> {
          throw new IllegalStateException("a bug");
        },
        temp -> {
          throw new InvalidInput("a mistake");
        },
        temp -> {
          throw new OutOfMemoryError("a lie");
        });
  }

  @Test
  void aFailingWriterLeavesTheOldFileAndNothingElse() throws IOException {
    var file = folder.resolve("f.txt");
    AtomicFile.write(file, "old");
    failures().forEach(failure -> assertThatThrownBy(() -> AtomicFile.write(file, temp -> {
      Files.writeString(temp, "half");
      failure.write(temp);
    })).isInstanceOfAny(InvalidInput.class, IllegalStateException.class, OutOfMemoryError.class));
    assertThat(file).hasContent("old");
    assertThat(names()).containsExactly("f.txt");
  }

  @Test
  void aFailingWriterLeavesTheOldFolderAndNothingElse() throws IOException {
    var place = folder.resolve("m");
    AtomicFile.folder(place, temp -> Files.writeString(temp.resolve("a"), "old"));
    failures().forEach(failure -> assertThatThrownBy(() -> AtomicFile.folder(place, temp -> {
      Files.createDirectories(temp.resolve("x/y"));
      Files.writeString(temp.resolve("x/y/a"), "half");
      failure.write(temp);
    })).isInstanceOfAny(InvalidInput.class, IllegalStateException.class, OutOfMemoryError.class));
    assertThat(place.resolve("a")).hasContent("old");
    assertThat(place.resolve("x")).doesNotExist();
    assertThat(names()).containsExactly("m");
  }

  @Test
  void theSentenceNamesThePlaceAndTheReason() {
    assertThatThrownBy(() -> AtomicFile.write(folder.resolve("f"), _ -> {
      throw new IOException("No space left on device");
    })).isInstanceOf(InvalidInput.class).hasMessageContainingAll(
        folder.resolve("f").toString(), "No space left on device", "what was there before is unchanged");
  }

  @Test
  void aFolderReplacesTheOldOneWhole() throws IOException {
    var place = folder.resolve("m");
    AtomicFile.folder(place, temp -> Files.writeString(temp.resolve("a"), "1"));
    AtomicFile.folder(place, temp -> {
      Files.createDirectory(temp.resolve("b"));
      Files.writeString(temp.resolve("b/c"), "2");
      assertThat(place.resolve("a")).hasContent("1");
    });
    assertThat(place.resolve("a")).doesNotExist();
    assertThat(place.resolve("b/c")).hasContent("2");
    assertThat(names()).containsExactly("m");
  }

  @Test
  void leftoversOfAKilledProcessDoNotStandInTheWay() throws IOException {
    Files.createDirectories(folder.resolve(".m.partial/x"));
    Files.writeString(folder.resolve(".f.partial"), "half");
    AtomicFile.write(folder.resolve("f"), "new");
    AtomicFile.folder(folder.resolve("m"), temp -> Files.writeString(temp.resolve("a"), "1"));
    assertThat(names()).containsExactly("f", "m");
    assertThat(folder.resolve("f")).hasContent("new");
  }

  /// Killed between the two renames: the old folder waits beside its place.
  @Test
  void aFolderThatWasMovedAsideComesBackIfWritingFails() throws IOException {
    Files.createDirectory(folder.resolve(".m.old"));
    Files.writeString(folder.resolve(".m.old/a"), "old");
    assertThatThrownBy(() -> AtomicFile.folder(folder.resolve("m"), _ -> {
      throw new IOException("full");
    })).isInstanceOf(InvalidInput.class);
    assertThat(folder.resolve("m/a")).hasContent("old");
    assertThat(names()).containsExactly("m");
  }

  @Test
  void aFileNeverReplacesAFolderNorAFolderAFile() throws IOException {
    Files.createDirectory(folder.resolve("m"));
    Files.writeString(folder.resolve("m/precious"), "1");
    Files.writeString(folder.resolve("f"), "2");
    assertThatThrownBy(() -> AtomicFile.write(folder.resolve("m"), "x")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("is a folder");
    assertThatThrownBy(() -> AtomicFile.folder(folder.resolve("f"), _ -> {})).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("is a file");
    assertThatThrownBy(() -> AtomicFile.write(folder.resolve("f/below"), "x")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("below");
    assertThatThrownBy(() -> AtomicFile.write(Path.of("/"), "x")).isInstanceOf(InvalidInput.class);
    assertThat(folder.resolve("m/precious")).hasContent("1");
    assertThat(folder.resolve("f")).hasContent("2");
    assertThat(names()).containsExactly("f", "m");
  }

  @Test
  void deletingFollowsNoLinks() throws IOException {
    Files.createDirectory(folder.resolve("real"));
    Files.writeString(folder.resolve("real/a"), "1");
    Files.createDirectory(folder.resolve("d"));
    Files.createSymbolicLink(folder.resolve("d/link"), folder.resolve("real"));
    Files.createSymbolicLink(folder.resolve("broken"), folder.resolve("nowhere"));
    AtomicFile.delete(folder.resolve("d"));
    AtomicFile.delete(folder.resolve("broken"));
    AtomicFile.delete(folder.resolve("nowhere"));
    assertThat(names()).containsExactly("real");
    assertThat(folder.resolve("real/a")).hasContent("1");
  }

  /// A process whose files may not grow: the operating system refuses the write in the middle.
  @Test
  void aDiskThatIsFullLeavesTheOldFile() throws IOException, InterruptedException {
    assumeTrue(new File("/bin/sh").canExecute(), "skipped: there is no /bin/sh to limit a process with");
    var file = folder.resolve("f.txt");
    AtomicFile.write(file, "old");
    var java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    var process =
        new ProcessBuilder("/bin/sh", "-c", "ulimit -f 64 && exec \"$0\" \"$@\"", java, "-XX:-UsePerfData",
            "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-cp", System.getProperty("java.class.path"), Writer.class.getName(), file.toString())
            .redirectErrorStream(true).start();
    var said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
    assertThat(said).contains("cannot write " + file, "what was there before is unchanged");
    assertThat(file).hasContent("old");
    assertThat(names()).containsExactly("f.txt");
  }

  /// Writes a megabyte and says how that went.
  static final class Writer {
    private Writer() {}

    public static void main(String[] args) {
      try {
        AtomicFile.write(Path.of(args[0]), "x".repeat(1 << 20));
        System.out.println("written");
      } catch (InvalidInput e) {
        System.out.println(e.getMessage());
      }
    }
  }
}
