package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
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
  /// @throws InvalidInput if the disk is full or the place cannot be written
  public static void write(Path file, Body body) {
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
  public static void folder(Path folder, Body body) {
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
    var temp = absolute.resolveSibling("." + absolute.getFileName() + ".partial");
    var old = absolute.resolveSibling("." + absolute.getFileName() + ".old");
    try {
      Files.createDirectories(absolute.getParent());
      delete(temp);
      body.write(temp);
      if (Files.isDirectory(absolute)) {
        delete(old);
        Files.move(absolute, old);
      }
      Files.move(temp, absolute, StandardCopyOption.ATOMIC_MOVE);
      force(absolute.getParent());
      delete(old);
    } catch (IOException | UncheckedIOException e) {
      quietly(temp);
      throw new InvalidInput("cannot write " + place + ": " + reason(e), "free space or choose another folder; what was there before is unchanged", e);
    }
  }

  private static String reason(Exception e) {
    return e.getClass().getSimpleName() + (e.getMessage() == null ? "" : ", " + e.getMessage());
  }

  private static void quietly(Path path) {
    try {
      delete(path);
    } catch (IOException _) {
      // the failure that matters is already on its way
    }
  }

  /// Deletes a file or a folder with everything in it, if it exists.
  public static void delete(Path path) throws IOException {
    if (!Files.exists(path)) return;
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
