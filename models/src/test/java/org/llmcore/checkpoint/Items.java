package org.llmcore.checkpoint;

import java.io.ByteArrayOutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// What tests want of tensors that are to be written.
public final class Items {
  private Items() {}

  /// All bytes of an item.
  public static MemorySegment whole(Safetensors.Item item) {
    var out = new ByteArrayOutputStream();
    item.pieces().each(piece -> out.writeBytes(piece.toArray(ValueLayout.JAVA_BYTE)));
    return MemorySegment.ofArray(out.toByteArray());
  }
}
