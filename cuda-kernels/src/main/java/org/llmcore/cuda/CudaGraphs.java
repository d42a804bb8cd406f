package org.llmcore.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/// Work that comes again as one graph: `together` writes down its uploads and launches instead of giving them to the driver one
/// by one. Work that differs from all it knows runs from those notes; when the same comes again (same kernels, geometry and
/// arguments, uploads of the same sizes to the same places; their bytes may differ) it is captured as a CUDA graph, and from then
/// on one call launches all of it.
///
/// The notes are an order, not a promise of content: whatever needs the stream (a download, new memory) ends them by `settle`,
/// and the rest of the work runs as it comes.
final class CudaGraphs implements AutoCloseable {
  private static final int MOST = 4; // a batch that shrinks and grows comes back to the graph it had
  private static final long PINNED = 1L << 20; // a decode step uploads a few numbers per sequence
  private static final long PIECE = 256;

  private sealed interface Note {
    boolean same(Note other);
  }

  private record Call(Launch.Call call) implements Note {
    @Override
    public boolean same(Note other) {
      return other instanceof Call c && call.same(c.call);
    }
  }

  private record Upload(long address, long from, long bytes) implements Note {
    @Override
    public boolean same(Note other) {
      return equals(other);
    }
  }

  private static final class Known {
    final List<Note> notes;
    long graph; // 0 until it comes the second time

    Known(List<Note> notes) {
      this.notes = notes;
    }

    boolean same(List<Note> others) {
      if (notes.size() != others.size()) return false;
      for (int i = 0; i < others.size(); i++) if (!notes.get(i).same(others.get(i))) return false;
      return true;
    }
  }

  private final Driver driver;
  private final long stream;
  private final Launch launch;
  private final MemorySegment pinned;
  private final long read; // behind the last copy from the pinned memory
  private final List<Known> known = new ArrayList<>(); // the latest last
  private List<Note> notes = new ArrayList<>();
  private boolean recording;
  private long used;
  private int launched;

  CudaGraphs(Driver driver, long stream, Launch launch) {
    this.driver = driver;
    this.stream = stream;
    this.launch = launch;
    this.pinned = driver.pinned(PINNED);
    this.read = driver.event(false);
  }

  /// Whether kernels and uploads are being written down.
  boolean records() {
    return recording;
  }

  /// How often a graph was launched: for tests and reports.
  int launched() {
    return launched;
  }

  void add(Launch.Call call) {
    notes.add(new Call(call));
  }

  /// Writes an upload down and keeps its bytes.
  /// @return whether it did; if not, nothing is recorded any more
  boolean add(MemorySegment from, long address) {
    if (!recording) return false;
    if (used + from.byteSize() > PINNED) {
      settle();
      return false;
    }
    pinned.asSlice(used, from.byteSize()).copyFrom(from);
    notes.add(new Upload(address, used, from.byteSize()));
    used = (used + from.byteSize() + PIECE - 1) / PIECE * PIECE;
    return true;
  }

  void together(Runnable work) {
    driver.await(read);
    recording = true;
    try {
      work.run();
      if (recording) finish();
    } finally {
      recording = false;
      notes = new ArrayList<>();
      used = 0;
    }
  }

  private void finish() {
    recording = false;
    for (int i = known.size() - 1; i >= 0; i--) {
      var k = known.get(i);
      if (!k.same(notes)) continue;
      if (k.graph == 0) k.graph = capture();
      driver.launchGraph(k.graph, stream);
      driver.record(read, stream);
      launched++;
      known.add(known.remove(i));
      return;
    }
    submit();
    if (known.size() == MOST) forget(known.removeFirst());
    known.add(new Known(notes));
  }

  private long capture() {
    driver.beginCapture(stream);
    try {
      give();
    } catch (CudaException e) {
      driver.destroyGraph(driver.endCapture(stream)); // the stream runs again
      throw e;
    }
    return driver.endCapture(stream);
  }

  /// Gives what is written down to the driver, and stops writing.
  void settle() {
    if (!recording) return;
    recording = false;
    submit();
    notes = new ArrayList<>();
  }

  private void submit() {
    give();
    driver.record(read, stream);
  }

  private void give() {
    for (var note : notes) {
      switch (note) {
        case Upload u -> driver.copyIn(u.address, pinned.asSlice(u.from, u.bytes), u.bytes, stream);
        case Call c -> {
          launch.restore(c.call);
          driver.launch(launch.config(), c.call.function(), launch.pointers());
        }
      }
    }
  }

  private void forget(Known k) {
    if (k.graph != 0) driver.destroyGraph(k.graph);
  }

  @Override
  public void close() {
    known.forEach(this::forget);
    driver.destroyEvent(read);
    driver.releasePinned(pinned);
  }
}
