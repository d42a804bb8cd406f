package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

import org.llmcore.checkpoint.Safetensors.Item;

/// A file in which tensors wait until theirs is written, so that memory need not hold them. It is gone when this is closed, or when the process ends.
public final class Spool implements AutoCloseable {
  private final FileChannel channel;

  /// @param file must not exist
  public Spool(Path file) {
    try {
      channel = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE, StandardOpenOption.DELETE_ON_CLOSE);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// The same tensor, whose bytes now lie in the file; it can be written until this is closed.
  public Item keep(Item item) {
    try {
      long from = channel.size();
      item.pieces().each(this::append);
      long bytes = channel.size() - from;
      return new Item(item.name(), item.dtype(), item.shape(), sink -> {
        if (bytes == 0) return;
        try (var arena = Arena.ofConfined()) {
          sink.accept(channel.map(FileChannel.MapMode.READ_ONLY, from, bytes, arena));
        } catch (IOException e) {
          throw new UncheckedIOException(e);
        }
      });
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void append(MemorySegment piece) {
    try {
      channel.position(channel.size());
      for (var b = piece.asByteBuffer(); b.hasRemaining(); ) channel.write(b);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
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
