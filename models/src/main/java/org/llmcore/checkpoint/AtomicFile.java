package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;

import org.llmcore.InvalidInput;

/// Files and folders that appear whole or not at all: written beside their place, forced to disk, renamed into it, and the
/// rename forced too. If writing fails nothing half-written is left and what was there before stays.
public final class AtomicFile {
  /// Writes content to the path it is given.
  public interface Body {
    void write(Path target) throws IOException;
  }

  private AtomicFile() {}

  /// Writes a file.
  /// @throws InvalidInput if the disk is full, the place cannot be written or is a folder
  public static void write(Path file, Body body) {
    if (Files.isDirectory(file)) throw new InvalidInput(file + " is a folder", "name a file");
    replace(
        file,
        temp -> {
          body.write(temp);
          force(temp);
        });
  }

  /// Writes a text file.
  public static void write(Path file, String text) {
    write(file, temp -> Files.writeString(temp, text));
  }

  /// Writes a folder; one that is there already is replaced.
  /// @throws InvalidInput if the disk is full, the place cannot be written or is a file
  public static void folder(Path folder, Body body) {
    if (Files.exists(folder) && !Files.isDirectory(folder)) throw new InvalidInput(folder + " is a file", "name a folder");
    replace(
        folder,
        temp -> {
          Files.createDirectory(temp);
          body.write(temp);
          try (var files = Files.walk(temp)) {
            for (var f : (Iterable<Path>) files::iterator) force(f);
          }
        });
  }

  private static void replace(Path place, Body body) {
    var absolute = place.toAbsolutePath();
    if (absolute.getFileName() == null) throw new InvalidInput(place + " cannot be written", "name a file or folder in it");
    var temp = absolute.resolveSibling("." + absolute.getFileName() + ".partial");
    var old = absolute.resolveSibling("." + absolute.getFileName() + ".old");
    boolean done = false;
    try {
      Files.createDirectories(absolute.getParent());
      delete(temp);
      body.write(temp);
      if (Files.isDirectory(absolute)) {
        delete(old);
        Files.move(absolute, old);
      }
      Files.move(temp, absolute, StandardCopyOption.ATOMIC_MOVE);
      done = true;
      force(absolute.getParent());
      quietly(() -> delete(old));
    } catch (IOException | UncheckedIOException e) {
      throw new InvalidInput("cannot write " + place + ": " + reason(e),
          "free space or choose another folder; what was there before is unchanged", e);
    } finally {
      if (!done) {
        quietly(() -> delete(temp));
        quietly(() -> restore(old, absolute));
      }
    }
  }

  private static void restore(Path old, Path place) throws IOException {
    if (Files.exists(old) && !Files.exists(place)) Files.move(old, place);
  }

  private static String reason(Exception e) {
    return e.getClass().getSimpleName() + (e.getMessage() == null ? "" : ", " + e.getMessage());
  }

  private interface Tidying {
    void run() throws IOException;
  }

  private static void quietly(Tidying work) {
    try {
      work.run();
    } catch (IOException _) {
      // the file is in place, or the failure that matters is already on its way
    }
  }

  /// Deletes a file or a folder with everything in it, if it exists.
  public static void delete(Path path) throws IOException {
    if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) return;
    Files.walkFileTree(
        path,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path folder, IOException failure) throws IOException {
            if (failure != null) throw failure;
            Files.delete(folder);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  private static void force(Path path) throws IOException {
    try (var channel = FileChannel.open(path, Files.isDirectory(path) ? StandardOpenOption.READ : StandardOpenOption.WRITE)) {
      channel.force(true);
    } catch (IOException e) {
      // Folders cannot be forced on every system (Windows); files can.
      if (!Files.isDirectory(path)) throw e;
    }
  }
}
