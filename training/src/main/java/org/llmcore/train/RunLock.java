package org.llmcore.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

import org.llmcore.InvalidInput;

/// One process's hold on a run's folder: a lock on the file `lock` in it, which the system takes back when the process ends,
/// however it ends. The empty file stays and means nothing by itself.
record RunLock(FileChannel channel) implements AutoCloseable {
  /// @throws InvalidInput if another process holds the folder
  static RunLock of(Path folder) {
    try {
      var channel = FileChannel.open(folder.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      if (locked(channel)) return new RunLock(channel);
      channel.close();
    } catch (IOException e) {
      throw new InvalidInput("cannot lock " + folder + ": " + e.getMessage(), "check its permissions, or use a folder on a local disk", e);
    }
    throw new InvalidInput(folder + " is held by a run that goes on", "wait until it ends, or stop it first");
  }

  private static boolean locked(FileChannel channel) throws IOException {
    try {
      return channel.tryLock() != null;
    } catch (OverlappingFileLockException _) {
      return false;
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
