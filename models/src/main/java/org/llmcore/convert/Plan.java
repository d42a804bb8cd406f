package org.llmcore.convert;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;
import org.llmcore.gguf.GgufType;
import org.llmcore.quant.BlockCodes;
import org.llmcore.tensor.Bf16;

/// How each tensor of a model will be stored.
///
/// | asked for        | Hugging Face folder                        | GGUF, matrices                          | llama2.c |
/// |------------------|--------------------------------------------|-----------------------------------------|----------|
/// | nothing          | the source's dtype; f32 if that is blocks  | as in the source; GPTQ codes as Q4_0 or | f32      |
/// |                  | or codes, or if it would lose a digit      | Q8_0 where they are that, else f32      |          |
/// | f32, bf16, f16   | that                                       | that                                    | f32 only |
/// | q8_0, q4_0, q4_k | refused                                    | that; Q8_0 or F16 where it does not fit | refused  |
///
/// In GGUF vectors are f32, and with 4 bits the vocabulary's two matrices are Q8_0. Where nothing is asked for, nothing is lost.
record Plan(Format format, Map<Part, GgufType> types, boolean lossless, List<String> notes) {
  private static final List<GgufType> ASKED = List.of(GgufType.F32, GgufType.BF16, GgufType.F16, GgufType.Q8_0, GgufType.Q4_0,
      GgufType.Q4_K);

  /// `f32`, `bf16`, `f16`, `q8_0`, `q4_0` or `q4_k`.
  static GgufType parse(String text) {
    for (var t : ASKED) if (t.name().equalsIgnoreCase(text)) return t;
    throw new InvalidInput("dtype '" + text + "'", "expected one of " + ASKED.stream().map(t -> t.name().toLowerCase(Locale.ROOT))
        .collect(Collectors.joining(", ")));
  }

  /// @throws InvalidInput if the format has no place for what is asked
  static Plan of(Source source, Format format, Optional<GgufType> asked) {
    asked.ifPresent(t -> refuse(format, t));
    var parts = Part.of(source.config());
    var notes = new ArrayList<String>();
    var types = new LinkedHashMap<Part, GgufType>();
    var common = format == Format.HF && asked.isEmpty() ? common(source, parts) : GgufType.F32;
    for (var p : parts) {
      types.put(
          p,
          switch (format) {
            case HF -> asked.orElse(common);
            case LLAMA2C -> GgufType.F32;
            case GGUF -> p.matrix() ? asked.map(t -> fitting(p, t, source)).orElse(source.type(p).orElse(GgufType.F32))
                : GgufType.F32;
          });
    }
    asked.filter(t -> format == Format.GGUF && t.blocks().isPresent()).ifPresent(t -> narrow(t, types, notes));
    boolean lossless = types.entrySet().stream().allMatch(e -> holds(e.getValue(), source.type(e.getKey()))
        || format == Format.HF && asked.isEmpty());
    return new Plan(format, types, lossless, notes);
  }

  private static void refuse(Format format, GgufType asked) {
    if (format == Format.LLAMA2C && asked != GgufType.F32) throw new InvalidInput("llama2.c checkpoints hold f32, not " + asked,
        "leave --dtype out, or write gguf");
    if (format == Format.HF && asked.blocks().isPresent()) {
      throw new InvalidInput("a Hugging Face folder holds f32, bf16 or f16, not " + asked,
          "write gguf, or use quantize for GPTQ's format");
    }
  }

  /// The type asked for where rows are whole blocks of it; in its place Q8_0, else F16. A matrix that is stored so stays as it
  /// is.
  private static GgufType fitting(Part p, GgufType asked, Source source) {
    if (asked.blocks().isEmpty()) return asked;
    var wanted = p.vocabulary() && asked != GgufType.Q8_0 ? GgufType.Q8_0 : asked;
    if (source.type(p).equals(Optional.of(wanted)) || wanted.fits(p.columns())) return wanted;
    return GgufType.Q8_0.fits(p.columns()) ? GgufType.Q8_0 : GgufType.F16;
  }

  private static void narrow(GgufType asked, Map<Part, GgufType> types, List<String> notes) {
    if (!BlockCodes.made(asked.blocks().orElseThrow())) throw new IllegalArgumentException(asked + " is not made");
    var others = types.entrySet().stream().filter(e -> e.getKey().matrix() && !e.getKey().vocabulary() && e.getValue() != asked)
        .toList();
    if (others.isEmpty()) return;
    var first = others.getFirst();
    notes.add("%d matrices have rows that are no multiple of %s's block, such as %s with %d: they are stored as %s".formatted(
        others.size(), asked, first.getKey().name(), first.getKey().columns(), first.getValue()));
  }

  private static boolean holds(GgufType target, Optional<GgufType> source) {
    return target == GgufType.F32 || source.equals(Optional.of(target));
  }

  /// The one dtype that holds all tensors exactly.
  private static GgufType common(Source source, List<Part> parts) {
    var first = source.type(parts.getFirst()).filter(t -> t.dtype().isPresent()).orElse(GgufType.F32);
    if (first == GgufType.F32) return first;
    boolean all = parts.stream().allMatch(p -> source.type(p).equals(Optional.of(first)) || !p.matrix()
        && exact(source, p, first));
    return all ? first : GgufType.F32;
  }

  private static boolean exact(Source source, Part vector, GgufType type) {
    var values = new float[vector.columns()];
    source.read(vector, 0, 1, values);
    for (float v : values) {
      float kept = type == GgufType.BF16 ? Bf16.toFloat(Bf16.of(v)) : Float.float16ToFloat(Float.floatToFloat16(v));
      if (Float.compare(kept, v) != 0) return false;
    }
    return true;
  }

  /// Bytes of all tensors.
  long bytes() {
    return types.entrySet().stream().mapToLong(e -> e.getKey().rows() * e.getValue().bytes(e.getKey().columns())).sum();
  }

  /// How most weights of matrices are stored.
  GgufType most() {
    var elements = new LinkedHashMap<GgufType, Long>();
    types.forEach((p, t) -> {
      if (p.matrix()) elements.merge(t, p.elements(), Long::sum);
    });
    return elements.entrySet().stream().max(Map.Entry.comparingByValue()).orElseThrow().getKey();
  }

  /// For example `Q4_0, Q8_0, F32`.
  String describe() {
    return Arrays.stream(GgufType.values()).filter(types.values()::contains).map(GgufType::name)
        .collect(Collectors.joining(", "));
  }
}
