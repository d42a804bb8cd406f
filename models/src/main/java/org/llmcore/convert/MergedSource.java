package org.llmcore.convert;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.gguf.GgufType;
import org.llmcore.model.Decoder;
import org.llmcore.op.Device;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.text.Tokenizer;

/// A model with a LoRA adapter added to its weights, which are held in memory in f32.
final class MergedSource implements Source {
  private final Device device;
  private final Source base;
  private final Region region;
  private final Decoder decoder;
  private final float[] before;

  private MergedSource(Device device, Source base, Region region, Decoder decoder, float[] before) {
    this.device = device;
    this.base = base;
    this.region = region;
    this.decoder = decoder;
    this.before = before;
  }

  /// Reads the base whole and merges; the base is closed with this.
  /// @param ids a sequence whose logits are computed before the merge
  static MergedSource of(Device device, Source base, Path adapter, int[] ids) {
    var region = device.reserve("weights", Decoder.bytes(base.config(), DType.F32));
    try (var trained = device.growing("adapter")) {
      var decoder = base.decoder(device, region);
      var lora = PeftAdapter.load(device, decoder, adapter, trained);
      var before = Agreement.logits(device, lora.decoder(), ids);
      lora.merge(device);
      return new MergedSource(device, base, region, decoder, before);
    } catch (RuntimeException e) {
      region.close();
      throw e;
    }
  }

  /// Logits of base and adapter before they were merged.
  float[] before() {
    return before;
  }

  Decoder decoder() {
    return decoder;
  }

  @Override
  public LlamaConfig config() {
    return base.config();
  }

  @Override
  public Tokenizer tokenizer() {
    return base.tokenizer();
  }

  @Override
  public Optional<String> template() {
    return base.template();
  }

  @Override
  public List<String> notes() {
    return base.notes();
  }

  @Override
  public String describe() {
    return base.describe() + " with an adapter";
  }

  @Override
  public Optional<GgufType> type(Part part) {
    return Optional.of(GgufType.F32);
  }

  @Override
  public void read(Part part, int from, int to, float[] out) {
    for (int r = from; r < to; r++) MemorySegment.copy(row(part, r), 0, MemorySegment.ofArray(out), 4L * (r - from)
        * part.columns(), 4L * part.columns());
  }

  @Override
  public MemorySegment row(Part part, int r) {
    var w = decoder.parameters().get(part.name());
    var host = MemorySegment.ofArray(new byte[4 * part.columns()]);
    device.download(part.matrix() ? w.slice(r, r + 1) : w, host);
    return host;
  }

  @Override
  public void close() {
    region.close();
    base.close();
  }
}
